/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The verbs of `mintmark`, one file each. A verb reads its options, does its work and prints to standard output; false with `err`
 * when it failed, which main reports.
 */
#ifndef MM_CLI_VERBS_H
#define MM_CLI_VERBS_H

#include "cli/options.h"

#define MM_VERB(name) MM_MUST_USE bool name(struct mm_cli *cli, int argc, char **argv, struct mm_error *err)

MM_VERB(mm_verb_init);
MM_VERB(mm_verb_issue);
MM_VERB(mm_verb_inspect);
MM_VERB(mm_verb_check_config);
MM_VERB(mm_verb_policy_explain);
MM_VERB(mm_verb_policy_test);
MM_VERB(mm_verb_key_generate);
MM_VERB(mm_verb_key_list);
MM_VERB(mm_verb_key_evidence);
MM_VERB(mm_verb_key_publish);
MM_VERB(mm_verb_key_activate);
MM_VERB(mm_verb_key_retire);
MM_VERB(mm_verb_key_withdraw);
MM_VERB(mm_verb_key_revoke);
MM_VERB(mm_verb_key_stage);
MM_VERB(mm_verb_key_destroy);
MM_VERB(mm_verb_key_rotate);
MM_VERB(mm_verb_clock_accept);
MM_VERB(mm_verb_status);
MM_VERB(mm_verb_reload);
MM_VERB(mm_verb_revoke);
MM_VERB(mm_verb_revocations);
MM_VERB(mm_verb_ledger_list);
MM_VERB(mm_verb_ledger_verify);
MM_VERB(mm_verb_token_unlock);

extern const char MM_INIT_HELP[];
extern const char MM_ISSUE_HELP[];
extern const char MM_INSPECT_HELP[];
extern const char MM_CHECK_CONFIG_HELP[];
extern const char MM_POLICY_EXPLAIN_HELP[];
extern const char MM_POLICY_TEST_HELP[];
extern const char MM_KEY_GENERATE_HELP[];
extern const char MM_KEY_LIST_HELP[];
extern const char MM_KEY_EVIDENCE_HELP[];
extern const char MM_KEY_PUBLISH_HELP[];
extern const char MM_KEY_ACTIVATE_HELP[];
extern const char MM_KEY_RETIRE_HELP[];
extern const char MM_KEY_WITHDRAW_HELP[];
extern const char MM_KEY_REVOKE_HELP[];
extern const char MM_KEY_STAGE_HELP[];
extern const char MM_KEY_DESTROY_HELP[];
extern const char MM_KEY_ROTATE_HELP[];
extern const char MM_CLOCK_ACCEPT_HELP[];
extern const char MM_STATUS_HELP[];
extern const char MM_RELOAD_HELP[];
extern const char MM_REVOKE_HELP[];
extern const char MM_REVOCATIONS_HELP[];
extern const char MM_LEDGER_LIST_HELP[];
extern const char MM_LEDGER_VERIFY_HELP[];
extern const char MM_TOKEN_UNLOCK_HELP[];

#endif

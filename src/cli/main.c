/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `mintmark`: the command line of operators, key custodians and CI jobs. Finds the verb, runs it, reports its failure and turns
 * it into an exit status.
 */
#include "cli/verbs.h"

#include <signal.h>
#include <string.h>
#include <sys/resource.h>

static const struct mm_verb VERBS[] = {
    {"init", "make the ledger and activate the first key", MM_INIT_HELP, mm_verb_init},
    {"issue", "ask a service for a token", MM_ISSUE_HELP, mm_verb_issue},
    {"inspect", "verify a token and say what it allows", MM_INSPECT_HELP, mm_verb_inspect},
    {"check-config", "check configuration and policy; say who gains and loses what", MM_CHECK_CONFIG_HELP,
     mm_verb_check_config},
    {"policy explain", "say which rules a caller's token satisfies", MM_POLICY_EXPLAIN_HELP, mm_verb_policy_explain},
    {"policy test", "check policy against what is expected of it", MM_POLICY_TEST_HELP, mm_verb_policy_test},
    {"status", "what the running service is and how it is", MM_STATUS_HELP, mm_verb_status},
    {"reload", "have the running service load its configuration anew", MM_RELOAD_HELP, mm_verb_reload},
    {"revoke", "take tokens back; stop issuance to an account or a tenant", MM_REVOKE_HELP, mm_verb_revoke},
    {"revocations", "list what was revoked and counts still", MM_REVOCATIONS_HELP, mm_verb_revocations},
    {"key generate", "generate a signing key on the HSM token", MM_KEY_GENERATE_HELP, mm_verb_key_generate},
    {"key list", "list the HSM token's private keys and their custody", MM_KEY_LIST_HELP, mm_verb_key_list},
    {"key evidence", "print what the module says of a key's custody", MM_KEY_EVIDENCE_HELP, mm_verb_key_evidence},
    {"key stage", "make a key known to the service", MM_KEY_STAGE_HELP, mm_verb_key_stage},
    {"key rotate", "let another key sign in place of those that do", MM_KEY_ROTATE_HELP, mm_verb_key_rotate},
    {"key publish", "show a staged key to verifiers", MM_KEY_PUBLISH_HELP, mm_verb_key_publish},
    {"key activate", "let a published key sign", MM_KEY_ACTIVATE_HELP, mm_verb_key_activate},
    {"key retire", "stop signing with a key", MM_KEY_RETIRE_HELP, mm_verb_key_retire},
    {"key withdraw", "give up a key that never signed", MM_KEY_WITHDRAW_HELP, mm_verb_key_withdraw},
    {"key revoke", "take a compromised key out at once", MM_KEY_REVOKE_HELP, mm_verb_key_revoke},
    {"key destroy", "destroy a retired key on its HSM token", MM_KEY_DESTROY_HELP, mm_verb_key_destroy},
    {"clock accept", "issue though the clock is behind the ledger", MM_CLOCK_ACCEPT_HELP, mm_verb_clock_accept},
    {"ledger list", "list what was issued, refused and changed", MM_LEDGER_LIST_HELP, mm_verb_ledger_list},
    {"ledger verify", "check the ledger's hash chain", MM_LEDGER_VERIFY_HELP, mm_verb_ledger_verify},
    {"token unlock", "allow logins to an HSM token again after a refused PIN", MM_TOKEN_UNLOCK_HELP,
     mm_verb_token_unlock},
};

static void print_help(void)
{
    (void)fputs("Usage: mintmark COMMAND [options]\n\n"
                "Mintmark mints short-lived tokens whose signing keys never leave an HSM.\n\n"
                "Commands:\n",
                stdout);
    for (size_t i = 0; i < MM_ARRAY_SIZE(VERBS); i++)
        (void)printf("  %-14s %s\n", VERBS[i].name, VERBS[i].summary);
    (void)fputs("\n"
                "Each command explains itself: mintmark COMMAND --help. All of them take --json: results as JSON on\n"
                "standard output, failures as one JSON object on standard error. Configuration is read from --config\n"
                "FILE, else $MINTMARK_CONFIG, else /etc/mintmark/mintmark.yaml. No command takes a PIN or a token as\n"
                "an argument: other users of the machine can read those.\n"
                "\n"
                "Exit status:\n"
                "  0  done\n"
                "  1  internal failure, memory, files\n"
                "  2  the command line\n"
                "  3  configuration or policy files\n"
                "  4  HSM token, key or module\n"
                "  5  PIN refused or latched: trying again can lock the HSM token\n"
                "  6  ledger missing, locked, full or damaged\n"
                "  7  the service can't be reached\n"
                "  8  the service refused the request\n"
                "  9  a token, an attestation or the ledger's chain doesn't verify\n"
                "\n"
                "Options:\n"
                "  --help     this text, or a command's\n"
                "  --version  the version\n",
                stdout);
}

/* The verb that argv names, and how many arguments its name takes; NULL if there is none such. */
static const struct mm_verb *find_verb(int argc, char **argv, int *ret_words)
{
    for (size_t i = 0; i < MM_ARRAY_SIZE(VERBS); i++) {
        const char *second = strchr(VERBS[i].name, ' ');
        size_t first_length = second ? (size_t)(second - VERBS[i].name) : strlen(VERBS[i].name);
        if (strlen(argv[1]) != first_length || strncmp(argv[1], VERBS[i].name, first_length) != 0)
            continue;
        if (second && (argc < 3 || strcmp(argv[2], second + 1) != 0))
            continue;
        *ret_words = second ? 2 : 1;
        return &VERBS[i];
    }
    return NULL;
}

/* Whether the verb's name is of two words, the first of which is `first`; the second. */
static const char *second_word(const struct mm_verb *verb, const char *first)
{
    size_t length = strlen(first);
    return strncmp(verb->name, first, length) == 0 && verb->name[length] == ' ' ? verb->name + length + 1 : NULL;
}

/* What may follow the word that argv begins with; false if that begins no command of two. */
static bool list_second_words(const char *first, char *buffer, size_t size)
{
    size_t length = 0;
    for (size_t i = 0; i < MM_ARRAY_SIZE(VERBS) && length < size; i++) {
        const char *second = second_word(&VERBS[i], first);
        if (second)
            length += (size_t)snprintf(buffer + length, size - length, "%s%s", length ? ", " : "", second);
    }
    return length > 0;
}

static bool fail_unknown(const char *first, struct mm_error *err)
{
    char words[256];
    if (!list_second_words(first, words, sizeof words))
        return mm_fail(err, MM_USAGE, "no such command (see mintmark --help)");
    return mm_fail(err, MM_USAGE, "%s needs a second word: %s (see mintmark %s --help)", first, words, first);
}

static bool print_group_help(const char *first)
{
    bool is_found = false;
    for (size_t i = 0; i < MM_ARRAY_SIZE(VERBS); i++) {
        if (!second_word(&VERBS[i], first))
            continue;
        if (!is_found)
            (void)
                printf("Usage: mintmark %s COMMAND [options]\n\nCommands, each of which explains itself with --help:\n",
                       first);
        (void)printf("  %-14s %s\n", VERBS[i].name, VERBS[i].summary);
        is_found = true;
    }
    return is_found;
}

/* Before options are read in earnest: a wrong one must be reported in the form that was asked for. */
static bool has_flag(int argc, char **argv, const char *flag)
{
    for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++)
        if (strcmp(argv[i], flag) == 0)
            return true;
    return false;
}

static bool run_verb(struct mm_cli *cli, int argc, char **argv, struct mm_error *err)
{
    int words = 0;
    const struct mm_verb *verb = argc > 1 ? find_verb(argc, argv, &words) : NULL;
    if (!verb && argc > 1 && argv[1][0] != '-' && !has_flag(argc, argv, "--help"))
        return fail_unknown(argv[1], err);
    if (has_flag(argc, argv, "--help") || has_flag(argc, argv, "-h")) {
        if (verb)
            (void)fputs(verb->help, stdout);
        else if (!print_group_help(argv[1]))
            print_help();
        return true;
    }
    if (!verb && has_flag(argc, argv, "--version"))
        return printf("mintmark %s\n", MM_VERSION) > 0;
    if (!verb)
        return mm_fail(err, MM_USAGE, "a command is needed (see mintmark --help)");
    argv[words] = argv[0];
    return verb->run(cli, argc - words, argv + words, err);
}

/* PINs pass through this process: no core dump may hold one. */
static void protect_process(void)
{
    const struct rlimit none = {0, 0};
    (void)setrlimit(RLIMIT_CORE, &none);
    (void)signal(SIGPIPE, SIG_IGN);
}

int main(int argc, char **argv)
{
    protect_process();
    const char *config_file = getenv("MINTMARK_CONFIG");
    struct mm_cli cli = {
        .form = has_flag(argc, argv, "--json") ? MM_FORM_JSON : MM_FORM_HUMAN,
        .config_file = config_file && *config_file ? config_file : "/etc/mintmark/mintmark.yaml",
    };
    struct mm_error err = {0};
    bool is_done = run_verb(&cli, argc, argv, &err);
    is_done = mm_output_finish(&err) && is_done;
    int status = MM_EXIT_OK;
    if (!is_done) {
        status = cli.exit_status ? (int)cli.exit_status : mm_code_exit_status(err.code);
        mm_print_failure(stderr, cli.form, &err, status, cli.failure);
    }
    json_decref(cli.failure);
    return status;
}

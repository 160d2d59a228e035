/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What somebody else's verified JWT must say of its subject: for each claim that is named, one of some values or patterns (policy/glob.h).
 * What isn't said can't match, and nothing is folded, decoded or normalised: names that only look alike are different.
 */
#ifndef MM_POLICY_CLAIM_RULE_H
#define MM_POLICY_CLAIM_RULE_H

#include "policy/strings.h"
#include "util/schema.h"

enum {
    MM_CLAIM_RULES_MAX = 16,         /* claims of one rule */
    MM_CLAIM_VALUES_MAX = 100,       /* values of one claim */
    MM_CLAIM_VALUE_LENGTH_MAX = 512, /* bytes */
    MM_CLAIM_NUMBER_MAX = 32,        /* bytes of an integer as text, with its NUL */
};

struct mm_claim_rule {
    char *name;               /* the claim's; one that starts with `/` is the RFC 6901 pointer of one inside others */
    struct mm_strings values; /* patterns, of which one must match */
    bool is_list;             /* written as a list: a claim that is a list matches if one of its values does */
};

/* Who writes `sub` in two ways. */
enum mm_subject_form {
    MM_SUBJECT_PLAIN,
    MM_SUBJECT_GITHUB, /* `repo:org/repo:…`, or with ids `repo:org@id/repo@id:…` */
};

/* A plain value; all must match. Without any, nothing does. */
struct mm_claim_rules {
    struct mm_claim_rule *items;
    size_t n;
    enum mm_subject_form subject;
};

struct mm_claim_mismatch {
    const struct mm_claim_rule *rule; /* that failed; NULL if there are no rules. Borrowed from them */
    enum {
        MM_CLAIM_MISSING,
        MM_CLAIM_OTHER,   /* has another value */
        MM_CLAIM_IS_LIST, /* is a list, and the rule isn't written as one */
        MM_CLAIM_TYPE,    /* has none that could be compared: null, a fraction, an object, or a list of such */
        MM_CLAIM_NO_ID,   /* the rule's `sub` has GitHub's ids, and the token has none */
    } reason;
};

/*
 * Whether a verified payload satisfies all of `rules`; else `ret_why`, which may be NULL, is the first that failed, and nothing of the
 * payload. Strings are compared as bytes; integers and booleans by their JSON text, so that `4711` and `"4711"` are the same. Of a claim
 * that is a list one value is enough, if the rule is written as a list, too; lists in lists match nothing.
 *
 * A rule on GitHub's `sub` matches both of its forms. Ids in the rule must be those in `sub` or, if that has none, those in
 * `repository_owner_id` and `repository_id`; where the rule has none, only names are compared.
 */
bool mm_claim_rules_match(const struct mm_claim_rules *rules, const json_t *claims, struct mm_claim_mismatch *ret_why);

/* What `why` says, for people, with the rule's own values and nothing of the token. Returns buffer. */
const char *mm_claim_mismatch_format(const struct mm_claim_mismatch *why, char *buffer, size_t size);

/* Whether every payload that satisfies `narrow` satisfies `wide`, too. No rules cover none. */
bool mm_claim_rules_cover(const struct mm_claim_rules *wide, const struct mm_claim_rules *narrow);

/* The rule on that claim, or NULL. */
const struct mm_claim_rule *mm_claim_rules_find(const struct mm_claim_rules *rules, const char *name);

/* Whether what satisfies the rule, one of `rules`, has one of its values as they are: no patterns, and no form but one. */
bool mm_claim_rule_is_literal(const struct mm_claim_rules *rules, const struct mm_claim_rule *rule);

/* The claim that `name`, as a rule has it, is of `claims`; NULL: there is none. */
const json_t *mm_claim_find(const json_t *claims, const char *name);

/* A value as it is compared, in `buffer` if it is a number; NULL for what can't be. */
const char *mm_claim_text(const json_t *value, char buffer[MM_CLAIM_NUMBER_MAX]);

/* `a: x and b: y or z`, for the caller to free. NULL: MM_NO_MEMORY. */
MM_MUST_USE char *mm_claim_rules_describe(const struct mm_claim_rules *rules);

/*
 * Build rules on the tokens of `issuer` from a JSON object of them; what mm_claim_rules_check() complains about is passed over. False:
 * MM_NO_MEMORY.
 */
MM_MUST_USE bool mm_claim_rules_build(const json_t *json, const char *issuer, struct mm_claim_rules *ret_rules,
                                      struct mm_error *err);
void mm_claim_rules_clear(struct mm_claim_rules *rules);

/* Add to `problems` all that is wrong with `json`, which lies at `path` of `document`. */
void mm_claim_rules_check(const json_t *json, const struct mm_document *document, const char *path,
                          struct mm_problems *problems);

/* In schemas such rules are a map, of 1 to MM_CLAIM_RULES_MAX, whose keys and elements are: */
const char *mm_check_claim_name(const char *name);
extern const struct mm_schema MM_CLAIM_VALUE_SCHEMA;

#endif

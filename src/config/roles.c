/* SPDX-License-Identifier: Apache-2.0 */
#include "config/roles.h"

#include <string.h>

#include "policy/rule.h"
#include "policy/syntax.h"

enum { NAME_MAX_BYTES = 128, ID_DIGITS_MAX = 10 };

static const char USER_PREFIX[] = "user:";

const char *mm_role_name(enum mm_role role)
{
    static const char *const NAMES[] = {
        [MM_ROLE_NONE] = "none",
        [MM_ROLE_VIEWER] = "viewer",
        [MM_ROLE_OPERATOR] = "operator",
        [MM_ROLE_CUSTODIAN] = "custodian",
    };
    return NAMES[role];
}

static bool is_held_by(const struct mm_role_holder *holder, const struct mm_identity *identity)
{
    if (holder->kind == MM_HOLDER_USER)
        return holder->id == identity->uid;
    if (holder->kind != MM_HOLDER_GROUP)
        return false;
    for (size_t i = 0; i < identity->n_groups; i++)
        if (holder->id == identity->groups[i])
            return true;
    return false;
}

enum mm_role mm_roles_of(const struct mm_roles *roles, const struct mm_identity *identity, uid_t own_uid)
{
    enum mm_role highest = MM_ROLE_NONE;
    if (identity->uid == 0 || identity->uid == own_uid)
        return MM_ROLE_CUSTODIAN;
    for (size_t i = 0; i < roles->n; i++)
        if (roles->items[i].role > highest && is_held_by(&roles->items[i], identity))
            highest = roles->items[i].role;
    return highest;
}

const struct mm_role_holder *mm_roles_holder(const struct mm_roles *roles, const struct mm_certificate *certificate)
{
    const struct mm_role_holder *highest = NULL;
    for (size_t i = 0; i < roles->n; i++) {
        const struct mm_role_holder *holder = &roles->items[i];
        if (holder->kind == MM_HOLDER_CERTIFICATE && (!highest || holder->role > highest->role) &&
            mm_mtls_rule_matches(&holder->rule, certificate))
            highest = holder;
    }
    return highest;
}

const char *mm_roles_user_name(const struct mm_roles *roles, uid_t uid)
{
    for (size_t i = 0; i < roles->n; i++) {
        const struct mm_role_holder *holder = &roles->items[i];
        if (holder->kind == MM_HOLDER_USER && holder->id == uid &&
            strncmp(holder->text, USER_PREFIX, sizeof USER_PREFIX - 1) == 0)
            return holder->text + sizeof USER_PREFIX - 1;
    }
    return NULL;
}

/* (uid_t)-1 means nobody to the kernel. */
static bool parse_id(const char *text, uint32_t *ret_id)
{
    size_t length = strlen(text);
    if (length == 0 || length > ID_DIGITS_MAX || strspn(text, "0123456789") != length)
        return false;
    unsigned long long id = strtoull(text, NULL, 10);
    *ret_id = (uint32_t)id;
    return id < UINT32_MAX;
}

static bool is_name(const char *text)
{
    for (const char *c = text; *c; c++)
        if (*c <= ' ' || *c > '~' || *c == ':')
            return false;
    return *text && strlen(text) <= NAME_MAX_BYTES;
}

/* The members of a tenant's `mtls` rule: the word before the colon is the member's name. */
static const struct {
    const char *member;
    const char *(*check)(const char *text);
} CERTIFICATES[] = {
    {"san_uri", mm_check_san_uri},
    {"san_dns", mm_check_dns_name},
    {"subject_dn", mm_check_line},
    {"fingerprint", mm_check_fingerprint},
};

/* What follows the word and its colon, or NULL. */
static const char *after_word(const char *text, const char *word)
{
    size_t length = strlen(word);
    return strncmp(text, word, length) == 0 && text[length] == ':' ? text + length + 1 : NULL;
}

static const char *parse_local(const char *text, enum mm_holder_kind *ret_kind, const char **ret_name, uint32_t *ret_id)
{
    static const struct {
        const char *word;
        enum mm_holder_kind kind;
        enum { BY_NAME, BY_NUMBER } by;
    } FORMS[] = {
        {"user", MM_HOLDER_USER, BY_NAME},
        {"group", MM_HOLDER_GROUP, BY_NAME},
        {"uid", MM_HOLDER_USER, BY_NUMBER},
        {"gid", MM_HOLDER_GROUP, BY_NUMBER},
    };
    for (size_t i = 0; i < MM_ARRAY_SIZE(FORMS); i++) {
        const char *rest = after_word(text, FORMS[i].word);
        if (!rest || !(FORMS[i].by == BY_NAME ? is_name(rest) : parse_id(rest, ret_id)))
            continue;
        *ret_kind = FORMS[i].kind;
        *ret_name = FORMS[i].by == BY_NAME ? rest : NULL;
        return NULL;
    }
    return "must be user:NAME, group:NAME, uid:N or gid:N";
}

const char *mm_role_holder_parse(const char *text, enum mm_holder_kind *ret_kind, const char **ret_name,
                                 uint32_t *ret_id)
{
    for (size_t i = 0; i < MM_ARRAY_SIZE(CERTIFICATES); i++) {
        const char *rest = after_word(text, CERTIFICATES[i].member);
        if (!rest)
            continue;
        *ret_kind = MM_HOLDER_CERTIFICATE;
        *ret_name = rest;
        return *rest ? CERTIFICATES[i].check(rest) : "must name something after its colon";
    }
    return parse_local(text, ret_kind, ret_name, ret_id) ? "must be user:NAME, group:NAME, uid:N or gid:N, or, of a "
                                                           "client certificate, san_uri:URI, san_dns:NAME, "
                                                           "subject_dn:DN or fingerprint:HEX"
                                                         : NULL;
}

bool mm_role_holder_rule(const char *text, struct mm_mtls_rule *ret_rule, struct mm_error *err)
{
    mm_cleanup(json_decref) json_t *json = json_object();
    for (size_t i = 0; i < MM_ARRAY_SIZE(CERTIFICATES); i++) {
        const char *rest = after_word(text, CERTIFICATES[i].member);
        if (rest && json_object_set_new(json, CERTIFICATES[i].member, json_string(rest)) != 0)
            return mm_fail(err, MM_NO_MEMORY, "out of memory");
    }
    return json ? mm_mtls_rule_build(json, ret_rule, err) : mm_fail(err, MM_NO_MEMORY, "out of memory");
}

const char *mm_check_role_holder(const char *text)
{
    enum mm_holder_kind kind;
    const char *name;
    uint32_t id;
    return mm_role_holder_parse(text, &kind, &name, &id);
}

const char *mm_check_local_holder(const char *text)
{
    enum mm_holder_kind kind;
    const char *name;
    uint32_t id;
    return parse_local(text, &kind, &name, &id);
}

/* The next holder from `i` on that is a user or a group; NULL after the last. */
static const struct mm_role_holder *next_local(const struct mm_roles *roles, size_t *i)
{
    while (*i < roles->n && roles->items[*i].kind == MM_HOLDER_CERTIFICATE)
        (*i)++;
    return *i < roles->n ? &roles->items[(*i)++] : NULL;
}

bool mm_roles_are_same_locally(const struct mm_roles *a, const struct mm_roles *b)
{
    size_t i = 0;
    size_t j = 0;
    for (;;) {
        const struct mm_role_holder *one = next_local(a, &i);
        const struct mm_role_holder *other = next_local(b, &j);
        if (!one || !other)
            return one == other;
        if (one->role != other->role || one->kind != other->kind || one->id != other->id)
            return false;
    }
}

void mm_roles_clear(struct mm_roles *roles)
{
    for (size_t i = 0; i < roles->n; i++) {
        free(roles->items[i].text);
        mm_mtls_rule_clear(&roles->items[i].rule);
    }
    free(roles->items);
    *roles = (struct mm_roles){0};
}

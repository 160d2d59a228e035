/* SPDX-License-Identifier: Apache-2.0 */
#include "config/roles.h"

#include <string.h>

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

bool mm_role_holder_parse(const char *text, enum mm_holder_kind *ret_kind, const char **ret_name, uint32_t *ret_id)
{
    static const struct {
        const char *prefix;
        enum mm_holder_kind kind;
        enum { BY_NAME, BY_NUMBER } by;
    } FORMS[] = {
        {USER_PREFIX, MM_HOLDER_USER, BY_NAME},
        {"group:", MM_HOLDER_GROUP, BY_NAME},
        {"uid:", MM_HOLDER_USER, BY_NUMBER},
        {"gid:", MM_HOLDER_GROUP, BY_NUMBER},
    };
    for (size_t i = 0; i < MM_ARRAY_SIZE(FORMS); i++) {
        size_t length = strlen(FORMS[i].prefix);
        if (strncmp(text, FORMS[i].prefix, length) != 0)
            continue;
        *ret_kind = FORMS[i].kind;
        *ret_name = FORMS[i].by == BY_NAME ? text + length : NULL;
        return *ret_name ? is_name(*ret_name) : parse_id(text + length, ret_id);
    }
    return false;
}

const char *mm_check_role_holder(const char *text)
{
    enum mm_holder_kind kind;
    const char *name;
    uint32_t id;
    return mm_role_holder_parse(text, &kind, &name, &id) ? NULL : "must be user:NAME, group:NAME, uid:N or gid:N";
}

bool mm_roles_are_same(const struct mm_roles *a, const struct mm_roles *b)
{
    if (a->n != b->n)
        return false;
    for (size_t i = 0; i < a->n; i++)
        if (a->items[i].role != b->items[i].role || a->items[i].kind != b->items[i].kind ||
            a->items[i].id != b->items[i].id)
            return false;
    return true;
}

void mm_roles_clear(struct mm_roles *roles)
{
    for (size_t i = 0; i < roles->n; i++)
        free(roles->items[i].text);
    free(roles->items);
    *roles = (struct mm_roles){0};
}

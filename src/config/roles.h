/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who may do what over the admin listener: roles, each of which includes those below it, and who holds them, by ids that were looked up
 * when the configuration was loaded. A decision over values: no look-up, no I/O.
 */
#ifndef MM_CONFIG_ROLES_H
#define MM_CONFIG_ROLES_H

#include <sys/types.h>

#include "util/base.h"

enum mm_role { MM_ROLE_NONE, MM_ROLE_VIEWER, MM_ROLE_OPERATOR, MM_ROLE_CUSTODIAN };

enum mm_holder_kind { MM_HOLDER_USER, MM_HOLDER_GROUP };

struct mm_role_holder {
    enum mm_role role;
    enum mm_holder_kind kind;
    uint32_t id;
    char *text; /* as mintmark.yaml has it: `user:alice`, `gid:1001` */
};

struct mm_roles {
    struct mm_role_holder *items;
    size_t n;
};

/* What the kernel says of a process. */
struct mm_identity {
    uid_t uid;
    const gid_t *groups; /* the primary one included */
    size_t n_groups;
};

/* `none`, `viewer`, `operator`, `custodian`. */
const char *mm_role_name(enum mm_role role);

/* The highest role that `identity` holds. root and `own_uid`, the service's user, are custodians whatever the lists say. */
enum mm_role mm_roles_of(const struct mm_roles *roles, const struct mm_identity *identity, uid_t own_uid);

/* The name by which the lists know a user, borrowed; NULL if they know none. */
const char *mm_roles_user_name(const struct mm_roles *roles, uid_t uid);

/*
 * Take `user:NAME`, `group:NAME`, `uid:N` or `gid:N` apart. `ret_name` points at NAME, or is NULL and `ret_id` the number. False if
 * it is none of them.
 */
MM_MUST_USE bool mm_role_holder_parse(const char *text, enum mm_holder_kind *ret_kind, const char **ret_name,
                                      uint32_t *ret_id);

/* A schema's check of such an entry. */
const char *mm_check_role_holder(const char *text);

/* Whether both lists give the same roles to the same ids, in the same order. */
bool mm_roles_are_same(const struct mm_roles *a, const struct mm_roles *b);

void mm_roles_clear(struct mm_roles *roles);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who may do what over the admin listener: roles, each of which includes those below it, and who holds them, by ids that were looked up
 * when the configuration was loaded, or by what a client certificate says. A decision over values: no look-up, no I/O.
 */
#ifndef MM_CONFIG_ROLES_H
#define MM_CONFIG_ROLES_H

#include <sys/types.h>

#include "policy/policy.h"

enum mm_role { MM_ROLE_NONE, MM_ROLE_VIEWER, MM_ROLE_OPERATOR, MM_ROLE_CUSTODIAN };

enum mm_holder_kind { MM_HOLDER_USER, MM_HOLDER_GROUP, MM_HOLDER_CERTIFICATE };

enum {
    MM_ROLE_HOLDER_MAX = 400 /* bytes of its text: with a fingerprint and a reason it fits into a ledger's entry */
};

struct mm_role_holder {
    enum mm_role role;
    enum mm_holder_kind kind;
    uint32_t id; /* of a user or a group */
    char *text;  /* as mintmark.yaml has it: `user:alice`, `gid:1001`, `san_uri:spiffe://acme.example/alice` */
    struct mm_mtls_rule rule; /* of certificates */
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

/*
 * The entry that gives a certificate its highest role, borrowed; NULL if none names it. The caller has verified it, with the custodians'
 * CAs: the service's own user has no place here, and nobody a role that no list gives.
 */
const struct mm_role_holder *mm_roles_holder(const struct mm_roles *roles, const struct mm_certificate *certificate);

/* The name by which the lists know a user, borrowed; NULL if they know none. */
const char *mm_roles_user_name(const struct mm_roles *roles, uid_t uid);

/*
 * Take `user:NAME`, `group:NAME`, `uid:N` or `gid:N` apart, or `san_uri:`, `san_dns:`, `subject_dn:` or `fingerprint:` with what tenants' files
 * say there. `ret_name` points at NAME, or at what names the certificate; or it is NULL and `ret_id` the number. NULL, or why it is none of them.
 */
MM_MUST_USE const char *mm_role_holder_parse(const char *text, enum mm_holder_kind *ret_kind, const char **ret_name,
                                             uint32_t *ret_id);

/* The rule of an entry of certificates, which was parsed. MM_NO_MEMORY. */
MM_MUST_USE bool mm_role_holder_rule(const char *text, struct mm_mtls_rule *ret_rule, struct mm_error *err);

/* Schemas' checks of such an entry, and of one that names a user or a group. */
const char *mm_check_role_holder(const char *text);
const char *mm_check_local_holder(const char *text);

/*
 * Whether both lists give the same roles to the same users and groups, in the same order. Certificates don't count: nothing about
 * them is looked up, so they may change in a running service.
 */
bool mm_roles_are_same_locally(const struct mm_roles *a, const struct mm_roles *b);

void mm_roles_clear(struct mm_roles *roles);

#endif

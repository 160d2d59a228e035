/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who is at the other end of a connection to the admin listener: a process, as the kernel noted it when it connected, or who holds the key of
 * a certificate that the custodians' CA has issued. Nobody is looked up.
 */
#ifndef MM_ADMIN_PEER_H
#define MM_ADMIN_PEER_H

#include "config/config.h"
#include "http/admission.h"

enum { MM_ADMIN_BY_MAX = 512 };

struct mm_admin_peer {
    enum mm_role role;
    /*
     * For ledger and log: `alice (uid 1001)` if the roles name the user, else `uid 1001`; or the entry that names the certificate,
     * `san_uri:spiffe://acme.example/alice (certificate sha256 …)`. Empty: nobody knows.
     */
    char by[MM_ADMIN_BY_MAX];

    /* of a process */
    uid_t uid;
    char pid[16]; /* 0: of another pid namespace */

    /* of a client of the network */
    char address[MM_ADDRESS_TEXT_MAX];
    char fingerprint[MM_SHA256_HEX_LENGTH + 1]; /* SHA-256 of its certificate; empty: none that the CA has issued */
};

/* The peer of a connected Unix socket. MM_INTERNAL or MM_NO_MEMORY if the kernel doesn't say who it is. */
MM_MUST_USE bool mm_admin_peer_of(int fd, const struct mm_roles *roles, uid_t own_uid, struct mm_admin_peer *ret_peer,
                                  struct mm_error *err);

/*
 * What the certificates that a client sent, and whose key it holds, say of it at `now` (Unix seconds). The address in `peer` is there already;
 * after a failure what was found out is there, but no role. MM_CERTIFICATE_REQUIRED without any; MM_CERTIFICATE_INVALID and
 * MM_ACCESS_DENIED as mm_trust_verify(), the latter too if no list names the certificate.
 */
MM_MUST_USE bool mm_admin_peer_prove(struct mm_admin_peer *peer, const struct mm_bytes *chain, size_t n,
                                     const struct mm_admin_config *admin, int64_t now, struct mm_error *err);

/* Whether two peers that came the same way are one. */
bool mm_admin_peer_is(const struct mm_admin_peer *peer, const struct mm_admin_peer *other);

/* For logs: NULL for what is empty. */
static inline const char *mm_admin_told(const char *text)
{
    return *text ? text : NULL;
}

#endif

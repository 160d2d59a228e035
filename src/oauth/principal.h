/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who is calling, once it is proven: a plain value that borrows from the policy it was found in and from the request that it was found for.
 */
#ifndef MM_OAUTH_PRINCIPAL_H
#define MM_OAUTH_PRINCIPAL_H

#include "policy/policy.h"

struct mm_subject; /* oauth/subject.h */

/* What oauth/replay.h is to know of a credential that counts once; the ledger's entry of the use (issue/uses.h) has it. */
struct mm_one_use {
    uint8_t digest[MM_SHA256_LENGTH];
    int64_t until; /* Unix seconds; 0: it counts as often as it is valid */
};

/* For whom somebody else vouched: who did, and what it calls the caller. Without an issuer: nobody. */
struct mm_federated {
    const char *issuer;
    const char *subject; /* NULL: by no name */
};

struct mm_principal {
    const struct mm_tenant *tenant;
    const struct mm_account *account;
    int64_t not_after; /* Unix seconds: no token outlives the certificate; INT64_MAX: a JWT proved it, for a moment */
    /* How the caller proved itself, for the ledger: `mtls`, `self_signed_mtls`, `x509_svid`, `private_key_jwt`, `oidc`, `jwt_svid`, `none`. */
    const char *credential;
    struct mm_federated federated;
    struct mm_one_use use; /* of a credential that counts once */
    /* SHA-256 of the certificate that was proved on this connection, in hex, for the ledger; "": there is none */
    char fingerprint[MM_SHA256_HEX_LENGTH + 1];
    const struct mm_subject *subject; /* on whose behalf it asks (RFC 8693); NULL: its own */
};

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who is calling, once it is proven: a plain value that borrows from the policy it was found in and from the request that it was found for.
 */
#ifndef MM_OAUTH_PRINCIPAL_H
#define MM_OAUTH_PRINCIPAL_H

#include "policy/policy.h"

struct mm_subject; /* oauth/subject.h */

struct mm_principal {
    const struct mm_tenant *tenant;
    const struct mm_account *account;
    int64_t not_after;      /* Unix seconds: no token outlives the credential */
    const char *credential; /* how the caller proved itself, for the ledger: `mtls` */
    /* SHA-256 of the certificate that was proved on this connection, in hex, for the ledger; "": there is none */
    char fingerprint[MM_SHA256_HEX_LENGTH + 1];
    const struct mm_subject *subject; /* on whose behalf it asks (RFC 8693); NULL: its own */
};

#endif

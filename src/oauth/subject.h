/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whose token is exchanged for another (RFC 8693 section 2.1): an access token of our own, or of an OIDC provider that one of the tenant's rules
 * names. What is read from it decides whom the new token is for and what it may be at most.
 */
#ifndef MM_OAUTH_SUBJECT_H
#define MM_OAUTH_SUBJECT_H

#include "oauth/principal.h"
#include "policy/exchange.h"
#include "token/claims.h"
#include "token/jwt.h"

enum {
    MM_SUBJECT_MAX = 255,  /* bytes of the new token's `sub` (OpenID Connect Core section 2) */
    MM_SUBJECT_ACTORS = 4, /* who may have acted for it before, one for another */
};

struct mm_subject {
    const struct mm_jwt_claims *token; /* what it says */
    struct mm_exchange_subject who;    /* as the policy wants it; its lists are owned */
    struct mm_claims_subject claims;   /* as the new token says it */
    const char *issuer;                /* who says so */
    const char *subject;               /* its `sub` there */
    char *identity;                    /* the new token's `sub` */
    const char *name;
    const struct mm_account *account;           /* our own tokens: whom it stands for; NULL: nobody of ours */
    char jti_digest[MM_SHA256_HEX_LENGTH + 1];  /* of issuer and `jti` (oauth/replay.h); "": it has none */
    char fingerprint[MM_SHA256_HEX_LENGTH + 1]; /* of the certificate that it is bound to; "": none */
    int64_t not_after;                          /* Unix seconds: nothing that comes of it lives longer */
    const json_t *may_act;                      /* who may act for it (section 4.4); NULL: it doesn't say */
    const char *issuer_url;                     /* ours: whose names clients' are */
    char *actor;                                /* owned: the `act` of the new token, JSON text; NULL: none */
};

/* Whether the token says that we issued it. It isn't verified yet: good for choosing the keys. */
bool mm_subject_is_own(const struct mm_jwt *jwt, const char *issuer_url);

/*
 * Verify a subject token of the tenant's at `now` (Unix seconds) with the keys of who it says issued it, and read it. `ret_subject` borrows
 * from `jwt`, `tenant` and `issuer_url`, and is to be cleared. MM_SUBJECT_TOKEN_INVALID, saying why for the log.
 *
 * Access tokens alone: the header's type is at+jwt (RFC 9068), or it is JWT and the payload's `typ` is Bearer, as Keycloak has it; and nothing
 * marks it as an ID token. Of somebody else's, `sub` is visible ASCII, and becomes `‹issuer›#‹sub›` of MM_SUBJECT_MAX characters at
 * most, which is no account's and no other issuer's; of our own, it is an account that there is.
 */
MM_MUST_USE bool mm_subject_verify(struct mm_jwt *jwt, const struct mm_jwks *keys, const struct mm_tenant *tenant,
                                   const char *issuer_url, int64_t now, struct mm_subject *ret_subject,
                                   struct mm_error *err);

/*
 * Have `principal` ask on the subject's behalf from now on: the subject allows it (`may_act`), what it is bound to was proved on this connection,
 * and `act` names the principal unless it is a public client. MM_SUBJECT_TOKEN_INVALID if not so; MM_CERTIFICATE_REQUIRED if the token
 * must be bound to a certificate and there is none. `principal` borrows the subject.
 */
MM_MUST_USE bool mm_subject_act(struct mm_subject *subject, struct mm_principal *principal, struct mm_error *err);

void mm_subject_clear(struct mm_subject *subject);
static inline void mm_subject_clear_cleanup(struct mm_subject *subject)
{
    mm_subject_clear(subject);
}

#endif

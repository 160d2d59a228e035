/* SPDX-License-Identifier: Apache-2.0 */
/*
 * X.509 client certificates: what they say, and whether a tenant's CA stands behind them (RFC 5280). libmicrohttpd never
 * verifies them; this module does, on each request.
 */
#ifndef MM_CRYPTO_CERTIFICATE_H
#define MM_CRYPTO_CERTIFICATE_H

#include "crypto/digest.h"

enum {
    MM_CHAIN_MAX = 8,              /* certificates a client may send */
    MM_CHAIN_BYTES_MAX = 16384,    /* of their DER together */
    MM_CHAIN_ELEMENTS_MAX = 1024,  /* of ASN.1 in them together; an ordinary certificate has 50 to 100 */
    MM_CERTIFICATE_NAMES_MAX = 32, /* SAN entries of one kind; a certificate with more is refused */
};

struct
    mm_certificate; /* a leaf with the intermediates its client sent; reference-counted, safe to use from many threads */

/*
 * Parse a client's chain, leaf first, DER. MM_CERTIFICATE_INVALID if it can't be parsed or breaks a bound. Nothing is verified
 * yet. Names come from the subject alternative name only, never from the common name.
 */
MM_MUST_USE struct mm_certificate *mm_certificate_parse(const struct mm_bytes *chain, size_t n, struct mm_error *err);
struct mm_certificate *mm_certificate_ref(struct mm_certificate *certificate);
void mm_certificate_unref(struct mm_certificate *certificate);
MM_DEFINE_CLEANUP(struct mm_certificate, mm_certificate_unref);

/* What the leaf says; strings are borrowed. SANs other than visible ASCII, and NULs in the subject, make the parse fail. */
size_t mm_certificate_n_uris(const struct mm_certificate *certificate);
const char *mm_certificate_uri(const struct mm_certificate *certificate, size_t i);
size_t mm_certificate_n_dns(const struct mm_certificate *certificate);
const char *mm_certificate_dns(const struct mm_certificate *certificate, size_t i); /* lower-cased */
const char *mm_certificate_subject(const struct mm_certificate *certificate);       /* RFC 4514; beyond ASCII: \C3\A9 */
const char *mm_certificate_fingerprint(const struct mm_certificate *certificate);   /* SHA-256 of the DER, hex */

/* SHA-256 of the whole chain as it was sent, MM_SHA256_LENGTH bytes; borrowed. */
const uint8_t *mm_certificate_chain_digest(const struct mm_certificate *certificate);

struct mm_trust; /* the CAs of one tenant, or the custodians'; immutable, safe to use from many threads */

/*
 * Parse PEM CA certificates, 1 to 64; each is an anchor by itself, an intermediate too. MM_CONFIG_INVALID if there is none, if
 * one isn't a CA (v3, basicConstraints) or has a key of less than 112 bits of security, or if there is anything else in the
 * file, such as a private key.
 */
MM_MUST_USE struct mm_trust *mm_trust_parse(const void *pem, size_t length, struct mm_error *err);
/* The same of CA certificates in DER. */
MM_MUST_USE struct mm_trust *mm_trust_of(const struct mm_bytes *cas, size_t n, struct mm_error *err);
void mm_trust_free(struct mm_trust *trust);
MM_DEFINE_CLEANUP(struct mm_trust, mm_trust_free);

enum {
    MM_CRL_LEEWAY = 60,   /* seconds that clocks may differ */
    MM_CRL_SHORT = 86400, /* with fewer seconds left to one, operators are told */
};

/*
 * From now on a path leads to `trust` only if no certificate on it is revoked, by CRLs (RFC 5280 section 5) of those of the CAs that
 * issued them: each of these must have one that is in force, so an intermediate that a client sends must be one of the CAs. One CRL in
 * DER, or up to 64 in PEM, 4 MiB. Once, before other threads see the trust. MM_CONFIG_INVALID for a CRL of no such CA or with a bad
 * signature, a delta, indirect or otherwise limited one, an unknown critical extension, a second one of a CA, one without nextUpdate.
 */
MM_MUST_USE bool mm_trust_add_crls(struct mm_trust *trust, const void *data, size_t length, struct mm_error *err);

struct mm_crl_facts {
    const char *issuer;  /* RFC 4514; borrowed from the trust */
    int64_t this_update; /* Unix seconds, both */
    int64_t next_update;
    size_t n_revoked;
};

/* How many CRLs a trust goes by, 0 if none were added, and what they say. */
size_t mm_trust_n_crls(const struct mm_trust *trust);
struct mm_crl_facts mm_trust_crl(const struct mm_trust *trust, size_t i);

/*
 * Whether whom one of the two certifies the other could believe, too: a CA of one has the key of one of the other's, or has issued it.
 * (Over a CA that neither names, nobody can tell.) MM_NO_MEMORY.
 */
MM_MUST_USE bool mm_trusts_overlap(const struct mm_trust *a, const struct mm_trust *b, bool *ret_overlap,
                                   struct mm_error *err);

/*
 * Whether the chain leads from the leaf to one of `trust`'s CAs through CAs alone, every certificate is valid at `now` (Unix
 * seconds), and the leaf isn't a CA and its extended key usage names clientAuth (absence isn't consent). Keys and digests
 * under 112 bits of security (RSA below 2048, SHA-1) count as no signature. Revocation is looked up where there are CRLs.
 *
 * MM_ACCESS_DENIED if the chain doesn't lead there at all; MM_CERTIFICATE_INVALID, saying why, only for a chain whose
 * signatures do lead there: strangers learn nothing. The message that comes with MM_ACCESS_DENIED names the cause for the
 * log: it must not reach the caller. `ret_not_after` (Unix seconds) is the earliest notAfter of the chain below the anchor.
 *
 * The certificate remembers the last trust that it verified with, CRLs included, and between which times each certificate of that path is
 * valid and each CRL in force: nothing else can change the answer, so within them it isn't worked out again.
 */
MM_MUST_USE bool mm_trust_verify(const struct mm_trust *trust, struct mm_certificate *certificate, int64_t now,
                                 int64_t *ret_not_after, struct mm_error *err);

/*
 * Whether the certificate, which somebody else knows by its fingerprint, is fit to be a client's by itself (RFC 8705 section 2.2): signed by
 * its own key, alone, valid at `now` (Unix seconds), with a key and a signature of 112 bits of security, and not for other uses. It may say that it
 * is a CA, as `openssl req -x509` has it. MM_CERTIFICATE_INVALID, saying why. `ret_not_after` (Unix seconds) is its own.
 */
MM_MUST_USE bool mm_self_signed_verify(struct mm_certificate *certificate, int64_t now, int64_t *ret_not_after,
                                       struct mm_error *err);

#endif

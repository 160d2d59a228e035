/* SPDX-License-Identifier: Apache-2.0 */
/*
 * PKCS#11 URIs (RFC 7512): how an HSM token, or a private key on one, is named in a line that other tools print and
 * take, too. Stricter than the RFC where a reader could otherwise take another key than the writer meant: what isn't
 * understood is refused, never passed over.
 */
#ifndef MM_CONFIG_PKCS11_URI_H
#define MM_CONFIG_PKCS11_URI_H

#include "util/base.h"
#include "util/buffer.h"

enum {
    MM_PKCS11_LABEL_MAX = 32,   /* CK_TOKEN_INFO: label, manufacturerID */
    MM_PKCS11_SERIAL_MAX = 16,  /* CK_TOKEN_INFO: serialNumber, model */
    MM_PKCS11_OBJECT_MAX = 255, /* bytes of CKA_LABEL, and of CKA_ID */
    MM_PKCS11_URI_MAX = 4096,
};

/* A plain value: what a URI says, each an empty string where it says nothing. Never NULs or control characters. */
struct mm_pkcs11_uri {
    char token[MM_PKCS11_LABEL_MAX + 1]; /* the HSM token's label */
    char manufacturer[MM_PKCS11_LABEL_MAX + 1];
    char model[MM_PKCS11_SERIAL_MAX + 1];
    char serial[MM_PKCS11_SERIAL_MAX + 1];
    char object[MM_PKCS11_OBJECT_MAX + 1]; /* CKA_LABEL */
    char id[2 * MM_PKCS11_OBJECT_MAX + 1]; /* CKA_ID, lower-case hex */
};

enum mm_pkcs11_uri_subject {
    MM_PKCS11_URI_OF_TOKEN, /* names an HSM token, by one of its attributes at least, and nothing on it */
    MM_PKCS11_URI_OF_KEY,   /* names a private key by `object`, `id` or both; the HSM token too, or not */
};

/*
 * Take a URI apart. MM_USAGE, naming the attribute but never a value (somebody will put a PIN there), for one that
 * isn't well-formed, repeats an attribute, has an empty one or one longer than PKCS#11's field, names something else
 * than `subject`, or has an attribute that Mintmark gets from elsewhere (PIN, module) or that may mean another token
 * tomorrow (slots).
 */
MM_MUST_USE bool mm_pkcs11_uri_parse(const char *text, enum mm_pkcs11_uri_subject subject,
                                     struct mm_pkcs11_uri *ret_uri, struct mm_error *err);

/* Append the URI, of a private key if it has `object` or `id`. Failures: those of mm_buffer_append(). */
MM_MUST_USE bool mm_pkcs11_uri_format(const struct mm_pkcs11_uri *uri, struct mm_buffer *out, struct mm_error *err);

/* Whether everything that `wanted` says of an HSM token is so of `token`. */
bool mm_pkcs11_uri_fits_token(const struct mm_pkcs11_uri *wanted, const struct mm_pkcs11_uri *token);

#endif

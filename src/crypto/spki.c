/* SPDX-License-Identifier: Apache-2.0 */
#include "crypto/spki.h"

#include <string.h>

#include <openssl/err.h>
#include <openssl/pem.h>

#include "crypto/der.h"

enum { PEM_MAX = 8192 };

MM_DEFINE_CLEANUP(BIO, BIO_free_all);

static struct mm_pubkey *refuse(struct mm_error *err, const char *why)
{
    ERR_clear_error();
    (void)mm_fail(err, MM_KEY_CUSTODY, "public key: %s", why);
    return NULL;
}

static struct mm_pubkey *from_parts(const struct mm_der_key *parts, struct mm_error *err)
{
    return parts->type == MM_KEY_RSA ? mm_pubkey_from_rsa(parts->first, parts->second, err)
                                     : mm_pubkey_from_point(parts->type, parts->first, err);
}

struct mm_pubkey *mm_pubkey_from_certificate(struct mm_bytes certificate, struct mm_error *err)
{
    struct mm_der_key parts;
    if (!mm_der_certificate_key(certificate, &parts))
        return refuse(err, "no certificate in DER, or a key of another kind than those that sign here");
    return from_parts(&parts, err);
}

static bool is_end(BIO *pem)
{
    char *name = NULL;
    char *header = NULL;
    uint8_t *data = NULL;
    long length = 0;
    bool has_block = PEM_read_bio(pem, &name, &header, &data, &length) == 1;
    bool has_more = has_block || ERR_GET_REASON(ERR_peek_last_error()) != PEM_R_NO_START_LINE;
    OPENSSL_free(name);
    OPENSSL_free(header);
    OPENSSL_clear_free(data, (size_t)length);
    ERR_clear_error();
    return !has_more;
}

struct mm_pubkey *mm_pubkey_from_pem(struct mm_bytes pem, struct mm_error *err)
{
    char *name = NULL;
    char *header = NULL;
    uint8_t *data = NULL;
    long length = 0;
    struct mm_der_key parts;
    if (pem.length == 0 || pem.length > PEM_MAX)
        return refuse(err, "empty, or too large");
    mm_cleanup(BIO_free_all) BIO *bio = BIO_new_mem_buf(pem.data, (int)pem.length);
    if (!bio) {
        (void)mm_fail(err, MM_NO_MEMORY, "out of memory");
        return NULL;
    }
    if (PEM_read_bio(bio, &name, &header, &data, &length) != 1)
        return refuse(err, "no PEM");
    struct mm_pubkey *key = NULL;
    if (strcmp(name, PEM_STRING_PUBLIC) != 0)
        (void)refuse(err, "a PEM block that isn't a public key");
    else if (!is_end(bio))
        (void)refuse(err, "more than one PEM block");
    else if (!mm_der_public_key((struct mm_bytes){data, (size_t)length}, &parts))
        (void)refuse(err, "of another kind than those that sign here");
    else
        key = from_parts(&parts, err);
    OPENSSL_free(name);
    OPENSSL_free(header);
    OPENSSL_clear_free(data, (size_t)length); /* a private key, perhaps */
    return key;
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "client/credential.h"

#include <string.h>

#include <openssl/err.h>
#include <openssl/ssl.h>

#include "crypto/certificate.h"

/* OpenSSL's passphrase callback: the length, or -1 to fail. */
static int give_passphrase(char *out, int size, int for_writing, void *context)
{
    const struct mm_secret *passphrase = context;
    (void)for_writing;
    if (!passphrase || mm_secret_length(passphrase) > (size_t)size)
        return -1;
    memcpy(out, mm_secret_string(passphrase), mm_secret_length(passphrase));
    return (int)mm_secret_length(passphrase);
}

static bool fail_file(const char *file, const char *what, struct mm_error *err)
{
    const char *reason = ERR_reason_error_string(ERR_peek_error());
    (void)mm_fail(err, MM_FILE, "%s: %s: %s", file, what, reason ? reason : "unknown reason");
    ERR_clear_error();
    return false;
}

bool mm_credential_use(void *ssl_context, const char *certificate_file, const char *key_file,
                       const struct mm_secret *passphrase, struct mm_error *err)
{
    SSL_CTX *context = ssl_context;
    ERR_clear_error();
    SSL_CTX_set_default_passwd_cb(context, give_passphrase);
    /* OpenSSL only hands it back to the callback. */
    SSL_CTX_set_default_passwd_cb_userdata(context, (void *)(uintptr_t)passphrase);
    if (SSL_CTX_use_certificate_chain_file(context, certificate_file) != 1)
        return fail_file(certificate_file, "not a usable certificate", err);
    if (SSL_CTX_use_PrivateKey_file(context, key_file, SSL_FILETYPE_PEM) != 1)
        return fail_file(key_file, "not the certificate's key, or encrypted with another passphrase", err);
    return true;
}

void mm_credential_bound_server(void *ssl_context)
{
    SSL_CTX *context = ssl_context;
    SSL_CTX_set_max_cert_list(context, MM_CHAIN_BYTES_MAX);
    SSL_CTX_set_verify_depth(context, MM_CHAIN_MAX);
}

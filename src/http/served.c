/* SPDX-License-Identifier: Apache-2.0 */
#include "http/served.h"

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "crypto/digest.h"
#include "util/base64url.h"

enum { ETAG_BYTES = 16 };

struct mm_served *mm_served_new(char *text, struct mm_error *err)
{
    struct mm_served *served = text ? calloc(1, sizeof *served) : NULL;
    if (!served) {
        free(text);
        (void)mm_fail(err, MM_NO_MEMORY, "no memory for a document");
        return NULL;
    }
    uint8_t digest[MM_SHA256_LENGTH];
    char encoded[ETAG_BYTES * 3 / 2];
    mm_sha256(text, strlen(text), digest);
    mm_base64url_encode(digest, ETAG_BYTES, encoded);
    (void)snprintf(served->etag, sizeof served->etag, "\"%s\"", encoded);
    atomic_init(&served->references, 1);
    served->text = text;
    return served;
}

struct mm_served *mm_served_ref(struct mm_served *served)
{
    atomic_fetch_add(&served->references, 1);
    return served;
}

void mm_served_unref(struct mm_served *served)
{
    if (!served || atomic_fetch_sub(&served->references, 1) > 1)
        return;
    free(served->text);
    free(served);
}

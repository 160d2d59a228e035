/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The fields of a proxy, one a line: Client-Cert, Client-Cert-Chain, X-Forwarded-For. What is taken of a certificate is written as it was read, byte for
 * byte.
 */
#include "fuzz.h"

#include <stdio.h>
#include <string.h>

#include "http/forwarded.h"
#include "util/base64url.h"

enum { LINE_MAX = 32768 };

/* The text of the sequence that `bytes` were read from; its end. */
static const char *expect(const char *at, struct mm_bytes bytes)
{
    static char text[LINE_MAX];
    assert(mm_base64url_length(bytes.length) < sizeof text - 4);
    mm_base64url_encode(bytes.data, bytes.length, text);
    assert(*at++ == ':');
    for (const char *c = text; *c; c++, at++)
        assert(*at == (*c == '-' ? '+' : *c == '_' ? '/' : *c));
    for (size_t n = strlen(text); n % 4 != 0; n++)
        assert(*at++ == '=');
    assert(*at++ == ':');
    return at;
}

static void check(const struct mm_forwarded *forwarded)
{
    static struct mm_forwarded_chain chain;
    struct sockaddr_storage address;
    (void)mm_forwarded_address(forwarded, &address);
    if (!mm_forwarded_check(forwarded, NULL) || !mm_forwarded_decode(forwarded, &chain, NULL))
        return;
    assert(chain.n <= MM_CHAIN_MAX && (chain.n > 0) == (forwarded->certificate != NULL));
    if (chain.n == 0)
        return;
    assert(expect(forwarded->certificate, chain.items[0]) == forwarded->certificate + forwarded->certificate_length);
    const char *at = forwarded->chain;
    for (size_t i = 1; i < chain.n; i++) {
        at = expect(at, chain.items[i]);
        while (i + 1 < chain.n && *at != ':')
            at++;
    }
    assert(!at || at == forwarded->chain + forwarded->chain_length);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const NAMES[] = {"Client-Cert", "Client-Cert-Chain", "X-Forwarded-For", "client-cert"};
    struct mm_forwarded forwarded = {0};
    const char *line = (const char *)data;
    const char *end = line + size;
    if (size >= LINE_MAX)
        return 0;
    for (size_t i = 0; i < MM_ARRAY_SIZE(NAMES) && line < end; i++) {
        const char *stop = memchr(line, '\n', (size_t)(end - line));
        size_t length = (size_t)((stop ? stop : end) - line);
        if (length != 1 || *line != '-') /* a field that isn't there */
            mm_forwarded_add(&forwarded, NAMES[i], strlen(NAMES[i]), line, length);
        line += length + 1;
    }
    check(&forwarded);
    return 0;
}

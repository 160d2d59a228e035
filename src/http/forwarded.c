/* SPDX-License-Identifier: Apache-2.0 */
#include "http/forwarded.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>
#include <strings.h>

#include "util/base64url.h"

enum { ADDRESS_MAX = 63 };

static bool equals(const char *text, size_t length, const char *word)
{
    return length == strlen(word) && strncasecmp(text, word, length) == 0;
}

static void trim(const char **text, size_t *length)
{
    while (*length > 0 && (**text == ' ' || **text == '\t')) {
        (*text)++;
        (*length)--;
    }
    while (*length > 0 && ((*text)[*length - 1] == ' ' || (*text)[*length - 1] == '\t'))
        (*length)--;
}

void mm_forwarded_add(struct mm_forwarded *forwarded, const char *name, size_t name_length, const char *value,
                      size_t value_length)
{
    trim(&value, &value_length);
    if (equals(name, name_length, "Client-Cert")) {
        forwarded->is_repeated |= forwarded->certificate != NULL;
        forwarded->certificate = value;
        forwarded->certificate_length = value_length;
    } else if (equals(name, name_length, "Client-Cert-Chain")) {
        forwarded->is_repeated |= forwarded->chain != NULL;
        forwarded->chain = value;
        forwarded->chain_length = value_length;
    } else if (equals(name, name_length, "X-Forwarded-For")) {
        forwarded->addresses = value;
        forwarded->addresses_length = value_length;
    }
}

bool mm_forwarded_check(const struct mm_forwarded *forwarded, struct mm_error *err)
{
    if (forwarded->is_repeated)
        return mm_fail(err, MM_INVALID_REQUEST, "Client-Cert or Client-Cert-Chain is repeated");
    return forwarded->certificate || !forwarded->chain ||
           mm_fail(err, MM_INVALID_REQUEST, "Client-Cert-Chain comes without Client-Cert");
}

static bool malformed(struct mm_error *err)
{
    return mm_fail(err, MM_INVALID_REQUEST, "Client-Cert or Client-Cert-Chain isn't what RFC 9440 has it be");
}

/* One byte sequence at the start of what is left, and past it. */
static bool take_bytes(const char **text, size_t *length, size_t *used, struct mm_forwarded_chain *chain)
{
    if (*length < 2 || **text != ':' || chain->n == MM_CHAIN_MAX)
        return false;
    const char *start = *text + 1;
    const char *end = memchr(start, ':', *length - 1);
    uint8_t *out = chain->der + *used;
    uint8_t padded[MM_CHAIN_BYTES_MAX + 2];
    size_t n = 0;
    size_t n_digits = end ? (size_t)(end - start) : 0;
    if (n_digits == 0 || n_digits / 4 * 3 > sizeof padded || !mm_base64_decode(start, n_digits, padded, &n) ||
        n > sizeof chain->der - *used)
        return false;
    memcpy(out, padded, n);
    chain->items[chain->n++] = (struct mm_bytes){out, n};
    *used += n;
    *length -= (size_t)(end + 1 - *text);
    *text = end + 1;
    return true;
}

/* The comma between two members of a list (RFC 8941 section 4.2.1), which another follows. */
static bool take_comma(const char **text, size_t *length)
{
    trim(text, length);
    if (*length == 0 || **text != ',')
        return false;
    (*text)++;
    (*length)--;
    trim(text, length);
    return *length > 0;
}

bool mm_forwarded_decode(const struct mm_forwarded *forwarded, struct mm_forwarded_chain *ret_chain,
                         struct mm_error *err)
{
    const char *text = forwarded->certificate;
    size_t length = forwarded->certificate_length;
    size_t used = 0;
    ret_chain->n = 0;
    if (!text)
        return true;
    if (!take_bytes(&text, &length, &used, ret_chain) || length > 0)
        return malformed(err);
    text = forwarded->chain;
    length = forwarded->chain_length;
    while (text && length > 0) {
        if (!take_bytes(&text, &length, &used, ret_chain) || (length > 0 && !take_comma(&text, &length)))
            return malformed(err);
    }
    return true;
}

/* Digits to the end. */
static bool is_port(const char *text)
{
    size_t length = strlen(text);
    return length >= 1 && length <= 5 && strspn(text, "0123456789") == length;
}

/* The address in `text` by itself: its port is checked and cut off, and so are the brackets. */
static char *strip_port(char *text)
{
    char *colon = strchr(text, ':');
    if (*text == '[') {
        char *end = strchr(text, ']');
        if (!end || (end[1] && (end[1] != ':' || !is_port(end + 2))))
            return NULL;
        *end = '\0';
        return strchr(text + 1, ':') ? text + 1 : NULL;
    }
    if (!colon || strchr(colon + 1, ':'))
        return text;
    if (!is_port(colon + 1))
        return NULL;
    *colon = '\0';
    return text;
}

bool mm_forwarded_address(const struct mm_forwarded *forwarded, struct sockaddr_storage *ret_address)
{
    if (!forwarded->addresses)
        return false;
    const char *comma = memrchr(forwarded->addresses, ',', forwarded->addresses_length);
    const char *last = comma ? comma + 1 : forwarded->addresses;
    size_t length = forwarded->addresses_length - (size_t)(last - forwarded->addresses);
    char text[ADDRESS_MAX + 1];
    trim(&last, &length);
    if (length > ADDRESS_MAX || memchr(last, '\0', length))
        return false;
    memcpy(text, last, length);
    text[length] = '\0';
    const char *host = strip_port(text);
    struct sockaddr_storage address = {0};
    struct sockaddr_in *in = (struct sockaddr_in *)&address;
    struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)&address;
    if (host && inet_pton(AF_INET, host, &in->sin_addr) == 1)
        address.ss_family = AF_INET;
    else if (host && inet_pton(AF_INET6, host, &in6->sin6_addr) == 1)
        address.ss_family = AF_INET6;
    else
        return false;
    *ret_address = address;
    return true;
}

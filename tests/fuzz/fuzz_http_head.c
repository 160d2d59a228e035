/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The guard in front of the HTTP library. A stand-in for the library cuts the input as leniently as that does; whatever the
 * guard then lets pass must, to a reader who knows nothing but RFC 9112's strict grammar, say the very same.
 */
#include "fuzz.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "http/guard.h"

enum { INPUT_MAX = 4096 };

/* As libmicrohttpd: CR, LF and CR LF all end a line, and a NUL ends the string before that. */
static char *cut_line(char *at, char *end, char **ret_next)
{
    char *stop = at;
    while (stop < end && *stop != '\r' && *stop != '\n')
        stop++;
    if (stop == end)
        return NULL;
    char *next = stop + 1;
    if (*stop == '\r' && next < end && *next == '\n')
        *next++ = '\0';
    *stop = '\0';
    *ret_next = next;
    return at;
}

/* Feed the fields from `at` on to `head`. False if the library would refuse by itself, or the head never ends. */
static bool feed(struct mm_head *head, char *at, char *end, const char **ret_end)
{
    for (char *line; (line = cut_line(at, end, &at));) {
        if (!*line) {
            *ret_end = at;
            return true;
        }
        if (*line == ' ' || *line == '\t')
            return false; /* folded: the library hands out a copy, which lies elsewhere; tests/integration/ */
        char *colon = strchr(line, ':');
        if (!colon)
            return false;
        *colon = '\0';
        char *value = colon + 1 + strspn(colon + 1, " \t");
        mm_head_add(head, line, (size_t)(colon - line), value, strlen(value));
    }
    return false;
}

struct framing {
    unsigned n_host;
    unsigned n_length;
    unsigned n_encoding;
    char length[32];
    char encoding[32];
};

static void note_field(struct framing *framing, const char *name, const char *value)
{
    if (strcasecmp(name, "host") == 0)
        framing->n_host++;
    if (strcasecmp(name, "content-length") == 0 && framing->n_length++ == 0)
        (void)snprintf(framing->length, sizeof framing->length, "%s", value);
    if (strcasecmp(name, "transfer-encoding") == 0 && framing->n_encoding++ == 0)
        (void)snprintf(framing->encoding, sizeof framing->encoding, "%s", value);
}

/* version CRLF *( name ":" OWS value OWS CRLF ) CRLF and nothing within that could be read otherwise. */
static void read_strictly(const char *text, const char *end, struct framing *framing)
{
    const char *at = strstr(text, "\r\n");
    assert(at && (strncmp(text, "HTTP/1.1\r\n", 10) == 0 || strncmp(text, "HTTP/1.0\r\n", 10) == 0));
    for (at += 2; strncmp(at, "\r\n", 2) != 0;) {
        char line[INPUT_MAX];
        const char *stop = strstr(at, "\r\n");
        assert(stop && stop < end);
        (void)snprintf(line, sizeof line, "%.*s", (int)(stop - at), at);
        assert(strlen(line) == (size_t)(stop - at) && !strpbrk(line, "\r\n"));
        size_t name = strcspn(line, ": \t\"(),/;<=>?@[\\]{}\x7f");
        assert(name > 0 && line[name] == ':');
        line[name] = '\0';
        char *value = line + name + 1 + strspn(line + name + 1, " \t");
        for (size_t n = strlen(value); n > 0 && (value[n - 1] == ' ' || value[n - 1] == '\t'); n--)
            value[n - 1] = '\0';
        note_field(framing, line, value);
        at = stop + 2;
    }
    assert(at + 2 == end);
}

/* What the guard can't see (guard.h): a NUL, if the line or the head ends so soon after it that nothing is missing. */
static void forgive_nul(char *text, size_t end)
{
    if (end >= 4 && memchr(text + end - 4, '\0', 4))
        memcpy(text + end - 4, "\r\n\r\n", 4);
    for (size_t i = 0; i + 1 < end; i++)
        if (text[i] == '\0' && (text[i + 1] == '\n' || text[i + 1] == '\r'))
            memcpy(text + i, "\r\n", 2);
}

static void check_head(const uint8_t *data, size_t size)
{
    char raw[INPUT_MAX + 1];
    char cut[INPUT_MAX + 1];
    memcpy(raw, data, size);
    raw[size] = '\0';
    memcpy(cut, raw, size + 1);
    char *at = NULL;
    const char *end = NULL;
    const char *version = cut_line(cut, cut + size, &at);
    struct mm_head head;
    struct mm_error err = {0};
    if (!version)
        return;
    mm_head_begin(&head, version);
    if (!feed(&head, at, cut + size, &end) || !mm_head_check(&head, version, end, &err))
        return;
    forgive_nul(raw, (size_t)(end - cut));
    struct framing framing = {0};
    read_strictly(raw, raw + (end - cut), &framing);
    assert(framing.n_length + framing.n_encoding <= 1);
    assert(framing.n_length == head.n_content_length && framing.n_encoding == head.n_transfer_encoding);
    assert(framing.n_host == 1 || (framing.n_host == 0 && strcmp(version, "HTTP/1.0") == 0));
    if (framing.n_length) {
        char *stop;
        assert(head.content_length == strtoull(framing.length, &stop, 10) && !*stop && framing.length[0]);
        assert(strspn(framing.length, "0123456789") == strlen(framing.length));
    }
    assert(!framing.n_encoding || (strcasecmp(framing.encoding, "chunked") == 0 && strcmp(version, "HTTP/1.0") != 0));
}

static void check_target(const char *text, size_t size)
{
    if (!mm_target_check(text, size, NULL))
        return;
    for (size_t i = 0; i < size; i++)
        assert(text[i] > ' ' && text[i] <= '~');
    assert(!strstr(text, "%00"));
    const char *path = mm_target_path(text);
    assert((path >= text && path <= text + size) || strcmp(path, "/") == 0);
}

static void check_values(const char *text)
{
    static const char ETAG[] = "\"e\"";
    if (mm_media_type_is(text, MM_MEDIA_TYPE_JSON))
        assert(strcasestr(text, "application/json") && !strchr(text, ','));
    if (mm_etag_is_listed(text, ETAG))
        assert(strstr(text, ETAG) || strchr(text, '*'));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size > INPUT_MAX)
        return 0;
    char text[INPUT_MAX + 1];
    check_head(data, size);
    memcpy(text, data, size);
    text[size] = '\0';
    check_target(text, size);
    check_values(text);
    return 0;
}

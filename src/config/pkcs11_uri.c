/* SPDX-License-Identifier: Apache-2.0 */
#include "config/pkcs11_uri.h"

#include <stdio.h>
#include <string.h>

#include "policy/syntax.h"
#include "util/base64url.h"
#include "util/utf8.h"

static const char SCHEME[] = "pkcs11:";

/* Of what may stand unescaped in both parts (RFC 7512 section 2.3), the parts' own delimiters come on top. */
static const char UNESCAPED[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~:[]@!$'()*+,=";

/* The unreserved characters of RFC 3986 section 2.3: the only ones that we write as they are. */
static const char UNRESERVED[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~";

/* A line of UTF-8. */
static const char *check_text(const char *value)
{
    uint32_t code;
    size_t length = strlen(value);
    for (size_t at = 0, n; at < length; at += n) {
        n = mm_utf8_decode(value + at, length - at, &code);
        if (n == 0)
            return "must be text";
    }
    return mm_check_line(value);
}

#define FIELD(member) offsetof(struct mm_pkcs11_uri, member), sizeof(((struct mm_pkcs11_uri *)NULL)->member) - 1

/* In the order in which they are written. */
static const struct attribute {
    const char *name;
    size_t offset;
    size_t max;                              /* bytes, of `id` hex digits */
    const char *(*check)(const char *value); /* NULL: the value is bytes, kept as hex */
    enum mm_pkcs11_uri_subject subject;
} ATTRIBUTES[] = {
    {"token", FIELD(token), check_text, MM_PKCS11_URI_OF_TOKEN},
    {"manufacturer", FIELD(manufacturer), check_text, MM_PKCS11_URI_OF_TOKEN},
    {"model", FIELD(model), check_text, MM_PKCS11_URI_OF_TOKEN},
    {"serial", FIELD(serial), mm_check_visible, MM_PKCS11_URI_OF_TOKEN},
    {"object", FIELD(object), check_text, MM_PKCS11_URI_OF_KEY},
    {"id", FIELD(id), NULL, MM_PKCS11_URI_OF_KEY},
};

static const char TYPE[] = "type";
static const char PRIVATE[] = "private";

/* What the RFC knows and we don't take, with what to do instead. */
static const struct {
    const char *name;
    const char *why;
} REFUSED[] = {
    {"slot-id", "a slot's number changes: name the HSM token by token, serial, model or manufacturer"},
    {"slot-description", "slots change: name the HSM token by token, serial, model or manufacturer"},
    {"slot-manufacturer", "slots change: name the HSM token by token, serial, model or manufacturer"},
    {"library-description", "the configuration says which module it is"},
    {"library-manufacturer", "the configuration says which module it is"},
    {"library-version", "the configuration says which module it is"},
    {"module-name", "the configuration's ‹module› says which module it is"},
    {"module-path", "the configuration's ‹module› says which module it is"},
    {"pin-value", "a PIN is never written in a URI: say where it lies with pin_file, pin_fd or pin_credential, or of a "
                  "command with --pin-file or --pin-fd"},
    {"pin-source", "say where the PIN lies with pin_file, pin_fd or pin_credential, or of a command with --pin-file or "
                   "--pin-fd"},
};

/* One attribute as it is written, NAME=VALUE. */
struct piece {
    const char *name;
    size_t name_length;
    const char *value;
    size_t value_length;
};

static bool is_called(const struct piece *piece, const char *name)
{
    return strlen(name) == piece->name_length && memcmp(name, piece->name, piece->name_length) == 0;
}

static char *field_of(struct mm_pkcs11_uri *uri, const struct attribute *attribute)
{
    return (char *)uri + attribute->offset;
}

static const char *value_of(const struct mm_pkcs11_uri *uri, const struct attribute *attribute)
{
    return (const char *)uri + attribute->offset;
}

/* Percent-decode into `out` of `size` bytes; false if it is malformed or longer. */
static bool decode(const struct piece *piece, const char *also, uint8_t *out, size_t size, size_t *ret_length)
{
    size_t n = 0;
    for (size_t i = 0; i < piece->value_length; i++) {
        char c = piece->value[i];
        if (n == size)
            return false;
        if (c != '%') {
            if (!strchr(UNESCAPED, c) && !strchr(also, c))
                return false;
            out[n++] = (uint8_t)c;
            continue;
        }
        if (piece->value_length - i < 3)
            return false;
        const char digits[] = {piece->value[i + 1], piece->value[i + 2], '\0'};
        if (!mm_hex_decode(digits, &out[n], 1))
            return false;
        n++;
        i += 2;
    }
    *ret_length = n;
    return true;
}

static bool malformed(const char *name, struct mm_error *err)
{
    return mm_fail(err, MM_USAGE, "the URI's %s is empty, too long, or holds what must be percent-encoded", name);
}

static bool take_value(const struct attribute *attribute, const struct piece *piece, struct mm_pkcs11_uri *uri,
                       struct mm_error *err)
{
    uint8_t bytes[MM_PKCS11_OBJECT_MAX + 1];
    char *field = field_of(uri, attribute);
    size_t max = attribute->check ? attribute->max : attribute->max / 2;
    size_t length = 0;
    if (field[0])
        return mm_fail(err, MM_USAGE, "the URI says %s twice", attribute->name);
    if (!decode(piece, "&", bytes, max, &length) || length == 0)
        return malformed(attribute->name, err);
    if (!attribute->check) {
        mm_hex_encode(bytes, length, field);
        return true;
    }
    memcpy(field, bytes, length);
    field[length] = '\0';
    const char *reason = strlen(field) == length ? attribute->check(field) : "must be text";
    return !reason || mm_fail(err, MM_USAGE, "the URI's %s %s", attribute->name, reason);
}

static bool take_type(const struct piece *piece, enum mm_pkcs11_uri_subject subject, bool *has_type,
                      struct mm_error *err)
{
    bool is_private = piece->value_length == strlen(PRIVATE) && memcmp(piece->value, PRIVATE, strlen(PRIVATE)) == 0;
    if (*has_type)
        return mm_fail(err, MM_USAGE, "the URI says type twice");
    *has_type = true;
    if (subject == MM_PKCS11_URI_OF_TOKEN)
        return mm_fail(err, MM_USAGE, "the URI names an object (type): here it names the HSM token alone");
    return is_private || mm_fail(err, MM_USAGE, "the URI's type isn't private: it must name a private key");
}

static bool refuse(const struct piece *piece, struct mm_error *err)
{
    for (size_t i = 0; i < MM_ARRAY_SIZE(REFUSED); i++)
        if (is_called(piece, REFUSED[i].name))
            return mm_fail(err, MM_USAGE, "the URI's %s isn't taken: %s", REFUSED[i].name, REFUSED[i].why);
    return mm_fail(err, MM_USAGE,
                   "the URI has an attribute that isn't known: token, manufacturer, model and serial are, and of a "
                   "key object, id and type");
}

static bool take(const struct piece *piece, enum mm_pkcs11_uri_subject subject, struct mm_pkcs11_uri *uri,
                 bool *has_type, struct mm_error *err)
{
    if (is_called(piece, TYPE))
        return take_type(piece, subject, has_type, err);
    for (size_t i = 0; i < MM_ARRAY_SIZE(ATTRIBUTES); i++) {
        const struct attribute *attribute = &ATTRIBUTES[i];
        if (!is_called(piece, attribute->name))
            continue;
        if (attribute->subject == MM_PKCS11_URI_OF_KEY && subject == MM_PKCS11_URI_OF_TOKEN)
            return mm_fail(err, MM_USAGE, "the URI names an object (%s): here it names the HSM token alone",
                           attribute->name);
        return take_value(attribute, piece, uri, err);
    }
    return refuse(piece, err);
}

/* The attribute that `text` starts with, as far as `delimiters`. */
static bool split(const char *text, const char *delimiters, struct piece *ret_piece)
{
    size_t length = strcspn(text, delimiters);
    const char *equals = memchr(text, '=', length);
    if (!equals || equals == text)
        return false;
    *ret_piece = (struct piece){.name = text,
                                .name_length = (size_t)(equals - text),
                                .value = equals + 1,
                                .value_length = length - (size_t)(equals + 1 - text)};
    return true;
}

static bool is_complete(const struct mm_pkcs11_uri *uri, enum mm_pkcs11_uri_subject subject, struct mm_error *err)
{
    for (size_t i = 0; i < MM_ARRAY_SIZE(ATTRIBUTES); i++)
        if (ATTRIBUTES[i].subject == subject && value_of(uri, &ATTRIBUTES[i])[0])
            return true;
    return mm_fail(err, MM_USAGE, "%s",
                   subject == MM_PKCS11_URI_OF_KEY
                       ? "the URI names no key: it lacks object and id"
                       : "the URI names no HSM token: it lacks token, serial, model and manufacturer");
}

bool mm_pkcs11_uri_parse(const char *text, enum mm_pkcs11_uri_subject subject, struct mm_pkcs11_uri *ret_uri,
                         struct mm_error *err)
{
    struct mm_pkcs11_uri uri = {0};
    bool has_type = false;
    if (strncmp(text, SCHEME, strlen(SCHEME)) != 0 || strlen(text) > MM_PKCS11_URI_MAX)
        return mm_fail(err, MM_USAGE, "a URI begins with pkcs11: and has at most %d characters", MM_PKCS11_URI_MAX);
    /* All that we know stands before the question mark; what stands behind it is refused by its name, too. */
    const char *delimiters = ";?";
    const char *at = text + strlen(SCHEME);
    while (*at) {
        struct piece piece;
        if (!split(at, delimiters, &piece))
            return mm_fail(err, MM_USAGE, "the URI isn't a list of NAME=VALUE with semicolons between them");
        if (delimiters[0] == '&' ? !refuse(&piece, err) : !take(&piece, subject, &uri, &has_type, err))
            return false;
        at = piece.value + piece.value_length;
        if (*at == '?' && delimiters[0] == ';')
            delimiters = "&";
        if (*at && !*++at)
            return mm_fail(err, MM_USAGE, "the URI ends where another attribute should follow");
    }
    if (!is_complete(&uri, subject, err))
        return false;
    *ret_uri = uri;
    return true;
}

static bool append_value(const struct attribute *attribute, const char *value, struct mm_buffer *out,
                         struct mm_error *err)
{
    for (const char *c = value; *c; c += attribute->check ? 1 : 2) {
        char encoded[4] = {*c};
        if (!attribute->check)
            (void)snprintf(encoded, sizeof encoded, "%%%.2s", c);
        else if (!strchr(UNRESERVED, *c))
            (void)snprintf(encoded, sizeof encoded, "%%%02X", (unsigned)(unsigned char)*c);
        if (!mm_buffer_append_string(out, encoded, err))
            return false;
    }
    return true;
}

bool mm_pkcs11_uri_format(const struct mm_pkcs11_uri *uri, struct mm_buffer *out, struct mm_error *err)
{
    const char *before = SCHEME;
    for (size_t i = 0; i < MM_ARRAY_SIZE(ATTRIBUTES); i++) {
        const struct attribute *attribute = &ATTRIBUTES[i];
        const char *value = value_of(uri, attribute);
        if (!value[0])
            continue;
        if (!mm_buffer_append_string(out, before, err) || !mm_buffer_append_string(out, attribute->name, err) ||
            !mm_buffer_append_string(out, "=", err) || !append_value(attribute, value, out, err))
            return false;
        before = ";";
    }
    return !(uri->object[0] || uri->id[0]) || mm_buffer_append_string(out, ";type=private", err);
}

bool mm_pkcs11_uri_fits_token(const struct mm_pkcs11_uri *wanted, const struct mm_pkcs11_uri *token)
{
    for (size_t i = 0; i < MM_ARRAY_SIZE(ATTRIBUTES); i++) {
        const struct attribute *attribute = &ATTRIBUTES[i];
        const char *value = value_of(wanted, attribute);
        if (attribute->subject == MM_PKCS11_URI_OF_TOKEN && value[0] && strcmp(value, value_of(token, attribute)) != 0)
            return false;
    }
    return true;
}

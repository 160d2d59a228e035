/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The worker's side of the protocol: a packet from a mintmarkd that an attacker has taken over. What the worker would sign is a
 * token of its own issuer, for now, for no longer than its limit, whichever parser reads it.
 */
#include "fuzz.h"

#include <string.h>

#include "crypto/pubkey.h"
#include "hsm/protocol.h"
#include "hsm/sentence.h"
#include "hsm/start.h"
#include "util/base64url.h"

enum { NOW = 1800000000, MAX_TTL = 900 };

#define ISSUER "https://mint.acme.example"
#define HEADER "eyJhbGciOiJFUzI1NiJ9"

static void check_written_again(const struct mm_message *message, const uint8_t *data, size_t size)
{
    uint8_t packet[MM_PACKET_MAX];
    size_t length = 0;
    bool is_written = mm_message_encode(message, packet, &length, NULL);
    assert(is_written && length == size && memcmp(packet, data, size) == 0);
}

/* JSON where the last of two members counts: what it says must be the same. */
static void check_claims(const struct mm_message *message)
{
    mm_cleanup(json_decref) json_t *claims = json_loadb((const char *)message->data, message->length, 0, NULL);
    const char *issuer = mm_json_string(claims, "iss");
    int64_t issued = mm_json_integer(claims, "iat", INT64_MIN);
    int64_t expires = mm_json_integer(claims, "exp", INT64_MIN);
    assert(issuer && strcmp(issuer, ISSUER) == 0);
    assert(issued >= NOW - MM_SENTENCE_SKEW && issued <= NOW + MM_SENTENCE_SKEW);
    assert(expires > issued && expires <= issued + MAX_TTL);
    const char *name;
    json_t *value;
    json_object_foreach(claims, name, value)
    {
        for (const char *c = name; *c; c++)
            assert(*c > ' ' && *c <= '~' && !(*c >= 'A' && *c <= 'Z'));
    }
}

static void check_signing_input(const struct mm_message *message)
{
    char input[MM_SIGNING_INPUT_MAX + 1];
    struct mm_bytes payload = {message->data, message->length};
    uint8_t decoded[MM_PAYLOAD_MAX + 2];
    size_t length = 0;
    size_t n = mm_sentence_signing_input(HEADER, payload, input);
    assert(n == strlen(input) && strncmp(input, HEADER ".", sizeof HEADER) == 0);
    bool is_decoded = mm_base64url_decode(input + sizeof HEADER, n - sizeof HEADER, decoded, &length);
    assert(is_decoded && length == message->length && memcmp(decoded, message->data, length) == 0);
}

static void check_sign(const struct mm_message *message)
{
    static const struct mm_sentence_limits LIMITS = {ISSUER, MAX_TTL};
    struct mm_error err = {0};
    struct mm_bytes payload = {message->data, message->length};
    if (!mm_sentence_check(message->sentence, &LIMITS, payload, NOW, &err)) {
        assert(err.code == MM_SENTENCE_REFUSED);
        return;
    }
    assert(message->sentence == MM_SENTENCE_ACCESS_TOKEN);
    check_claims(message);
    check_signing_input(message);
}

/* A key to sign with is the one that its kid names; to generate one, nothing is said of how. */
static void check_start(const struct mm_message *message)
{
    mm_cleanup(json_decref) json_t *json = mm_json_parse(message->data, message->length, NULL);
    struct mm_start start = {0};
    struct mm_error err = {0};
    if (!mm_start_parse(json, &start, &err)) {
        assert(err.code != MM_OK);
        mm_start_clear(&start);
        return;
    }
    if (start.purpose == MM_PURPOSE_GENERATE) {
        assert(json_object_size(json) == 3 && start.config && !start.id && !start.label && !start.pinned);
        return;
    }
    const char *kid = mm_json_string(json, "kid");
    assert(kid && start.id && start.label && strcmp(kid, mm_pubkey_thumbprint(start.pinned)) == 0);
    mm_cleanup(free) char *header = mm_sentence_header(MM_SENTENCE_ACCESS_TOKEN, kid, start.algorithm, NULL);
    assert(!header || strlen(header) <= MM_HEADER_MAX);
    mm_start_clear(&start);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct mm_message message;
    struct mm_error err = {0};
    if (!mm_message_decode(data, size, &message, &err)) {
        assert(err.code == MM_INTERNAL);
        return 0;
    }
    check_written_again(&message, data, size);
    if (message.kind == MM_MESSAGE_SIGN)
        check_sign(&message);
    if (message.kind == MM_MESSAGE_START)
        check_start(&message);
    return 0;
}

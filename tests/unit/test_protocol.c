/* SPDX-License-Identifier: Apache-2.0 */
#include "hsm/protocol.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

/* Where the header's fields lie in a packet. */
enum {
    AT_VERSION = 0,
    AT_KIND = 1,
    AT_SENTENCE = 2,
    AT_CODE = 4,
    AT_ID = 8,
    AT_TIMEOUT = 16,
    AT_LENGTH = 24,
    AT_ZERO = 28,
    HEADER = 32
};

static const struct mm_message SIGN = {.kind = MM_MESSAGE_SIGN,
                                       .id = 0x0123456789abcdef,
                                       .sentence = MM_SENTENCE_ACCESS_TOKEN,
                                       .deadline_ns = 1500,
                                       .data = (const uint8_t *)"{\"iss\":1}",
                                       .length = 9};

static size_t encode(const struct mm_message *message, uint8_t *packet)
{
    struct mm_error err = {0};
    size_t length = 0;
    if (!mm_message_encode(message, packet, &length, &err))
        fail_msg("%s", err.message);
    return length;
}

static void assert_refused(const uint8_t *packet, size_t length)
{
    struct mm_error err = {0};
    struct mm_message message = {.id = 42};
    assert_false(mm_message_decode(packet, length, &message, &err));
    assert_int_equal(err.code, MM_INTERNAL);
    assert_int_equal(message.id, 42);
}

static void assert_not_encoded(struct mm_message message, enum mm_code code)
{
    static uint8_t packet[MM_PACKET_MAX];
    struct mm_error err = {0};
    size_t length = 42;
    assert_false(mm_message_encode(&message, packet, &length, &err));
    assert_int_equal(err.code, code);
    assert_int_equal(length, 42);
}

static void every_kind_survives_the_trip(void **state)
{
    (void)state;
    static uint8_t packet[MM_PACKET_MAX];
    const struct mm_message messages[] = {
        {.kind = MM_MESSAGE_START, .data = (const uint8_t *)"{}", .length = 2},
        {.kind = MM_MESSAGE_READY, .data = (const uint8_t *)"{}", .length = 2},
        {.kind = MM_MESSAGE_READY, .code = MM_PIN_REFUSED, .data = (const uint8_t *)"no", .length = 2},
        SIGN,
        {.kind = MM_MESSAGE_SIGNED, .id = UINT64_MAX, .data = (const uint8_t *)"sig", .length = 3},
        {.kind = MM_MESSAGE_SIGNED, .id = 7, .code = MM_HSM_UNAVAILABLE, .data = (const uint8_t *)"gone", .length = 4},
        {.kind = MM_MESSAGE_LOGGED_IN},
    };
    for (size_t i = 0; i < MM_ARRAY_SIZE(messages); i++) {
        struct mm_message out;
        struct mm_error err = {0};
        assert_true(mm_message_decode(packet, encode(&messages[i], packet), &out, &err));
        assert_int_equal(out.kind, messages[i].kind);
        assert_int_equal(out.id, messages[i].id);
        assert_int_equal(out.sentence, messages[i].sentence);
        assert_int_equal(out.code, messages[i].code);
        assert_int_equal(out.deadline_ns, messages[i].deadline_ns);
        assert_int_equal(out.length, messages[i].length);
        assert_true(out.length == 0 || memcmp(out.data, messages[i].data, out.length) == 0);
    }
}

static void a_deadline_that_has_passed_survives_the_trip(void **state)
{
    (void)state;
    static uint8_t packet[MM_PACKET_MAX];
    struct mm_message message = SIGN;
    struct mm_message out;
    struct mm_error err = {0};
    message.deadline_ns = -3;
    assert_true(mm_message_decode(packet, encode(&message, packet), &out, &err));
    assert_int_equal(out.deadline_ns, -3);
}

static void an_unknown_sentence_is_for_the_worker_to_refuse(void **state)
{
    (void)state;
    static uint8_t packet[MM_PACKET_MAX];
    struct mm_message message = SIGN;
    struct mm_message out;
    struct mm_error err = {0};
    message.sentence = (enum mm_sentence)999;
    assert_true(mm_message_decode(packet, encode(&message, packet), &out, &err));
    assert_int_equal(out.sentence, 999);
}

static void the_longest_payload_fits_and_a_longer_one_does_not(void **state)
{
    (void)state;
    static uint8_t packet[MM_PACKET_MAX];
    static uint8_t payload[MM_PACKET_MAX];
    struct mm_message message = SIGN;
    struct mm_message out;
    struct mm_error err = {0};
    message.data = payload;
    message.length = MM_PAYLOAD_MAX;
    assert_true(mm_message_decode(packet, encode(&message, packet), &out, &err));
    message.length = MM_PAYLOAD_MAX + 1;
    assert_not_encoded(message, MM_BODY_TOO_LARGE);
    message.kind = MM_MESSAGE_START;
    message.length = MM_PACKET_MAX - HEADER + 1;
    assert_not_encoded(message, MM_BODY_TOO_LARGE);
}

static void fields_that_a_kind_does_not_have_are_not_encoded(void **state)
{
    (void)state;
    struct mm_message start = {.kind = MM_MESSAGE_START, .data = (const uint8_t *)"{}", .length = 2};
    struct mm_message message = start;
    message.id = 1;
    assert_not_encoded(message, MM_INTERNAL);
    message = start;
    message.code = MM_INTERNAL;
    assert_not_encoded(message, MM_INTERNAL);
    message = start;
    message.kind = (enum mm_message_kind)9;
    assert_not_encoded(message, MM_INTERNAL);
    message = SIGN;
    message.length = 0;
    assert_not_encoded(message, MM_INTERNAL);
    message = SIGN;
    message.sentence = (enum mm_sentence)70000;
    assert_not_encoded(message, MM_INTERNAL);
    message = SIGN;
    message.kind = MM_MESSAGE_SIGNED; /* with a sentence and a timeout */
    assert_not_encoded(message, MM_INTERNAL);
}

static void a_login_says_nothing_but_that(void **state)
{
    (void)state;
    static uint8_t packet[MM_PACKET_MAX];
    const struct mm_message logged_in = {.kind = MM_MESSAGE_LOGGED_IN};
    static const size_t FIELDS[] = {AT_SENTENCE, AT_CODE, AT_ID, AT_TIMEOUT, AT_LENGTH, AT_ZERO};
    struct mm_message message = logged_in;
    message.data = (const uint8_t *)"x";
    message.length = 1;
    assert_not_encoded(message, MM_INTERNAL);
    message = logged_in;
    message.code = MM_PIN_REFUSED;
    assert_not_encoded(message, MM_INTERNAL);
    assert_int_equal(encode(&logged_in, packet), HEADER);
    assert_refused(packet, HEADER - 1);
    for (size_t i = 0; i < MM_ARRAY_SIZE(FIELDS); i++) {
        (void)encode(&logged_in, packet);
        packet[FIELDS[i]] = FIELDS[i] == AT_CODE ? MM_PIN_REFUSED : 1;
        assert_refused(packet, HEADER);
    }
    (void)encode(&logged_in, packet);
    packet[AT_LENGTH] = 1; /* as said */
    assert_refused(packet, HEADER + 1);
}

static void packets_cut_short_or_with_bytes_to_spare_are_refused(void **state)
{
    (void)state;
    static uint8_t packet[MM_PACKET_MAX + 1];
    size_t length = encode(&SIGN, packet);
    for (size_t i = 0; i < length; i++)
        assert_refused(packet, i);
    assert_refused(packet, length + 1);
    assert_refused(packet, MM_PACKET_MAX + 1);
}

static void every_damaged_header_byte_that_matters_is_refused(void **state)
{
    (void)state;
    static uint8_t packet[MM_PACKET_MAX];
    const struct {
        size_t at;
        uint8_t value;
    } damages[] = {
        {AT_VERSION, 1},
        {AT_VERSION, 3},
        {AT_KIND, 0},
        {AT_KIND, 6},
        {AT_KIND, MM_MESSAGE_LOGGED_IN},
        {AT_KIND, 255},
        {AT_KIND, MM_MESSAGE_START},
        {AT_CODE, 1},
        {AT_CODE, 200},
        {AT_CODE + 3, 255},
        {AT_LENGTH, 8},
        {AT_LENGTH, 10},
        {AT_ZERO, 1},
        {AT_LENGTH + 3, 1},
        {AT_ZERO + 3, 1},
        {AT_KIND, MM_MESSAGE_READY},
        {AT_KIND, MM_MESSAGE_SIGNED},
    };
    for (size_t i = 0; i < MM_ARRAY_SIZE(damages); i++) {
        size_t length = encode(&SIGN, packet);
        packet[damages[i].at] = damages[i].value;
        assert_refused(packet, length);
    }
}

static void a_failure_with_an_unknown_code_is_refused(void **state)
{
    (void)state;
    static uint8_t packet[MM_PACKET_MAX];
    const struct mm_message ready = {.kind = MM_MESSAGE_READY,
                                     .code = MM_PIN_REFUSED,
                                     .data = (const uint8_t *)"no",
                                     .length = 2};
    size_t length = encode(&ready, packet);
    packet[AT_CODE] = 200;
    assert_refused(packet, length);
}

/* A worker's word on a signature becomes the caller's answer: it may not be one about the caller's own request. */
static void a_signature_fails_only_for_reasons_of_the_hsm(void **state)
{
    (void)state;
    static uint8_t packet[MM_PACKET_MAX];
    struct mm_message failed = {
        .kind = MM_MESSAGE_SIGNED, .id = 1, .code = MM_HSM_UNAVAILABLE, .data = (const uint8_t *)"no", .length = 2};
    size_t length = encode(&failed, packet);
    uint32_t code = MM_INVALID_REQUEST;
    memcpy(packet + AT_CODE, &code, sizeof code);
    assert_refused(packet, length);
    failed.code = MM_INVALID_REQUEST;
    assert_false(mm_message_encode(&failed, packet, &length, NULL));
}

static void an_overlong_signature_is_refused(void **state)
{
    (void)state;
    static uint8_t packet[MM_PACKET_MAX];
    static const uint8_t bytes[MM_SIGNATURE_MAX + 1];
    struct mm_message message = {.kind = MM_MESSAGE_START, .data = bytes, .length = sizeof bytes};
    size_t length = encode(&message, packet);
    packet[AT_KIND] = MM_MESSAGE_SIGNED;
    assert_refused(packet, length);
    uint32_t data_length = MM_SIGNATURE_MAX;
    memcpy(packet + AT_LENGTH, &data_length, sizeof data_length);
    struct mm_message out;
    assert_true(mm_message_decode(packet, length - 1, &out, NULL));
}

/* Whatever is accepted must be something that encoding writes, byte for byte. */
static void random_packets_are_refused_or_re_encode_to_themselves(void **state)
{
    (void)state;
    static uint8_t packet[256];
    static uint8_t again[MM_PACKET_MAX];
    uint32_t seed = 12345;
    size_t n_accepted = 0;
    for (int round = 0; round < 200000; round++) {
        size_t length = encode(&SIGN, packet);
        for (int n = 0; n < 2; n++) {
            seed = seed * 1664525 + 1013904223;
            packet[(seed >> 8) % length] = (uint8_t)(seed >> 24);
        }
        struct mm_message out;
        if (!mm_message_decode(packet, length, &out, NULL))
            continue;
        n_accepted++;
        assert_int_equal(encode(&out, again), length);
        assert_memory_equal(again, packet, length);
    }
    assert_in_range(n_accepted, 1, 199999);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_kind_survives_the_trip),
        cmocka_unit_test(a_deadline_that_has_passed_survives_the_trip),
        cmocka_unit_test(an_unknown_sentence_is_for_the_worker_to_refuse),
        cmocka_unit_test(the_longest_payload_fits_and_a_longer_one_does_not),
        cmocka_unit_test(fields_that_a_kind_does_not_have_are_not_encoded),
        cmocka_unit_test(a_login_says_nothing_but_that),
        cmocka_unit_test(packets_cut_short_or_with_bytes_to_spare_are_refused),
        cmocka_unit_test(every_damaged_header_byte_that_matters_is_refused),
        cmocka_unit_test(a_failure_with_an_unknown_code_is_refused),
        cmocka_unit_test(a_signature_fails_only_for_reasons_of_the_hsm),
        cmocka_unit_test(an_overlong_signature_is_refused),
        cmocka_unit_test(random_packets_are_refused_or_re_encode_to_themselves),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

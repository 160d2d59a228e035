/* SPDX-License-Identifier: Apache-2.0 */
/*
 * JSON: what is read is written so that it reads the same; a string is written as jansson does, in a form that the scan takes, or refused if
 * it isn't text; an object that the scan takes is one for jansson, too, with the same members.
 */
#include "fuzz.h"

#include <stdio.h>
#include <string.h>

#include "util/json.h"
#include "util/json_scan.h"
#include "util/json_writer.h"

static void check_value(const uint8_t *data, size_t size)
{
    struct mm_error err = {0};
    mm_cleanup(json_decref) json_t *value = mm_json_parse(data, size, &err);
    assert((value != NULL) == (err.code == MM_OK) && (value || err.code == MM_INVALID_JSON));
    /* It is read inside other text: to no other end than by itself. */
    mm_cleanup(json_decref) json_t *alone =
        json_loadb((const char *)data, size, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, NULL);
    bool is_ours_to_refuse = memchr(data, '\0', size) || strstr(err.message, "nested deeper");
    assert(value ? json_equal(value, alone) : !alone || is_ours_to_refuse);
    if (!value)
        return;
    mm_cleanup(free) char *text = mm_json_compact(value, NULL);
    assert(text);
    mm_cleanup(json_decref) json_t *again = mm_json_parse(text, strlen(text), NULL);
    assert(json_equal(value, again));
}

/* What is written, the scan takes. */
static void check_scanned_string(const char *text)
{
    struct mm_json_members members;
    char *object = NULL;
    int length = asprintf(&object, "{\"a\":%s}", text);
    assert(length > 0);
    bool is_taken = mm_json_scan((struct mm_bytes){object, (size_t)length}, &members, NULL);
    assert(is_taken && members.n == 1 && members.items[0].value.length == strlen(text));
    free(object);
}

/* The input as a string. */
static void check_string(const uint8_t *data, size_t size)
{
    if (memchr(data, '\0', size) || size > MM_JSON_TEXT_MAX / 6 - 2)
        return;
    struct mm_error err = {0};
    mm_cleanup(mm_json_writer_clear) struct mm_json_writer writer = mm_json_writer_make();
    mm_json_put_bytes(&writer, (const char *)data, size);
    mm_cleanup(free) char *text = mm_json_writer_finish(&writer, &err);
    mm_cleanup(json_decref) json_t *value = json_stringn((const char *)data, size);
    assert((text != NULL) == (value != NULL) && (text || err.code == MM_INTERNAL));
    mm_cleanup(free) char *expected = value ? mm_json_compact(value, NULL) : NULL;
    assert(!text || strcmp(text, expected) == 0);
    if (text)
        check_scanned_string(text);
}

static void check_scan(const uint8_t *data, size_t size)
{
    struct mm_json_members members;
    struct mm_error err = {0};
    if (!mm_json_scan((struct mm_bytes){data, size}, &members, &err)) {
        assert(err.code == MM_INVALID_JSON);
        return;
    }
    mm_cleanup(json_decref) json_t *object = mm_json_parse(data, size, NULL);
    assert(json_is_object(object) && json_object_size(object) == members.n);
    for (size_t i = 0; i < members.n; i++) {
        const struct mm_json_member *member = &members.items[i];
        mm_cleanup(free) char *name = strndup(member->name.data, member->name.length);
        mm_cleanup(json_decref) json_t *value =
            json_loadb(member->value.data, member->value.length, JSON_DECODE_ANY, NULL);
        const json_t *parsed = json_object_get(object, name);
        assert(json_equal(value, parsed));
        int64_t integer;
        bool is_integer = mm_json_read_integer(member->value, &integer);
        assert(is_integer == json_is_integer(parsed) && (!is_integer || integer == json_integer_value(parsed)));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    check_value(data, size);
    check_string(data, size);
    check_scan(data, size);
    return 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "policy/strings.h"

#include <string.h>

bool mm_strings_have(const struct mm_strings *strings, const char *string)
{
    for (size_t i = 0; i < strings->n; i++)
        if (strcmp(strings->items[i], string) == 0)
            return true;
    return false;
}

bool mm_strings_build(const json_t *array, struct mm_strings *ret_strings, struct mm_error *err)
{
    size_t n = json_array_size(array);
    mm_cleanup(mm_strings_clear) struct mm_strings strings = {.items = calloc(n + 1, sizeof(char *))};
    if (!strings.items)
        return mm_fail(err, MM_NO_MEMORY, "out of memory");
    for (size_t i = 0; i < n; i++) {
        const char *string = json_string_value(json_array_get(array, i));
        if (!string)
            continue;
        strings.items[strings.n] = strdup(string);
        if (!strings.items[strings.n++])
            return mm_fail(err, MM_NO_MEMORY, "out of memory");
    }
    *ret_strings = (struct mm_strings){.items = MM_TAKE(strings.items), .n = strings.n};
    strings.n = 0;
    return true;
}

json_t *mm_strings_to_json(const struct mm_strings *strings)
{
    mm_cleanup(json_decref) json_t *array = json_array();
    for (size_t i = 0; i < strings->n; i++)
        if (!mm_json_append(array, json_string(strings->items[i]), NULL))
            return NULL;
    return MM_TAKE(array);
}

void mm_strings_clear(struct mm_strings *strings)
{
    for (size_t i = 0; i < strings->n; i++)
        free(strings->items[i]);
    free(strings->items);
    *strings = (struct mm_strings){0};
}

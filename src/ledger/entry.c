/* SPDX-License-Identifier: Apache-2.0 */
#include "ledger/entry.h"

#include <stdio.h>
#include <string.h>

#include "store/store.h"

enum { BEGINNING_MAX = 128 };

_Static_assert((int)MM_ENTRY_BYTES_MAX <= (int)MM_STORE_BYTES_MAX, "an entry must fit into a row");

static const char *const TYPE_NAMES[] = {
#define MM_ENTRY_NAME(symbol, name) [symbol] = name,
    MM_ENTRY_TABLE(MM_ENTRY_NAME)
#undef MM_ENTRY_NAME
};

const char *mm_entry_type_name(enum mm_entry_type type)
{
    return (size_t)type < MM_ARRAY_SIZE(TYPE_NAMES) ? TYPE_NAMES[type] : NULL;
}

bool mm_entry_type_parse(const char *name, enum mm_entry_type *ret_type)
{
    for (size_t i = 0; i < MM_ARRAY_SIZE(TYPE_NAMES); i++)
        if (strcmp(TYPE_NAMES[i], name) == 0) {
            *ret_type = (enum mm_entry_type)i;
            return true;
        }
    return false;
}

/* `{"type":‹type›,"time":‹time›`, and a comma if members follow; returns its length. */
static size_t begin(const char *type, int64_t time, const char *fields, char out[BEGINNING_MAX])
{
    int n = snprintf(out, BEGINNING_MAX, "{\"type\":\"%s\",\"time\":%lld%s", type, (long long)time,
                     fields[1] == '}' ? "" : ",");
    return (size_t)n;
}

static size_t size_of(const char *index)
{
    return index ? strlen(index) + 1 : 0;
}

/* Copy `size` bytes to where there is room for them, which moves on. NULL for none. */
static const char *put(char **room, const char *from, size_t size)
{
    char *copy = *room;
    if (size == 0)
        return NULL;
    memcpy(copy, from, size);
    *room += size;
    return copy;
}

/* One piece of memory: there is one for each token that is issued. */
struct mm_ledger_entry *mm_ledger_entry_new(enum mm_entry_type type, int64_t time, const struct mm_entry_text *text,
                                            struct mm_error *err)
{
    char beginning[BEGINNING_MAX];
    const char *name = mm_entry_type_name(type);
    size_t n_beginning = begin(name, time, text->fields, beginning);
    const char *members = text->fields + 1;
    size_t n_members = strlen(members);
    size_t n_account = size_of(text->account);
    size_t n_jti = size_of(text->jti);
    if (n_beginning + n_members > MM_ENTRY_BYTES_MAX) {
        (void)mm_fail(err, MM_INTERNAL, "an entry of %zu bytes, more than %d", n_beginning + n_members,
                      MM_ENTRY_BYTES_MAX);
        return NULL;
    }
    struct mm_ledger_entry *entry = malloc(sizeof *entry + n_beginning + n_members + n_account + n_jti);
    if (!entry) {
        (void)mm_fail(err, MM_NO_MEMORY, "out of memory");
        return NULL;
    }
    char *room = (char *)(entry + 1);
    *entry = (struct mm_ledger_entry){.time = time,
                                      .type = name,
                                      .length = n_beginning + n_members,
                                      .bytes = put(&room, beginning, n_beginning)};
    (void)put(&room, members, n_members);
    entry->account = put(&room, text->account, n_account);
    entry->jti = put(&room, text->jti, n_jti);
    return entry;
}

/* What can't be read back would break the ledger for ever; mm_json_compact() doesn't write it. */
struct mm_ledger_entry *mm_ledger_entry_of_fields(enum mm_entry_type type, int64_t time, const json_t *fields,
                                                  struct mm_error *err)
{
    if (!mm_entry_type_name(type) || !json_is_object(fields) || json_object_get(fields, "type") ||
        json_object_get(fields, "time")) {
        (void)mm_fail(err, MM_INTERNAL, "an entry needs a known type, and fields other than `type` and `time`");
        return NULL;
    }
    mm_cleanup(free) char *text = mm_json_compact(fields, err);
    if (!text)
        return NULL;
    const struct mm_entry_text entry = {text, mm_json_string(fields, "account"), mm_json_string(fields, "jti")};
    return mm_ledger_entry_new(type, time, &entry, err);
}

void mm_ledger_entry_free(struct mm_ledger_entry *entry)
{
    free(entry);
}

void mm_ledger_entries_free(struct mm_ledger_entry *group)
{
    while (group) {
        struct mm_ledger_entry *next = group->next;
        mm_ledger_entry_free(group);
        group = next;
    }
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "hsm/reach.h"

#include <string.h>

#include "hsm/latch.h"

enum { FIXED_MAX = 3 };

struct reach {
    struct mm_path_rule *rules;
    size_t n;
};

static void add(struct reach *reach, const char *path, enum mm_path_access access)
{
    reach->rules[reach->n++] = (struct mm_path_rule){.path = path, .access = access};
}

static void add_folder_of(struct reach *reach, const char *file, enum mm_path_access access)
{
    reach->rules[reach->n++] = (struct mm_path_rule){.path = file, .access = access, .extent = MM_PATH_ITS_FOLDER};
}

/* An entry of the module's environment that is a path: what a store is called by, the module writes. */
static void add_environment(struct reach *reach, const char *entry)
{
    static const char STORE[] = "_STORE=";
    const char *value = strchr(entry, '=');
    if (!value || value[1] != '/')
        return;
    size_t length = (size_t)(value + 1 - entry);
    bool is_store = length > sizeof STORE - 1 && memcmp(value + 2 - sizeof STORE, STORE, sizeof STORE - 1) == 0;
    add(reach, value + 1, is_store ? MM_PATH_WRITE : MM_PATH_READ);
}

bool mm_reach_restrict(const struct mm_config *config, const struct mm_hsm_token_config *token,
                       enum mm_landlock *ret_state, struct mm_error *err)
{
    mm_cleanup(free) struct mm_path_rule *rules =
        calloc(FIXED_MAX + token->environment.n + token->read_paths.n + token->write_paths.n, sizeof *rules);
    if (!rules)
        return mm_fail(err, MM_NO_MEMORY, "out of memory");
    mm_cleanup(free) char *latches = mm_latch_folder(config, err);
    if (!latches)
        return false;
    struct reach reach = {.rules = rules};
    add_folder_of(&reach, token->module, MM_PATH_READ);
    add(&reach, latches, MM_PATH_WRITE);
    if (token->pin_path)
        add(&reach, token->pin_path, MM_PATH_READ);
    for (size_t i = 0; i < token->environment.n; i++)
        add_environment(&reach, token->environment.items[i]);
    for (size_t i = 0; i < token->read_paths.n; i++)
        add(&reach, token->read_paths.items[i], MM_PATH_READ);
    for (size_t i = 0; i < token->write_paths.n; i++)
        add(&reach, token->write_paths.items[i], MM_PATH_WRITE);
    /* A vendor's code has nobody to signal. */
    return mm_landlock_restrict(reach.rules, reach.n, MM_SIGNALS_INSIDE, ret_state, err);
}

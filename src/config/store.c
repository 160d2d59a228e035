/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The store's folder is the service's to write, with all below it: nothing that decides what the service does may lie there, or
 * who takes the service over decides it from then on.
 */
#include "config/loader.h"

#include <errno.h>
#include <string.h>

#include "util/file.h"

/* Of the file by that name, without links; NULL if it isn't there. False: out of memory. */
static bool find_folder(const char *file, char **ret_folder)
{
    mm_cleanup(free) char *folder = mm_path_beside(file, ".", NULL);
    errno = 0;
    *ret_folder = folder ? realpath(folder, NULL) : NULL;
    return folder && (*ret_folder || errno != ENOMEM);
}

static bool holds(const char *folder, const char *other)
{
    size_t length = strlen(folder);
    if (strcmp(folder, "/") == 0)
        return true;
    return strncmp(folder, other, length) == 0 && (other[length] == '\0' || other[length] == '/');
}

bool mm_config_check_beyond_store(const struct mm_config *config, const char *file, struct mm_error *err)
{
    mm_cleanup(free) char *store = NULL;
    mm_cleanup(free) char *folder = NULL;
    mm_cleanup(free) char *target_folder = NULL;
    errno = 0;
    mm_cleanup(free) char *target = realpath(file, NULL);
    if ((!target && errno == ENOMEM) || !find_folder(config->store_file, &store) || !find_folder(file, &folder) ||
        (target && !find_folder(target, &target_folder)))
        return mm_fail(err, MM_NO_MEMORY, "out of memory");
    /* A link there could be pointed elsewhere, and what one from elsewhere leads to could be written: both count. */
    if (store && ((folder && holds(store, folder)) || (target_folder && holds(store, target_folder))))
        return mm_fail(err, MM_CONFIG_INVALID, "the service may write in its store's folder, where %s lies", file);
    return true;
}

static bool check_all(const struct mm_config *config, struct mm_error *err)
{
    for (size_t i = 0; i < config->files.n; i++)
        if (!mm_config_check_beyond_store(config, config->files.items[i], err))
            return false;
    for (size_t i = 0; i < config->n_hsm_tokens; i++) {
        const struct mm_hsm_token_config *token = &config->hsm_tokens[i];
        const char *pin_file = token->pin_source == MM_PIN_FILE ? token->pin_path : NULL;
        if ((token->module && !mm_config_check_beyond_store(config, token->module, err)) ||
            (pin_file && !mm_config_check_beyond_store(config, pin_file, err)))
            return false;
    }
    return true;
}

void mm_loader_check_store(const struct loader *loader)
{
    static const char PATH[] = "/store/sqlite";
    const struct mm_document *document = &loader->document;
    struct mm_error err = {0};
    if (!loader->config->store_file || check_all(loader->config, &err))
        return;
    if (err.code == MM_CONFIG_INVALID && loader->hands == MM_OWN_HANDS)
        mm_problems_warn(loader->problems, document->file, mm_document_line(document, PATH), PATH, "%s", err.message);
    else
        mm_loader_report(loader, PATH, "%s", err.message);
}

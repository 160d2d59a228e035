/* SPDX-License-Identifier: Apache-2.0 */
/*
 * JWK sets that tenants' files name by `jwks_file`: read once, into the tenants.
 */
#include "config/loader.h"

#include <stdio.h>

#include "util/file.h"

enum { POINTER_MAX = 96 };

/* A rule of a tenant's file, for problems with what it names. */
struct place {
    const struct loader *loader;
    const struct mm_document *document;
    int line;
    char path[POINTER_MAX];
};

static void report(const struct place *place, const char *file, const char *reason)
{
    mm_problems_add(place->loader->problems, place->document->file, place->line, place->path, "%s: %s", file, reason);
}

static void check_hands(const struct place *place, const char *file)
{
    struct mm_error err = {0};
    if (place->loader->hands == MM_OTHER_HANDS && !mm_file_check_out_of_hand(file, &err))
        report(place, file, err.message);
}

static void read_jwks(const struct place *place, const char *file, struct mm_private_key_jwt_rule *rule)
{
    struct mm_error err = {0};
    mm_cleanup(mm_buffer_clear) struct mm_buffer text = mm_buffer_make(MM_FOREIGN_JWKS_MAX);
    mm_loader_note_file(place->loader, file);
    check_hands(place, file);
    if (!mm_loader_read(file, &text, &err) || !(rule->jwks = mm_jwks_parse(text.data, text.length, &err))) {
        report(place, file, err.message);
        return;
    }
    mm_sha256_hex(text.data, text.length, rule->jwks_digest);
    if (mm_jwks_n_keys(rule->jwks) == 0)
        report(place, file, mm_jwks_n_skipped(rule->jwks) ? mm_jwks_skipped_why(rule->jwks) : "no keys");
    else if (mm_jwks_n_skipped(rule->jwks) > 0)
        mm_problems_warn(place->loader->problems, place->document->file, place->line, place->path,
                         "%s: keys that can't be used are left out: %s", file, mm_jwks_skipped_why(rule->jwks));
}

static void read_of_rule(struct place *place, struct mm_private_key_jwt_rule *rule)
{
    if (!rule->jwks_file)
        return;
    mm_cleanup(free) char *file = mm_path_beside(place->document->file, rule->jwks_file, NULL);
    place->line = rule->line;
    if (file)
        read_jwks(place, file, rule);
    else
        mm_loader_no_memory(place->loader);
}

void mm_loader_read_jwks_files(const struct loader *loader, const struct mm_document *document,
                               const struct mm_tenant *tenant)
{
    struct place place = {.loader = loader, .document = document};
    for (size_t i = 0; i < tenant->n_accounts; i++)
        for (size_t j = 0; j < tenant->accounts[i].n_private_key_jwt; j++) {
            (void)snprintf(place.path, sizeof place.path, "/accounts/%zu/authenticate", i);
            read_of_rule(&place, &tenant->accounts[i].private_key_jwt[j]);
        }
}

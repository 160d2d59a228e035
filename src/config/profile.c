/* SPDX-License-Identifier: Apache-2.0 */
#include "config/profile.h"

#include <stdio.h>
#include <string.h>

#include "config/schema.h"
#include "util/file.h"

static const char GENERIC[] = "generic";

bool mm_is_path_variable(const char *name)
{
    static const char *const ENDINGS[] = {"_CONF", "_CONFIG", "_FILE", "_DIR", "_PATH", "_STORE"};
    size_t length = strlen(name);
    for (size_t i = 0; i < MM_ARRAY_SIZE(ENDINGS); i++) {
        size_t ending = strlen(ENDINGS[i]);
        if (length > ending && strcmp(name + length - ending, ENDINGS[i]) == 0)
            return true;
    }
    return false;
}

static bool resolve_member(const char *file, json_t *object, const char *name)
{
    const char *path = mm_json_string(object, name);
    if (!path || !path[0])
        return true;
    mm_cleanup(free) char *resolved = mm_path_beside(file, path, NULL);
    return resolved && json_object_set_new(object, name, json_string(resolved)) == 0;
}

static bool resolve_list(const char *file, json_t *list)
{
    for (size_t i = 0; i < json_array_size(list); i++) {
        const char *path = json_string_value(json_array_get(list, i));
        mm_cleanup(free) char *resolved = path ? mm_path_beside(file, path, NULL) : NULL;
        if (!resolved || json_array_set_new(list, i, json_string(resolved)) != 0)
            return false;
    }
    return true;
}

/* Paths start at the profile's own folder; once settings are merged nobody knows any more whose they were. */
static bool resolve_paths(const struct mm_document *profile)
{
    json_t *environment = json_object_get(profile->root, "environment");
    const char *name;
    json_t *value;
    json_object_foreach(environment, name, value)
    {
        if (mm_is_path_variable(name) && !resolve_member(profile->file, environment, name))
            return false;
    }
    const json_t *paths = json_object_get(profile->root, "paths");
    return resolve_list(profile->file, json_object_get(paths, "read")) &&
           resolve_list(profile->file, json_object_get(paths, "write")) &&
           resolve_member(profile->file, profile->root, "module");
}

static const struct mm_embedded_profile *find_embedded(const char *name)
{
    for (const struct mm_embedded_profile *profile = MM_EMBEDDED_PROFILES; profile->name; profile++)
        if (strcmp(profile->name, name) == 0)
            return profile;
    return NULL;
}

static void complain_unknown(const struct loader *loader, const char *path)
{
    char names[256] = "";
    for (const struct mm_embedded_profile *profile = MM_EMBEDDED_PROFILES; profile->name; profile++) {
        size_t length = strlen(names);
        (void)snprintf(names + length, sizeof names - length, "%s%s", length ? ", " : "", profile->name);
    }
    mm_loader_report(loader, path, "‹profile› must be one of %s, or a file's path with a ‹/› in it", names);
}

/* An operator's own: believed under the same conditions as mintmark.yaml. */
static void read_file(const struct loader *loader, const char *name, const char *path, struct mm_document *ret_profile)
{
    struct mm_error err = {0};
    mm_cleanup(free) char *file = mm_loader_resolve(loader, name);
    mm_cleanup(mm_buffer_clear) struct mm_buffer text = mm_buffer_make(MM_YAML_FILE_MAX);
    mm_loader_note_file(loader, file);
    mm_loader_check_hands(loader, file, path);
    if (!file)
        return;
    if (mm_loader_read(file, &text, &err))
        mm_loader_parse(file, &text, ret_profile, loader->problems);
    else
        mm_loader_report(loader, path, "%s", err.message);
}

static void read_embedded(const struct loader *loader, const struct mm_embedded_profile *profile,
                          struct mm_document *ret_profile)
{
    char file[64];
    (void)snprintf(file, sizeof file, "hsm/profiles/%s.yaml", profile->name);
    bool is_read = mm_yaml_parse(file, profile->data, profile->length, ret_profile, loader->problems);
    (void)is_read; /* the problems tell */
}

/* Lay the profile called `name` over `settings`. What is wrong with it is among the problems then. */
static bool lay_over(const struct loader *loader, const char *name, const char *path, json_t *settings,
                     struct mm_document *ret_profile)
{
    const struct mm_embedded_profile *embedded = find_embedded(name);
    if (embedded)
        read_embedded(loader, embedded, ret_profile);
    else if (strchr(name, '/'))
        read_file(loader, name, path, ret_profile);
    else
        complain_unknown(loader, path);
    /* Without a problem that says why, there was no memory for one. */
    if (!ret_profile->root)
        return loader->problems->n_errors > 0;
    if (!mm_schema_validate(&MM_PROFILE_SCHEMA, ret_profile, loader->problems))
        return loader->problems->n_errors > 0;
    return resolve_paths(ret_profile) && json_object_update_recursive(settings, ret_profile->root) == 0;
}

static bool is_pin_form_empty(const json_t *settings)
{
    const json_t *form = json_object_get(settings, "pin_form");
    return mm_json_integer(form, "min", 1) > mm_json_integer(form, "max", MM_PIN_MAX);
}

static bool is_session_not_the_engines(const json_t *settings)
{
    const char *session = mm_json_string(settings, "session");
    const char *signing = mm_json_string(settings, "signing");
    return session && strcmp(session, "read_write") == 0 && !(signing && strcmp(signing, "direct") == 0);
}

static bool is_delay_longer_than_its_max(const json_t *settings)
{
    /* Bounded before it is multiplied: the schema may have refused it and left it in place. */
    int64_t most = mm_json_integer(settings, "restart_delay_max", INT32_MAX);
    return most < INT32_MAX && mm_json_integer(settings, "restart_delay_ms", 0) > most * 1000;
}

static bool is_half_of_vendor_attribute(const json_t *settings)
{
    const json_t *generate = json_object_get(settings, "generate");
    const char *attribute = mm_json_string(generate, "vendor_attribute");
    bool has_values = json_object_size(json_object_get(generate, "vendor_values")) > 0;
    return (attribute && attribute[0]) != has_values;
}

/* What settings must not be, taken together: told where mintmark.yaml says it or, if the profile alone is so, there. */
static const struct contradiction {
    bool (*is_there)(const json_t *settings);
    const char *path;
    const char *reason;
} CONTRADICTIONS[] = {
    {is_pin_form_empty, "/pin_form", "no PIN can have ‹pin_form›: its ‹min› is more than its ‹max›"},
    {is_session_not_the_engines, "/session",
     "‹session: read_write› needs ‹signing: direct›: the engine's are read-only"},
    {is_delay_longer_than_its_max, "/restart_delay_ms", "‹restart_delay_ms› is longer than ‹restart_delay_max›"},
    {is_half_of_vendor_attribute, "/generate", "‹vendor_attribute› and ‹vendor_values› need each other"},
};

/* `of_profile`: what `profile` alone makes of the settings. */
static bool check_contradictions(const struct loader *loader, const json_t *settings, const char *path,
                                 const json_t *of_profile, const struct mm_document *profile)
{
    for (size_t i = 0; i < MM_ARRAY_SIZE(CONTRADICTIONS); i++) {
        const struct contradiction *rule = &CONTRADICTIONS[i];
        if (!rule->is_there(settings))
            continue;
        if (rule->is_there(of_profile)) {
            mm_problems_add(loader->problems, profile->file, mm_document_line(profile, rule->path), rule->path, "%s",
                            rule->reason);
            continue;
        }
        mm_cleanup(free) char *member = mm_pointer_child(path, rule->path + 1);
        if (!member)
            return false;
        mm_loader_report(loader, member, "%s", rule->reason);
    }
    return true;
}

json_t *mm_loader_settings(const struct loader *loader, json_t *item, const char *path)
{
    const char *name = mm_json_string(item, "profile");
    size_t n_errors = loader->problems->n_errors;
    mm_cleanup(mm_document_clear) struct mm_document generic = {0};
    mm_cleanup(mm_document_clear) struct mm_document profile = {0};
    mm_cleanup(json_decref) json_t *of_profile = json_object();
    mm_cleanup(free) char *profile_path = mm_pointer_child(path, "profile");
    if (of_profile && profile_path && lay_over(loader, GENERIC, profile_path, of_profile, &generic) &&
        (!name || lay_over(loader, name, profile_path, of_profile, &profile))) {
        mm_cleanup(json_decref) json_t *settings = json_deep_copy(of_profile);
        /* With half a profile, what is missing of it would be blamed on the rest. */
        if (settings && json_object_update_recursive(settings, item) == 0 &&
            (loader->problems->n_errors > n_errors ||
             check_contradictions(loader, settings, path, of_profile, &profile)))
            return MM_TAKE(settings);
    }
    mm_loader_no_memory(loader);
    return NULL;
}

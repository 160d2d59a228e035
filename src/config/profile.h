/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The profiles of HSMs: settings for a kind of module, as YAML. Those of hsm/profiles/ are part of the program; an operator's own
 * is a file, judged by the same schema.
 */
#ifndef MM_CONFIG_PROFILE_H
#define MM_CONFIG_PROFILE_H

#include "config/loader.h"

struct mm_embedded_profile {
    const char *name;
    const unsigned char *data; /* YAML */
    size_t length;
};

/* Made by the build; a NULL name ends it. */
extern const struct mm_embedded_profile MM_EMBEDDED_PROFILES[];

/*
 * The settings of one HSM token (`item` of mintmark.yaml, at `path`): what the item says, else its profile, else `generic`. Paths
 * of a profile's file are resolved beside it. A profile that can't be had is reported and left out; settings that contradict
 * each other are reported where they are written. NULL: out of memory.
 */
MM_MUST_USE json_t *mm_loader_settings(const struct loader *loader, json_t *item, const char *path);

/* Whether the values of variables called `name` are paths: SOFTHSM2_CONF and the like. */
bool mm_is_path_variable(const char *name);

#endif

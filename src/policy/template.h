/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Resource templates: resources that callers name by URI (RFC 8707). A template only translates; what it comes to is
 * granted or not like any resource.
 */
#ifndef MM_POLICY_TEMPLATE_H
#define MM_POLICY_TEMPLATE_H

#include "policy/decide.h"

/*
 * Whether `uri_template` (NULL: none), which may be malformed, has `uri`: they are the same but for `{id}`, for which
 * `uri` has 1 to 128 letters, digits, `_` and `-`. Bytes are compared as they are, nothing is decoded.
 */
bool mm_template_has(const char *uri_template, const char *uri);

/* The resource whose `{id}` is `id`, which may be malformed. False if there is none such, or it is too long. */
MM_MUST_USE bool mm_template_fill(const struct mm_resource_template *template, const char *id,
                                  char ret_resource[MM_RESOURCE_LENGTH_MAX + 1]);

/* The resource that `uri` names. False if it names none, or one that is too long. */
MM_MUST_USE bool mm_template_render(const struct mm_resource_template *template, const char *uri,
                                    char ret_resource[MM_RESOURCE_LENGTH_MAX + 1]);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
#include "policy/template.h"

#include <stdio.h>
#include <string.h>

enum { ID_MAX = 128 };

static const char HOLE[] = "{id}";
static const char ID_CHARACTERS[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-";

struct id {
    const char *text; /* NULL: none */
    size_t length;
};

/*
 * What stands in `uri` for the hole: as its characters aren't those of a path's, a query's or an escape's delimiters,
 * there is one reading.
 */
static struct id find_id(const char *uri_template, const char *uri)
{
    static const struct id NONE = {0};
    const char *hole = uri_template ? strstr(uri_template, HOLE) : NULL;
    size_t before = hole ? (size_t)(hole - uri_template) : 0;
    if (!hole || strncmp(uri_template, uri, before) != 0)
        return NONE;
    const char *after = hole + strlen(HOLE);
    size_t rest = strlen(uri) - before;
    size_t length = rest > strlen(after) ? rest - strlen(after) : 0;
    const char *id = uri + before;
    if (length == 0 || length > ID_MAX || strspn(id, ID_CHARACTERS) < length || strcmp(id + length, after) != 0)
        return NONE;
    return (struct id){id, length};
}

bool mm_template_has(const char *uri_template, const char *uri)
{
    return find_id(uri_template, uri).text != NULL;
}

static bool fill(const struct mm_resource_template *template, struct id id,
                 char ret_resource[MM_RESOURCE_LENGTH_MAX + 1])
{
    const char *hole = id.text && template->resource ? strstr(template->resource, HOLE) : NULL;
    if (!hole)
        return false;
    int length = snprintf(ret_resource, MM_RESOURCE_LENGTH_MAX + 1, "%.*s%.*s%s", (int)(hole - template->resource),
                          template->resource, (int)id.length, id.text, hole + strlen(HOLE));
    return length > 0 && length <= MM_RESOURCE_LENGTH_MAX;
}

bool mm_template_fill(const struct mm_resource_template *template, const char *id,
                      char ret_resource[MM_RESOURCE_LENGTH_MAX + 1])
{
    return fill(template, find_id(HOLE, id), ret_resource);
}

bool mm_template_render(const struct mm_resource_template *template, const char *uri,
                        char ret_resource[MM_RESOURCE_LENGTH_MAX + 1])
{
    return fill(template, find_id(template->uri, uri), ret_resource);
}

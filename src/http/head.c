/* SPDX-License-Identifier: Apache-2.0 */
#include "http/head.h"

#include <string.h>

struct mm_target mm_target_judge(const char *target)
{
    struct mm_target judged = {.length = strlen(target)};
    judged.is_good = mm_target_check(target, judged.length, &judged.error);
    return judged;
}

size_t mm_target_keep_escaped(void *context, struct MHD_Connection *mhd, char *text)
{
    (void)context, (void)mhd;
    return strlen(text);
}

static enum MHD_Result gather_field(void *context, enum MHD_ValueKind kind, const char *name, size_t name_length,
                                    const char *value, size_t value_length)
{
    (void)kind;
    mm_head_add(context, name, name_length, value ? value : "", value_length);
    return MHD_YES;
}

/*
 * The target and the version that follows it lie side by side in memory: had the target held a NUL byte, there would be more
 * room between them than it fills.
 */
static bool check_target(const struct mm_request_line *line, const struct mm_target *judged, struct mm_error *err)
{
    if ((uintptr_t)line->version != (uintptr_t)line->target + judged->length + 1)
        return mm_fail(err, MM_INVALID_REQUEST, "the request target holds a NUL byte");
    return judged->is_good || mm_fail(err, judged->error.code, "%s", judged->error.message);
}

bool mm_head_take(struct MHD_Connection *mhd, const struct mm_request_line *line, const struct mm_target *judged,
                  size_t max, struct mm_head *ret_head, struct mm_error *err)
{
    size_t size = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_REQUEST_HEADER_SIZE)->header_size;
    mm_head_begin(ret_head, line->version);
    (void)MHD_get_connection_values_n(mhd, MHD_HEADER_KIND, gather_field, ret_head);
    /* The method is where the head begins. */
    if (!mm_head_check(ret_head, line->version, line->method + size, err) || !check_target(line, judged, err))
        return false;
    return size <= max || mm_fail(err, MM_HEADERS_TOO_LARGE, "the header has %zu bytes", size);
}

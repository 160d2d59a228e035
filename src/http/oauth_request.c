/* SPDX-License-Identifier: Apache-2.0 */
#include "http/oauth_request.h"

#include <string.h>

#include "http/token_request.h"

static const char *const MAY_REPEAT[] = {"resource", "audience", NULL};

static bool has_scope(const struct mm_oauth_request *request, const char *scope)
{
    for (size_t i = 0; i < request->n_scopes; i++)
        if (strcmp(request->scopes[i], scope) == 0)
            return true;
    return false;
}

static bool take_scope(struct mm_oauth_request *request, const char *scope, struct mm_error *err)
{
    size_t length = strlen(scope);
    if (length == 0 || length > MM_SCOPE_LENGTH_MAX || !mm_text_is_plain(scope))
        return mm_fail(err, MM_INVALID_SCOPE, "the scope isn't a list of words with one space between two");
    if (has_scope(request, scope))
        return true;
    if (request->n_scopes == MM_SCOPES_MAX)
        return mm_fail(err, MM_INVALID_SCOPE, "more than %d scopes", MM_SCOPES_MAX);
    request->scopes[request->n_scopes++] = scope;
    return true;
}

/* scope = scope-token *( SP scope-token ) (RFC 6749 section 3.3), split in place. */
static bool take_scopes(struct mm_oauth_request *request, struct mm_error *err)
{
    for (char *next = mm_form_value(&request->form, "scope"); next;)
        if (!take_scope(request, strsep(&next, " "), err))
            return false;
    return true;
}

static bool take_targets(struct mm_oauth_request *request, const char *name, const char **ret_values, size_t max,
                         size_t *ret_n, struct mm_error *err)
{
    for (size_t i = 0; i < request->form.n; i++) {
        if (strcmp(request->form.fields[i].name, name) != 0)
            continue;
        if (*ret_n == max)
            return mm_fail(err, MM_INVALID_TARGET, "more than %zu values of %s", max, name);
        ret_values[(*ret_n)++] = request->form.fields[i].value;
    }
    return true;
}

/* Digits alone: what else strtoll() takes (signs, spaces, a first 0) could be read differently elsewhere. */
static bool take_ttl(struct mm_oauth_request *request, struct mm_error *err)
{
    const char *text = mm_form_value(&request->form, "ttl_seconds");
    if (!text)
        return true;
    size_t length = strlen(text);
    bool is_number = length <= 9 && strspn(text, "0123456789") == length && *text != '0';
    request->ttl = is_number ? strtoll(text, NULL, 10) : 0;
    return (request->ttl >= 1 && request->ttl <= MM_TTL_SECONDS_MAX) ||
           mm_fail(err, MM_INVALID_REQUEST, "ttl_seconds isn't a number from 1 to %d", MM_TTL_SECONDS_MAX);
}

static bool take_binding(struct mm_oauth_request *request, struct mm_error *err)
{
    const char *text = mm_form_value(&request->form, "certificate_bound");
    request->is_bound = text && strcmp(text, "true") == 0;
    return !text || request->is_bound || strcmp(text, "false") == 0 ||
           mm_fail(err, MM_INVALID_REQUEST, "certificate_bound is neither true nor false");
}

bool mm_oauth_request_parse(const char *text, size_t length, struct mm_oauth_request *ret_request, struct mm_error *err)
{
    struct mm_oauth_request *request = ret_request;
    struct mm_oauth_target_request *target = &request->target;
    *request = (struct mm_oauth_request){0};
    if (!mm_form_parse(text, length, &request->form, err) || !mm_form_check_repeats(&request->form, MAY_REPEAT, err))
        return false;
    request->grant_type = mm_form_value(&request->form, "grant_type");
    if (!request->grant_type)
        return mm_fail(err, MM_INVALID_REQUEST, "the parameter grant_type is missing");
    return take_ttl(request, err) && take_binding(request, err) && take_scopes(request, err) &&
           take_targets(request, "resource", target->uris, MM_OAUTH_TARGET_URIS_MAX, &target->n_uris, err) &&
           take_targets(request, "audience", &target->audience, 1, &target->n_audiences, err);
}

void mm_oauth_request_clear(struct mm_oauth_request *request)
{
    mm_form_clear(&request->form);
    *request = (struct mm_oauth_request){0};
}

/* SPDX-License-Identifier: Apache-2.0 */
/* The body of POST /oauth2/token: what is taken obeys every bound, and reads the same once it is escaped again. */
#include "fuzz.h"

#include <stdio.h>
#include <string.h>

#include "http/oauth_request.h"
#include "http/token_request.h"
#include "util/utf8.h"

enum { BODY_MAX = 1 << 20 };

static void check_text(const char *text, size_t max)
{
    size_t length = strlen(text);
    assert(length <= max);
    for (size_t i = 0, size; i < length; i += size) {
        uint32_t code;
        size = mm_utf8_decode(text + i, length - i, &code);
        assert(size > 0);
    }
}

static char *escape(char *out, const char *text)
{
    for (; *text; text++)
        out += sprintf(out, "%%%02X", (unsigned)(unsigned char)*text);
    return out;
}

/* Every byte escaped; the caller frees it. */
static char *write_again(const struct mm_form *form)
{
    size_t room = 1;
    for (size_t i = 0; i < form->n; i++)
        room += 3 * (strlen(form->fields[i].name) + strlen(form->fields[i].value)) + 2;
    char *text = malloc(room);
    assert(text);
    char *end = text;
    for (size_t i = 0; i < form->n; i++) {
        end = stpcpy(escape(end, form->fields[i].name), "=");
        end = stpcpy(escape(end, form->fields[i].value), "&");
    }
    *end = '\0';
    return text;
}

static void check_form(const struct mm_form *form)
{
    assert(form->n <= MM_FORM_FIELDS_MAX);
    for (size_t i = 0; i < form->n; i++) {
        check_text(form->fields[i].name, MM_FORM_NAME_MAX);
        check_text(form->fields[i].value, MM_FORM_VALUE_MAX);
        assert(*form->fields[i].value);
    }
    mm_cleanup(free) char *text = write_again(form);
    mm_cleanup(mm_form_clear) struct mm_form again;
    bool is_taken = mm_form_parse(text, strlen(text), &again, NULL);
    assert(is_taken && again.n == form->n);
    for (size_t i = 0; i < form->n; i++)
        assert(strcmp(form->fields[i].name, again.fields[i].name) == 0 &&
               strcmp(form->fields[i].value, again.fields[i].value) == 0);
}

static void check_request(const struct mm_oauth_request *request)
{
    assert(*request->grant_type && request->n_scopes <= MM_SCOPES_MAX);
    assert(request->target.n_uris <= MM_OAUTH_TARGET_URIS_MAX && request->target.n_audiences <= 1);
    assert(request->ttl >= 0 && request->ttl <= MM_TTL_SECONDS_MAX);
    for (size_t i = 0; i < request->n_scopes; i++) {
        size_t length = strlen(request->scopes[i]);
        assert(length >= 1 && length <= MM_SCOPE_LENGTH_MAX && mm_text_is_plain(request->scopes[i]));
        for (size_t j = 0; j < i; j++)
            assert(strcmp(request->scopes[i], request->scopes[j]) != 0);
    }
}

static char *copy(const uint8_t *data, size_t size)
{
    char *text = malloc(size + 1);
    assert(text);
    if (size > 0)
        memcpy(text, data, size);
    text[size] = '\0';
    return text;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size > BODY_MAX)
        return 0;
    mm_cleanup(free) char *once = copy(data, size);
    mm_cleanup(free) char *twice = copy(data, size);
    struct mm_error err = {0};
    mm_cleanup(mm_form_clear) struct mm_form form;
    bool is_form = mm_form_parse(once, size, &form, &err);
    assert(is_form ? err.code == MM_OK : err.code == MM_INVALID_REQUEST && err.message[0]);
    if (is_form)
        check_form(&form);
    struct mm_error why = {0};
    mm_cleanup(mm_oauth_request_clear) struct mm_oauth_request request;
    if (mm_oauth_request_parse(twice, size, &request, &why)) {
        assert(is_form && why.code == MM_OK);
        check_request(&request);
    } else {
        assert(why.code == MM_INVALID_REQUEST || why.code == MM_INVALID_SCOPE || why.code == MM_INVALID_TARGET);
    }
    return 0;
}

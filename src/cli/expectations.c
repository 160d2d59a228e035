/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/expectations.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "cli/explain.h"
#include "policy/decide.h"
#include "policy/syntax.h"
#include "token/jws.h"
#include "util/clock.h"
#include "util/file.h"

enum { EXPECTATIONS_MAX = 1000, CLAIMS_MAX = 100, NAME_MAX_BYTES = 200, POINTER_MAX = 64 };

static const char SUFFIX[] = ".test.yaml";
static const char YAML[] = ".yaml";

static const enum mm_code REFUSALS[] = {MM_ACCESS_DENIED,        MM_CREDENTIAL_AMBIGUOUS, MM_SCOPE_NOT_GRANTED,
                                        MM_RESOURCE_NOT_GRANTED, MM_AUDIENCE_NOT_GRANTED, MM_TTL_TOO_LONG,
                                        MM_NO_SINGLE_GRANT,      MM_INVALID_REQUEST};

static const char *check_refusal(const char *code)
{
    for (size_t i = 0; i < MM_ARRAY_SIZE(REFUSALS); i++)
        if (strcmp(code, mm_code_name(REFUSALS[i])) == 0)
            return NULL;
    return "must be the code that such a request is refused with: access_denied, credential_ambiguous, "
           "scope_not_granted, "
           "resource_not_granted, audience_not_granted, ttl_too_long, no_single_grant or invalid_request";
}

static const struct mm_schema CLAIM = {.type = MM_SCHEMA_ANY};
static const struct mm_schema SCOPE = {.type = MM_SCHEMA_STRING, .min = 1, .max = MM_SCOPE_LENGTH_MAX};

static const struct mm_schema REQUEST_MEMBERS[] = {
    {.name = "scopes",
     .type = MM_SCHEMA_ARRAY,
     .presence = MM_REQUIRED,
     .min = 1,
     .max = MM_SCOPES_MAX,
     .element = &SCOPE,
     .repeats = MM_REPEATS_REFUSED},
    {.name = "resource", .type = MM_SCHEMA_STRING, .min = 1, .max = MM_RESOURCE_LENGTH_MAX},
    {.name = "audience", .type = MM_SCHEMA_STRING, .min = 1, .max = MM_AUDIENCE_LENGTH_MAX},
    {.name = "ttl", .type = MM_SCHEMA_DURATION, .min = 1},
    {0},
};

static const struct mm_schema EXPECTATION_MEMBERS[] = {
    {.name = "name",
     .type = MM_SCHEMA_STRING,
     .presence = MM_REQUIRED,
     .min = 1,
     .max = NAME_MAX_BYTES,
     .check = mm_check_line},
    {.name = "claims", .type = MM_SCHEMA_MAP, .min = 1, .max = CLAIMS_MAX, .element = &CLAIM},
    {.name = "token_file", .type = MM_SCHEMA_STRING, .min = 1},
    {.name = "account", .type = MM_SCHEMA_STRING, .check = mm_check_id},
    {.name = "audit", .type = MM_SCHEMA_STRING, .check = mm_check_id},
    {.name = "request", .type = MM_SCHEMA_OBJECT, .members = REQUEST_MEMBERS},
    {.name = "refused", .type = MM_SCHEMA_STRING, .check = check_refusal},
    {0},
};

static const struct mm_schema EXPECTATION = {.type = MM_SCHEMA_OBJECT, .members = EXPECTATION_MEMBERS};

static const struct mm_schema FILE_MEMBERS[] = {
    {.name = "tenant", .type = MM_SCHEMA_STRING, .presence = MM_REQUIRED, .check = mm_check_id},
    {.name = "expectations",
     .type = MM_SCHEMA_ARRAY,
     .presence = MM_REQUIRED,
     .min = 1,
     .max = EXPECTATIONS_MAX,
     .element = &EXPECTATION},
    {0},
};

static const struct mm_schema FILE_SCHEMA = {.type = MM_SCHEMA_OBJECT, .members = FILE_MEMBERS};

struct run {
    const struct mm_config *config;
    const struct mm_document *document;
    const struct mm_tenant *tenant;
    struct mm_problems *problems;
};

static void report(const struct run *run, const char *path, const char *reason)
{
    mm_problems_add(run->problems, run->document->file, mm_document_line(run->document, path), path, "%s", reason);
}

/* The payload of the token that `file` holds, whoever signed it and whenever. */
static json_t *read_token(const struct run *run, const char *file, const char *path)
{
    struct mm_error err = {0};
    mm_cleanup(free) char *resolved = mm_path_beside(run->document->file, file, &err);
    mm_cleanup(mm_buffer_clear) struct mm_buffer text = mm_buffer_make(MM_JWT_MAX + 1);
    mm_cleanup(mm_jws_clear) struct mm_jws jws = {0};
    if (!resolved || !mm_file_read(resolved, &text, &err) || !mm_buffer_append_string(&text, "", &err)) {
        report(run, path, err.message);
        return NULL;
    }
    char *token = (char *)text.data;
    token[strcspn(token, " \t\r\n")] = '\0';
    if (!mm_jws_parse(token, &jws, &err)) {
        report(run, path, err.message);
        return NULL;
    }
    return json_incref(jws.payload);
}

/* What the expectation says of the token; without an audience it is for us. */
static json_t *claims_of(const struct run *run, const json_t *expectation, const char *path)
{
    const char *file = mm_json_string(expectation, "token_file");
    if (file)
        return read_token(run, file, path);
    mm_cleanup(json_decref) json_t *claims = json_deep_copy(json_object_get(expectation, "claims"));
    if (!claims || (!json_object_get(claims, "aud") &&
                    json_object_set_new(claims, "aud", json_string(run->config->issuer)) != 0)) {
        report(run, path, "out of memory");
        return NULL;
    }
    return MM_TAKE(claims);
}

static bool decide(const struct mm_tenant *tenant, const struct mm_account *account, const json_t *request,
                   struct mm_error *err)
{
    const json_t *array = json_object_get(request, "scopes");
    const char *scopes[MM_SCOPES_MAX] = {NULL};
    for (size_t i = 0; i < json_array_size(array); i++)
        scopes[i] = json_string_value(json_array_get(array, i));
    const struct mm_token_request asked = {.scopes = scopes,
                                           .n_scopes = json_array_size(array),
                                           .resource_id = mm_json_string(request, "resource"),
                                           .audience = mm_json_string(request, "audience"),
                                           .ttl = mm_json_integer(request, "ttl", 0)};
    struct mm_decision decision;
    return mm_policy_decide(tenant, account, &asked, &decision, err);
}

/* An outcome in words: `ci-build`, `ci-build, refused: scope_not_granted`, `refused: access_denied`, with what audits saw. */
static char *put_in_words(const char *account, const char *refused, const char *audit)
{
    char *text = NULL;
    if (asprintf(&text, "%s%s%s%s%s%s", account ? account : "", account && refused ? ", " : "",
                 refused ? "refused: " : "", refused ? refused : "", audit ? ", audit: " : "", audit ? audit : "") < 0)
        return NULL;
    return text;
}

static bool have_identity(const json_t *audit, const struct mm_tenant *tenant, const char *id)
{
    mm_cleanup(free) char *identity = NULL;
    if (asprintf(&identity, "%s/%s", tenant->id, id) < 0)
        identity = NULL;
    return identity && mm_json_array_has(audit, identity);
}

/* What comes of it. NULL: reported. */
static char *find_out(const struct run *run, const json_t *expectation, const char *path)
{
    mm_cleanup(json_decref) json_t *claims = claims_of(run, expectation, path);
    const struct mm_explained token = {.claims = claims, .now = mm_clock_now(&MM_SYSTEM_CLOCK)};
    const json_t *request = json_object_get(expectation, "request");
    const char *audit = mm_json_string(expectation, "audit");
    struct mm_explained_outcome outcome;
    if (!claims)
        return NULL;
    if (!mm_explain_outcome(run->config, run->tenant, &token, &outcome)) {
        report(run, path, "out of memory");
        return NULL;
    }
    mm_cleanup(json_decref) json_t *audits = outcome.audit;
    struct mm_error *err = &outcome.err;
    bool is_granted = outcome.account && (!request || decide(run->tenant, outcome.account, request, err));
    char *got = put_in_words(outcome.account ? outcome.account->id : NULL, is_granted ? NULL : mm_code_name(err->code),
                             audit && have_identity(audits, run->tenant, audit) ? audit : NULL);
    if (!got)
        report(run, path, "out of memory");
    return got;
}

static bool check_expectation(const struct run *run, const json_t *expectation, const char *path)
{
    bool has_account = json_object_get(expectation, "account") != NULL;
    bool is_refused = json_object_get(expectation, "refused") != NULL;
    bool has_request = json_object_get(expectation, "request") != NULL;
    const char *reason = NULL;
    if (!json_object_get(expectation, "claims") == !json_object_get(expectation, "token_file"))
        reason = "must have one of claims and token_file";
    else if (!has_account && !is_refused)
        reason = "must say what is expected: account, refused, or both";
    else if (has_account && is_refused && !has_request)
        reason = "an account is refused something that it asks for: say what in request";
    if (reason)
        report(run, path, reason);
    return !reason;
}

static bool run_one(const struct run *run, size_t index, json_t *results)
{
    const json_t *expectation = json_array_get(json_object_get(run->document->root, "expectations"), index);
    char path[POINTER_MAX];
    (void)snprintf(path, sizeof path, "/expectations/%zu", index);
    if (!check_expectation(run, expectation, path))
        return false;
    mm_cleanup(free) char *got = find_out(run, expectation, path);
    mm_cleanup(free) char *expected =
        put_in_words(mm_json_string(expectation, "account"), mm_json_string(expectation, "refused"),
                     mm_json_string(expectation, "audit"));
    if (!got || !expected)
        return false;
    json_t *result = json_pack("{s:s, s:i, s:s, s:b, s:s, s:s}", "file", run->document->file, "line",
                               mm_document_line(run->document, path), "name", mm_json_string(expectation, "name"),
                               "passed", strcmp(got, expected) == 0, "expected", expected, "got", got);
    if (mm_json_append(results, result, NULL))
        return true;
    report(run, path, "out of memory");
    return false;
}

static bool read_document(const char *file, struct mm_document *document, struct mm_problems *problems)
{
    struct mm_error err = {0};
    mm_cleanup(mm_buffer_clear) struct mm_buffer text = mm_buffer_make(MM_YAML_FILE_MAX);
    if (!mm_file_read(file, &text, &err)) {
        mm_problems_add(problems, file, 0, "", "%s", err.message);
        return false;
    }
    bool is_parsed = mm_yaml_parse(file, text.data, text.length, document, problems);
    return document->root && mm_schema_validate(&FILE_SCHEMA, document, problems) && is_parsed;
}

json_t *mm_expectations_run(const struct mm_config *config, const char *file, struct mm_problems *problems)
{
    mm_cleanup(mm_document_clear) struct mm_document document = {0};
    if (!read_document(file, &document, problems))
        return NULL;
    struct run run = {.config = config,
                      .document = &document,
                      .tenant = mm_policy_tenant(&config->policy, mm_json_string(document.root, "tenant")),
                      .problems = problems};
    if (!run.tenant) {
        report(&run, "/tenant", "there is no such tenant");
        return NULL;
    }
    mm_cleanup(json_decref) json_t *results = json_array();
    bool are_whole = results != NULL;
    for (size_t i = 0; i < json_array_size(json_object_get(document.root, "expectations")); i++)
        are_whole &= run_one(&run, i, results);
    return are_whole ? MM_TAKE(results) : NULL;
}

static bool ends_with(const char *text, const char *end)
{
    size_t length = strlen(text);
    return length > strlen(end) && strcmp(text + length - strlen(end), end) == 0;
}

static int is_of_expectations(const struct dirent *entry)
{
    return ends_with(entry->d_name, SUFFIX);
}

bool mm_expectations_list(const char *folder, json_t *ret_files, struct mm_error *err)
{
    struct dirent **entries = NULL;
    int n = scandir(folder, &entries, is_of_expectations, alphasort);
    bool is_whole = n >= 0 || mm_fail(err, MM_FILE, "%s: %s", folder, strerror(errno));
    for (int i = 0; i < n; i++) {
        mm_cleanup(free) char *path = NULL;
        if (asprintf(&path, "%s/%s", folder, entries[i]->d_name) < 0)
            path = NULL;
        is_whole = path && mm_json_append(ret_files, json_string(path), err) && is_whole;
        free(entries[i]);
    }
    free(entries);
    return is_whole || mm_fail(err, MM_NO_MEMORY, "out of memory");
}

bool mm_expectations_beside(const struct mm_config *config, json_t *ret_files, struct mm_error *err)
{
    for (size_t i = 0; i < config->files.n; i++) {
        const char *file = config->files.items[i];
        mm_cleanup(free) char *beside = NULL;
        if (!ends_with(file, YAML))
            continue;
        if (asprintf(&beside, "%.*s%s", (int)(strlen(file) - strlen(YAML)), file, SUFFIX) < 0) {
            beside = NULL;
            return mm_fail(err, MM_NO_MEMORY, "out of memory");
        }
        if (access(beside, F_OK) == 0 && !mm_json_append(ret_files, json_string(beside), err))
            return false;
    }
    return true;
}

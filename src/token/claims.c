/* SPDX-License-Identifier: Apache-2.0 */
#include "token/claims.h"

#include <assert.h>
#include <string.h>

#include "util/base64url.h"
#include "util/json_writer.h"

enum { JTI_TIME_BYTES = 6, JTI_RANDOM_BYTES = 16 };

bool mm_jti_make(const struct mm_random *random, int64_t unix_ms, char *out, struct mm_error *err)
{
    uint8_t bytes[JTI_TIME_BYTES + JTI_RANDOM_BYTES];
    for (int i = JTI_TIME_BYTES - 1; i >= 0; i--, unix_ms >>= 8)
        bytes[i] = (uint8_t)unix_ms;
    if (!random->fill(random->context, bytes + JTI_TIME_BYTES, JTI_RANDOM_BYTES))
        return mm_fail(err, MM_INTERNAL, "the machine has no entropy for a jti");
    mm_base64url_encode(bytes, sizeof bytes, out);
    return true;
}

/* The part of a scope before its colon. */
static size_t action_length(const char *scope)
{
    return strcspn(scope, ":");
}

static bool check_scopes(const struct mm_claims *claims, struct mm_error *err)
{
    for (size_t i = 0; i < claims->n_scopes; i++) {
        const char *scope = claims->scopes[i];
        size_t length = action_length(scope);
        /* A space would make two scopes of one. */
        if (length == 0 || scope[length] == '\0' || strchr(scope, ' '))
            return mm_fail(err, MM_INTERNAL, "a scope that isn't action:kind");
    }
    return true;
}

static bool is_repeated(const struct mm_claims *claims, size_t i)
{
    size_t length = action_length(claims->scopes[i]);
    for (size_t j = 0; j < i; j++)
        if (action_length(claims->scopes[j]) == length && memcmp(claims->scopes[j], claims->scopes[i], length) == 0)
            return true;
    return false;
}

/* The scopes' distinct actions, in the order in which they first come. */
static void put_permission(struct mm_json_writer *writer, const struct mm_claims *claims)
{
    mm_json_open(writer, '[');
    for (size_t i = 0; i < claims->n_scopes; i++)
        if (!is_repeated(claims, i))
            mm_json_put_bytes(writer, claims->scopes[i], action_length(claims->scopes[i]));
    mm_json_close(writer, ']');
}

char *mm_claims_resources(const struct mm_claims *claims, struct mm_error *err)
{
    if (!check_scopes(claims, err))
        return NULL;
    mm_cleanup(mm_json_writer_clear) struct mm_json_writer writer = mm_json_writer_make();
    mm_json_open(&writer, '[');
    for (size_t i = 0; i < claims->n_resources; i++) {
        mm_json_open(&writer, '{');
        mm_json_member_string(&writer, "resource_id", claims->resources[i]);
        mm_json_name(&writer, "permission");
        put_permission(&writer, claims);
        mm_json_close(&writer, '}');
    }
    mm_json_close(&writer, ']');
    return mm_json_writer_finish(&writer, err);
}

static char *join_scopes(const struct mm_claims *claims, struct mm_error *err)
{
    size_t length = 0;
    for (size_t i = 0; i < claims->n_scopes; i++)
        length += strlen(claims->scopes[i]) + 1;
    char *joined = calloc(1, length + 1);
    if (!joined) {
        (void)mm_fail(err, MM_NO_MEMORY, "out of memory");
        return NULL;
    }
    char *end = joined;
    for (size_t i = 0; i < claims->n_scopes; i++) {
        if (i > 0)
            *end++ = ' ';
        end = stpcpy(end, claims->scopes[i]);
    }
    return joined;
}

static void put_optional(struct mm_json_writer *writer, const struct mm_claims *claims,
                         const struct mm_claims_subject *subject)
{
    if (claims->n_root_domains > 0) {
        mm_json_name(writer, "root_domains");
        mm_json_put_strings(writer, claims->root_domains, claims->n_root_domains);
    }
    if (subject->actor) {
        mm_json_name(writer, "act");
        mm_json_put_text(writer, subject->actor);
    }
    if (claims->certificate) {
        mm_json_name(writer, "cnf");
        mm_json_open(writer, '{');
        mm_json_member_string(writer, "x5t#S256", claims->certificate);
        mm_json_close(writer, '}');
    }
}

char *mm_claims_payload(const struct mm_claims *claims, const char *resources, struct mm_error *err)
{
    assert(claims->n_audiences > 0);
    const struct mm_claims_subject self = {claims->identity, claims->identity, "mintmark", NULL};
    const struct mm_claims_subject *subject = claims->subject ? claims->subject : &self;
    mm_cleanup(free) char *scope = check_scopes(claims, err) ? join_scopes(claims, err) : NULL;
    if (!scope)
        return NULL;
    mm_cleanup(mm_json_writer_clear) struct mm_json_writer writer = mm_json_writer_make();
    mm_json_open(&writer, '{');
    mm_json_member_string(&writer, "iss", claims->issuer);
    mm_json_member_string(&writer, "sub", subject->identity);
    mm_json_name(&writer, "aud");
    if (claims->n_audiences == 1)
        mm_json_put_string(&writer, claims->audiences[0]);
    else
        mm_json_put_strings(&writer, claims->audiences, claims->n_audiences);
    mm_json_member_string(&writer, "client_id", claims->identity);
    mm_json_member_integer(&writer, "iat", claims->issued_at);
    mm_json_member_integer(&writer, "exp", claims->expires_at);
    mm_json_member_string(&writer, "jti", claims->jti);
    mm_json_member_string(&writer, "scope", scope);
    mm_json_member_string(&writer, "tenant_id", claims->tenant_id);
    mm_json_member_string(&writer, "env", claims->env);
    mm_json_member_string(&writer, "name", claims->name);
    mm_json_member_string(&writer, "preferred_username", subject->username);
    mm_json_member_string(&writer, "idp", subject->provider);
    mm_json_name(&writer, "is_service_account");
    mm_json_put_bool(&writer, claims->is_service_account);
    mm_json_name(&writer, "resources");
    mm_json_put_text(&writer, resources);
    put_optional(&writer, claims, subject);
    mm_json_close(&writer, '}');
    return mm_json_writer_finish(&writer, err);
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "http/credentials.h"

#include <string.h>

static bool take_jwt(struct mm_credentials *credentials, const char *jwt, enum mm_assertion_way way,
                     struct mm_error *err)
{
    if (credentials->jwt)
        return mm_fail(err, MM_INVALID_REQUEST, "the client authenticates in more than one way");
    credentials->jwt = jwt;
    credentials->way = way;
    return true;
}

static bool take_assertion(const struct mm_caller_credentials *said, struct mm_credentials *credentials,
                           struct mm_error *err)
{
    enum mm_assertion_way way;
    if (!said->client_assertion && !said->client_assertion_type)
        return true;
    if (!said->client_assertion || !said->client_assertion_type)
        return mm_fail(err, MM_INVALID_REQUEST, "client_assertion and client_assertion_type belong together");
    return mm_assertion_way_parse(said->client_assertion_type, &way, err) &&
           take_jwt(credentials, said->client_assertion, way, err);
}

/* What follows the scheme. */
static const char *value_of(const char *authorization)
{
    authorization += strcspn(authorization, " ");
    return authorization + strspn(authorization, " ");
}

static bool take_basic(const char *value, struct mm_credentials *credentials, struct mm_error *err)
{
    struct mm_basic *basic = &credentials->basic;
    if (!mm_basic_parse(value, basic, err))
        return false;
    if (credentials->client_id && strcmp(credentials->client_id, basic->id) != 0)
        return mm_fail(err, MM_CREDENTIAL_INVALID, "client_id and the Authorization name different clients");
    credentials->client_id = basic->id;
    return take_jwt(credentials, basic->secret, MM_ASSERTION_AS_SECRET, err);
}

/* Basic at OAuth's paths (RFC 6749 section 2.3.1), Bearer at the others (RFC 6750 section 2.1), where another scheme says nothing. */
static bool take_authorization(const struct mm_request *request, struct mm_credentials *credentials,
                               struct mm_error *err)
{
    const char *authorization = mm_request_header(request, MHD_HTTP_HEADER_AUTHORIZATION);
    if (!authorization)
        return true;
    const char *value = value_of(authorization);
    if (request->form != MM_ERRORS_OAUTH)
        return !mm_request_authorizes_by(request, "Bearer") ||
               take_jwt(credentials, value, MM_ASSERTION_AS_BEARER, err);
    if (mm_request_authorizes_by(request, "Basic"))
        return take_basic(value, credentials, err);
    /* Counted with the others first: it may be one way too many. */
    return take_jwt(credentials, value, MM_ASSERTION_AS_SECRET, err) &&
           mm_fail(err, MM_CREDENTIAL_INVALID, "no such scheme of Authorization");
}

bool mm_credentials_take(const struct mm_request *request, const struct mm_caller_credentials *said,
                         struct mm_credentials *ret_credentials, struct mm_error *err)
{
    const char *secret = said->client_secret;
    *ret_credentials = (struct mm_credentials){.tenant_id = said->tenant_id, .client_id = said->client_id};
    const char *subject = said->subject_token;
    return take_assertion(said, ret_credentials, err) &&
           (!subject || take_jwt(ret_credentials, subject, MM_ASSERTION_AS_SUBJECT_TOKEN, err)) &&
           (!secret || take_jwt(ret_credentials, secret, MM_ASSERTION_AS_SECRET, err)) &&
           take_authorization(request, ret_credentials, err) && mm_request_peer(request, &ret_credentials->peer, err);
}

void mm_credentials_clear(struct mm_credentials *credentials)
{
    mm_certificate_unref(credentials->peer);
    mm_basic_clear(&credentials->basic);
    *credentials = (struct mm_credentials){0};
}

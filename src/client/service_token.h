/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An issued token as callers hold it: read from the service's answer, which must be just what was asked for, counted, and zeroed in
 * the end.
 */
#ifndef MM_CLIENT_SERVICE_TOKEN_H
#define MM_CLIENT_SERVICE_TOKEN_H

#include <mintmark/client.h>

#include "util/json.h"

MM_DEFINE_CLEANUP(struct mm_service_token, mm_service_token_unref);

/*
 * Read the body of a 201 that answers `request`, the body that was sent. Members that nobody knows are let through; a missing one, one of
 * a wrong type, an empty or oversized JWT, another tenant, other scopes, another resource or audience than asked: MM_UNREACHABLE.
 * Returns one reference.
 */
MM_MUST_USE struct mm_service_token *mm_service_token_read(const void *body, size_t length, const json_t *request,
                                                           struct mm_error *err);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The OIDC token of the platform that a program runs on, on its way into one request. Nothing that isn't a JWT is ever sent: a wrong
 * path must not give another file's content away.
 */
#ifndef MM_CLIENT_OIDC_TOKEN_H
#define MM_CLIENT_OIDC_TOKEN_H

#include <mintmark/client.h>

#include "util/base.h"

/* Room for one, zeroed when freed. */
struct mm_oidc_token {
    char text[MM_CLIENT_OIDC_TOKEN_MAX + 1]; /* NUL-terminated */
};

/* An empty one; NULL: MM_NO_MEMORY. */
MM_MUST_USE struct mm_oidc_token *mm_oidc_token_new(struct mm_error *err);
void mm_oidc_token_free(struct mm_oidc_token *token);
MM_DEFINE_CLEANUP(struct mm_oidc_token, mm_oidc_token_free);

/*
 * Read it from `fd` to the end; one newline (LF or CRLF) behind it is let through. MM_FILE, naming `what`, never the content: it can't be
 * read, is too long, or is no JWT.
 */
MM_MUST_USE bool mm_oidc_token_read(int fd, const char *what, struct mm_oidc_token *token, struct mm_error *err);

/* The same from a file, which is opened for this call alone: platforms put a new one in its place. */
MM_MUST_USE bool mm_oidc_token_from_file(const char *path, struct mm_oidc_token *token, struct mm_error *err);

/* Copy one. MM_USAGE, naming `what`: too long, or no JWT. */
MM_MUST_USE bool mm_oidc_token_copy(const char *text, const char *what, struct mm_oidc_token *token,
                                    struct mm_error *err);

/* Whether `text` is three parts of base64url (RFC 7515 section 7.1), none of them empty: fit to be put into a header as it is. */
bool mm_is_compact_jwt(const char *text);

#endif

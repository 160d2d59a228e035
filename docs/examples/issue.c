/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ask a Mintmark service for a token, the way a long-running program does: one client, one source, a token whenever one is needed.
 *
 *     cc issue.c $(pkg-config --cflags --libs libmintmark) -o issue
 *     ./issue https://mint.example.com ca.pem client.pem client.key acme read:repo
 *     ./issue https://mint.example.com ca.pem /var/run/secrets/mintmark/token acme read:repo
 *
 * With a client certificate and its key, or with a file in which the platform keeps an OIDC token.
 */
#include <inttypes.h>
#include <stdio.h>

#include <mintmark/client.h>

/* Retries are otherwise invisible: log them. */
static void log_failure(void *context, const struct mm_client_failure *failure)
{
    (void)context;
    fprintf(stderr, "attempt %u: %s", failure->attempt, failure->error->message);
    if (failure->retry_in_ms >= 0)
        fprintf(stderr, "; again in %" PRId64 " ms", failure->retry_in_ms);
    fputc('\n', stderr);
}

/* What each of the program's threads does, as often as it likes: only the first call, and a renewal, ask the service. */
static int use_token(struct mm_token_source *source)
{
    struct mm_error err = {0};
    struct mm_service_token *token = NULL;
    if (!mm_token_source_get(source, &token, &err)) {
        fprintf(stderr, "no token: %s\n", err.message);
        return mm_code_exit_status(err.code);
    }
    fprintf(stderr, "token %s for %s, good until %" PRId64 "\n", token->token_id, token->account, token->expires_at);
    printf("Authorization: Bearer %s\n", token->service_token);
    mm_service_token_unref(token);
    return 0;
}

int main(int argc, char **argv)
{
    if (argc != 6 && argc != 7) {
        fprintf(stderr, "usage: %s URL CA CERTIFICATE KEY TENANT SCOPE, or %s URL CA OIDC-TOKEN-FILE TENANT SCOPE\n",
                argv[0], argv[0]);
        return MM_EXIT_USAGE;
    }
    struct mm_client_options options = {.size = sizeof options,
                                        .url = argv[1],
                                        .ca_file = argv[2],
                                        .on_failure = log_failure};
    if (argc == 7) {
        options.certificate_file = argv[3];
        options.key_file = argv[4];
    } else {
        options.oidc_token_file = argv[3];
    }
    const char *scopes[] = {argv[argc - 1]};
    struct mm_client_request request = {.size = sizeof request,
                                        .tenant_id = argv[argc - 2],
                                        .scopes = scopes,
                                        .n_scopes = 1};

    struct mm_error err = {0};
    struct mm_client *client = mm_client_open(&options, &err);
    struct mm_token_source *source = client ? mm_token_source_open(client, &request, &err) : NULL;
    int status = source ? use_token(source) : mm_code_exit_status(err.code);
    if (err.code)
        fprintf(stderr, "%s: %s\n", argv[0], err.message);
    mm_token_source_close(source);
    mm_client_close(client);
    return status;
}

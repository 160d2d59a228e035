/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A program with a jansson allocator of its own, as it calls libmintmark: what it made before must still be its own to free.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include <jansson.h>
#include <mintmark/client.h>

enum { MARK = 0x6d696e74, HEADER = 16 };

static void *own_malloc(size_t size)
{
    char *block = malloc(size + HEADER);
    if (!block)
        return NULL;
    *(uint32_t *)(void *)block = MARK;
    return block + HEADER;
}

static void own_free(void *memory)
{
    if (!memory)
        return;
    char *block = (char *)memory - HEADER;
    if (*(uint32_t *)(void *)block != MARK)
        abort();
    free(block);
}

static int issue(char **argv)
{
    struct mm_client_options options = {
        .size = sizeof options, .url = argv[1], .ca_file = argv[2], .certificate_file = argv[3], .key_file = argv[4]};
    const char *scopes[] = {argv[6]};
    struct mm_client_request request = {.size = sizeof request, .tenant_id = argv[5], .scopes = scopes, .n_scopes = 1};
    struct mm_error err = {0};
    struct mm_service_token *token = NULL;
    struct mm_client *client = mm_client_open(&options, &err);
    int status = !client || !mm_client_issue_service_token(client, &request, &token, &err);
    (void)fprintf(stderr, "%s\n", status ? err.message : token->token_id);
    mm_service_token_unref(token);
    mm_client_close(client);
    return status;
}

int main(int argc, char **argv)
{
    json_malloc_t malloc_then;
    json_free_t free_then;
    if (argc != 7)
        return MM_EXIT_USAGE;
    json_set_alloc_funcs(own_malloc, own_free);
    json_t *own = json_pack("{ss}", "made", "before");
    int status = issue(argv);
    json_decref(own);
    json_get_alloc_funcs(&malloc_then, &free_then);
    return status || malloc_then != own_malloc || free_then != own_free;
}

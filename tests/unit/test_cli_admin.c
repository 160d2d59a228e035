/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the CLI says of a service that doesn't answer: whether a change was made is another question than whether anybody is there.
 */
#include "cli/admin.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "peer.h"

/* A service that takes requests and never answers one. */
struct silent {
    char socket[64];
    int fd;
};

static int open_silent(void **state)
{
    static struct silent silent;
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    char folder[] = "/tmp/mintmark-cli-admin-XXXXXX";
    if (!mkdtemp(folder))
        return -1;
    (void)snprintf(silent.socket, sizeof silent.socket, "%s/socket", folder);
    (void)snprintf(address.sun_path, sizeof address.sun_path, "%s", silent.socket);
    silent.fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    *state = &silent;
    return bind(silent.fd, (struct sockaddr *)&address, sizeof address) == 0 && listen(silent.fd, 8) == 0 ? 0 : -1;
}

static int close_silent(void **state)
{
    struct silent *silent = *state;
    (void)close(silent->fd);
    (void)unlink(silent->socket);
    *strrchr(silent->socket, '/') = '\0';
    return rmdir(silent->socket);
}

static struct mm_error ask(struct mm_cli *cli, const char *method)
{
    struct mm_error err = {0};
    mm_cleanup(json_decref) json_t *answer = NULL;
    mm_cleanup(mm_cli_service_free) struct mm_cli_service *service = mm_cli_service_find(cli, &err);
    assert_string_equal(err.message, "");
    assert_false(mm_cli_service_call(cli, service, method, "/silent", NULL, &answer, &err));
    assert_null(answer);
    return err;
}

static void assert_unknown(const struct mm_error *err)
{
    assert_int_equal(err->code, MM_DEADLINE_EXCEEDED);
    assert_non_null(strstr(err->message, "no answer within 1 s"));
    assert_non_null(strstr(err->message, "isn't known"));
    assert_non_null(strstr(err->message, "mintmark status"));
}

static void whether_a_change_without_an_answer_was_made_is_not_known(void **state)
{
    struct silent *silent = *state;
    struct mm_cli cli = {.socket = silent->socket, .patience_ms = 1000};
    const struct mm_error change = ask(&cli, "POST");
    assert_unknown(&change);
    const struct mm_error look = ask(&cli, "GET");
    assert_int_equal(look.code, MM_UNREACHABLE);
    assert_null(strstr(look.message, "known"));
}

static void so_it_is_over_https(void **state)
{
    (void)state;
    char url[64];
    (void)snprintf(url, sizeof url, "https://localhost:%s", peer_port());
    struct mm_cli cli = {.admin = {.url = url,
                                   .ca_file = peer_file("ca.pem"),
                                   .certificate_file = peer_file("client.pem"),
                                   .key_file = peer_file("client.key")},
                         .patience_ms = 1000};
    const struct mm_error change = ask(&cli, "POST");
    assert_unknown(&change);
    assert_int_equal(ask(&cli, "GET").code, MM_UNREACHABLE);
}

static void a_change_that_nobody_took_is_not_made(void **state)
{
    struct silent *silent = *state;
    (void)unlink(silent->socket);
    struct mm_cli cli = {.socket = silent->socket, .patience_ms = 1000};
    assert_int_equal(ask(&cli, "POST").code, MM_UNREACHABLE);
}

/* A rotation to a key yet to be generated: another worker's start is waited for, one makes the key, and two may be tried to vet it. */
static void a_change_is_waited_for_as_long_as_the_configuration_lets_it_take(void **state)
{
    (void)state;
    struct mm_hsm_token_config tokens[] = {{.start_timeout = 30}, {.start_timeout = 600}, {.start_timeout = 5}};
    const struct mm_config slow = {.hsm_tokens = tokens, .n_hsm_tokens = MM_ARRAY_SIZE(tokens)};
    const struct mm_config quick = {.hsm_tokens = tokens, .n_hsm_tokens = 1};
    assert_true(mm_cli_service_change_ms(&slow) > 4 * 600 * 1000);
    assert_int_equal(mm_cli_service_change_ms(&slow) - mm_cli_service_change_ms(&quick), 4 * 570 * 1000);
    assert_true(mm_cli_service_change_ms(NULL) > mm_cli_service_change_ms(&quick));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(whether_a_change_without_an_answer_was_made_is_not_known, open_silent,
                                        close_silent),
        cmocka_unit_test(so_it_is_over_https),
        cmocka_unit_test_setup_teardown(a_change_that_nobody_took_is_not_made, open_silent, close_silent),
        cmocka_unit_test(a_change_is_waited_for_as_long_as_the_configuration_lets_it_take),
    };
    return cmocka_run_group_tests(tests, peer_start, peer_stop);
}

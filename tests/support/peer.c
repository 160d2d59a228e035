/* SPDX-License-Identifier: Apache-2.0 */
#include "peer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "client/https.h"

static struct {
    char folder[64];
    pid_t pid;
    int keep_alive; /* the peer ends when this closes */
    char port[8];
    char old_port[8];
    char long_port[8];
} peer;

static void read_line(FILE *stream, char *out, size_t size)
{
    assert_non_null(fgets(out, (int)size, stream));
    out[strcspn(out, "\n")] = '\0';
}

int peer_start(void **state)
{
    (void)state;
    int in[2], out[2];
    (void)strcpy(peer.folder, "/tmp/mintmark-client-XXXXXX");
    if (!mkdtemp(peer.folder) || pipe(in) != 0 || pipe(out) != 0)
        return -1;
    peer.pid = fork();
    if (peer.pid == 0) {
        (void)dup2(in[0], STDIN_FILENO);
        (void)dup2(out[1], STDOUT_FILENO);
        (void)close(in[1]);
        (void)execl("/usr/bin/python3", "python3", "-W", "ignore", MM_TEST_SUPPORT "/https_peer.py", peer.folder,
                    (char *)NULL);
        _exit(127);
    }
    (void)close(in[0]);
    (void)close(out[1]);
    peer.keep_alive = in[1];
    FILE *stream = fdopen(out[0], "r");
    read_line(stream, peer.port, sizeof peer.port);
    read_line(stream, peer.old_port, sizeof peer.old_port);
    read_line(stream, peer.long_port, sizeof peer.long_port);
    (void)fclose(stream);
    /* Machines' own OpenSSL settings must not be what refuses old TLS. */
    char lax[96];
    (void)snprintf(lax, sizeof lax, "%s/lax.cnf", peer.folder);
    return setenv("OPENSSL_CONF", lax, 1);
}

int peer_stop(void **state)
{
    (void)state;
    (void)close(peer.keep_alive);
    (void)waitpid(peer.pid, NULL, 0);
    char command[96];
    (void)snprintf(command, sizeof command, "rm -rf '%s'", peer.folder);
    return system(command);
}

const char *peer_port(void)
{
    return peer.port;
}

const char *peer_old_port(void)
{
    return peer.old_port;
}

const char *peer_long_port(void)
{
    return peer.long_port;
}

/* Eight at most are remembered at once. */
const char *peer_file(const char *name)
{
    static char paths[8][128];
    static unsigned next;
    char *path = paths[next++ % 8];
    (void)snprintf(path, sizeof paths[0], "%s/%s", peer.folder, name);
    return path;
}

const char *peer_url(const char *path)
{
    static char url[128];
    (void)snprintf(url, sizeof url, "https://localhost:%s%s", peer.port, path);
    return url;
}

static json_t *ask(const char *path, const char *body)
{
    struct mm_error err = {0};
    struct mm_https_options options = {.ca_file = peer_file("ca.pem")};
    mm_cleanup(mm_https_free) struct mm_https *https = mm_https_new(&options, &err);
    assert_non_null(https);
    mm_cleanup(mm_https_response_clear) struct mm_https_response response = {0};
    if (!mm_https_post_json(https, peer_url(path), body, &response, &err))
        fail_msg("%s", err.message);
    assert_int_equal(response.status, 200);
    return mm_json_parse(response.body.data, response.body.length, NULL);
}

void peer_script(const char *steps)
{
    json_decref(ask("/script", steps));
}

void peer_drop(int n_connections)
{
    char text[16];
    (void)snprintf(text, sizeof text, "%d", n_connections);
    json_decref(ask("/drop", text));
}

static size_t count_of(const char *name)
{
    mm_cleanup(json_decref) json_t *seen = ask("/seen", "");
    return (size_t)mm_json_integer(seen, name, -1);
}

size_t peer_n_requests(void)
{
    return count_of("n");
}

size_t peer_most_at_once(void)
{
    return count_of("most_at_once");
}

json_t *peer_first_request(void)
{
    mm_cleanup(json_decref) json_t *seen = ask("/seen", "");
    return json_incref(json_array_get(json_object_get(seen, "requests"), 0));
}

char *peer_authorization(size_t request)
{
    mm_cleanup(json_decref) json_t *seen = ask("/seen", "");
    const json_t *value = json_array_get(json_object_get(seen, "authorizations"), request);
    assert_non_null(value);
    return strdup(json_is_string(value) ? json_string_value(value) : "");
}

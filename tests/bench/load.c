/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The load generator: one thread and many TLS connections that send one request over and over, as cheaply as OpenSSL lets
 * it, since it shares the machine with what it measures. With --rate, requests fall due on a fixed schedule and their
 * latency counts from then, so that a stalled server can't hide by stalling its callers. With --warm each connection has
 * had a reply, and the line "warm" been answered on standard input, before anything counts. With --bodies each request has the
 * file's next line as its body, and the first again after the last: for what can be asked once.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include "util/base.h"
#include "util/clock.h"

enum {
    CONNECTIONS_MAX = 4096,
    SAMPLES_MAX = 4000000,
    REQUEST_MAX = 8192,
    REPLY_MAX = 65536,
    STATUS_MAX = 600,
    WARM_UP_MS = 30000
};

struct options {
    uint16_t port;
    size_t n_connections;
    int64_t seconds;
    int64_t rate; /* requests a second; 0: each connection asks again at once */
    enum { KEEP_ALIVE, CONNECT_EACH } mode;
    bool warm;
    const char *ca, *certificate, *key, *ciphers, *method, *path, *body, *bodies, *type, *header;
    char *groups; /* OpenSSL's macro takes no const */
};

enum phase { PHASE_CLOSED, PHASE_CONNECTING, PHASE_HANDSHAKE, PHASE_IDLE, PHASE_ASKING };

struct connection {
    enum phase phase;
    int fd;
    SSL *ssl;
    int64_t due_ns;
    size_t n_received;
    size_t n_expected; /* of the whole reply; 0 while its head isn't complete */
    char reply[REPLY_MAX];
};

struct run {
    struct options options;
    SSL_CTX *tls;
    int epoll;
    char request[REQUEST_MAX];
    size_t request_length;
    char *bodies; /* the file's; each line ends with a NUL */
    size_t bodies_length;
    const char *next_body; /* NULL: all are the same */
    struct connection *connections;
    struct connection *idle[CONNECTIONS_MAX]; /* a ring: each takes its turn */
    size_t first_idle;
    size_t n_idle;
    int64_t next_due_ns;
    int64_t end_ns;
    double cpu_before; /* seconds, of this process until the measuring */
    size_t n_open;     /* requests under way */
    size_t n_samples;
    uint32_t *samples; /* microseconds */
    size_t statuses[STATUS_MAX];
    size_t n_errors;
};

static void die(const char *what)
{
    (void)fprintf(stderr, "mm-load: %s: %s\n", what, strerror(errno));
    ERR_print_errors_fp(stderr);
    exit(1);
}

static void watch(struct run *run, struct connection *connection, uint32_t events, int operation)
{
    struct epoll_event event = {.events = events, .data.ptr = connection};
    if (epoll_ctl(run->epoll, operation, connection->fd, &event) != 0)
        die("epoll_ctl");
}

static void disconnect(struct connection *connection)
{
    SSL_free(connection->ssl);
    if (connection->fd >= 0)
        (void)close(connection->fd);
    connection->ssl = NULL;
    connection->fd = -1;
    connection->phase = PHASE_CLOSED;
}

static void connect_one(struct run *run, struct connection *connection)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(run->options.port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    connection->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (connection->fd < 0)
        die("socket");
    (void)setsockopt(connection->fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
    if (connect(connection->fd, (struct sockaddr *)&address, sizeof address) != 0 && errno != EINPROGRESS)
        die("connect");
    char host[] = "localhost"; /* likewise */
    connection->ssl = SSL_new(run->tls);
    if (!connection->ssl || SSL_set_fd(connection->ssl, connection->fd) != 1 ||
        SSL_set_tlsext_host_name(connection->ssl, host) != 1)
        die("TLS");
    SSL_set_connect_state(connection->ssl);
    connection->phase = PHASE_CONNECTING;
    watch(run, connection, EPOLLOUT, EPOLL_CTL_ADD);
}

static void make_request(struct run *run, const char *body)
{
    const struct options *options = &run->options;
    char content[128] = "";
    if (body)
        (void)snprintf(content, sizeof content, "Content-Type: %s\r\nContent-Length: %zu\r\n", options->type,
                       strlen(body));
    int n = snprintf(run->request, sizeof run->request, "%s %s HTTP/1.1\r\nHost: localhost\r\n%s%s%s%s\r\n%s",
                     options->method, options->path, content, options->header ? options->header : "",
                     options->header ? "\r\n" : "", options->mode == CONNECT_EACH ? "Connection: close\r\n" : "",
                     body ? body : "");
    run->request_length = (size_t)n;
    if (n < 0 || run->request_length >= sizeof run->request)
        die("request");
}

static void take_next_body(struct run *run)
{
    make_request(run, run->next_body);
    run->next_body += strlen(run->next_body) + 1;
    if (run->next_body == run->bodies + run->bodies_length)
        run->next_body = run->bodies;
}

static void read_bodies(struct run *run)
{
    FILE *file = fopen(run->options.bodies, "r");
    if (!file || fseek(file, 0, SEEK_END) != 0)
        die("bodies");
    long length = ftell(file);
    rewind(file);
    run->bodies = length > 0 ? malloc((size_t)length) : NULL;
    if (!run->bodies || fread(run->bodies, 1, (size_t)length, file) != (size_t)length ||
        run->bodies[length - 1] != '\n')
        die("bodies");
    (void)fclose(file);
    for (long i = 0; i < length; i++)
        if (run->bodies[i] == '\n')
            run->bodies[i] = '\0';
    run->bodies_length = (size_t)length;
    run->next_body = run->bodies;
}

/* The request fits into one record and an idle connection's send buffer: it is sent at once or not at all. */
static bool send_request(struct run *run, struct connection *connection)
{
    if (run->next_body)
        take_next_body(run);
    connection->n_received = 0;
    connection->n_expected = 0;
    connection->phase = PHASE_ASKING;
    return SSL_write(connection->ssl, run->request, (int)run->request_length) == (int)run->request_length;
}

static void push_idle(struct run *run, struct connection *connection)
{
    run->idle[(run->first_idle + run->n_idle++) % CONNECTIONS_MAX] = connection;
}

static struct connection *pop_idle(struct run *run)
{
    struct connection *connection = run->idle[run->first_idle];
    run->first_idle = (run->first_idle + 1) % CONNECTIONS_MAX;
    run->n_idle--;
    return connection;
}

static void fail_request(struct run *run, struct connection *connection)
{
    if (connection->phase != PHASE_IDLE) {
        run->n_errors++;
        run->n_open--;
    }
    disconnect(connection);
}

static void begin_request(struct run *run, struct connection *connection, int64_t due_ns)
{
    connection->due_ns = due_ns;
    run->n_open++;
    if (connection->phase == PHASE_CLOSED)
        connect_one(run, connection);
    else if (!send_request(run, connection))
        fail_request(run, connection);
}

/* Ask whoever is idle, as the schedule (or eagerness) says. */
static void begin_due(struct run *run)
{
    int64_t now = mm_monotonic_ns();
    while (run->n_idle > 0 && now < run->end_ns) {
        int64_t due = now;
        if (run->options.rate > 0) {
            if (run->next_due_ns > now)
                return;
            due = run->next_due_ns;
            run->next_due_ns += 1000000000 / run->options.rate;
        }
        begin_request(run, pop_idle(run), due);
    }
}

static void finish_request(struct run *run, struct connection *connection)
{
    int status = connection->n_received > 12 ? atoi(connection->reply + 9) : 0;
    run->statuses[status > 0 && status < STATUS_MAX ? status : 0]++;
    if (run->n_samples < SAMPLES_MAX)
        run->samples[run->n_samples++] = (uint32_t)((mm_monotonic_ns() - connection->due_ns) / 1000);
    run->n_open--;
    connection->phase = PHASE_IDLE;
    if (run->options.mode == CONNECT_EACH)
        disconnect(connection);
    push_idle(run, connection);
}

/* How long the reply is, once its head is there. */
static void measure_reply(struct connection *connection)
{
    connection->reply[connection->n_received] = '\0';
    const char *end = strstr(connection->reply, "\r\n\r\n");
    if (!end)
        return;
    const char *length = strcasestr(connection->reply, "\r\ncontent-length:");
    connection->n_expected = (size_t)(end + 4 - connection->reply);
    if (length && length < end)
        connection->n_expected += strtoul(length + 17, NULL, 10);
}

static void receive(struct run *run, struct connection *connection)
{
    for (;;) {
        size_t room = REPLY_MAX - 1 - connection->n_received;
        int n = room ? SSL_read(connection->ssl, connection->reply + connection->n_received, (int)room) : 0;
        if (n <= 0 && SSL_get_error(connection->ssl, n) == SSL_ERROR_WANT_READ)
            return;
        if (n <= 0 || connection->phase != PHASE_ASKING) {
            fail_request(run, connection);
            return;
        }
        connection->n_received += (size_t)n;
        if (connection->n_expected == 0)
            measure_reply(connection);
        if (connection->n_expected > 0 && connection->n_received >= connection->n_expected) {
            finish_request(run, connection);
            return;
        }
    }
}

static void shake_hands(struct run *run, struct connection *connection)
{
    if (connection->phase == PHASE_CONNECTING) {
        connection->phase = PHASE_HANDSHAKE;
        watch(run, connection, EPOLLIN, EPOLL_CTL_MOD);
    }
    int done = SSL_do_handshake(connection->ssl);
    if (done == 1 && send_request(run, connection))
        return;
    if (done == 1 || SSL_get_error(connection->ssl, done) != SSL_ERROR_WANT_READ)
        fail_request(run, connection);
}

static void on_event(struct run *run, struct connection *connection)
{
    bool was_asking = connection->phase != PHASE_IDLE;
    size_t n_idle = run->n_idle;
    if (connection->phase == PHASE_CONNECTING || connection->phase == PHASE_HANDSHAKE)
        shake_hands(run, connection);
    else if (connection->phase != PHASE_CLOSED)
        receive(run, connection);
    /* A connection whose request failed is opened again by its next one. */
    if (connection->phase == PHASE_CLOSED && was_asking && run->n_idle == n_idle)
        push_idle(run, connection);
}

/* To the next request's time, no more and no less: a loop that spins takes a processor from what is measured. */
static struct timespec wait_time(const struct run *run)
{
    static const int64_t MOST_NS = 100000000;
    int64_t left_ns = MOST_NS;
    if (run->options.rate > 0 && run->n_idle > 0)
        left_ns = run->next_due_ns - mm_monotonic_ns();
    return (struct timespec){.tv_nsec = left_ns < 0 ? 0 : left_ns > MOST_NS ? MOST_NS : left_ns};
}

static void take_events(struct run *run)
{
    struct epoll_event events[256];
    struct timespec wait = wait_time(run);
    int n = epoll_pwait2(run->epoll, events, MM_ARRAY_SIZE(events), &wait, NULL);
    for (int i = 0; i < n; i++)
        on_event(run, events[i].data.ptr);
}

static double cpu_seconds(void)
{
    struct rusage usage;
    (void)getrusage(RUSAGE_SELF, &usage);
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

/* One request a connection, which stays open. Statuses and errors count; times don't. */
static void warm_up(struct run *run)
{
    int64_t last_ns = mm_deadline_after_ms(WARM_UP_MS);
    for (size_t n = run->n_idle; n > 0; n--)
        begin_request(run, pop_idle(run), mm_monotonic_ns());
    while (run->n_open > 0 && mm_monotonic_ns() < last_ns)
        take_events(run);
    if (run->n_open > 0)
        die("warming up");
    run->n_samples = 0;
    run->cpu_before = cpu_seconds();
    (void)puts("warm");
    (void)fflush(stdout);
    (void)getchar();
}

static void serve_load(struct run *run)
{
    int64_t last_ns = run->end_ns + 10 * (int64_t)1000000000; /* for what is under way at the end */
    for (;;) {
        begin_due(run);
        int64_t now = mm_monotonic_ns();
        if (now > last_ns || (now >= run->end_ns && run->n_open == 0))
            return;
        take_events(run);
    }
}

static int compare(const void *a, const void *b)
{
    uint32_t left = *(const uint32_t *)a;
    uint32_t right = *(const uint32_t *)b;
    return (left > right) - (left < right);
}

static double percentile_ms(const struct run *run, double which)
{
    return run->n_samples ? run->samples[(size_t)((double)(run->n_samples - 1) * which)] / 1000.0 : 0;
}

static size_t count_connected(const struct run *run)
{
    size_t n = 0;
    for (size_t i = 0; i < run->options.n_connections; i++)
        n += run->connections[i].phase == PHASE_IDLE || run->connections[i].phase == PHASE_ASKING;
    return n;
}

static void print_results(struct run *run, double elapsed)
{
    double cpu = cpu_seconds() - run->cpu_before;
    qsort(run->samples, run->n_samples, sizeof *run->samples, compare);
    (void)printf("{\"replies\": %zu, \"seconds\": %.3f, \"errors\": %zu, \"unanswered\": %zu, \"connected\": %zu, "
                 "\"cpu_seconds\": %.3f, "
                 "\"p50_ms\": %.3f, \"p99_ms\": %.3f, \"max_ms\": %.3f, \"statuses\": {",
                 run->n_samples, elapsed, run->n_errors, run->n_open, count_connected(run), cpu,
                 percentile_ms(run, 0.5), percentile_ms(run, 0.99), percentile_ms(run, 1));
    const char *comma = "";
    for (size_t i = 0; i < STATUS_MAX; i++) {
        if (run->statuses[i] == 0)
            continue;
        (void)printf("%s\"%zu\": %zu", comma, i, run->statuses[i]);
        comma = ", ";
    }
    (void)puts("}}");
}

static SSL_CTX *make_tls(const struct options *options)
{
    SSL_CTX *tls = SSL_CTX_new(TLS_client_method());
    if (!tls || SSL_CTX_load_verify_locations(tls, options->ca, NULL) != 1)
        die("CA");
    SSL_CTX_set_verify(tls, SSL_VERIFY_PEER, NULL);
    (void)SSL_CTX_set_session_cache_mode(tls, SSL_SESS_CACHE_OFF);
    if (options->certificate && (SSL_CTX_use_certificate_chain_file(tls, options->certificate) != 1 ||
                                 SSL_CTX_use_PrivateKey_file(tls, options->key, SSL_FILETYPE_PEM) != 1))
        die("client certificate");
    if (options->groups && SSL_CTX_set1_groups_list(tls, options->groups) != 1)
        die("groups");
    if (options->ciphers && SSL_CTX_set_ciphersuites(tls, options->ciphers) != 1)
        die("ciphers");
    return tls;
}

static const char USAGE[] = "Usage: mm-load --port N --ca FILE [--cert FILE --key FILE] [--connections N] [--seconds "
                            "N] [--rate N] [--connect-each | --warm]\n"
                            "               [--groups LIST] [--ciphers LIST] [--method M] [--path P] [--header TEXT]\n"
                            "               [--body TEXT | --bodies FILE] [--type TYPE]\n";

static struct options read_options(int argc, char **argv)
{
    static const struct option OPTIONS[] = {{"port", required_argument, NULL, 'p'},
                                            {"ca", required_argument, NULL, 'a'},
                                            {"cert", required_argument, NULL, 'c'},
                                            {"key", required_argument, NULL, 'k'},
                                            {"connections", required_argument, NULL, 'n'},
                                            {"seconds", required_argument, NULL, 's'},
                                            {"rate", required_argument, NULL, 'r'},
                                            {"connect-each", no_argument, NULL, 'e'},
                                            {"groups", required_argument, NULL, 'g'},
                                            {"ciphers", required_argument, NULL, 'i'},
                                            {"method", required_argument, NULL, 'm'},
                                            {"path", required_argument, NULL, 'u'},
                                            {"body", required_argument, NULL, 'b'},
                                            {"bodies", required_argument, NULL, 'f'},
                                            {"type", required_argument, NULL, 't'},
                                            {"header", required_argument, NULL, 'h'},
                                            {"warm", no_argument, NULL, 'w'},
                                            {0}};
    struct options options = {
        .n_connections = 16, .seconds = 1, .method = "POST", .path = "/v1/service-tokens", .type = "application/json"};
    for (int option; (option = getopt_long(argc, argv, "", OPTIONS, NULL)) != -1;) {
        switch (option) {
        case 'p':
            options.port = (uint16_t)atoi(optarg);
            break;
        case 'a':
            options.ca = optarg;
            break;
        case 'c':
            options.certificate = optarg;
            break;
        case 'k':
            options.key = optarg;
            break;
        case 'n':
            options.n_connections = strtoul(optarg, NULL, 10);
            break;
        case 's':
            options.seconds = atoi(optarg);
            break;
        case 'r':
            options.rate = atoi(optarg);
            break;
        case 'e':
            options.mode = CONNECT_EACH;
            break;
        case 'g':
            options.groups = optarg;
            break;
        case 'i':
            options.ciphers = optarg;
            break;
        case 'm':
            options.method = optarg;
            break;
        case 'u':
            options.path = optarg;
            break;
        case 'b':
            options.body = optarg;
            break;
        case 'f':
            options.bodies = optarg;
            break;
        case 't':
            options.type = optarg;
            break;
        case 'h':
            options.header = optarg;
            break;
        case 'w':
            options.warm = true;
            break;
        default:
            (void)fputs(USAGE, stderr);
            exit(2);
        }
    }
    if (!options.port || !options.ca || (options.warm && options.mode == CONNECT_EACH) || options.n_connections < 1 ||
        options.n_connections > CONNECTIONS_MAX) {
        (void)fputs(USAGE, stderr);
        exit(2);
    }
    return options;
}

int main(int argc, char **argv)
{
    struct run *run = calloc(1, sizeof *run);
    if (!run)
        die("memory");
    run->options = read_options(argc, argv);
    (void)signal(SIGPIPE, SIG_IGN);
    /* Callers elsewhere wouldn't push the service aside at each of its replies: this one doesn't, either. */
    const struct sched_param none = {0};
    (void)sched_setscheduler(0, SCHED_BATCH, &none);
    run->tls = make_tls(&run->options);
    make_request(run, run->options.body);
    if (run->options.bodies)
        read_bodies(run);
    run->epoll = epoll_create1(EPOLL_CLOEXEC);
    run->samples = malloc(SAMPLES_MAX * sizeof *run->samples);
    run->connections = calloc(run->options.n_connections, sizeof *run->connections);
    if (run->epoll < 0 || !run->samples || !run->connections)
        die("memory");
    for (size_t i = 0; i < run->options.n_connections; i++) {
        run->connections[i].fd = -1;
        push_idle(run, &run->connections[i]);
    }
    run->next_due_ns = INT64_MAX; /* nothing is, while connections are made */
    if (run->options.warm)
        warm_up(run);
    int64_t start = mm_monotonic_ns();
    run->next_due_ns = start;
    run->end_ns = start + run->options.seconds * 1000000000;
    serve_load(run);
    print_results(run, (double)(mm_monotonic_ns() - start) / 1e9);
    for (size_t i = 0; i < run->options.n_connections; i++)
        disconnect(&run->connections[i]);
    SSL_CTX_free(run->tls);
    free(run->connections);
    free(run->samples);
    free(run->bodies);
    free(run);
    return 0;
}

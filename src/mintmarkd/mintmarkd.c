/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mintmarkd: load, wire, run, drain. Every part is built bottom-up and torn down in reverse; a part that fails to start leaves
 * one line that names the cause, and an exit status that says which kind it was.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "admin/admin.h"
#include "confine/filter.h"
#include "confine/landlock.h"
#include "confine/privileges.h"
#include "http/server.h"
#include "issue/uses.h"
#include "mintmarkd/keys.h"
#include "mintmarkd/options.h"
#include "mintmarkd/outside.h"
#include "mintmarkd/pid_file.h"
#include "mintmarkd/record.h"
#include "util/file.h"
#include "util/log.h"
#include "util/notify.h"

enum {
    AT_ONCE_MIN = 64,
    LEDGER_GATHER_US = 1000,
    CLEANUP_MS = 3000,     /* beyond the drain: for callbacks that are under way */
    LOG_MS = 2000,         /* for whoever reads the log to take the end of it */
    BEAT_MS = 3000,        /* the parts' threads go round once a second at least */
    OWN_DESCRIPTORS = 128, /* more than the service has open beside its connections */
    USES_MAX = 1 << 20,    /* JWTs that count once, remembered at once: 60 bytes each, once they are */
    MARGIN_S = 30,         /* beyond what a start or a stop may take by the configuration */
};

struct service {
    struct mm_config *config;   /* the snapshot it started with; the server holds the current one */
    struct mm_keyring *keyring; /* that it started with; the keeper holds the current one */
    struct mm_ledger *ledger;
    struct mm_revocations *revocations;
    struct mm_launcher *launcher;
    struct mm_fetcher *fetcher; /* NULL: nothing is fetched */
    struct mm_key_sources *key_sources;
    struct mm_signers *signers;
    struct mm_replay *replay;
    struct mm_issuer *issuer;
    struct mm_local_socket *sockets; /* the server's */
    struct mm_server *server;
    struct mm_service_keys keys;
    struct mm_keeper *keeper;
    struct mm_supply *supply;
    struct mm_admin *admin; /* NULL: no admin listener */
    rlim_t descriptors;     /* that it can have open */

    pthread_mutex_t lock; /* held for a whole reload: one at a time, whoever asks */
    /* guarded by lock */
    int64_t drain_timeout; /* seconds; the current configuration's */
    enum { RUNNING, DRAINING } phase;

    struct mm_notify notify;
    struct mm_service_options options;
    struct mm_pid_file pid_file;
};

static void log_problems(const struct mm_problems *problems)
{
    char line[1024];
    for (size_t i = 0; i < problems->n; i++) {
        const struct mm_problem *problem = &problems->items[i];
        bool is_error = problem->severity == MM_PROBLEM_ERROR;
        mm_log(is_error ? MM_LOG_ERROR : MM_LOG_WARNING, is_error ? "config_refused" : "config_warning", "error",
               mm_problem_format(problem, line, sizeof line), NULL);
    }
}

/* The first time, and each time after it, in the service that runs by the first. */
static struct mm_config *load_config(const struct service *service, struct mm_problems *problems, struct mm_error *err)
{
    const char *file = service->options.config_file;
    struct mm_config *config = service->config ? mm_config_load_again(service->config, problems)
                               : service->options.installation == MM_INSTALLED
                                   ? mm_config_load_installed(file, problems)
                                   : mm_config_load(file, problems);
    log_problems(problems);
    if (!config)
        (void)mm_fail(err, MM_CONFIG_INVALID, "%s: %zu problem%s", file, problems->n_errors,
                      problems->n_errors == 1 ? "" : "s");
    return config;
}

/* Before anything is opened: a number that nobody passed would soon be some file of our own, and be read as a PIN. */
static bool check_inherited(const struct mm_config *config, struct mm_error *err)
{
    for (size_t i = 0; i < config->n_hsm_tokens; i++) {
        const struct mm_hsm_token_config *token = &config->hsm_tokens[i];
        if (token->pin_source == MM_PIN_FD && fcntl(token->pin_fd, F_GETFD) < 0)
            return mm_fail(err, MM_CONFIG_INVALID, "%s:%d: pin_fd %d isn't open: pass it to the service, as in %d<file",
                           config->file, token->line, token->pin_fd, token->pin_fd);
    }
    return true;
}

/* What earlier runs issued counts in full: service.started, which is recorded later, bounds it by now. */
static bool begin_run(struct service *service, struct mm_error *err)
{
    mm_cleanup(json_decref) json_t *fields = json_pack("{sI}", "max_ttl", (json_int_t)service->config->max_ttl);
    int64_t now = mm_clock_now(&MM_SYSTEM_CLOCK);
    int64_t latest = mm_ledger_latest_issue(service->ledger);
    if (!fields)
        return mm_fail(err, MM_NO_MEMORY, "out of memory");
    struct mm_keyring *keyring =
        mm_keyring_after(service->keyring, MM_ENTRY_SERVICE_STARTED, fields, latest > now ? latest : now, err);
    if (!keyring)
        return false;
    mm_keyring_unref(service->keyring);
    service->keyring = keyring;
    return true;
}

/* Whether any key for one of `algorithms` is in that state. */
static bool has_key(const struct service *service, enum mm_key_state state, mm_algorithm_set algorithms)
{
    for (size_t i = 0; i < mm_keyring_n_keys(service->keyring); i++) {
        const struct mm_key *key = mm_keyring_key(service->keyring, i);
        if (key->life.state == state && mm_algorithms_have(algorithms, key->algorithm))
            return true;
    }
    return false;
}

/*
 * A service without a key that signs goes on being asked for its JWKS, and can be given one; with keys of other kinds alone it is a mistake.
 * So is a key in the JWKS that a reader may break on.
 */
static bool check_keys(const struct service *service, struct mm_error *err)
{
    const struct mm_config *config = service->config;
    const struct mm_key_plan plan = mm_plan_make(config);
    struct mm_error why = {0};
    if (!mm_plan_check_readers(&plan, service->keyring, &why))
        return mm_fail(err, why.code, "%s: %s", config->file, why.message);
    if (!has_key(service, MM_KEY_ACTIVE, config->algorithms) && has_key(service, MM_KEY_ACTIVE, ~0U))
        return mm_fail(err, MM_CONFIG_INVALID,
                       "%s: keys.algorithm is %s, but the ledger has no active key that signs it%s", config->file,
                       mm_algorithm_name(config->algorithm),
                       config->algorithms == mm_algorithm_bit(config->algorithm) ? ""
                                                                                 : ", nor another of keys.algorithms");
    for (int i = 0; i < MM_N_ALGORITHMS; i++)
        if (mm_algorithms_have(config->algorithms, (enum mm_algorithm)i) &&
            !mm_keyring_active(service->keyring, (enum mm_algorithm)i))
            mm_log(MM_LOG_ERROR, "no_active_key", "algorithm", mm_algorithm_name((enum mm_algorithm)i), "detail",
                   "nothing is issued with it until a custodian stages a key", NULL);
    return true;
}

static bool load_revocations(struct service *service, struct mm_ledger_reader *reader, struct mm_error *err)
{
    const struct mm_revocations_parts parts = {
        .ledger = service->ledger,
        .reader = reader,
        .clock = &MM_SYSTEM_CLOCK,
        .longest_ttl = mm_keyring_longest_ttl(service->keyring),
        .clients_max = MM_REVOCATIONS_CLIENTS_MAX,
    };
    service->revocations = mm_revocations_open(&parts, err);
    return service->revocations != NULL;
}

static bool make_replay(struct service *service, struct mm_error *err)
{
    service->replay = mm_replay_new(USES_MAX, &MM_SYSTEM_RANDOM, err);
    return service->replay != NULL;
}

/* The keys, what was revoked and what was used, from a ledger whose chain is whole. */
static bool load_ledger(struct service *service, struct mm_error *err)
{
    mm_cleanup(mm_ledger_reader_close) struct mm_ledger_reader *reader =
        mm_ledger_reader_open(service->config->store_file, err);
    struct mm_ledger_report report;
    /* All of it: a key that somebody slipped into the ledger must not be signed with or published. */
    struct mm_error why = {0};
    if (!reader || !make_replay(service, err))
        return false;
    struct mm_uses uses = {service->replay, mm_clock_now(&MM_SYSTEM_CLOCK)};
    if (!mm_ledger_verify_each(reader, mm_uses_remember, &uses, &report, &why))
        return mm_fail(err, why.code, "%s: %s", service->config->store_file, why.message);
    mm_ledger_expect_time(service->ledger, report.latest_time, report.latest_issue);
    service->keyring = mm_keyring_load(reader, err);
    if (!service->keyring)
        return false;
    return begin_run(service, err) && check_keys(service, err) && load_revocations(service, reader, err);
}

/* From here on the launcher alone holds what a worker needs: no descriptor of a PIN stays in this process. */
static bool start_launcher(struct service *service, struct mm_error *err)
{
    service->launcher = mm_service_launch(service->config, service->options.installation, err);
    return service->launcher != NULL;
}

static bool start_fetcher(struct service *service, struct mm_error *err)
{
    return mm_service_fetcher(service->config,
                              service->options.confinement == MM_CONFINED ? MM_FETCHER_CONFINED : MM_FETCHER_UNCONFINED,
                              &service->fetcher, err);
}

static bool start_key_sources(struct service *service, struct mm_error *err)
{
    service->key_sources = mm_service_key_sources(service->config, service->fetcher, err);
    return service->key_sources != NULL;
}

static size_t find_active_keys(const struct mm_keyring *keyring, const struct mm_key *ret_keys[MM_SIGNERS_MAX])
{
    size_t n = 0;
    for (size_t i = 0; i < mm_keyring_n_keys(keyring) && n < MM_SIGNERS_MAX; i++)
        if (mm_keyring_key(keyring, i)->life.state == MM_KEY_ACTIVE)
            ret_keys[n++] = mm_keyring_key(keyring, i);
    return n;
}

static bool start_signers(struct service *service, struct mm_error *err)
{
    const struct mm_key *keys[MM_SIGNERS_MAX];
    size_t n = find_active_keys(service->keyring, keys);
    service->signers = mm_service_signers(service->config, service->launcher, service->ledger, err);
    if (!service->signers)
        return false;
    bool has_standby = has_key(service, MM_KEY_PUBLISHED, service->config->algorithms);
    return has_standby ? mm_service_try_keys(service->signers, keys, n, err)
                       : mm_service_use_keys(service->signers, keys, n, err);
}

/* Enough of one tenant to keep every signer busy, twice, and the ledger's commits full. */
static size_t tokens_at_once(const struct mm_config *config)
{
    size_t n = 0;
    for (size_t i = 0; i < config->n_hsm_tokens; i++)
        n += 2 * (size_t)(config->hsm_tokens[i].workers * config->hsm_tokens[i].threads);
    return n > AT_ONCE_MIN ? n : AT_ONCE_MIN;
}

static bool start_issuer(struct service *service, struct mm_error *err)
{
    struct mm_issuer_parts parts = {
        .issuer_url = service->config->issuer,
        .ledger = service->ledger,
        .revocations = service->revocations,
        .signers = service->signers,
        .clock = &MM_SYSTEM_CLOCK,
        .random = &MM_SYSTEM_RANDOM,
        .max_ttl = service->config->max_ttl,
        .queue = (size_t)service->config->limits.queue,
        .at_once = tokens_at_once(service->config),
    };
    service->issuer = mm_issuer_start(&parts, err);
    return service->issuer != NULL;
}

static bool start_server(struct service *service, struct mm_error *err)
{
    struct mm_server_parts parts = {
        .issuer = service->issuer,
        .signers = service->signers,
        .ledger = service->ledger,
        .revocations = service->revocations,
        .replay = service->replay,
        .keyring = service->keyring,
        .sockets = service->sockets,
        .key_sources = service->key_sources,
        .clock = &MM_SYSTEM_CLOCK,
        .random = &MM_SYSTEM_RANDOM,
    };
    service->server = mm_server_start(&parts, service->config, err);
    return service->server != NULL;
}

static bool start_keeper(struct service *service, struct mm_error *err)
{
    service->keys = (struct mm_service_keys){service->signers, service->server, service->config, 0};
    service->keeper = mm_service_keep(&service->keys, service->keyring, service->config, service->ledger, err);
    if (!service->keeper)
        return false;
    service->supply = mm_service_supply(&service->keys, service->keeper, service->config, err);
    return service->supply != NULL;
}

static bool reload_and_tell(void *context, struct mm_problems *problems, struct mm_error *err);

static bool start_admin(struct service *service, struct mm_error *err)
{
    struct mm_admin_parts parts = {
        .server = service->server,
        .signers = service->signers,
        .keeper = service->keeper,
        .supply = service->supply,
        .key_sources = service->key_sources,
        .ledger = service->ledger,
        .revocations = service->revocations,
        .clock = &MM_SYSTEM_CLOCK,
        .random = &MM_SYSTEM_RANDOM,
        .reload = reload_and_tell,
        .reload_context = service,
    };
    return mm_admin_start(service->admin, &parts, err);
}

/*
 * Before the first thread, since each would have to do it. A reload can name files only in the folders that those of the start were
 * in, and below them.
 */
static bool restrict_files(const struct service *service, struct mm_error *err)
{
    const struct mm_strings *files = &service->config->files;
    enum mm_landlock state = MM_LANDLOCK_UNKNOWN;
    size_t n = 0;
    if (service->options.confinement == MM_UNCONFINED)
        return true;
    mm_cleanup(free) struct mm_path_rule *rules = calloc(files->n + 1, sizeof *rules);
    if (!rules)
        return mm_fail(err, MM_NO_MEMORY, "out of memory");
    for (; n < files->n; n++)
        rules[n] = (struct mm_path_rule){files->items[n], MM_PATH_READ, MM_PATH_ITS_FOLDER};
    rules[n++] = (struct mm_path_rule){service->config->store_file, MM_PATH_WRITE, MM_PATH_ITS_FOLDER};
    /* The launcher is killed when it hangs; the filter of system calls lets no other signal out. */
    if (!mm_landlock_restrict(rules, n, MM_SIGNALS_ANYWHERE, &state, err))
        return false;
    if (state == MM_LANDLOCK_UNKNOWN)
        mm_log(MM_LOG_WARNING, "landlock_unknown", "detail",
               "this kernel can't restrict which files the service and its workers reach", NULL);
    return true;
}

/* Before anybody can connect. Threads that start from here on are confined, too. */
static bool confine(const struct service *service, struct mm_error *err)
{
    if (service->options.confinement == MM_CONFINED)
        return mm_filter_load(mm_launcher_pid(service->launcher), err);
    mm_log(MM_LOG_WARNING, "unconfined", "detail",
           "--unconfined: who takes over this process can do whatever its user can", NULL);
    return true;
}

/* Logging in to an HSM may take longer than a service's manager waits by itself. */
static void tell_start(const struct service *service)
{
    int64_t longest = 0;
    for (size_t i = 0; i < service->config->n_hsm_tokens; i++)
        longest += service->config->hsm_tokens[i].start_timeout;
    mm_notify_send(&service->notify, "STATUS=Starting the HSM's workers\nEXTEND_TIMEOUT_USEC=%lld",
                   (long long)(longest + MARGIN_S) * 1000000);
}

/* Each connection is a descriptor. Once the launcher is there: a worker's module may call select(), for which the low limit is. */
static void raise_descriptors(struct service *service)
{
    struct rlimit files = {RLIM_INFINITY, RLIM_INFINITY};
    if (getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur != files.rlim_max) {
        files.rlim_cur = files.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &files);
    }
    service->descriptors = files.rlim_max;
}

/* Without a descriptor left nobody is let in, whoever asks, until others leave. */
static void check_descriptors(const struct service *service, const struct mm_config *config)
{
    char detail[192];
    int64_t wanted = config->limits.connections + OWN_DESCRIPTORS;
    if (service->descriptors == RLIM_INFINITY || (rlim_t)wanted <= service->descriptors)
        return;
    (void)snprintf(detail, sizeof detail,
                   "limits.connections is %lld, of %llu descriptors (ulimit -Hn, LimitNOFILE=) less %d for the rest",
                   (long long)config->limits.connections, (unsigned long long)service->descriptors, OWN_DESCRIPTORS);
    mm_log(MM_LOG_WARNING, "descriptors_short", "detail", detail, NULL);
}

static bool start(struct service *service, struct mm_error *err)
{
    mm_cleanup(mm_problems_clear) struct mm_problems problems = {0};
    service->config = load_config(service, &problems, err);
    if (!service->config || !check_inherited(service->config, err) || !start_launcher(service, err) ||
        !start_fetcher(service, err) || !mm_notify_open(&service->notify, err) ||
        !mm_pid_file_open(&service->pid_file, err) || !mm_admin_open(service->config, &service->admin, err) ||
        !mm_server_open_sockets(service->config, &service->sockets, err) || !restrict_files(service, err) ||
        !mm_log_start(err))
        return false;
    raise_descriptors(service);
    check_descriptors(service, service->config);
    service->drain_timeout = service->config->limits.drain_timeout;
    /* The writer first: nobody else writes between the look at the chain and what is built on it. */
    service->ledger = mm_ledger_open(service->config->store_file, &MM_SYSTEM_CLOCK, LEDGER_GATHER_US, err);
    tell_start(service);
    return service->ledger && load_ledger(service, err) && start_signers(service, err) &&
           mm_record_policy(service->ledger, service->config, err) &&
           mm_record_service(service->ledger, MM_ENTRY_SERVICE_STARTED, service->config->max_ttl, err) &&
           start_issuer(service, err) && start_key_sources(service, err) &&
           mm_pid_file_write(&service->pid_file, err) && confine(service, err) && start_server(service, err) &&
           start_keeper(service, err) && start_admin(service, err);
}

static void write_address(const struct mm_listen *listen, uint16_t port, char *out, size_t size)
{
    if (listen->socket)
        (void)snprintf(out, size, "unix:%s", listen->socket);
    else
        (void)snprintf(out, size, strchr(listen->address, ':') ? "[%s]:%u" : "%s:%u", listen->address, port);
}

static void log_ready(const struct service *service)
{
    char listen[160];
    if (mm_admin_port(service->admin)) {
        write_address(&service->config->admin.https, mm_admin_port(service->admin), listen, sizeof listen);
        mm_log(MM_LOG_INFO, "admin_ready", "listen", listen, NULL);
    }
    const struct mm_key *active = mm_keyring_active(service->keyring, service->config->algorithm);
    for (size_t i = 0; i < service->config->n_listen; i++) {
        write_address(&service->config->listen[i], mm_server_port(service->server, i), listen, sizeof listen);
        mm_log(MM_LOG_INFO, "ready", "listen", listen, "issuer", service->config->issuer, "kid",
               active ? active->kid : "", NULL);
    }
}

static bool reload_locked(struct service *service, struct mm_problems *problems, struct mm_error *err)
{
    mm_cleanup(mm_config_unref) struct mm_config *before = mm_server_config(service->server);
    mm_cleanup(mm_config_unref) struct mm_config *config = load_config(service, problems, err);
    mm_cleanup(mm_tls_unref) struct mm_tls *admin_tls = NULL;
    if (!config || !mm_config_can_replace(service->config, config, err) ||
        !mm_admin_load_tls(config, &admin_tls, err) ||
        !mm_server_reload(service->server, config, mm_record_policy, service->ledger, err))
        return false;
    struct mm_error held = {0};
    if (!mm_key_sources_use(service->key_sources, config, &held))
        mm_log_error("key_sources_as_before", &held, NULL);
    mm_admin_use_tls(service->admin, MM_TAKE(admin_tls));
    check_descriptors(service, config);
    mm_record_departed(before, config);
    service->drain_timeout = config->limits.drain_timeout;
    return true;
}

/* Ended, and with it something that nobody but this process may do any more: end, and let whoever minds us start all anew. */
static void check_child(pid_t child, const char *event)
{
    int status = 0;
    if (waitpid(child, &status, WNOHANG) == 0)
        return;
    char detail[64];
    (void)snprintf(detail, sizeof detail, "wait status %d", status);
    mm_log(MM_LOG_ERROR, event, "detail", detail, NULL);
    mm_log_stop(mm_deadline_after_ms(LOG_MS));
    _exit(MM_EXIT_FAILURE);
}

static void check_children(const struct service *service)
{
    check_child(mm_launcher_pid(service->launcher), "launcher_lost");
    if (service->fetcher)
        check_child(mm_fetcher_pid(service->fetcher), "fetcher_lost");
}

/* Answer the service's manager, unless a part of the service has stood still for too long. */
static void answer_watchdog(const struct service *service, int64_t period_ns)
{
    const int64_t longest_ns = period_ns > BEAT_MS * 1000000LL ? period_ns : BEAT_MS * 1000000LL;
    const struct {
        const char *name;
        int64_t beat_ns;
    } parts[] = {
        {"issuer", mm_issuer_beat_ns(service->issuer)},
        {"pool", mm_signers_beat_ns(service->signers)},
        {"server", mm_server_beat_ns(service->server)},
        {"key sources", mm_key_sources_beat_ns(service->key_sources)},
    };
    for (size_t i = 0; i < MM_ARRAY_SIZE(parts); i++) {
        if (mm_monotonic_ns() - parts[i].beat_ns <= longest_ns)
            continue;
        mm_log(MM_LOG_ERROR, "stalled", "part", parts[i].name, NULL);
        return;
    }
    mm_notify_send(&service->notify, "WATCHDOG=1");
}

/* The next signal; meanwhile the watchdog is answered, twice within its time. */
static int next_signal(const struct service *service, const sigset_t *signals)
{
    const int64_t period_ns = service->notify.watchdog_ns / 2;
    const struct timespec period = mm_deadline_timespec(period_ns);
    if (period_ns == 0)
        return sigwaitinfo(signals, NULL);
    int signal = sigtimedwait(signals, NULL, &period);
    answer_watchdog(service, period_ns);
    return signal;
}

static void say_ready(const struct service *service, const char *status)
{
    mm_notify_send(&service->notify, "READY=1\nSTATUS=%s", status);
}

static bool reload_and_tell_locked(struct service *service, struct mm_problems *problems, struct mm_error *err)
{
    if (service->phase == DRAINING)
        return mm_fail(err, MM_SHUTTING_DOWN, "the service is shutting down");
    mm_notify_send(&service->notify, "RELOADING=1\nMONOTONIC_USEC=%lld", (long long)(mm_monotonic_ns() / 1000));
    bool is_done = reload_locked(service, problems, err);
    if (is_done) {
        mm_log(MM_LOG_INFO, "reloaded", NULL);
        say_ready(service, "Serving");
    } else {
        mm_log_error("reload_refused", err, NULL);
        say_ready(service, "Serving; the last reload was refused: see the log");
    }
    return is_done;
}

/* By a signal, or by a thread of the admin listener. */
static bool reload_and_tell(void *context, struct mm_problems *problems, struct mm_error *err)
{
    struct service *service = context;
    (void)pthread_mutex_lock(&service->lock);
    bool is_done = reload_and_tell_locked(service, problems, err);
    (void)pthread_mutex_unlock(&service->lock);
    return is_done;
}

static void reload_by_signal(struct service *service)
{
    mm_cleanup(mm_problems_clear) struct mm_problems problems = {0};
    struct mm_error err = {0};
    (void)reload_and_tell(service, &problems, &err);
}

/* Serve until SIGTERM or SIGINT; the signals are blocked in every thread and taken here alone. */
static void run(struct service *service, const sigset_t *signals)
{
    for (;;) {
        int signal = next_signal(service, signals);
        if (signal == SIGTERM || signal == SIGINT)
            return;
        if (signal == SIGCHLD)
            check_children(service);
        if (signal == SIGHUP)
            reload_by_signal(service);
    }
}

/* End what has begun, within the drain time-out. False: something hangs, and only ending the process is safe. */
static bool drain(struct service *service, struct mm_error *err)
{
    mm_log(MM_LOG_INFO, "draining", NULL);
    mm_supply_drain(service->supply);
    mm_signers_drain(service->signers);
    mm_keeper_drain(service->keeper);
    mm_admin_drain(service->admin);
    (void)pthread_mutex_lock(&service->lock);
    service->phase = DRAINING;
    (void)pthread_mutex_unlock(&service->lock);
    mm_notify_send(&service->notify, "STOPPING=1\nSTATUS=Finishing what has begun\nEXTEND_TIMEOUT_USEC=%lld",
                   (long long)(service->drain_timeout + MARGIN_S) * 1000000);
    mm_server_drain(service->server, mm_deadline_after_ms(service->drain_timeout * 1000));
    mm_key_sources_drain(service->key_sources);
    mm_issuer_drain(service->issuer);
    return mm_issuer_wait(service->issuer, mm_deadline_after_ms(CLEANUP_MS), err);
}

static void stop(struct service *service)
{
    /* First: its handlers use all the others; until now it has told how the drain goes. */
    mm_admin_stop(service->admin);
    mm_supply_stop(service->supply);
    mm_keeper_stop(service->keeper);
    if (service->key_sources)
        mm_key_sources_drain(service->key_sources); /* nobody is woken once the server is gone */
    mm_server_stop(service->server);
    mm_server_close_sockets(service->sockets, service->config);
    mm_key_sources_free(service->key_sources);
    mm_issuer_stop(service->issuer);
    mm_replay_free(service->replay);
    mm_signers_stop(service->signers);
    mm_fetcher_stop(service->fetcher);
    mm_launcher_stop(service->launcher);
    mm_ledger_close(service->ledger);
    mm_revocations_free(service->revocations);
    mm_keyring_unref(service->keyring);
    mm_config_unref(service->config);
    mm_pid_file_close(&service->pid_file);
}

/*
 * Block what run() takes, before any thread starts; keep broken pipes out of the way. Threads and workers, which inherit it, don't push each
 * other aside as they are woken: whoever hands work on hands on more of it first, and a token costs 5% less (docs/performance.md). A policy
 * that an operator chose holds.
 */
static void prepare_process(sigset_t *ret_signals)
{
    const struct sched_param none = {0};
    if (sched_getscheduler(0) == SCHED_OTHER)
        (void)sched_setscheduler(0, SCHED_BATCH, &none);
    (void)sigemptyset(ret_signals);
    (void)sigaddset(ret_signals, SIGTERM);
    (void)sigaddset(ret_signals, SIGINT);
    (void)sigaddset(ret_signals, SIGHUP);
    (void)sigaddset(ret_signals, SIGCHLD);
    (void)pthread_sigmask(SIG_BLOCK, ret_signals, NULL);
    (void)signal(SIGPIPE, SIG_IGN);
    (void)signal(SIGCHLD, SIG_DFL);
}

static bool drop_privileges(const struct service *service, struct mm_error *err)
{
    if (!mm_privileges_drop(service->options.user, err))
        return false;
    if (geteuid() == 0)
        mm_log(MM_LOG_WARNING, "running_as_root", "detail", "give the service a user of its own: --user NAME", NULL);
    return true;
}

int main(int argc, char **argv)
{
    struct service service = {.notify = {.fd = -1}, .pid_file = {.fd = -1}, .lock = PTHREAD_MUTEX_INITIALIZER};
    struct mm_error err = {0};
    int status;
    if (!mm_service_options_parse(argc, argv, &service.options, &status))
        return status;
    service.pid_file.path = service.options.pid_file;
    sigset_t signals;
    prepare_process(&signals);
    if (!mm_service_options_resolve(&service.options, &err) || !drop_privileges(&service, &err) ||
        !start(&service, &err)) {
        mm_log_error("start_failed", &err, NULL);
        stop(&service);
        mm_log_stop(mm_deadline_after_ms(LOG_MS));
        mm_privileges_allow_leak_check();
        return mm_code_exit_status(err.code);
    }
    log_ready(&service);
    say_ready(&service, "Serving");
    run(&service, &signals);
    if (!drain(&service, &err)) {
        mm_log_error("drain_failed", &err, NULL);
        mm_log_stop(mm_deadline_after_ms(LOG_MS));
        _exit(MM_EXIT_FAILURE);
    }
    if (!mm_record_service(service.ledger, MM_ENTRY_SERVICE_STOPPED, service.config->max_ttl, &err))
        mm_log_error("stop_not_recorded", &err, NULL);
    stop(&service);
    mm_log(MM_LOG_INFO, "stopped", NULL);
    mm_log_stop(mm_deadline_after_ms(LOG_MS));
    mm_privileges_allow_leak_check();
    return mm_code_exit_status(err.code);
}

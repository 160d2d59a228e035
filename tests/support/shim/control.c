/* SPDX-License-Identifier: Apache-2.0 */
#include "control.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "quirks.h"

enum {
    COUNTERS = 64, /* sets: a process may follow an old file for a moment, and must not count for a new one */
    CONTROL_MAX = 8192,
    WORDS_MAX = 8,
    LOOK_NS = 4000000,
};

/* The layout that tests read. */
struct state {
    atomic_uint_fast64_t calls[SHIM_N_FUNCTIONS];
    atomic_uint_fast64_t pin_failures;
    /* the rest: guarded by flock() on the file, but for the numbers themselves */
    uint64_t next;
    struct {
        uint64_t version;
        atomic_uint_fast64_t n[SHIM_RULES_MAX];
    } counters[COUNTERS];
};

static struct {
    const char *path;
    int state_fd;
    struct state *state;
    struct state private; /* without a control file */

    pthread_mutex_t lock;
    _Atomic int64_t looked_ns;
    struct shim_plan *_Atomic plan; /* changed with the lock held; older ones are never freed */
} CONTROL = {.lock = PTHREAD_MUTEX_INITIALIZER};

static const struct {
    const char *name;
    CK_RV rv;
} CKRS[] = {
#define NAMED(symbol) \
    { \
#symbol, symbol \
    }
    NAMED(CKR_OK),
    NAMED(CKR_HOST_MEMORY),
    NAMED(CKR_GENERAL_ERROR),
    NAMED(CKR_FUNCTION_FAILED),
    NAMED(CKR_ARGUMENTS_BAD),
    NAMED(CKR_DATA_INVALID),
    NAMED(CKR_DEVICE_ERROR),
    NAMED(CKR_DEVICE_MEMORY),
    NAMED(CKR_DEVICE_REMOVED),
    NAMED(CKR_FUNCTION_NOT_SUPPORTED),
    NAMED(CKR_KEY_HANDLE_INVALID),
    NAMED(CKR_KEY_FUNCTION_NOT_PERMITTED),
    NAMED(CKR_MECHANISM_INVALID),
    NAMED(CKR_OBJECT_HANDLE_INVALID),
    NAMED(CKR_OPERATION_ACTIVE),
    NAMED(CKR_OPERATION_NOT_INITIALIZED),
    NAMED(CKR_PIN_INCORRECT),
    NAMED(CKR_PIN_INVALID),
    NAMED(CKR_PIN_LEN_RANGE),
    NAMED(CKR_PIN_EXPIRED),
    NAMED(CKR_PIN_LOCKED),
    NAMED(CKR_SESSION_CLOSED),
    NAMED(CKR_SESSION_COUNT),
    NAMED(CKR_SESSION_HANDLE_INVALID),
    NAMED(CKR_TOKEN_NOT_PRESENT),
    NAMED(CKR_TOKEN_NOT_RECOGNIZED),
    NAMED(CKR_TOKEN_WRITE_PROTECTED),
    NAMED(CKR_USER_NOT_LOGGED_IN),
    NAMED(CKR_USER_ALREADY_LOGGED_IN),
    NAMED(CKR_BUFFER_TOO_SMALL),
    NAMED(CKR_CRYPTOKI_NOT_INITIALIZED),
#undef NAMED
};

static const struct {
    const char *name;
    CK_MECHANISM_TYPE type;
} MECHANISMS[] = {
    {"CKM_ECDSA", CKM_ECDSA},
    {"CKM_EC_KEY_PAIR_GEN", CKM_EC_KEY_PAIR_GEN},
    {"CKM_RSA_PKCS", CKM_RSA_PKCS},
};

static const char *const FUNCTION_NAMES[] = {
#define NAMED(name, scope, how, parameters, arguments) #name,
    SHIM_FUNCTIONS(NAMED)
#undef NAMED
};

static const char *const ACTION_NAMES[] = {"delay", "fail", "hang", "crash", "corrupt", "close-all"};

void shim_die(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    (void)fputs("mintmark-shim: ", stderr);
    (void)vfprintf(stderr, format, arguments);
    (void)fputc('\n', stderr);
    va_end(arguments);
    _exit(99);
}

static int64_t coarse_ns(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
    return now.tv_sec * 1000000000LL + now.tv_nsec;
}

/* --- one line --- */

struct line {
    char *words[WORDS_MAX];
    size_t n;
    size_t at;
};

static const char *next_word(struct line *line)
{
    if (line->at == line->n)
        shim_die("a line ends too early: %s ...", line->words[0]);
    return line->words[line->at++];
}

static uint64_t next_number(struct line *line)
{
    const char *word = next_word(line);
    char *end;
    uint64_t number = strtoull(word, &end, 0);
    if (end == word || *end)
        shim_die("%s isn't a number", word);
    return number;
}

static int64_t next_duration_ns(struct line *line)
{
    const char *word = next_word(line);
    char *unit;
    int64_t number = strtoll(word, &unit, 10);
    int64_t scale = strcmp(unit, "us") == 0   ? 1000
                    : strcmp(unit, "ms") == 0 ? 1000000
                    : strcmp(unit, "s") == 0  ? 1000000000
                                              : 0;
    if (unit == word || scale == 0)
        shim_die("%s isn't a duration", word);
    return number * scale;
}

static CK_RV next_rv(struct line *line)
{
    const char *word = next_word(line);
    for (size_t i = 0; i < sizeof CKRS / sizeof CKRS[0]; i++)
        if (strcmp(CKRS[i].name, word) == 0)
            return CKRS[i].rv;
    line->at--;
    return next_number(line);
}

static CK_MECHANISM_TYPE next_mechanism(struct line *line)
{
    const char *word = next_word(line);
    for (size_t i = 0; i < sizeof MECHANISMS / sizeof MECHANISMS[0]; i++)
        if (strcmp(MECHANISMS[i].name, word) == 0)
            return MECHANISMS[i].type;
    line->at--;
    return next_number(line);
}

static size_t find_name(const char *const *names, size_t n, const char *name)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(names[i], name) == 0)
            return i;
    shim_die("%s isn't known", name);
}

static void read_rule(struct line *line, struct shim_plan *plan)
{
    if (plan->n_rules == SHIM_RULES_MAX)
        shim_die("more than %d rules", SHIM_RULES_MAX);
    struct shim_rule *rule = &plan->rules[plan->n_rules++];
    const char *function = next_word(line);
    rule->function =
        *function == '*' ? SHIM_N_FUNCTIONS : (enum shim_function)find_name(FUNCTION_NAMES, SHIM_N_FUNCTIONS, function);
    rule->action =
        (enum shim_action)find_name(ACTION_NAMES, sizeof ACTION_NAMES / sizeof ACTION_NAMES[0], next_word(line));
    if (rule->action == SHIM_DELAY)
        rule->delay_ns = next_duration_ns(line);
    else if (rule->action == SHIM_FAIL)
        rule->rv = next_rv(line);
    while (line->at < line->n) {
        const char *word = next_word(line);
        if (strcmp(word, "times") == 0)
            rule->times = next_number(line);
        else if (strcmp(word, "after") == 0)
            rule->after = next_number(line);
        else
            shim_die("%s isn't known", word);
    }
}

static void read_told(struct line *line, struct shim_quirks *quirks)
{
    static const char *const ATTRIBUTES[] = {"CKA_LOCAL", "CKA_SIGN_RECOVER"};
    static const char *const TOLD[] = {"truly", "no", "yes", "unknown"};
    size_t attribute = find_name(ATTRIBUTES, 2, next_word(line));
    *(attribute == 0 ? &quirks->local : &quirks->sign_recover) = (enum shim_told)find_name(TOLD, 4, next_word(line));
}

static void read_setting(struct line *line, struct shim_plan *plan)
{
    static const char *const TOKENS[] = {"present", "absent", "stale"};
    const char *name = next_word(line);
    if (strcmp(name, "profile") == 0)
        plan->quirks = *shim_profile(next_word(line));
    else if (strcmp(name, "quirk") == 0)
        plan->quirks.flags |= shim_quirk(next_word(line));
    else if (strcmp(name, "sessions") == 0)
        plan->quirks.sessions = next_number(line);
    else if (strcmp(name, "device-sessions") == 0)
        plan->quirks.device_sessions = next_number(line);
    else if (strcmp(name, "lacks") == 0)
        plan->quirks.lacks = next_mechanism(line);
    else if (strcmp(name, "idle") == 0)
        plan->quirks.idle_ns = next_duration_ns(line);
    else if (strcmp(name, "throttle") == 0)
        plan->quirks.throttle = (uint32_t)next_number(line);
    else if (strcmp(name, "tells") == 0)
        read_told(line, &plan->quirks);
    else if (strcmp(name, "pin-tries") == 0)
        plan->pin_tries = next_number(line);
    else if (strcmp(name, "generation") == 0)
        plan->generation = next_number(line);
    else if (strcmp(name, "token") == 0)
        plan->token = (enum shim_token)find_name(TOKENS, 3, next_word(line));
    else
        shim_die("%s isn't known", name);
    if (line->at < line->n)
        shim_die("%s: nothing follows", name);
}

/* --- the file --- */

static void read_text(char *text, struct shim_plan *plan)
{
    char *rest = text;
    for (char *start; (start = strsep(&rest, "\n"));) {
        struct line line = {.n = 0};
        for (char *word; line.n < WORDS_MAX && (word = strsep(&start, " \t"));)
            if (*word)
                line.words[line.n++] = word;
        if (line.n == 0 || line.words[0][0] == '#')
            continue;
        if (strncmp(line.words[0], "C_", 2) == 0 || strcmp(line.words[0], "*") == 0)
            read_rule(&line, plan);
        else
            read_setting(&line, plan);
    }
}

static uint64_t version_of(const struct stat *status)
{
    return (uint64_t)status->st_ino * 1000003 + (uint64_t)status->st_mtim.tv_sec * 1000000007 +
           (uint64_t)status->st_mtim.tv_nsec;
}

/* The counters of this version of the file, which is told from others by who came first. */
static size_t claim_counters(uint64_t version)
{
    struct state *state = CONTROL.state;
    if (CONTROL.state_fd >= 0 && flock(CONTROL.state_fd, LOCK_EX) != 0)
        shim_die("flock: %s", strerror(errno));
    size_t i = 0;
    while (i < COUNTERS && state->counters[i].version != version)
        i++;
    if (i == COUNTERS) {
        i = state->next++ % COUNTERS;
        memset(&state->counters[i], 0, sizeof state->counters[i]);
        state->counters[i].version = version;
    }
    if (CONTROL.state_fd >= 0)
        (void)flock(CONTROL.state_fd, LOCK_UN);
    return i;
}

static struct shim_plan *read_plan(void)
{
    char text[CONTROL_MAX + 1];
    struct stat status;
    struct shim_plan *plan = calloc(1, sizeof *plan);
    int fd = open(CONTROL.path, O_RDONLY | O_CLOEXEC);
    if (!plan || fd < 0 || fstat(fd, &status) != 0)
        shim_die("%s: %s", CONTROL.path, strerror(errno));
    ssize_t length = read(fd, text, sizeof text);
    (void)close(fd);
    if (length < 0 || length > CONTROL_MAX)
        shim_die("%s can't be read", CONTROL.path);
    text[length] = '\0';
    plan->version = version_of(&status);
    read_text(text, plan);
    plan->counters = claim_counters(plan->version);
    return plan;
}

/* Whoever comes while another looks waits for it: no call follows a file that was replaced long before. */
static void look_again(int64_t now)
{
    struct stat status;
    (void)pthread_mutex_lock(&CONTROL.lock);
    struct shim_plan *known = atomic_load(&CONTROL.plan);
    if (now - atomic_load(&CONTROL.looked_ns) >= LOOK_NS && stat(CONTROL.path, &status) == 0 &&
        version_of(&status) != known->version) {
        struct shim_plan *plan = read_plan();
        plan->previous = known;
        atomic_store(&CONTROL.plan, plan);
    }
    atomic_store(&CONTROL.looked_ns, now);
    (void)pthread_mutex_unlock(&CONTROL.lock);
}

static void map_state(void)
{
    char *path = NULL;
    if (asprintf(&path, "%s.state", CONTROL.path) < 0)
        shim_die("out of memory");
    CONTROL.state_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (CONTROL.state_fd < 0 || ftruncate(CONTROL.state_fd, sizeof *CONTROL.state) != 0)
        shim_die("%s: %s", path, strerror(errno));
    void *memory = mmap(NULL, sizeof *CONTROL.state, PROT_READ | PROT_WRITE, MAP_SHARED, CONTROL.state_fd, 0);
    if (memory == MAP_FAILED)
        shim_die("%s: %s", path, strerror(errno));
    CONTROL.state = memory;
    free(path);
}

void shim_control_open(void)
{
    static struct shim_plan nothing;
    (void)pthread_mutex_lock(&CONTROL.lock);
    const char *path = getenv("MM_SHIM_CONTROL");
    if (!CONTROL.state && !path) {
        CONTROL.state_fd = -1;
        CONTROL.state = &CONTROL.private;
        atomic_store(&CONTROL.plan, &nothing);
    } else if (!CONTROL.state) {
        CONTROL.path = strdup(path);
        map_state();
        atomic_store(&CONTROL.plan, read_plan());
    }
    (void)pthread_mutex_unlock(&CONTROL.lock);
}

const struct shim_plan *shim_plan(void)
{
    int64_t now = coarse_ns();
    if (CONTROL.path && now - atomic_load_explicit(&CONTROL.looked_ns, memory_order_relaxed) >= LOOK_NS)
        look_again(now);
    return atomic_load(&CONTROL.plan);
}

bool shim_rule_applies(const struct shim_plan *plan, size_t i)
{
    const struct shim_rule *rule = &plan->rules[i];
    if (rule->times == 0 && rule->after == 0)
        return true;
    uint64_t n = atomic_fetch_add(&CONTROL.state->counters[plan->counters].n[i], 1);
    return n >= rule->after && (rule->times == 0 || n < rule->after + rule->times);
}

/* Sessions are bytes of the state file that their process holds a lock on: whatever ends it, they are free again. */
static struct flock session_lock(int session, short type)
{
    return (struct flock){.l_type = type,
                          .l_whence = SEEK_SET,
                          .l_start = (off_t)sizeof *CONTROL.state + session,
                          .l_len = 1};
}

static atomic_bool held[SHIM_DEVICE_SESSIONS_MAX]; /* by this process, whose own locks don't exclude each other */

int shim_session_take(CK_ULONG max)
{
    for (int i = 0; i < SHIM_DEVICE_SESSIONS_MAX && (CK_ULONG)i < max; i++) {
        struct flock lock = session_lock(i, F_WRLCK);
        if (atomic_exchange(&held[i], true))
            continue;
        if (fcntl(CONTROL.state_fd, F_SETLK, &lock) == 0)
            return i;
        atomic_store(&held[i], false);
    }
    return -1;
}

void shim_session_give_back(int session)
{
    struct flock lock = session_lock(session, F_UNLCK);
    (void)fcntl(CONTROL.state_fd, F_SETLK, &lock);
    atomic_store(&held[session], false);
}

void shim_count_call(enum shim_function function)
{
    atomic_fetch_add_explicit(&CONTROL.state->calls[function], 1, memory_order_relaxed);
}

atomic_uint_fast64_t *shim_pin_failures(void)
{
    return &CONTROL.state->pin_failures;
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "faults.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

/* What stands in for the C library's functions must be seen by every library. */
#pragma GCC visibility push(default)

enum kind { NOTHING, ALLOC, WRITE_ERROR, WRITE_SHORT };

static struct {
    /* set while disarmed */
    enum kind wanted;
    int error;
    bool is_lasting;
    unsigned long step; /* between one SIGUSR2 and the next */
    int log;            /* -1: none */
    struct {
        uintptr_t begin;
        uintptr_t end;
    } spared[32]; /* where libraries' code lies */
    size_t n_spared;

    atomic_ulong number;

    _Atomic enum kind kind; /* NOTHING: disarmed */
    atomic_ulong n_calls;
    atomic_bool has_come;
} faults = {.log = -1};

/* The function that this one stands in front of, which may be a sanitizer's. */
#define NEXT(name) \
    static __typeof__(&(name)) next; \
    if (!next) \
    next = (__typeof__(next))(uintptr_t)dlsym(RTLD_NEXT, #name)

static void note(const void *caller)
{
    Dl_info info = {0};
    char line[256];
    atomic_store(&faults.has_come, true);
    if (faults.log < 0)
        return;
    (void)dladdr(caller, &info);
    int length = snprintf(line, sizeof line, "%lu %s %s+%#tx\n", atomic_load(&faults.number),
                          info.dli_sname ? info.dli_sname : "?", info.dli_fname ? info.dli_fname : "?",
                          (const char *)caller - (const char *)info.dli_fbase);
    (void)syscall(SYS_write, faults.log, line, (size_t)length);
}

static _Thread_local bool is_exempt;

static bool is_spared(const void *caller)
{
    for (size_t i = 0; i < faults.n_spared; i++)
        if ((uintptr_t)caller >= faults.spared[i].begin && (uintptr_t)caller < faults.spared[i].end)
            return true;
    return false;
}

static bool is_due(enum kind kind, const void *caller)
{
    if (atomic_load(&faults.kind) != kind || is_exempt || is_spared(caller))
        return false;
    unsigned long n = atomic_fetch_add(&faults.n_calls, 1) + 1;
    unsigned long number = atomic_load(&faults.number);
    if (n < number || (n > number && !faults.is_lasting))
        return false;
    if (n == number)
        note(caller);
    return true;
}

static void parse(const char *fault)
{
    static const struct {
        const char *name;
        enum kind kind;
        int error;
    } KINDS[] = {{"alloc", ALLOC, ENOMEM},
                 {"EINTR", WRITE_ERROR, EINTR},
                 {"EIO", WRITE_ERROR, EIO},
                 {"ENOSPC", WRITE_ERROR, ENOSPC},
                 {"short", WRITE_SHORT, 0}};
    size_t length = strcspn(fault, ":");
    char *end = NULL;
    for (size_t i = 0; i < sizeof KINDS / sizeof KINDS[0]; i++) {
        if (strncmp(fault, KINDS[i].name, length) != 0 || KINDS[i].name[length] || fault[length] != ':')
            continue;
        atomic_store(&faults.number, strtoul(fault + length + 1, &end, 10));
        faults.is_lasting = *end == '+';
        faults.error = KINDS[i].error;
        if (atomic_load(&faults.number) > 0 && !end[faults.is_lasting])
            faults.wanted = KINDS[i].kind;
    }
    if (faults.wanted == NOTHING)
        abort();
}

static void start_counting(void)
{
    atomic_store(&faults.kind, NOTHING);
    atomic_store(&faults.n_calls, 0);
    atomic_store(&faults.has_come, false);
    atomic_store(&faults.kind, faults.wanted);
}

void faults_arm(const char *fault)
{
    faults.wanted = NOTHING;
    parse(fault);
    start_counting();
}

bool faults_disarm(void)
{
    atomic_store(&faults.kind, NOTHING);
    return atomic_load(&faults.has_come);
}

/* Preloaded: what happens before main() is the loader's, and no business of ours. */

static int (*program)(int, char **, char **);

static int spare(struct dl_phdr_info *library, size_t size, void *name)
{
    (void)size;
    for (size_t i = 0; strstr(library->dlpi_name, name) && i < library->dlpi_phnum; i++) {
        const ElfW(Phdr) *segment = &library->dlpi_phdr[i];
        if (segment->p_type != PT_LOAD || !(segment->p_flags & PF_X))
            continue;
        if (faults.n_spared == sizeof faults.spared / sizeof faults.spared[0])
            abort();
        uintptr_t begin = library->dlpi_addr + segment->p_vaddr;
        faults.spared[faults.n_spared].begin = begin;
        faults.spared[faults.n_spared++].end = begin + segment->p_memsz;
    }
    return 0;
}

/* `names`: apart by colons; those of libraries that are loaded. */
static void spare_libraries(const char *names)
{
    char copy[256];
    (void)snprintf(copy, sizeof copy, "%s", names);
    char *rest = copy;
    for (char *name; (name = strsep(&rest, ":"));)
        (void)dl_iterate_phdr(spare, name);
}

static void arm_next(int signal)
{
    (void)signal;
    (void)atomic_fetch_add(&faults.number, faults.step);
    start_counting();
}

static int run_armed(int argc, char **argv, char **environment)
{
    const char *fault = getenv("MM_FAULT");
    const char *log = getenv("MM_FAULT_LOG");
    const char *step = getenv("MM_FAULT_STEP");
    const char *names = getenv("MM_FAULT_SPARE");
    if (names)
        spare_libraries(names);
    if (fault && log)
        faults.log = open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (fault && step) {
        parse(fault);
        faults.step = strtoul(step, NULL, 10);
        (void)signal(SIGUSR2, arm_next);
    } else if (fault) {
        faults_arm(fault);
    }
    return program(argc, argv, environment);
}

int __libc_start_main(int (*main)(int, char **, char **), int argc, char **argv, void (*init)(void), void (*fini)(void),
                      void (*rtld_fini)(void), void *stack_end);
int __libc_start_main(int (*main)(int, char **, char **), int argc, char **argv, void (*init)(void), void (*fini)(void),
                      void (*rtld_fini)(void), void *stack_end)
{
    NEXT(__libc_start_main);
    program = main;
    return next(run_armed, argc, argv, init, fini, rtld_fini, stack_end);
}

/* Allocations. The sanitizers copy strings without malloc(), so that is asked for here, too. */

#define FAIL_ALLOCATION() \
    if (is_due(ALLOC, __builtin_return_address(0))) { \
        errno = ENOMEM; \
        return NULL; \
    }

void *malloc(size_t size)
{
    NEXT(malloc);
    FAIL_ALLOCATION()
    return next(size);
}

void *calloc(size_t n, size_t size)
{
    NEXT(calloc);
    FAIL_ALLOCATION()
    return next(n, size);
}

void *realloc(void *old, size_t size)
{
    NEXT(realloc);
    FAIL_ALLOCATION()
    return next(old, size);
}

void *aligned_alloc(size_t alignment, size_t size)
{
    NEXT(aligned_alloc);
    FAIL_ALLOCATION()
    return next(alignment, size);
}

int posix_memalign(void **ret_memory, size_t alignment, size_t size)
{
    NEXT(posix_memalign);
    return is_due(ALLOC, __builtin_return_address(0)) ? ENOMEM : next(ret_memory, alignment, size);
}

#undef strdup
char *strdup(const char *text)
{
    NEXT(strdup);
    FAIL_ALLOCATION()
    return next(text);
}

#undef strndup
char *strndup(const char *text, size_t size)
{
    NEXT(strndup);
    FAIL_ALLOCATION()
    return next(text, size);
}

/* What a sanitizer asks as a thread starts; it can't do without the answer. */
int pthread_getattr_np(pthread_t thread, pthread_attr_t *attributes)
{
    NEXT(pthread_getattr_np);
    is_exempt = true;
    int failed = next(thread, attributes);
    is_exempt = false;
    return failed;
}

/* Writes. */

#define FAIL_WRITE() \
    if (is_due(WRITE_ERROR, __builtin_return_address(0))) { \
        errno = faults.error; \
        return -1; \
    }

static size_t shorten(size_t size, const void *caller)
{
    return size > 1 && is_due(WRITE_SHORT, caller) ? size / 2 : size;
}

ssize_t write(int fd, const void *data, size_t size)
{
    NEXT(write);
    FAIL_WRITE()
    return next(fd, data, shorten(size, __builtin_return_address(0)));
}

ssize_t pwrite(int fd, const void *data, size_t size, off_t offset)
{
    NEXT(pwrite);
    FAIL_WRITE()
    return next(fd, data, shorten(size, __builtin_return_address(0)), offset);
}

ssize_t pwrite64(int fd, const void *data, size_t size, off64_t offset)
{
    NEXT(pwrite64);
    FAIL_WRITE()
    return next(fd, data, shorten(size, __builtin_return_address(0)), offset);
}

/* A packet goes whole or not at all. */
static bool is_stream(int fd)
{
    int type = 0;
    socklen_t length = sizeof type;
    return getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &length) == 0 && type == SOCK_STREAM;
}

ssize_t send(int fd, const void *data, size_t size, int flags)
{
    NEXT(send);
    FAIL_WRITE()
    return next(fd, data, is_stream(fd) ? shorten(size, __builtin_return_address(0)) : size, flags);
}

ssize_t sendmsg(int fd, const struct msghdr *message, int flags)
{
    NEXT(sendmsg);
    FAIL_WRITE()
    return next(fd, message, flags);
}

ssize_t writev(int fd, const struct iovec *pieces, int n)
{
    NEXT(writev);
    FAIL_WRITE()
    return next(fd, pieces, n > 1 && is_due(WRITE_SHORT, __builtin_return_address(0)) ? 1 : n);
}

int fsync(int fd)
{
    NEXT(fsync);
    FAIL_WRITE()
    return next(fd);
}

int fdatasync(int fd)
{
    NEXT(fdatasync);
    FAIL_WRITE()
    return next(fd);
}

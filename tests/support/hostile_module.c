/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A PKCS#11 module whose vendor means ill: asked for its functions it tries what HOSTILE_PLAN_FILE lists, one try a line ("read PATH",
 * "write PATH", "execute PATH", "signal PID"), writes to HOSTILE_REPORT_FILE what came of each ("ok" or the error), and gives none.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { CKR_GENERAL_ERROR = 5 };

__attribute__((visibility("default"))) unsigned long C_GetFunctionList(void **functions);

static int try_open(const char *path, int flags)
{
    int fd = open(path, flags | O_CLOEXEC, 0600);
    if (fd < 0)
        return errno;
    (void)close(fd);
    return 0;
}

static int try_execute(const char *path)
{
    int status = 0;
    pid_t pid = fork();
    if (pid == 0) {
        (void)execl(path, path, (char *)NULL);
        _exit(errno);
    }
    return pid > 0 && waitpid(pid, &status, 0) == pid ? WEXITSTATUS(status) : errno;
}

static int try_one(const char *what, const char *whom)
{
    if (strcmp(what, "read") == 0)
        return try_open(whom, O_RDONLY);
    if (strcmp(what, "write") == 0)
        return try_open(whom, O_WRONLY | O_CREAT);
    if (strcmp(what, "execute") == 0)
        return try_execute(whom);
    return kill((pid_t)strtol(whom, NULL, 10), 0) == 0 ? 0 : errno;
}

static void *try_all(void *context)
{
    const char *plan = getenv("HOSTILE_PLAN_FILE");
    const char *report = getenv("HOSTILE_REPORT_FILE");
    FILE *in = plan ? fopen(plan, "re") : NULL;
    FILE *out = report ? fopen(report, "we") : NULL;
    char what[16];
    char whom[512];
    while (in && out && fscanf(in, "%15s %511s", what, whom) == 2) {
        int failed = try_one(what, whom);
        (void)fprintf(out, "%s\n", failed ? strerrorname_np(failed) : "ok");
    }
    if (in)
        (void)fclose(in);
    if (out)
        (void)fclose(out);
    return context;
}

unsigned long C_GetFunctionList(void **functions)
{
    pthread_t thread;
    /* In a thread of its own, as vendors' libraries have them. */
    if (pthread_create(&thread, NULL, try_all, NULL) == 0)
        (void)pthread_join(thread, NULL);
    *functions = NULL;
    return CKR_GENERAL_ERROR;
}

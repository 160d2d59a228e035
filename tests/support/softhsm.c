/* SPDX-License-Identifier: Apache-2.0 */
#include "softhsm.h"

#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

/* SoftHSM2 2.6.1 leaks the curve's name of each Ed25519 key that it looks at; its frames show only without the fast unwinder. */
const char *__asan_default_options(void) __attribute__((visibility("default")));
const char *__lsan_default_suppressions(void) __attribute__((visibility("default")));

const char *__asan_default_options(void)
{
    return "fast_unwind_on_malloc=0";
}

const char *__lsan_default_suppressions(void)
{
    return "leak:libsofthsm2.so\n";
}

static void die(const char *what)
{
    (void)fprintf(stderr, "softhsm: %s failed\n", what);
    abort();
}

void softhsm_run(const struct softhsm *softhsm, const char *format, ...)
{
    char command[1024];
    va_list arguments;
    va_start(arguments, format);
    int length =
        vsnprintf(command, sizeof command, format, arguments); /* NOLINT(clang-analyzer-valist.Uninitialized) */
    va_end(arguments);
    if (length < 0 || (size_t)length >= sizeof command ||
        setenv("SOFTHSM2_CONF", strchr(softhsm->environment, '=') + 1, 1) != 0 ||
        system(command) != 0) /* NOLINT(cert-env33-c) */
        die(command);
}

void softhsm_write(const struct softhsm *softhsm, const char *name, const char *content)
{
    char path[256];
    (void)snprintf(path, sizeof path, "%s/%s", softhsm->folder, name);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0 || write(fd, content, strlen(content)) != (ssize_t)strlen(content) || close(fd) != 0)
        die(path);
}

void softhsm_add_token(const struct softhsm *softhsm, const char *label)
{
    softhsm_run(softhsm,
                "softhsm2-util --init-token --free --label '%s' --pin '" SOFTHSM_PIN "' --so-pin 'so-" SOFTHSM_PIN
                "' >/dev/null",
                label);
}

void softhsm_make(struct softhsm *softhsm, const char *label)
{
    char text[256];
    *softhsm = (struct softhsm){.folder = "/tmp/mintmark-test-XXXXXX"};
    if (!mkdtemp(softhsm->folder))
        die("mkdtemp");
    (void)snprintf(text, sizeof text, "%s/tokens", softhsm->folder);
    if (mkdir(text, 0700) != 0)
        die("mkdir");
    (void)snprintf(text, sizeof text,
                   "directories.tokendir = %s/tokens\nobjectstore.backend = file\nlog.level = ERROR\n",
                   softhsm->folder);
    softhsm_write(softhsm, "softhsm2.conf", text);
    (void)snprintf(softhsm->environment, sizeof softhsm->environment, "SOFTHSM2_CONF=%s/softhsm2.conf",
                   softhsm->folder);
    softhsm->environment_items[0] = softhsm->environment;
    softhsm->config = (struct mm_hsm_token_config){
        .module = strdup(SOFTHSM_MODULE),
        .environment = {.items = softhsm->environment_items, .n = 1},
        .label = strdup(label),
        .pin_fd = -1,
        .threads = 2,
        .workers = 1,
        .quirks = {.sessions = 1024,
                   .id_bytes = 16,
                   .busy = 1 << MM_BUSY_FUNCTION_FAILED | 1 << MM_BUSY_SESSION_COUNT | 1 << MM_BUSY_HOST_MEMORY},
    };
    softhsm_add_token(softhsm, label);
}

void softhsm_remove(struct softhsm *softhsm)
{
    softhsm_run(softhsm, "rm -rf '%s'", softhsm->folder);
    free(softhsm->config.module);
    free(softhsm->config.label);
    free(softhsm->config.serial);
}

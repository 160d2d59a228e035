/* SPDX-License-Identifier: Apache-2.0 */
#include "hsm/latch.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "util/clock.h"
#include "util/file.h"
#include "util/json.h"

char *mm_latch_folder(const struct mm_config *config, struct mm_error *err)
{
    return mm_path_beside(config->store_file, "latches", err);
}

char *mm_latch_path(const struct mm_config *config, const char *hsm_token, struct mm_error *err)
{
    if (!hsm_token[0] || hsm_token[0] == '.' || strchr(hsm_token, '/')) {
        (void)mm_fail(err, MM_CONFIG_INVALID, "`%s` can't be part of a file's name", hsm_token);
        return NULL;
    }
    mm_cleanup(free) char *name = NULL;
    if (asprintf(&name, "latches/%s.pin-refused", hsm_token) < 0) {
        name = NULL;
        (void)mm_fail(err, MM_NO_MEMORY, "out of memory");
        return NULL;
    }
    return mm_path_beside(config->store_file, name, err);
}

static void copy_text(char *out, size_t size, const char *text)
{
    if (text)
        (void)snprintf(out, size, "%s", text);
}

bool mm_latch_read(const char *path, struct mm_latch *ret_latch, struct mm_error *err)
{
    struct stat info;
    if (lstat(path, &info) != 0)
        return mm_fail(err, errno == ENOENT ? MM_NOT_FOUND : MM_FILE, "%s: %s", path, strerror(errno));
    struct mm_latch latch = {0};
    mm_cleanup(mm_buffer_clear) struct mm_buffer text = mm_buffer_make(MM_LATCH_FILE_MAX);
    if (mm_file_read(path, &text, NULL)) {
        mm_cleanup(json_decref) json_t *content = mm_json_parse(text.data, text.length, NULL);
        copy_text(latch.time, sizeof latch.time, mm_json_string(content, "time"));
        copy_text(latch.reason, sizeof latch.reason, mm_json_string(content, "reason"));
    }
    *ret_latch = latch;
    return true;
}

bool mm_latch_check(const char *path, const char *hsm_token, struct mm_error *err)
{
    struct mm_latch latch;
    struct mm_error why = {0};
    if (mm_latch_read(path, &latch, &why))
        return mm_fail(err, MM_PIN_LATCHED,
                       "HSM token %s: its PIN was refused%s%s%s%s; put the PIN right, then run `mintmark token unlock` "
                       "(latch: %s)",
                       hsm_token, latch.time[0] ? " at " : "", latch.time, latch.reason[0] ? ": " : "", latch.reason,
                       path);
    if (why.code != MM_NOT_FOUND)
        return mm_fail(err, why.code, "%s", why.message);
    return true;
}

static bool sync_folder(const char *path, struct mm_error *err)
{
    mm_cleanup(free) char *folder = mm_path_beside(path, ".", err);
    if (!folder)
        return false;
    mm_cleanup(mm_close) int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || fsync(fd) != 0)
        return mm_fail(err, MM_FILE, "%s: %s", folder, strerror(errno));
    return true;
}

bool mm_latch_make_folder(const struct mm_config *config, struct mm_error *err)
{
    mm_cleanup(free) char *folder = mm_latch_folder(config, err);
    struct stat info;
    if (!folder)
        return false;
    /* Looked for first: a confined service may make none, and has made it before. */
    if (lstat(folder, &info) != 0) {
        if (errno != ENOENT || mkdir(folder, 0700) != 0)
            return mm_fail(err, MM_FILE, "%s: %s", folder, strerror(errno));
        return sync_folder(folder, err);
    }
    return S_ISDIR(info.st_mode) || mm_fail(err, MM_FILE, "%s: not a folder", folder);
}

/* `path` is a template for mkostemp(): several processes may have a refusal to record. */
static bool write_whole(char *path, const char *text, struct mm_error *err)
{
    mm_cleanup(mm_close) int fd = mkostemp(path, O_CLOEXEC);
    if (fd < 0)
        return mm_fail(err, MM_FILE, "%s: %s", path, strerror(errno));
    size_t length = strlen(text);
    /* A short write of so few bytes to a regular file means a full disk. */
    if (write(fd, text, length) != (ssize_t)length || fsync(fd) != 0)
        return mm_fail(err, MM_FILE, "%s: can't be written: %s", path, strerror(errno));
    return true;
}

static char *compose(int64_t now, const char *reason, struct mm_error *err)
{
    char time[MM_TIMESTAMP_MAX];
    mm_timestamp(now, time);
    size_t length = strnlen(reason, MM_LATCH_REASON_MAX - 1);
    mm_cleanup(json_decref) json_t *content = json_pack("{s:s, s:s%}", "time", time, "reason", reason, length);
    if (!content) {
        /* The cut fell into a character, or the reason isn't UTF-8: the time alone must do. */
        content = json_pack("{s:s, s:s}", "time", time, "reason", "PIN refused");
    }
    return mm_json_compact(content, err);
}

bool mm_latch_set(const char *path, int64_t now, const char *reason, struct mm_error *err)
{
    mm_cleanup(free) char *text = compose(now, reason, err);
    mm_cleanup(free) char *draft = NULL;
    if (!text)
        return false;
    if (asprintf(&draft, "%s.XXXXXX", path) < 0) {
        draft = NULL;
        return mm_fail(err, MM_NO_MEMORY, "out of memory");
    }
    if (!write_whole(draft, text, err)) {
        (void)unlink(draft);
        return false;
    }
    /* link() rather than rename(): it keeps a latch that is there. */
    int linked = link(draft, path) == 0 || errno == EEXIST ? 0 : errno;
    (void)unlink(draft);
    if (linked != 0)
        return mm_fail(err, MM_FILE, "%s: %s", path, strerror(linked));
    return sync_folder(path, err);
}

bool mm_latch_clear(const char *path, struct mm_error *err)
{
    if (unlink(path) != 0)
        return mm_fail(err, errno == ENOENT ? MM_NOT_FOUND : MM_FILE, "%s: %s", path, strerror(errno));
    return sync_folder(path, err);
}

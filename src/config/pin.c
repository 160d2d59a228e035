/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading the PIN, once a worker starts, from where the configuration says it lies.
 */
#include "config/config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "util/file.h"

enum {
    FILE_FORBIDDEN = 077,
    /* systemd lets a service's user in with an ACL, whose mask shows as the group's right to read. */
    CREDENTIAL_FORBIDDEN = 037,
};

static struct mm_secret *read_file(const char *path, mode_t forbidden, struct mm_error *err)
{
    mm_cleanup(mm_close) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    struct stat info;
    if (fd < 0 || fstat(fd, &info) != 0) {
        (void)mm_fail(err, MM_FILE, "%s: %s", path, strerror(errno));
        return NULL;
    }
    if (!mm_file_check_trusted(fd, path, err))
        return NULL;
    if (info.st_mode & forbidden) {
        (void)mm_fail(err, MM_CONFIG_INVALID, "%s: others can read it (mode %04o); make it 0600", path,
                      (unsigned)(info.st_mode & 07777));
        return NULL;
    }
    return mm_secret_read(fd, path, err);
}

static struct mm_secret *read_descriptor(int fd, const char *what, struct mm_error *err)
{
    if (lseek(fd, 0, SEEK_CUR) < 0) {
        (void)(errno == ESPIPE ? mm_fail(err, MM_CONFIG_INVALID,
                                         "%s: a pipe or socket can't be read again when a worker restarts; pass a "
                                         "descriptor of a file",
                                         what)
                               : mm_fail(err, MM_CONFIG_INVALID, "%s: %s", what, strerror(errno)));
        return NULL;
    }
    return mm_secret_read(fd, what, err);
}

static struct mm_secret *read_source(const struct mm_hsm_token_config *token, const char *where, struct mm_error *err)
{
    switch (token->pin_source) {
    case MM_PIN_FILE:
        return read_file(token->pin_path, FILE_FORBIDDEN, err);
    case MM_PIN_FD:
        return read_descriptor(token->pin_fd, where, err);
    case MM_PIN_CREDENTIAL:
        if (token->pin_path)
            return read_file(token->pin_path, CREDENTIAL_FORBIDDEN, err);
        (void)mm_fail(err, MM_CONFIG_INVALID, "pin_credential: CREDENTIALS_DIRECTORY isn't set");
        return NULL;
    case MM_PIN_NONE:
        break;
    }
    (void)mm_fail(err, MM_INTERNAL, "the HSM token has no source of its PIN");
    return NULL;
}

static bool has_form(const struct mm_pin_form *form, const char *pin, size_t length)
{
    static const char HEX[] = "0123456789abcdefABCDEF";
    if ((int64_t)length < form->min || (int64_t)length > form->max)
        return false;
    for (int64_t i = 0; i < form->hex_prefix; i++)
        if (i >= (int64_t)length || !strchr(HEX, pin[i]))
            return false;
    const char *separator = form->separator ? strchr(pin, form->separator) : NULL;
    return !form->separator || (separator && separator > pin && separator[1]);
}

bool mm_config_check_pin(const struct mm_hsm_token_config *token, const struct mm_secret *pin, const char *where,
                         struct mm_error *err)
{
    const struct mm_pin_form *form = &token->pin_form;
    return has_form(form, mm_secret_string(pin), mm_secret_length(pin)) ||
           mm_fail(err, MM_CONFIG_INVALID, "%s: not a PIN of HSM token %s, and so not sent to it: its PINs are %s",
                   where, token->name, form->description ? form->description : "of another form");
}

struct mm_secret *mm_config_read_pin(const struct mm_hsm_token_config *token, struct mm_error *err)
{
    char descriptor[32];
    (void)snprintf(descriptor, sizeof descriptor, "pin_fd %d", token->pin_fd);
    const char *where = token->pin_path ? token->pin_path : descriptor;
    struct mm_error why = {0};
    mm_cleanup(mm_secret_free) struct mm_secret *pin = read_source(token, where, &why);
    if (!pin) {
        /* A file that isn't there or holds no PIN is for an operator to mend: starting again won't. */
        (void)mm_fail(err, why.code == MM_FILE ? MM_CONFIG_INVALID : why.code, "%s", why.message);
        return NULL;
    }
    return mm_config_check_pin(token, pin, where, err) ? MM_TAKE(pin) : NULL;
}

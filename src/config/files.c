/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The files behind a configuration: none is believed that somebody else could have written, and no secret is left where
 * somebody else could read it.
 */
#include "config/loader.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "crypto/digest.h"
#include "util/file.h"

enum { POINTER_MAX = 64, CERTIFICATE_FILE_MAX = 256 * 1024, PRIVATE_MODE_MASK = 077 };

/* In a folder that anyone can write, without the sticky bit, anyone can put another file in a file's place. */
static bool check_folder(const char *file, struct mm_error *err)
{
    mm_cleanup(free) char *folder = mm_path_beside(file, ".", err);
    struct stat info;
    if (!folder)
        return false;
    if (stat(folder, &info) != 0)
        return mm_fail(err, MM_FILE, "%s: %s", file, strerror(errno));
    if ((info.st_mode & S_IWOTH) && !(info.st_mode & S_ISVTX))
        return mm_fail(err, MM_CONFIG_INVALID, "%s: anyone can write its folder (mode %04o)", file,
                       (unsigned)(info.st_mode & 07777));
    return true;
}

bool mm_loader_read(const char *file, struct mm_buffer *text, struct mm_error *err)
{
    return check_folder(file, err) && mm_file_read_trusted(file, text, err);
}

bool mm_loader_take_file(const struct loader *loader, const char *file, const char *path, struct mm_buffer *text)
{
    struct mm_error err = {0};
    mm_loader_note_file(loader, file);
    mm_loader_check_hands(loader, file, path);
    if (mm_loader_read(file, text, &err))
        return true;
    mm_loader_report(loader, path, "%s", err.message);
    return false;
}

void mm_loader_parse(const char *file, const struct mm_buffer *text, struct mm_document *ret_document,
                     struct mm_problems *problems)
{
    if (mm_yaml_parse(file, text->data, text->length, ret_document, problems) || ret_document->root)
        mm_sha256_hex(text->data, text->length, ret_document->digest);
}

static void check_private_file(const struct loader *loader, const char *file, const char *path)
{
    struct stat info;
    if (!file)
        return;
    if (stat(file, &info) != 0)
        mm_loader_report(loader, path, "%s: %s", file, strerror(errno));
    else if (!S_ISREG(info.st_mode))
        mm_loader_report(loader, path, "%s: not a regular file", file);
    else if (info.st_mode & PRIVATE_MODE_MASK)
        mm_loader_report(loader, path, "%s: group or others can read or write it (mode %04o); make it 0600", file,
                         (unsigned)(info.st_mode & 07777));
    else if (info.st_uid != 0 && info.st_uid != geteuid())
        mm_loader_report(loader, path, "%s: owned by uid %u, neither root nor this user", file, (unsigned)info.st_uid);
}

static void check_certificate_file(const struct loader *loader, const char *file, const char *path)
{
    struct mm_error err = {0};
    mm_cleanup(mm_buffer_clear) struct mm_buffer text = mm_buffer_make(CERTIFICATE_FILE_MAX);
    if (file && !mm_file_read_trusted(file, &text, &err))
        mm_loader_report(loader, path, "%s", err.message);
}

/* Without one nothing can be signed, but a configuration may be checked where there is no HSM. */
static void check_module(const struct loader *loader, const char *file, const char *path)
{
    struct stat info;
    if (file && stat(file, &info) != 0 && errno == ENOENT)
        mm_problems_warn(loader->problems, loader->document.file, mm_document_line(&loader->document, path), path,
                         "%s: there is no such module", file);
}

static void check_listen(const struct loader *loader, const struct mm_listen *listen, const char *where)
{
    char path[POINTER_MAX];
    (void)snprintf(path, sizeof path, "%s/certificate", where);
    check_certificate_file(loader, listen->certificate_file, path);
    mm_loader_check_hands(loader, listen->certificate_file, path);
    (void)snprintf(path, sizeof path, "%s/key", where);
    check_private_file(loader, listen->key_file, path);
}

void mm_loader_check_files(const struct loader *loader)
{
    const struct mm_config *config = loader->config;
    char path[POINTER_MAX];
    for (size_t i = 0; i < config->n_listen; i++) {
        (void)snprintf(path, sizeof path, "/listen/%zu", i);
        check_listen(loader, &config->listen[i], path);
    }
    check_listen(loader, &config->admin.https, "/admin/https");
    for (size_t i = 0; i < config->n_hsm_tokens; i++) {
        (void)snprintf(path, sizeof path, "/hsm/tokens/%zu/pin_file", i);
        if (config->hsm_tokens[i].pin_source == MM_PIN_FILE)
            check_private_file(loader, config->hsm_tokens[i].pin_path, path);
        (void)snprintf(path, sizeof path, "/hsm/tokens/%zu/module", i);
        check_module(loader, config->hsm_tokens[i].module, path);
        mm_loader_check_hands(loader, config->hsm_tokens[i].module, path);
    }
}

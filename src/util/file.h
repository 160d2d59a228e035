/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading the files that decide what the service does: whole, bounded, and only if nobody else could have written them. Writing one
 * that nobody else may ever read.
 */
#ifndef MM_UTIL_FILE_H
#define MM_UTIL_FILE_H

#include "util/base.h"
#include "util/buffer.h"

/*
 * Refuse (MM_CONFIG_INVALID, naming the path) a file that group or others can write, or that isn't a regular file owned
 * by root or the effective user.
 */
MM_MUST_USE bool mm_file_check_trusted(int fd, const char *path, struct mm_error *err);

/*
 * Refuse (MM_CONFIG_INVALID) a file that this process's own user could write, or put another one in the place of: it, each folder
 * and each link on the way to it, wherever links lead, must be another user's, and none but the links and folders with the sticky bit
 * writable. MM_FILE if that can't be told, also because there is no such file.
 */
MM_MUST_USE bool mm_file_check_out_of_hand(const char *path, struct mm_error *err);

/* Read a whole regular file of at most buffer->cap bytes after mm_file_check_trusted(). MM_FILE if it can't be read. */
MM_MUST_USE bool mm_file_read_trusted(const char *path, struct mm_buffer *buffer, struct mm_error *err);

/* Read a whole regular file of at most buffer->cap bytes, whoever may write it. */
MM_MUST_USE bool mm_file_read(const char *path, struct mm_buffer *buffer, struct mm_error *err);

/*
 * Put these bytes in the place of the file `path`, or make it: mode 0600 from its first moment, whole or not at all, written beside it under
 * a name of its own and renamed. What is there and no regular file (a link, a device) is left alone. MM_FILE; nothing stays behind then.
 */
MM_MUST_USE bool mm_file_replace(const char *path, const void *data, size_t length, struct mm_error *err);

/*
 * `path` as seen from the folder that holds `base_file`: absolute paths stay, relative ones are joined to that folder.
 * The caller frees the result; NULL (MM_NO_MEMORY) on failure.
 */
MM_MUST_USE char *mm_path_beside(const char *base_file, const char *path, struct mm_error *err);

#endif

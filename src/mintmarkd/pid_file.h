/* SPDX-License-Identifier: Apache-2.0 */
/*
 * --pid-file: opened while files aren't restricted yet, written when the service is ready. What is in it until then may be another
 * service's, that runs.
 */
#ifndef MM_MINTMARKD_PID_FILE_H
#define MM_MINTMARKD_PID_FILE_H

#include "util/base.h"

struct mm_pid_file {
    const char *path; /* borrowed; NULL: there is to be none, and the functions do nothing */
    int fd;           /* -1: not open */
    enum { MM_PID_NOT_WRITTEN, MM_PID_WRITTEN } state;
};

/* Open it, made if need be, with what is in it left alone. MM_FILE if it can't be, or isn't a regular file of one name. */
MM_MUST_USE bool mm_pid_file_open(struct mm_pid_file *file, struct mm_error *err);

/* Put this process's id into it. MM_FILE. */
MM_MUST_USE bool mm_pid_file_write(struct mm_pid_file *file, struct mm_error *err);

/* Empty it, if it was written, and close it. It isn't removed: that takes a right to its folder, which may be the configuration's. */
void mm_pid_file_close(struct mm_pid_file *file);

#endif

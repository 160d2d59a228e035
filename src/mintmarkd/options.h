/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mintmarkd's command line.
 */
#ifndef MM_MINTMARKD_OPTIONS_H
#define MM_MINTMARKD_OPTIONS_H

#include <limits.h>

#include "mintmarkd/signers.h"

struct mm_service_options {
    const char *config_file; /* of the command line, of the environment, or in `config_path` */
    char config_path[PATH_MAX];
    const char *pid_file; /* NULL: none */
    const char *user;     /* NULL: whoever started it */
    enum mm_installation installation;
    enum { MM_CONFINED, MM_UNCONFINED } confinement;
};

/*
 * Take the command line, and MINTMARK_CONFIG for what it doesn't say. False: nothing is to be served, with the exit status in `ret_status`;
 * help or a version was printed, or what is wrong.
 */
MM_MUST_USE bool mm_service_options_parse(int argc, char **argv, struct mm_service_options *ret_options,
                                          int *ret_status);

/* Make `config_file` absolute: workers and their confinement know no other folder to start at. MM_FILE. */
MM_MUST_USE bool mm_service_options_resolve(struct mm_service_options *options, struct mm_error *err);

#endif

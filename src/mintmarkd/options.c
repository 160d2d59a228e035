/* SPDX-License-Identifier: Apache-2.0 */
#include "mintmarkd/options.h"

#include <getopt.h>
#include <stdio.h>
#include <string.h>

static const char USAGE[] =
    "Usage: mintmarkd [--config FILE] [--pid-file FILE] [--user NAME] [--installed] [--unconfined]\n"
    "\n"
    "Issue short-lived, tenant-scoped JWTs signed inside a PKCS#11 token. Runs in the foreground and logs JSON lines "
    "on\n"
    "standard error. SIGHUP reloads policy, TLS certificates and limits; SIGTERM finishes what has begun and exits.\n"
    "\n"
    "  --config FILE    configuration (default: $MINTMARK_CONFIG, else /etc/mintmark/mintmark.yaml)\n"
    "  --pid-file FILE  write the process id there once the service is ready; emptied when it ends\n"
    "  --user NAME      started as root, become this user before anything else\n"
    "  --installed      refuse configuration and programs that the service's user could write or replace\n"
    "  --unconfined     do without the filter of system calls and Landlock, on a system that they don't suit\n"
    "  --help, --version\n"
    "\n"
    "Exit status: 0 stopped as asked, 1 internal, 2 usage, 3 configuration, 4 HSM, 5 PIN refused or latched (don't\n"
    "restart), 6 store, 7 can't listen.\n";

bool mm_service_options_parse(int argc, char **argv, struct mm_service_options *ret_options, int *ret_status)
{
    static const struct option OPTIONS[] = {
        {"config", required_argument, NULL, 'c'}, {"pid-file", required_argument, NULL, 'p'},
        {"user", required_argument, NULL, 'u'},   {"installed", no_argument, NULL, 'i'},
        {"unconfined", no_argument, NULL, 'n'},   {"help", no_argument, NULL, 'h'},
        {"version", no_argument, NULL, 'v'},      {NULL, 0, NULL, 0},
    };
    struct mm_service_options *options = ret_options;
    const char *from_environment = getenv("MINTMARK_CONFIG");
    *options = (struct mm_service_options){.confinement = MM_CONFINED};
    options->config_file = from_environment ? from_environment : "/etc/mintmark/mintmark.yaml";
    for (int option; (option = getopt_long(argc, argv, "", OPTIONS, NULL)) != -1;) {
        switch (option) {
        case 'c':
            options->config_file = optarg;
            break;
        case 'p':
            options->pid_file = optarg;
            break;
        case 'i':
            options->installation = MM_INSTALLED;
            break;
        case 'n':
            options->confinement = MM_UNCONFINED;
            break;
        case 'u':
            options->user = optarg;
            break;
        case 'h':
            *ret_status = fputs(USAGE, stdout) < 0 ? MM_EXIT_FAILURE : MM_EXIT_OK;
            return false;
        case 'v':
            *ret_status = puts("mintmarkd " MM_VERSION) < 0 ? MM_EXIT_FAILURE : MM_EXIT_OK;
            return false;
        default:
            *ret_status = MM_EXIT_USAGE;
            return false;
        }
    }
    if (optind == argc)
        return true;
    (void)fprintf(stderr, "mintmarkd: unexpected argument %s\n", argv[optind]);
    *ret_status = MM_EXIT_USAGE;
    return false;
}

bool mm_service_options_resolve(struct mm_service_options *options, struct mm_error *err)
{
    if (options->config_file[0] == '/')
        return true;
    char *folder = getcwd(options->config_path, sizeof options->config_path);
    size_t length = folder ? strlen(folder) : sizeof options->config_path;
    int n = folder ? snprintf(folder + length, sizeof options->config_path - length, "/%s", options->config_file) : 0;
    if (!folder || n < 0 || (size_t)n >= sizeof options->config_path - length)
        return mm_fail(err, MM_FILE, "%s: its folder's path can't be found or is too long", options->config_file);
    options->config_file = options->config_path;
    return true;
}

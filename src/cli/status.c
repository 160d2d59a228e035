/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `mintmark status`: what the running service is and how it is, once or as it changes.
 */
#include "cli/verbs.h"

#include <errno.h>
#include <signal.h>
#include <time.h>

#include "cli/admin.h"
#include "cli/status_report.h"

enum { WATCH_SECONDS = 2 };

const char MM_STATUS_HELP[] =
    "Usage: mintmark status [--watch] [--config FILE | --socket FILE | --admin-url URL …] [--json]\n"
    "\n"
    "Ask the running service what it is and how it is, over its admin listener. Takes the role viewer.\n"
    "\n"
    "  --watch         again every two seconds, until interrupted; a service that is away is waited for\n" MM_ADMIN_HELP
    "\n"
    "Exit status: 0 it answered, whatever it said, or --watch was interrupted; 7 it can't be reached, or who\n"
    "asks holds no role there; 3 the configuration can't be loaded or has no admin listener.\n"
    "\n"
    "Example:\n"
    "  mintmark status --socket /run/mintmark/admin.sock --watch\n"
    "  mintmark status --admin-url https://mint.example.com:9443 --cert alice.pem --key alice.key --ca mint-ca.pem\n";

enum { WATCH = MM_OPTION_FIRST };

enum repetition { ONCE, UNTIL_INTERRUPTED };

static bool show(struct mm_cli *cli, struct mm_cli_service *service, struct mm_error *err)
{
    mm_cleanup(json_decref) json_t *status = NULL;
    if (!mm_cli_service_call(cli, service, "GET", "/v1/status", NULL, &status, err))
        return false;
    if (cli->form == MM_FORM_JSON)
        return mm_print_json(stdout, status, err);
    mm_print_status(stdout, status);
    return true;
}

/* Home, then nothing below: what stays the same doesn't flicker. */
static void clear_screen(const struct mm_cli *cli)
{
    if (cli->form == MM_FORM_HUMAN && isatty(STDOUT_FILENO))
        (void)fputs("\033[H\033[J", stdout);
}

static bool is_interrupted(const sigset_t *signals)
{
    const struct timespec pause = {.tv_sec = WATCH_SECONDS};
    int taken;
    do
        taken = sigtimedwait(signals, NULL, &pause);
    while (taken < 0 && errno == EINTR);
    return taken > 0;
}

/* What can pass (a restart, a busy moment) is shown and waited for. */
static bool watch(struct mm_cli *cli, struct mm_cli_service *service, struct mm_error *err)
{
    sigset_t signals;
    (void)sigemptyset(&signals);
    (void)sigaddset(&signals, SIGINT);
    (void)sigaddset(&signals, SIGTERM);
    (void)sigprocmask(SIG_BLOCK, &signals, NULL);
    do {
        struct mm_error why = {0};
        clear_screen(cli);
        if (!show(cli, service, &why)) {
            mm_print_failure(stderr, cli->form, &why, mm_code_exit_status(why.code), cli->failure);
            json_decref(MM_TAKE(cli->failure));
        }
        if (!mm_output_finish(err))
            return false;
    } while (!is_interrupted(&signals));
    return true;
}

bool mm_verb_status(struct mm_cli *cli, int argc, char **argv, struct mm_error *err)
{
    static const struct option OPTIONS[] = {
        MM_COMMON_OPTIONS,
        MM_ADMIN_OPTIONS,
        {"watch", no_argument, NULL, WATCH},
        {0},
    };
    enum repetition repetition = ONCE;
    int option;
    while ((option = mm_option_next(cli, argc, argv, OPTIONS, err)) >= 0)
        repetition = UNTIL_INTERRUPTED;
    if (option == MM_OPTION_WRONG)
        return false;
    mm_cleanup(mm_cli_service_free) struct mm_cli_service *service = mm_cli_service_find(cli, err);
    if (!service)
        return false;
    return repetition == ONCE ? show(cli, service, err) : watch(cli, service, err);
}

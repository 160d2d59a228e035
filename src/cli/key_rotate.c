/* SPDX-License-Identifier: Apache-2.0 */
/* `mintmark key rotate`: the service goes through the whole sequence by itself; this begins it, and may wait. */
#include "cli/verbs.h"

#include <string.h>
#include <time.h>

#include "cli/admin.h"

const char MM_KEY_ROTATE_HELP[] =
    "Usage: mintmark key rotate [--algorithm ALG] [--to HSM-TOKEN] [--wait] [options]\n"
    "\n"
    "Let another key sign in place of those of its algorithm that do: the standby, else one that is staged, else a new "
    "one,\n"
    "where service_keys of an HSM token lets the service generate it. It is published for as long as verifiers may "
    "cache\n"
    "the JWKS, then activated; the others retire, and are withdrawn once their last token has expired.\n"
    "The service does all that by itself, over restarts. No verifier meets a token that it can't check.\n"
    "\n"
    "  --algorithm ALG of keys that sign ALG, one of keys.algorithms (default: keys.algorithm)\n"
    "  --to HSM-TOKEN  to a key on that HSM token, by its name in the configuration: how to move to another slot or "
    "HSM\n"
    "  --wait          return when the new key signs alone\n"
    "  --reason TEXT   why, for the ledger\n" MM_ADMIN_HELP "\n"
    "Exit status: 0 begun (with --wait: the new key signs alone), 8 refused (no key for it, or one of the algorithm "
    "is under way;\n"
    "with --wait: it came to nothing, since the key was revoked), 7 the service can't be reached, 1 no answer in time\n"
    "(mintmark status shows what became of it), 3 configuration, 2 the command line.\n";

enum { TO = MM_OPTION_FIRST, WAIT, ALGORITHM };

static const struct option OPTIONS[] = {
    MM_COMMON_OPTIONS,
    MM_ADMIN_OPTIONS,
    MM_REASON_OPTION,
    {"algorithm", required_argument, NULL, ALGORITHM},
    {"to", required_argument, NULL, TO},
    {"wait", no_argument, NULL, WAIT},
    {0},
};

enum wait { DONT_WAIT, DO_WAIT };

struct rotate_options {
    const char *algorithm;
    const char *to;
    enum wait wait;
};

static bool read_options(struct mm_cli *cli, int argc, char **argv, struct rotate_options *options,
                         struct mm_error *err)
{
    int option;
    while ((option = mm_option_next(cli, argc, argv, OPTIONS, err)) >= 0) {
        if (option == TO)
            options->to = optarg;
        else if (option == ALGORITHM)
            options->algorithm = optarg;
        else
            options->wait = DO_WAIT;
    }
    return option == MM_OPTION_END;
}

/* A rotation is over as well when its key was revoked. */
static bool check_signs(const json_t *answer, const char *kid, struct mm_error *err)
{
    const char *state = mm_json_string(mm_cli_service_key(answer, kid), "state");
    return (state && strcmp(state, "active") == 0) ||
           mm_fail(err, MM_KEY_STATE, "the rotation came to nothing: its key %s is %.32s", kid,
                   state ? state : "unknown");
}

/* Until the rotation to `kid` is over, however long that takes: a restart of the service in between is only waited out. */
static bool wait_for_end(struct mm_cli *cli, struct mm_cli_service *service, const char *kid, struct mm_error *err)
{
    const struct timespec pause = {.tv_sec = 1};
    if (!kid)
        return mm_fail(err, MM_INTERNAL, "the service didn't say which key it rotates to");
    for (;;) {
        mm_cleanup(json_decref) json_t *answer = NULL;
        struct mm_error why = {0};
        if (mm_cli_service_call(cli, service, "GET", "/v1/keys", NULL, &answer, &why)) {
            if (!mm_json_array_has(json_object_get(answer, "successors"), kid))
                return check_signs(answer, kid, err);
        } else if (why.code != MM_UNREACHABLE && why.code != MM_SHUTTING_DOWN) {
            return mm_fail(err, why.code, "%s", why.message);
        }
        (void)nanosleep(&pause, NULL);
    }
}

static bool print_answer(const struct mm_cli *cli, const json_t *answer, enum wait wait, struct mm_error *err)
{
    if (cli->form == MM_FORM_JSON)
        return mm_print_json(stdout, answer, err);
    (void)fputs(wait == DO_WAIT ? "Rotated to key " : "Rotating to key ", stdout);
    mm_print_value(stdout, json_object_get(answer, "kid"));
    if (wait == DONT_WAIT) {
        (void)fputs(", which signs from ", stdout);
        mm_print_value(stdout, json_object_get(answer, "activates_at"));
        (void)fputs(" on", stdout);
    }
    (void)fputs(".\n", stdout);
    return true;
}

bool mm_verb_key_rotate(struct mm_cli *cli, int argc, char **argv, struct mm_error *err)
{
    struct rotate_options options = {0};
    if (!read_options(cli, argc, argv, &options, err))
        return false;
    mm_cleanup(mm_cli_service_free) struct mm_cli_service *service = mm_cli_service_find(cli, err);
    mm_cleanup(json_decref) json_t *body =
        json_pack("{s:s*, s:s*, s:s*}", "algorithm", options.algorithm, "hsm_token", options.to, "reason", cli->reason);
    mm_cleanup(json_decref) json_t *answer = NULL;
    return service && mm_cli_service_call(cli, service, "POST", "/v1/rotation", body, &answer, err) &&
           (options.wait == DONT_WAIT || wait_for_end(cli, service, mm_json_string(answer, "kid"), err)) &&
           print_answer(cli, answer, options.wait, err);
}

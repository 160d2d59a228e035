/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `mintmark revoke` and `mintmark revocations`: take tokens back, and see what was. The service first says what a revocation would hit; whoever is
 * there to be asked says yes to that.
 */
#include "cli/verbs.h"

#include <string.h>
#include <time.h>

#include "cli/admin.h"
#include "util/clock.h"

const char MM_REVOKE_HELP[] =
    "Usage: mintmark revoke --jti ID | --account TENANT/ACCOUNT | --tenant TENANT | --resource R --tenant TENANT |\n"
    "                       --kid KID | --issued-before TIME   --reason TEXT [--dry-run] [--yes] [options]\n"
    "       mintmark revoke --lift NUMBER --reason TEXT [options]\n"
    "\n"
    "Take tokens back: those issued up to now, of what is named. First the service says how many are alive; nothing "
    "is\n"
    "done before you say yes. Who introspects a token sees it at once; a verifier that checks tokens by itself "
    "accepts\n"
    "them until they expire. Takes the role operator.\n"
    "\n"
    "  --jti ID              one token, by its id (mintmark ledger list has those)\n"
    "  --account T/A         an account's, or a user's: 'ISSUER#SUB'; and it gets no new ones until that is lifted\n"
    "  --tenant T            a tenant's; and none of its accounts gets new ones until that is lifted\n"
    "  --resource R          those that reach a resource of --tenant; a * at the end stands for all that starts so\n"
    "  --kid KID             those that a key signed (to take the key itself out: mintmark key revoke)\n"
    "  --issued-before TIME  those issued earlier, of what is named or of all; stops nothing. RFC 3339, a date, Unix\n"
    "                        seconds, or a duration ago (10m)\n"
    "  --reason TEXT         why, for the ledger; --dry-run needs none\n"
    "  --dry-run             say what it would hit, and do nothing\n"
    "  --yes                 don't ask\n"
    "  --lift NUMBER         let new tokens be issued that this revocation stops; what it took back stays "
    "so\n" MM_ADMIN_HELP "\n"
    "Exit status: 0 done (--dry-run: told), 8 refused, 7 the service can't be reached, 6 the ledger can't record it,\n"
    "1 no answer in time (mintmark revocations shows what became of it), 2 the command line, or you didn't say yes.\n"
    "\n"
    "Example:\n"
    "  mintmark revoke --account acme/ci-build --reason \"runner was compromised\"\n";

const char MM_REVOCATIONS_HELP[] =
    "Usage: mintmark revocations [options]\n"
    "\n"
    "List what operators revoked and what of it counts still: tokens that may be alive, and issuance that is stopped.\n"
    "What clients revoked of their own is only counted (mintmark ledger list --type token.revoked has it all).\n"
    "\n" MM_ADMIN_HELP "\n"
    "Exit status: 0 listed, 8 refused, 7 the service can't be reached, 3 configuration, 2 the command line.\n";

enum { JTI = MM_OPTION_FIRST, ACCOUNT, TENANT, RESOURCE, ISSUED_BEFORE, DRY_RUN, YES, LIFT };

static const struct option OPTIONS[] = {
    MM_COMMON_OPTIONS,
    MM_ADMIN_OPTIONS,
    MM_KID_OPTION,
    MM_REASON_OPTION,
    {"jti", required_argument, NULL, JTI},
    {"account", required_argument, NULL, ACCOUNT},
    {"tenant", required_argument, NULL, TENANT},
    {"resource", required_argument, NULL, RESOURCE},
    {"issued-before", required_argument, NULL, ISSUED_BEFORE},
    {"dry-run", no_argument, NULL, DRY_RUN},
    {"yes", no_argument, NULL, YES},
    {"lift", required_argument, NULL, LIFT},
    {0},
};

struct revoke_options {
    const char *jti;
    const char *account;
    const char *tenant;
    const char *resource;
    int64_t issued_before; /* Unix seconds; 0: not given */
    int64_t lift;          /* 0: not given */
    enum { REVOKE, TRY } run;
    enum { ASK, DONT_ASK } consent;
};

static bool take_option(int option, struct revoke_options *options, struct mm_error *err)
{
    switch (option) {
    case JTI:
        options->jti = optarg;
        return true;
    case ACCOUNT:
        options->account = optarg;
        return true;
    case TENANT:
        options->tenant = optarg;
        return true;
    case RESOURCE:
        options->resource = optarg;
        return true;
    case ISSUED_BEFORE:
        return mm_option_instant("--issued-before", optarg, time(NULL), &options->issued_before, err);
    case LIFT:
        return mm_option_integer("--lift", optarg, 1, INT64_MAX, &options->lift, err);
    case DRY_RUN:
        options->run = TRY;
        return true;
    default:
        options->consent = DONT_ASK;
        return true;
    }
}

static bool read_options(struct mm_cli *cli, int argc, char **argv, struct revoke_options *options,
                         struct mm_error *err)
{
    int option;
    while ((option = mm_option_next(cli, argc, argv, OPTIONS, err)) >= 0)
        if (!take_option(option, options, err))
            return false;
    if (option != MM_OPTION_END)
        return false;
    return (options->run == TRY && !options->lift) || mm_option_require("--reason", cli->reason, err);
}

/* The request for what is named; NULL: MM_USAGE unless it is one thing. */
static json_t *make_order(const struct mm_cli *cli, const struct revoke_options *options, struct mm_error *err)
{
    const struct {
        const char *what;
        const char *name;
    } named[] = {{"jti", options->jti},
                 {"account", options->account},
                 {"resource", options->resource},
                 {"key", cli->kid},
                 {"tenant", options->resource ? NULL : options->tenant}};
    const char *what = "all";
    const char *name = NULL;
    size_t n = 0;
    for (size_t i = 0; i < MM_ARRAY_SIZE(named); i++) {
        if (!named[i].name)
            continue;
        what = named[i].what;
        name = named[i].name;
        n++;
    }
    if (n > 1 || (n == 0 && !options->issued_before) || (options->resource && !options->tenant)) {
        (void)mm_fail(
            err, MM_USAGE,
            "name one of --jti, --account, --tenant, --resource (with its --tenant), --kid, or --issued-before");
        return NULL;
    }
    json_t *order = json_pack("{s:s, s:s*, s:s*, s:o*, s:s}", "what", what, "name", name, "tenant",
                              options->resource ? options->tenant : NULL, "issued_before",
                              options->issued_before ? json_integer(options->issued_before) : NULL, "reason",
                              cli->reason ? cli->reason : "dry run"); /* which records none */
    if (!order)
        (void)mm_fail(err, MM_USAGE, "what is named, or the reason, isn't UTF-8");
    return order;
}

static void print_name(FILE *out, const json_t *answer)
{
    const char *name = mm_json_string(answer, "name");
    mm_print_value(out, json_object_get(answer, "what"));
    if (name && *name) {
        (void)fputc(' ', out);
        mm_print_text(out, name);
    }
    if (mm_json_string(answer, "tenant") && *mm_json_string(answer, "tenant")) {
        (void)fputs(" of tenant ", out);
        mm_print_text(out, mm_json_string(answer, "tenant"));
    }
    if (json_is_string(json_object_get(answer, "issued_before"))) {
        (void)fputs(" issued before ", out);
        mm_print_value(out, json_object_get(answer, "issued_before"));
    }
}

static void print_estimate(FILE *out, const json_t *estimate)
{
    const json_t *live = json_object_get(estimate, "live_tokens");
    const json_t *verifiers = json_object_get(estimate, "verifiers");
    bool is_whole = json_is_true(json_object_get(estimate, "counted_all"));
    print_name(out, estimate);
    if (json_is_integer(live))
        (void)fprintf(out, ": %s %lld live tokens", is_whole ? "at most" : "at least",
                      (long long)json_integer_value(live));
    else
        (void)fputs(": how many tokens are alive isn't known, since the ledger can't be read", out);
    if (json_is_string(json_object_get(estimate, "last_exp"))) {
        (void)fputs(", the last of which expires at ", out);
        mm_print_value(out, json_object_get(estimate, "last_exp"));
    }
    (void)fputs(".\n", out);
    if (json_is_false(json_object_get(estimate, "in_policy")))
        (void)fputs("  the policy in force has no such account, user or tenant: is that its name?\n", out);
    if (json_is_true(json_object_get(estimate, "stops_issuance")))
        (void)fputs("  no new ones are issued there until that is lifted\n", out);
    for (size_t i = 0; i < json_array_size(verifiers); i++) {
        (void)fputs("  ", out);
        mm_print_value(out, json_array_get(verifiers, i));
        (void)fputc('\n', out);
    }
}

static bool confirm(struct mm_error *err)
{
    char typed[16] = "";
    (void)fputs("There is no way back. Revoke? Type yes: ", stderr);
    (void)fflush(stderr);
    if (!fgets(typed, sizeof typed, stdin))
        typed[0] = '\0';
    typed[strcspn(typed, "\n")] = '\0';
    return strcmp(typed, "yes") == 0 ||
           mm_fail(err, MM_USAGE, "that isn't yes: nothing was revoked (--yes doesn't ask)");
}

static bool estimate_of(struct mm_cli *cli, struct mm_cli_service *service, const json_t *order, json_t **ret_estimate,
                        struct mm_error *err)
{
    mm_cleanup(json_decref) json_t *trial = json_deep_copy(order);
    if (!trial || json_object_set_new(trial, "dry_run", json_true()) != 0)
        return mm_fail(err, MM_NO_MEMORY, "out of memory");
    return mm_cli_service_call(cli, service, "POST", "/v1/revocations", trial, ret_estimate, err);
}

static bool print_revoked(const struct mm_cli *cli, const json_t *answer, struct mm_error *err)
{
    if (cli->form == MM_FORM_JSON)
        return mm_print_json(stdout, answer, err);
    (void)fputs("Revoked ", stdout);
    print_name(stdout, answer);
    (void)printf(", as number %lld.\n", (long long)mm_json_integer(answer, "id", 0));
    if (json_is_true(json_object_get(answer, "stops_issuance")))
        (void)printf("Nothing is issued there until: mintmark revoke --lift %lld --reason …\n",
                     (long long)mm_json_integer(answer, "id", 0));
    return true;
}

static bool run_revoke(struct mm_cli *cli, const struct revoke_options *options, struct mm_error *err)
{
    mm_cleanup(json_decref) json_t *order = make_order(cli, options, err);
    mm_cleanup(mm_cli_service_free) struct mm_cli_service *service = order ? mm_cli_service_find(cli, err) : NULL;
    mm_cleanup(json_decref) json_t *estimate = NULL;
    mm_cleanup(json_decref) json_t *answer = NULL;
    if (!service)
        return false;
    if ((options->run == TRY || options->consent == ASK) && !estimate_of(cli, service, order, &estimate, err))
        return false;
    if (options->run == TRY && cli->form == MM_FORM_JSON)
        return mm_print_json(stdout, estimate, err);
    if (estimate)
        print_estimate(options->run == TRY ? stdout : stderr, estimate);
    if (options->run == TRY)
        return true;
    return (options->consent == DONT_ASK || confirm(err)) &&
           mm_cli_service_call(cli, service, "POST", "/v1/revocations", order, &answer, err) &&
           print_revoked(cli, answer, err);
}

static bool run_lift(struct mm_cli *cli, const struct revoke_options *options, struct mm_error *err)
{
    if (options->jti || options->account || options->tenant || options->resource || cli->kid || options->issued_before)
        return mm_fail(err, MM_USAGE, "--lift names a revocation by its number, and nothing else");
    mm_cleanup(mm_cli_service_free) struct mm_cli_service *service = mm_cli_service_find(cli, err);
    mm_cleanup(json_decref) json_t *body =
        json_pack("{s:I, s:s}", "id", (json_int_t)options->lift, "reason", cli->reason);
    mm_cleanup(json_decref) json_t *answer = NULL;
    if (!service || !mm_cli_service_call(cli, service, "POST", "/v1/revocations/lift", body, &answer, err))
        return false;
    if (cli->form == MM_FORM_JSON)
        return mm_print_json(stdout, answer, err);
    (void)printf("Revocation %lld stops nothing any more.\n", (long long)mm_json_integer(answer, "id", 0));
    return true;
}

bool mm_verb_revoke(struct mm_cli *cli, int argc, char **argv, struct mm_error *err)
{
    struct revoke_options options = {0};
    if (!read_options(cli, argc, argv, &options, err))
        return false;
    return options.lift ? run_lift(cli, &options, err) : run_revoke(cli, &options, err);
}

static void print_revocation(const json_t *revocation)
{
    char text[MM_TIMESTAMP_MAX];
    (void)printf("%6lld  ", (long long)mm_json_integer(revocation, "id", 0));
    mm_timestamp(mm_json_integer(revocation, "time", 0), text);
    (void)printf("%s  ", text);
    print_name(stdout, revocation);
    mm_timestamp(mm_json_integer(revocation, "issued_until", 0), text);
    (void)printf("  issued until %s%s  by ", text,
                 json_is_true(json_object_get(revocation, "stops_issuance")) ? ", ISSUANCE STOPPED" : "");
    mm_print_value(stdout, json_object_get(revocation, "by"));
    (void)fputs(": ", stdout);
    mm_print_value(stdout, json_object_get(revocation, "reason"));
    (void)fputc('\n', stdout);
}

bool mm_verb_revocations(struct mm_cli *cli, int argc, char **argv, struct mm_error *err)
{
    static const struct option LIST_OPTIONS[] = {MM_COMMON_OPTIONS, MM_ADMIN_OPTIONS, {0}};
    if (mm_option_next(cli, argc, argv, LIST_OPTIONS, err) != MM_OPTION_END)
        return false;
    mm_cleanup(mm_cli_service_free) struct mm_cli_service *service = mm_cli_service_find(cli, err);
    mm_cleanup(json_decref) json_t *answer = NULL;
    if (!service || !mm_cli_service_call(cli, service, "GET", "/v1/revocations", NULL, &answer, err))
        return false;
    if (cli->form == MM_FORM_JSON)
        return mm_print_json(stdout, answer, err);
    const json_t *list = json_object_get(answer, "revocations");
    for (size_t i = 0; i < json_array_size(list); i++)
        print_revocation(json_array_get(list, i));
    (void)printf("%lld of operators, %lld of which stop issuance; %lld of clients' own tokens\n",
                 (long long)mm_json_integer(answer, "by_operators", 0), (long long)mm_json_integer(answer, "stops", 0),
                 (long long)mm_json_integer(answer, "by_clients", 0));
    return true;
}

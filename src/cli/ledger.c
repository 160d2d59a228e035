/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `mintmark ledger list` and `mintmark ledger verify`: read the ledger beside a running service.
 */
#include "cli/verbs.h"

#include <inttypes.h>
#include <string.h>

#include "cli/problems.h"
#include "ledger/reader.h"
#include "util/base64url.h"
#include "util/clock.h"

const char MM_LEDGER_LIST_HELP[] =
    "Usage: mintmark ledger list [--config FILE | --store FILE] [options]\n"
    "\n"
    "List the ledger's entries, oldest first: what was issued, refused and changed. Works beside a running service.\n"
    "\n"
    "  --config FILE      take the store from this configuration\n"
    "  --store FILE       the ledger itself\n"
    "  --account T/A      only entries of this account, e.g. acme/ci-build\n"
    "  --jti ID           only entries of this token\n"
    "  --type TYPE        only entries of this type, e.g. token.issued; `token.` means all that begin so\n"
    "  --since TIME       from this moment on: 2026-11-24T10:00:00Z, 2026-11-24, or 1h for an hour ago\n"
    "  --until TIME       before this moment\n"
    "  --limit N          only the newest N (default: 100; 0: all)\n"
    "  --json             one JSON object a line: sequence, hash, and the entry exactly as stored\n"
    "\n"
    "Exit status: 0 done (even if nothing matched), 6 no ledger or not readable, 3 configuration, 2 the command line.\n"
    "\n"
    "Example:\n"
    "  mintmark ledger list --account acme/ci-build --since 1d\n";

const char MM_LEDGER_VERIFY_HELP[] =
    "Usage: mintmark ledger verify [--config FILE | --store FILE] [--json]\n"
    "\n"
    "Recompute the ledger's whole hash chain and show its length and head. Keep the head somewhere else: whoever can\n"
    "write the store can also rebuild its chain, but not to the same head.\n"
    "\n"
    "  --config FILE      take the store from this configuration\n"
    "  --store FILE       the ledger itself\n"
    "  --json             {\"entries\", \"head\"}, and errors, as JSON\n"
    "\n"
    "Exit status: 0 the chain verifies, 9 it doesn't (the first entry that doesn't fit is named), 6 no ledger or not\n"
    "readable, 3 configuration, 2 the command line.\n";

enum { LIST_LIMIT = 100 };

struct ledger_options {
    const char *store;
    struct mm_ledger_filter filter;
};

enum { STORE = MM_OPTION_FIRST, ACCOUNT, JTI, TYPE, SINCE, UNTIL, LIMIT };

static const struct option LIST_OPTIONS[] = {
    MM_COMMON_OPTIONS,
    MM_CONFIG_OPTION,
    {"store", required_argument, NULL, STORE},
    {"account", required_argument, NULL, ACCOUNT},
    {"jti", required_argument, NULL, JTI},
    {"type", required_argument, NULL, TYPE},
    {"since", required_argument, NULL, SINCE},
    {"until", required_argument, NULL, UNTIL},
    {"limit", required_argument, NULL, LIMIT},
    {0},
};

static const struct option VERIFY_OPTIONS[] = {
    MM_COMMON_OPTIONS,
    MM_CONFIG_OPTION,
    {"store", required_argument, NULL, STORE},
    {0},
};

static bool take_option(struct ledger_options *options, int option, int64_t now, struct mm_error *err)
{
    switch (option) {
    case STORE:
        options->store = optarg;
        return true;
    case ACCOUNT:
        options->filter.account = optarg;
        return true;
    case JTI:
        options->filter.jti = optarg;
        return true;
    case TYPE:
        options->filter.type = optarg;
        return true;
    case SINCE:
        return mm_option_instant("--since", optarg, now, &options->filter.since, err);
    case UNTIL:
        return mm_option_instant("--until", optarg, now, &options->filter.until, err);
    default:
        return mm_option_integer("--limit", optarg, 0, INT32_MAX, &options->filter.limit, err);
    }
}

/* Read the options and open the ledger that they name. */
static struct mm_ledger_reader *open_reader(struct mm_cli *cli, int argc, char **argv, const struct option *table,
                                            struct ledger_options *options, struct mm_error *err)
{
    int option;
    int64_t now = mm_clock_now(&MM_SYSTEM_CLOCK);
    while ((option = mm_option_next(cli, argc, argv, table, err)) >= 0)
        if (!take_option(options, option, now, err))
            return NULL;
    if (option == MM_OPTION_WRONG)
        return NULL;
    if (options->store)
        return mm_ledger_reader_open(options->store, err);
    mm_cleanup(mm_config_unref) struct mm_config *config =
        mm_cli_load_config(cli, cli->config_file, MM_LOAD_SERVICE, err);
    return config ? mm_ledger_reader_open(config->store_file, err) : NULL;
}

/* The stored bytes as they are: what was hashed is what is shown. */
static bool print_record_json(void *context, const struct mm_ledger_record *record, struct mm_error *err)
{
    (void)context, (void)err;
    char hash[MM_SHA256_HEX_LENGTH + 1];
    mm_hex_encode(record->hash, sizeof record->hash, hash);
    (void)printf("{\"sequence\":%" PRId64 ",\"hash\":\"%s\",\"entry\":", record->sequence, hash);
    (void)fwrite(record->bytes, 1, record->length, stdout);
    (void)fputs("}\n", stdout);
    return true;
}

static bool print_record(void *context, const struct mm_ledger_record *record, struct mm_error *err)
{
    (void)context, (void)err;
    mm_cleanup(json_decref) json_t *entry = mm_json_parse(record->bytes, record->length, NULL);
    const json_t *time = json_object_get(entry, "time");
    const char *type = mm_json_string(entry, "type");
    (void)printf("%8" PRId64 "  ", record->sequence);
    if (json_is_integer(time)) {
        char text[MM_TIMESTAMP_MAX];
        mm_timestamp(json_integer_value(time), text);
        (void)fputs(text, stdout);
    } else {
        mm_print_value(stdout, time);
    }
    (void)fputs("  ", stdout);
    mm_print_text(stdout, type ? type : "(an entry that can't be read)");
    const char *name;
    json_t *value;
    json_object_foreach(entry, name, value)
    {
        if (strcmp(name, "time") == 0 || strcmp(name, "type") == 0 || strcmp(name, "jwk") == 0 ||
            strcmp(name, "evidence") == 0)
            continue;
        (void)fputs("  ", stdout);
        mm_print_text(stdout, name);
        (void)fputc('=', stdout);
        mm_print_value(stdout, value);
    }
    (void)fputc('\n', stdout);
    return true;
}

bool mm_verb_ledger_list(struct mm_cli *cli, int argc, char **argv, struct mm_error *err)
{
    struct ledger_options options = {.filter = {.limit = LIST_LIMIT}};
    mm_cleanup(mm_ledger_reader_close) struct mm_ledger_reader *reader =
        open_reader(cli, argc, argv, LIST_OPTIONS, &options, err);
    return reader && mm_ledger_list(reader, &options.filter,
                                    cli->form == MM_FORM_JSON ? print_record_json : print_record, NULL, err);
}

bool mm_verb_ledger_verify(struct mm_cli *cli, int argc, char **argv, struct mm_error *err)
{
    struct ledger_options options = {0};
    mm_cleanup(mm_ledger_reader_close) struct mm_ledger_reader *reader =
        open_reader(cli, argc, argv, VERIFY_OPTIONS, &options, err);
    if (!reader)
        return false;
    struct mm_ledger_report report = {0};
    if (!mm_ledger_verify(reader, &report, err)) {
        if (err->code == MM_LEDGER_CORRUPT)
            cli->exit_status = MM_EXIT_UNVERIFIED;
        return false;
    }
    char head[MM_SHA256_HEX_LENGTH + 1];
    mm_hex_encode(report.head, sizeof report.head, head);
    if (cli->form == MM_FORM_JSON)
        (void)printf("{\"entries\":%" PRId64 ",\"head\":\"%s\"}\n", report.entries, head);
    else
        (void)printf("ok: %" PRId64 " entries, head %s\n", report.entries, head);
    return true;
}

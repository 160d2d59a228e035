/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/options.h"

#include <errno.h>
#include <string.h>

#include "util/clock.h"

/* The option as the user wrote it, without a value that may follow its `=`. */
static int option_length(const char *written)
{
    return (int)strcspn(written, "=");
}

/* Whether it is one that several verbs have. */
static bool take_shared(struct mm_cli *cli, int option)
{
    const struct {
        int option;
        const char **ret_value;
    } shared[] = {
        {'c', &cli->config_file},    {'s', &cli->socket},
        {'u', &cli->admin.url},      {'e', &cli->admin.certificate_file},
        {'y', &cli->admin.key_file}, {'p', &cli->admin.key_passphrase_file},
        {'a', &cli->admin.ca_file},  {'k', &cli->kid},
        {'r', &cli->reason},
    };
    if (option == 'j') {
        cli->form = MM_FORM_JSON;
        return true;
    }
    for (size_t i = 0; i < MM_ARRAY_SIZE(shared); i++) {
        if (option != shared[i].option)
            continue;
        *shared[i].ret_value = optarg;
        return true;
    }
    return false;
}

static bool takes_kid(const struct option *table)
{
    for (; table->name; table++)
        if (table->val == 'k')
            return true;
    return false;
}

int mm_option_next(struct mm_cli *cli, int argc, char **argv, const struct option *table, struct mm_error *err)
{
    opterr = 0;
    for (;;) {
        int option = getopt_long(argc, argv, ":h", table, NULL);
        const char *written = optind > 0 && optind <= argc ? argv[optind - 1] : "";
        if (take_shared(cli, option))
            continue;
        switch (option) {
        case 'h': /* main looks for it before any verb runs, but only in full */
            (void)mm_fail(err, MM_USAGE, "say --help in full");
            return MM_OPTION_WRONG;
        case ':':
            (void)mm_fail(err, MM_USAGE, "%.*s needs a value", option_length(written), written);
            return MM_OPTION_WRONG;
        case '?':
            (void)mm_fail(err, MM_USAGE, "unknown option %.*s (see --help)", option_length(written), written);
            return MM_OPTION_WRONG;
        case -1:
            if (cli->operands == MM_OPERAND_OPTIONAL && optind + 1 == argc)
                cli->operand = argv[optind++];
            if (cli->operands == MM_OPERANDS_ANY) {
                cli->all_operands = argv + optind;
                cli->n_operands = (size_t)(argc - optind);
                optind = argc;
            }
            if (optind == argc)
                return MM_OPTION_END;
            (void)mm_fail(err, MM_USAGE, "an argument that belongs to no option%s (see --help)",
                          takes_kid(table) ? ": a key is named with --kid" : "");
            return MM_OPTION_WRONG;
        default:
            return option;
        }
    }
}

bool mm_option_integer(const char *option, const char *text, int64_t min, int64_t max, int64_t *ret_value,
                       struct mm_error *err)
{
    char *end = NULL;
    errno = 0;
    long long value = strtoll(text, &end, 10);
    if (end == text || *end || errno != 0 || value < min || value > max || strspn(text, "0123456789") != strlen(text))
        return mm_fail(err, MM_USAGE, "%s is a whole number from %lld to %lld", option, (long long)min, (long long)max);
    *ret_value = value;
    return true;
}

bool mm_option_duration(const char *option, const char *text, int64_t *ret_seconds, struct mm_error *err)
{
    if (!mm_duration_parse(text, ret_seconds))
        return mm_fail(err, MM_USAGE, "%s is a duration such as 90s, 10m or 1h", option);
    return true;
}

bool mm_option_instant(const char *option, const char *text, int64_t now, int64_t *ret_unix_seconds,
                       struct mm_error *err)
{
    int64_t ago = 0;
    if (mm_duration_parse(text, &ago)) {
        *ret_unix_seconds = now - ago;
        return true;
    }
    if (!mm_timestamp_parse(text, ret_unix_seconds))
        return mm_fail(err, MM_USAGE, "%s is a time such as 2026-11-24T10:00:00Z or 2026-11-24, or 1h for an hour ago",
                       option);
    return true;
}

bool mm_option_require(const char *option, const char *value, struct mm_error *err)
{
    return value ? true : mm_fail(err, MM_USAGE, "%s is needed (see --help)", option);
}

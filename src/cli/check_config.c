/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `mintmark check-config`: every problem of the configuration and the policy files, and what a change of them means.
 */
#include "cli/verbs.h"

#include <string.h>

#include "cli/problems.h"
#include "cli/removed.h"
#include "policy/exchange.h"
#include "policy/diff.h"
#include "policy/removed.h"

const char MM_CHECK_CONFIG_HELP[] =
    "Usage: mintmark check-config [--config FILE] [--diff OTHER] [--json]\n"
    "\n"
    "Load mintmark.yaml, its HSM profile, the tenants' files and CAs as the service would, and list every problem with "
    "its\n"
    "file and line; of syntax errors the first of each file.\n"
    "\n"
    "Checked, too: that server certificates can be read, that TLS keys and a pin_file are there and nobody else's, "
    "and,\n"
    "as a warning, that the module is there.\n"
    "Not checked: what is in certificates, TLS keys and PINs; credentials (pin_credential) and descriptors (pin_fd); "
    "the\n"
    "files that environment and paths name; whether the module loads and the HSM and the ledger are as they must be; "
    "who\n"
    "could replace files (mintmarkd --installed).\n"
    "\n"
    "  --config FILE  the configuration to check (default: $MINTMARK_CONFIG, else /etc/mintmark/mintmark.yaml)\n"
    "  --diff OTHER   also say who gains and loses what relative to the configuration OTHER (the running or the old\n"
    "                 one), which envelopes change, what may be fetched and whose keys come from elsewhere, and "
    "whether\n"
    "                 taking it over needs a restart\n"
    "  --json         the result, and errors, as JSON\n"
    "\n"
    "Exit status: 0 no errors (whatever --diff found), 3 errors, 2 the command line.\n"
    "\n"
    "Example, before a reload:\n"
    "  mintmark check-config --config new/mintmark.yaml --diff /etc/mintmark/mintmark.yaml\n";

enum { DIFF = MM_OPTION_FIRST };

static const struct option OPTIONS[] = {
    MM_COMMON_OPTIONS,
    MM_CONFIG_OPTION,
    {"diff", required_argument, NULL, DIFF},
    {0},
};

/* What a change means: both may be NULL. */
struct difference {
    json_t *changes;
    json_t *removed; /* accounts and tenants */
    char *restart;   /* why the running service can't take it over */
};

static void difference_clear_cleanup(struct difference *difference)
{
    json_decref(difference->changes);
    json_decref(difference->removed);
    free(difference->restart);
}

static bool compare(const struct mm_config *config, const char *other_file, struct mm_cli *cli,
                    struct difference *ret_difference, struct mm_error *err)
{
    mm_cleanup(mm_config_unref) struct mm_config *other = mm_cli_load_config(cli, other_file, MM_LOAD_ALL, err);
    if (!other)
        return false;
    struct mm_error restart = {0};
    if (!mm_config_can_replace(other, config, &restart)) {
        ret_difference->restart = strdup(restart.message);
        if (!ret_difference->restart)
            return mm_fail(err, MM_NO_MEMORY, "out of memory");
    }
    ret_difference->changes = mm_policy_diff(&other->policy, &config->policy, err);
    ret_difference->removed = mm_policy_removed(&other->policy, &config->policy, err);
    return ret_difference->changes && ret_difference->removed &&
           mm_config_diff(other, config, ret_difference->changes, err);
}

static size_t count_grants(const struct mm_tenant *tenant)
{
    size_t n = 0;
    for (size_t i = 0; i < tenant->n_accounts; i++)
        n += tenant->accounts[i].n_grants;
    return n;
}

/* They are kept beside the accounts, but get no tokens. */
static size_t count_resource_servers(const struct mm_tenant *tenant)
{
    size_t n = 0;
    for (size_t i = 0; i < tenant->n_accounts; i++)
        n += tenant->accounts[i].introspects.n > 0;
    return n;
}

static const char *plural(size_t n)
{
    return n == 1 ? "" : "s";
}

static void print_tenant(const struct mm_tenant *tenant)
{
    size_t n_servers = count_resource_servers(tenant);
    size_t n_accounts = tenant->n_accounts - n_servers;
    size_t n_grants = count_grants(tenant);
    (void)printf("  tenant   %s: %zu account%s, %zu grant%s", tenant->id, n_accounts, plural(n_accounts), n_grants,
                 plural(n_grants));
    if (tenant->exchange)
        (void)printf(", %zu rule%s of exchange", tenant->exchange->n_rules, plural(tenant->exchange->n_rules));
    if (n_servers)
        (void)printf(", %zu resource server%s", n_servers, plural(n_servers));
    (void)puts("");
}

/* The default one first. */
static void print_algorithms(const struct mm_config *config)
{
    (void)printf("  keys     %s", mm_algorithm_name(config->algorithm));
    for (int i = 0; i < MM_N_ALGORITHMS; i++)
        if (i != (int)config->algorithm && mm_algorithms_have(config->algorithms, (enum mm_algorithm)i))
            (void)printf(", %s", mm_algorithm_name((enum mm_algorithm)i));
    (void)printf(", tokens live %lld s at most\n", (long long)config->max_ttl);
}

/* By the first of its names: which of them it is goes to `ret_how`. */
static const char *call_token(const struct mm_hsm_token_config *token, const char **ret_how)
{
    const struct {
        const char *how;
        const char *name;
    } names[] = {{"label", token->label},
                 {"serial", token->serial},
                 {"model", token->model},
                 {"manufacturer", token->manufacturer}};
    size_t i = 0;
    while (i + 1 < MM_ARRAY_SIZE(names) && !names[i].name)
        i++;
    *ret_how = names[i].how;
    return names[i].name;
}

static void print_listener(const struct mm_listen *listen)
{
    if (listen->socket)
        (void)printf("  listens  %s, plain HTTP from a proxy", listen->socket);
    else
        (void)printf("  listens  %s port %u", listen->address, (unsigned)listen->port);
    if (listen->proxy_ca)
        (void)fputs(", proxies only", stdout);
    if (listen->client_certificates == MM_CLIENT_CERTIFICATES_NONE)
        (void)fputs(", without client certificates", stdout);
    (void)puts(listen->trusts_client_cert_header ? ", which says who its clients are (Client-Cert)" : "");
}

static void print_summary(const struct mm_config *config)
{
    (void)printf("ok: %s\n  issuer   %s\n", config->file, config->issuer);
    for (size_t i = 0; i < config->n_listen; i++)
        print_listener(&config->listen[i]);
    for (size_t i = 0; i < config->n_hsm_tokens; i++) {
        const struct mm_hsm_token_config *token = &config->hsm_tokens[i];
        const char *how;
        const char *called = call_token(token, &how);
        (void)printf("  hsm      %s: profile %s, %s %s, %s, %lld worker%s\n", token->name, token->profile, how, called,
                     token->module, (long long)token->workers, plural((size_t)token->workers));
    }
    print_algorithms(config);
    (void)printf("  store    %s\n", config->store_file);
    for (size_t i = 0; i < config->policy.n_tenants; i++)
        print_tenant(&config->policy.tenants[i]);
    (void)printf("  policy   %s\n", config->policy.digest);
}

/* `+` for what is gained, `-` for what is lost, `~` for the rest, as reviewers know it from diffs. */
static void print_change(const json_t *change)
{
    const char *kind = mm_json_string(change, "change");
    const char *account = mm_json_string(change, "account");
    kind = kind ? kind : "changes";
    (void)printf("%c ", strcmp(kind, "gains") == 0 ? '+' : strcmp(kind, "loses") == 0 ? '-' : '~');
    if (mm_json_string(change, "tenant"))
        mm_print_value(stdout, json_object_get(change, "tenant"));
    else
        (void)fputs("the service", stdout);
    if (account && *account) {
        (void)fputc('/', stdout);
        mm_print_text(stdout, account);
    }
    (void)printf(" %s ", kind);
    mm_print_value(stdout, json_object_get(change, "what"));
    (void)fputc('\n', stdout);
}

static void print_difference(const struct difference *difference, const char *other)
{
    size_t n = json_array_size(difference->changes);
    (void)printf("\nrelative to %s:\n", other);
    if (n == 0)
        (void)fputs("nobody gains or loses anything, and no envelope changes\n", stdout);
    for (size_t i = 0; i < n; i++)
        print_change(json_array_get(difference->changes, i));
    mm_print_removed(difference->removed);
    if (difference->restart)
        (void)printf("a reload can't take this over: %s\n", difference->restart);
}

static bool print_json(const struct mm_config *config, const struct mm_problems *warnings,
                       const struct difference *difference, struct mm_error *err)
{
    mm_cleanup(json_decref) json_t *report =
        json_pack("{s:b, s:s, s:s, s:s, s:o, s:O*, s:O*, s:s*}", "ok", true, "file", config->file, "config_digest",
                  config->digest, "policy_digest", config->policy.digest, "problems", mm_problems_to_json(warnings),
                  "changes", difference->changes, "removed", difference->removed, "restart", difference->restart);
    if (!report)
        return mm_fail(err, MM_NO_MEMORY, "out of memory");
    return mm_print_json(stdout, report, err);
}

bool mm_verb_check_config(struct mm_cli *cli, int argc, char **argv, struct mm_error *err)
{
    const char *other_file = NULL;
    int option;
    while ((option = mm_option_next(cli, argc, argv, OPTIONS, err)) >= 0)
        other_file = optarg;
    if (option == MM_OPTION_WRONG)
        return false;

    mm_cleanup(mm_problems_clear) struct mm_problems problems = {0};
    mm_cleanup(mm_config_unref) struct mm_config *config = mm_config_load(cli->config_file, &problems);
    mm_cli_print_problems(cli, &problems);
    if (!config)
        return mm_cli_fail_with_problems(cli, cli->config_file, &problems, err);

    mm_cleanup(difference_clear) struct difference difference = {0};
    if (other_file && !compare(config, other_file, cli, &difference, err))
        return false;
    if (cli->form == MM_FORM_JSON)
        return print_json(config, &problems, &difference, err);
    print_summary(config);
    if (other_file)
        print_difference(&difference, other_file);
    return true;
}

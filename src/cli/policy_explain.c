/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `mintmark policy explain`: which rule a token satisfies, or how it fails each of them. It works offline, on the files alone; that it
 * doesn't know whether a token is genuine is the first thing that it says.
 */
#include "cli/verbs.h"

#include <string.h>

#include "cli/explain.h"
#include "cli/problems.h"
#include "cli/token_text.h"
#include "policy/exchange.h"
#include "policy/match.h"
#include "policy/spiffe.h"
#include "token/jws.h"
#include "token/jwt.h"
#include "util/clock.h"
#include "util/file.h"

const char MM_POLICY_EXPLAIN_HELP[] =
    "Usage: mintmark policy explain --token-file FILE [--tenant ID] [--jwks FILE] [--config FILE] [--json]\n"
    "\n"
    "Say for whom a caller's token (an OIDC issuer's, a JWT-SVID, an assertion) stands by the tenants' files: which "
    "rule matches, how\n"
    "each other one on its issuer fails, and what the account may be granted. Of a user's token: which rules of the\n"
    "tenants' `exchange` take it by its audience and claims (whether it is an access token isn't looked at). Nothing "
    "is asked of the service or\n"
    "of the issuer. The token's claims are shown: they may name people.\n"
    "\n"
    "  --token-file FILE  the token; -: standard input. Without --jwks anything may stand for its signature: "
    "HEADER.CLAIMS.AAAA\n"
    "  --tenant ID        of this tenant's rules only (default: of all that have rules on its issuer)\n"
    "  --jwks FILE        the issuer's keys, as its jwks_uri has them (of a JWT-SVID: its trust domain's bundle): "
    "verify the\n"
    "                     token, as the service would\n"
    "  --config FILE      the configuration (default: $MINTMARK_CONFIG, else /etc/mintmark/mintmark.yaml); "
    "certificates,\n"
    "                     keys and PINs of the service aren't looked at\n"
    "  --json             the result, and errors, as JSON\n"
    "\n"
    "Without --jwks nobody has checked the token's signature or its times: anybody could have written it.\n"
    "\n"
    "Exit status: 0 it stands for an account or is exchanged, 8 for none, or two, 9 it isn't a token or, with --jwks, "
    "doesn't verify,\n"
    "3 configuration, 1 a file can't be read, 2 the command line.\n"
    "\n"
    "Example:\n"
    "  mintmark policy explain --token-file job.jwt --tenant acme\n";

enum { TOKEN_FILE = MM_OPTION_FIRST, TENANT, JWKS };

static const struct option OPTIONS[] = {
    MM_COMMON_OPTIONS,
    MM_CONFIG_OPTION,
    {"token-file", required_argument, NULL, TOKEN_FILE},
    {"tenant", required_argument, NULL, TENANT},
    {"jwks", required_argument, NULL, JWKS},
    {0},
};

struct explain_options {
    const char *token_file;
    const char *tenant;
    const char *jwks_file;
};

static bool read_options(struct mm_cli *cli, int argc, char **argv, struct explain_options *options,
                         struct mm_error *err)
{
    int option;
    while ((option = mm_option_next(cli, argc, argv, OPTIONS, err)) >= 0) {
        if (option == TOKEN_FILE)
            options->token_file = optarg;
        else if (option == TENANT)
            options->tenant = optarg;
        else
            options->jwks_file = optarg;
    }
    return option == MM_OPTION_END && mm_option_require("--token-file", options->token_file, err);
}

/* What is known of the token beside its rules. */
struct verdict {
    enum { UNVERIFIED, VERIFIED, REFUTED } is;
    char why[MM_ERROR_MESSAGE_MAX];
};

/* Whose keys a token is verified with: an issuer's, or a trust domain's (`is_svid`). */
static struct mm_jwks *read_jwks(const char *file, bool is_svid, struct mm_error *err)
{
    mm_cleanup(mm_buffer_clear) struct mm_buffer text = mm_buffer_make(MM_FOREIGN_JWKS_MAX);
    struct mm_error why = {0};
    if (!mm_file_read(file, &text, err))
        return NULL;
    struct mm_jwks *jwks =
        is_svid ? mm_jwks_parse_bundle(text.data, text.length, &why) : mm_jwks_parse(text.data, text.length, &why);
    if (!jwks)
        (void)mm_fail(err, MM_FILE, "%s: %s", file, why.message);
    return jwks;
}

/* For one of several audiences: which rule wants which is told with the rules. */
static void verify(const struct mm_explained *token, const struct mm_jwks *jwks, struct mm_jwt_rules rules,
                   struct verdict *verdict)
{
    static const char *const TYPES[] = {"", "JWT", "JOSE", "client-authentication+jwt", NULL};
    struct mm_error err = {0};
    if (verdict->is == VERIFIED)
        return;
    rules.leeway = MM_JWT_LEEWAY;
    if (!rules.types) {
        rules.types = TYPES;
        rules.audience = MM_AUDIENCE_SOLE;
        rules.expiry = MM_EXPIRY_REQUIRED;
    }
    mm_cleanup(mm_jwt_free) struct mm_jwt *jwt = mm_jwt_open(token->text, strlen(token->text), &err);
    bool is_verified = jwt && mm_jwt_verify(jwt, jwks, &rules, token->now, &err);
    verdict->is = is_verified ? VERIFIED : REFUTED;
    (void)snprintf(verdict->why, sizeof verdict->why, "%s", err.message);
}

/* As the subject of an exchange, whose token may be for others as well. False: no memory. */
static bool verify_as_subject(const struct mm_config *config, const struct mm_tenant *tenant,
                              const struct mm_explained *token, const struct mm_jwks *jwks, struct verdict *verdict)
{
    static const char *const TYPES[] = {"at+jwt", "JWT", NULL};
    const char *issuer = mm_json_string(token->claims, "iss");
    const struct mm_exchange *exchange = tenant->exchange;
    bool is_own = exchange && strcmp(issuer, config->issuer) == 0;
    if (!is_own && !mm_exchange_has_issuer(exchange, issuer))
        return true;
    mm_cleanup(free) const char **audiences = calloc(exchange->subject_audiences.n + 1, sizeof *audiences);
    for (size_t i = 0; audiences && i < exchange->subject_audiences.n; i++)
        audiences[i] = exchange->subject_audiences.items[i];
    if (audiences)
        verify(token, jwks,
               (struct mm_jwt_rules){
                   .issuer = issuer, .audiences = audiences, .audience = MM_AUDIENCE_AMONG, .types = TYPES},
               verdict);
    return audiences != NULL;
}

static bool judge(const struct mm_config *config, const struct mm_tenant *tenant, const struct mm_explained *token,
                  const char *jwks_file, struct verdict *ret_verdict, struct mm_error *err)
{
    const char *issuer = mm_json_string(token->claims, "iss");
    bool is_svid = mm_is_spiffe_id(mm_json_string(token->claims, "sub"));
    mm_cleanup(free) char *endpoint = NULL;
    *ret_verdict = (struct verdict){.is = UNVERIFIED};
    if (!jwks_file)
        return true;
    if (asprintf(&endpoint, "%s/oauth2/token", config->issuer) < 0) {
        endpoint = NULL;
        return mm_fail(err, MM_NO_MEMORY, "out of memory");
    }
    mm_cleanup(mm_jwks_unref) struct mm_jwks *jwks = read_jwks(jwks_file, is_svid, err);
    if (!jwks)
        return false;
    for (size_t i = 0; issuer && i < config->policy.n_tenants; i++) {
        const struct mm_tenant *one = &config->policy.tenants[i];
        const char *const *audiences = !tenant || tenant == one ? mm_policy_oidc_audiences(one, issuer) : NULL;
        if (audiences)
            verify(token, jwks, (struct mm_jwt_rules){.issuer = issuer, .audiences = audiences}, ret_verdict);
        if ((!tenant || tenant == one) && !verify_as_subject(config, one, token, jwks, ret_verdict))
            return mm_fail(err, MM_NO_MEMORY, "out of memory");
    }
    /* Nobody's issuer: a trust domain's workload or a client speaks for itself. */
    const char *const ours[] = {config->issuer, is_svid ? NULL : endpoint, NULL};
    if (ret_verdict->is == UNVERIFIED)
        verify(token, jwks, (struct mm_jwt_rules){.issuer = is_svid ? NULL : issuer, .audiences = ours}, ret_verdict);
    return true;
}

static void print_line(const char *before, const json_t *value, const char *after)
{
    (void)fputs(before, stdout);
    mm_print_value(stdout, value);
    (void)fputs(after, stdout);
}

/* `expected` is a string or a list of them. */
static void print_failure(const json_t *failure)
{
    print_line("      ", json_object_get(failure, "why"), "");
    const json_t *got = json_object_get(failure, "got");
    if (!json_is_null(got))
        print_line(", but ", got, "");
    (void)fputc('\n', stdout);
}

static void print_rule(const json_t *rule)
{
    const char *mode = strcmp(mm_json_string(rule, "mode"), "audit") == 0 ? ", in audit mode" : "";
    bool matches = json_is_true(json_object_get(rule, "matches"));
    (void)printf("    line %lld, %s%s: %s\n", (long long)mm_json_integer(rule, "line", 0), mm_json_string(rule, "kind"),
                 mode, matches ? "matches" : "doesn't match");
    const json_t *failures = json_object_get(rule, "failures");
    for (size_t i = 0; i < json_array_size(failures); i++)
        print_failure(json_array_get(failures, i));
}

static void print_grants(const json_t *grants)
{
    for (size_t i = 0; i < json_array_size(grants); i++) {
        const json_t *grant = json_array_get(grants, i);
        const char *const lists[] = {"scopes", "resources"};
        for (size_t j = 0; j < MM_ARRAY_SIZE(lists); j++) {
            const json_t *list = json_object_get(grant, lists[j]);
            (void)fputs(j == 0 ? "    may have " : " on ", stdout);
            for (size_t k = 0; k < json_array_size(list); k++)
                print_line(k ? ", " : "", json_array_get(list, k), "");
        }
        (void)fputs(" for ", stdout);
        mm_print_duration(stdout, mm_json_integer(grant, "ttl_default", 0));
        (void)fputs(", up to ", stdout);
        mm_print_duration(stdout, mm_json_integer(grant, "ttl_max", 0));
        (void)fputc('\n', stdout);
    }
}

static void print_exchange(const json_t *rules)
{
    for (size_t i = 0; i < json_array_size(rules); i++) {
        const json_t *rule = json_array_get(rules, i);
        const json_t *clients = json_object_get(rule, "clients");
        if (i == 0)
            (void)puts("  exchange");
        print_rule(rule);
        if (!json_is_true(json_object_get(rule, "matches")))
            continue;
        (void)fputs("  is exchanged, one resource at a time, for ", stdout);
        for (size_t j = 0; j < json_array_size(clients); j++)
            print_line(j ? ", " : "", json_array_get(clients, j), "");
        (void)puts(json_array_size(clients) ? "" : "any client");
        print_grants(json_object_get(rule, "grants"));
    }
}

static void print_tenant(const json_t *tenant)
{
    print_line("\ntenant ", json_object_get(tenant, "tenant"), "\n");
    const json_t *accounts = json_object_get(tenant, "accounts");
    for (size_t i = 0; i < json_array_size(accounts); i++) {
        const json_t *account = json_array_get(accounts, i);
        const json_t *rules = json_object_get(account, "rules");
        print_line("  ", json_object_get(account, "account"), "\n");
        for (size_t j = 0; j < json_array_size(rules); j++)
            print_rule(json_array_get(rules, j));
    }
    const json_t *exchange = json_object_get(tenant, "exchange");
    print_exchange(exchange);
    const json_t *audit = json_object_get(tenant, "audit");
    for (size_t i = 0; i < json_array_size(audit); i++)
        print_line("  would stand for ", json_array_get(audit, i), ", if its rule weren't in audit mode\n");
    if (json_is_string(json_object_get(tenant, "account"))) {
        print_line("  stands for ", json_object_get(tenant, "account"), "\n");
        print_grants(json_object_get(tenant, "grants"));
    } else if (json_array_size(accounts) > 0 || json_array_size(exchange) == 0) {
        print_line("  refused: ", json_object_get(tenant, "detail"), "\n");
    }
}

static void print_time(const struct mm_explained *token, const char *claim, const char *title)
{
    const json_t *value = json_object_get(token->claims, claim);
    if (!json_is_integer(value))
        return;
    (void)printf("  %s ", title);
    mm_print_instant(stdout, json_integer_value(value), token->now);
    (void)fputc('\n', stdout);
}

static void print_report(const json_t *tenants, const struct mm_explained *token, const struct verdict *verdict)
{
    if (verdict->is == UNVERIFIED)
        (void)fputs(
            "NOT VERIFIED: nobody has checked the signature, anybody could have written this (--jwks checks it)\n",
            stdout);
    else if (verdict->is == REFUTED)
        (void)printf("NOT VERIFIED: the service would refuse it: %s\n", verdict->why);
    else
        (void)fputs("VERIFIED\n", stdout);
    const json_t *issuer = json_object_get(token->claims, "iss");
    print_line(issuer ? "  issuer  " : "  subject ", issuer ? issuer : json_object_get(token->claims, "sub"), "\n");
    print_time(token, "iat", "issued ");
    print_time(token, "exp", "expires");
    for (size_t i = 0; i < json_array_size(tenants); i++)
        print_tenant(json_array_get(tenants, i));
    if (json_array_size(tenants) == 0)
        (void)fputs("\nno tenant has a rule for tokens of this issuer\n", stdout);
}

static bool print_report_json(json_t *tenants, const struct mm_explained *token, const struct verdict *verdict,
                              struct mm_error *err)
{
    mm_cleanup(json_decref) json_t *report =
        json_pack("{s:b, s:b, s:s*, s:O*, s:O*, s:O*, s:O}", "verified", verdict->is == VERIFIED, "signature_checked",
                  verdict->is != UNVERIFIED, "reason", verdict->is == REFUTED ? verdict->why : NULL, "issuer",
                  json_object_get(token->claims, "iss"), "subject", json_object_get(token->claims, "sub"), "expires_at",
                  json_object_get(token->claims, "exp"), "tenants", tenants);
    return report ? mm_print_json(stdout, report, err) : mm_fail(err, MM_NO_MEMORY, "out of memory");
}

static bool is_exchanged(const json_t *tenant)
{
    const json_t *rules = json_object_get(tenant, "exchange");
    for (size_t i = 0; i < json_array_size(rules); i++)
        if (json_is_true(json_object_get(json_array_get(rules, i), "matches")))
            return true;
    return false;
}

/* What the exit status tells. */
static bool conclude(const json_t *tenants, const struct verdict *verdict, struct mm_error *err)
{
    if (verdict->is == REFUTED)
        return mm_fail(err, MM_TOKEN_INVALID, "the token doesn't verify: %s", verdict->why);
    for (size_t i = 0; i < json_array_size(tenants); i++)
        if (json_is_string(json_object_get(json_array_get(tenants, i), "account")) ||
            is_exchanged(json_array_get(tenants, i)))
            return true;
    for (size_t i = 0; i < json_array_size(tenants); i++)
        if (strcmp(mm_json_string(json_array_get(tenants, i), "refused"), mm_code_name(MM_CREDENTIAL_AMBIGUOUS)) == 0)
            return mm_fail(err, MM_CREDENTIAL_AMBIGUOUS, "the token stands for two accounts");
    return mm_fail(err, MM_ACCESS_DENIED, "the token stands for no account, and no rule exchanges it");
}

static bool explain(struct mm_cli *cli, const struct mm_config *config, const struct explain_options *options,
                    const struct mm_explained *token, struct mm_error *err)
{
    const struct mm_tenant *tenant = options->tenant ? mm_policy_tenant(&config->policy, options->tenant) : NULL;
    struct verdict verdict;
    if (options->tenant && !tenant)
        return mm_fail(err, MM_CONFIG_INVALID, "%s: there is no such tenant", config->file);
    if (!judge(config, tenant, token, options->jwks_file, &verdict, err))
        return false;
    mm_cleanup(json_decref) json_t *tenants = mm_explain(config, tenant, token, err);
    if (!tenants)
        return false;
    if (cli->form == MM_FORM_HUMAN)
        print_report(tenants, token, &verdict);
    else if (!print_report_json(tenants, token, &verdict, err))
        return false;
    return conclude(tenants, &verdict, err);
}

bool mm_verb_policy_explain(struct mm_cli *cli, int argc, char **argv, struct mm_error *err)
{
    struct explain_options options = {0};
    struct mm_error why = {0};
    if (!read_options(cli, argc, argv, &options, err))
        return false;
    mm_cleanup(free) char *text = mm_cli_read_token(options.token_file, err);
    mm_cleanup(mm_jws_clear) struct mm_jws jws = {0};
    if (!text)
        return false;
    if (!mm_jws_parse(text, &jws, &why))
        return mm_fail(err, why.code, "%s%s", why.code == MM_TOKEN_INVALID ? "not a token: " : "", why.message);
    mm_cleanup(mm_config_unref) struct mm_config *config =
        mm_cli_load_config(cli, cli->config_file, MM_LOAD_POLICY, err);
    const struct mm_explained token = {.text = text, .claims = jws.payload, .now = mm_clock_now(&MM_SYSTEM_CLOCK)};
    return config && explain(cli, config, &options, &token, err);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `mintmark inspect`: what a token says, and whether it may be believed. What isn't verified is never shown as if it were.
 */
#include "cli/verbs.h"

#include <string.h>

#include "cli/describe.h"
#include "cli/judge.h"
#include "cli/token_text.h"
#include "client/https.h"
#include "token/jws.h"
#include "util/base64url.h"
#include "util/clock.h"
#include "util/file.h"

const char MM_INSPECT_HELP[] =
    "Usage: mintmark inspect [--token-file FILE] (--issuer URL | --jwks URL|FILE | --no-verify) [options]\n"
    "\n"
    "Decode a token, verify it, and say in plain words what it allows and until when. The token is read from a file\n"
    "or from standard input, never from the command line.\n"
    "\n"
    "  --token-file FILE      read the token from FILE (default: -, standard input)\n"
    "  --issuer URL           trust this issuer: find its keys by discovery; `iss` must be this URL\n"
    "  --jwks URL|FILE        trust these keys, whatever `iss` says\n"
    "  --ca FILE              CA of the service's certificate, PEM (default: the machine's CAs)\n"
    "  --no-verify            only decode: anyone could have written what is shown\n"
    "  --json                 the result, and errors, as JSON\n"
    "\n"
    "A token verifies if its signature fits the trusted key that it names, its type is at+jwt, and it is neither "
    "expired\n"
    "nor from the future. Revocation isn't checked.\n"
    "\n"
    "Exit status: 0 verified (or --no-verify), 9 not verified, 7 the keys can't be fetched, 1 a file can't be read,\n"
    "2 the command line.\n"
    "\n"
    "Example:\n"
    "  mintmark issue … | mintmark inspect --issuer https://mint.example.com\n";

struct inspect_options {
    const char *token_file;
    const char *issuer;
    const char *jwks;
    const char *ca_file;
    enum { VERIFY, DECODE_ONLY } mode;
};

enum { TOKEN_FILE = MM_OPTION_FIRST, ISSUER, JWKS, CA, NO_VERIFY };

static const struct option OPTIONS[] = {
    MM_COMMON_OPTIONS,
    {"token-file", required_argument, NULL, TOKEN_FILE},
    {"issuer", required_argument, NULL, ISSUER},
    {"jwks", required_argument, NULL, JWKS},
    {"ca", required_argument, NULL, CA},
    {"no-verify", no_argument, NULL, NO_VERIFY},
    {0},
};

static bool read_options(struct mm_cli *cli, int argc, char **argv, struct inspect_options *options,
                         struct mm_error *err)
{
    int option;
    while ((option = mm_option_next(cli, argc, argv, OPTIONS, err)) >= 0) {
        if (option == TOKEN_FILE)
            options->token_file = optarg;
        else if (option == ISSUER)
            options->issuer = optarg;
        else if (option == JWKS)
            options->jwks = optarg;
        else if (option == CA)
            options->ca_file = optarg;
        else
            options->mode = DECODE_ONLY;
    }
    if (option == MM_OPTION_WRONG)
        return false;
    if ((options->issuer != NULL) + (options->jwks != NULL) + (options->mode == DECODE_ONLY) > 1)
        return mm_fail(err, MM_USAGE, "--issuer, --jwks and --no-verify exclude each other");
    if (!options->issuer && !options->jwks && options->mode != DECODE_ONLY)
        return mm_fail(err, MM_USAGE, "give --issuer or --jwks, or --no-verify to only decode");
    return true;
}

static bool is_url(const char *text)
{
    return strstr(text, "://") != NULL;
}

/* A JSON object from an https URL, or MM_UNREACHABLE. */
static json_t *fetch_json(struct mm_https *https, const char *url, struct mm_error *err)
{
    mm_cleanup(mm_https_response_clear) struct mm_https_response response = {0};
    if (!mm_https_get(https, url, &response, err))
        return NULL;
    if (response.status != 200) {
        (void)mm_fail(err, MM_UNREACHABLE, "%.200s: answered %u", url, response.status);
        return NULL;
    }
    mm_cleanup(json_decref) json_t *value = mm_json_parse(response.body.data, response.body.length, NULL);
    if (!json_is_object(value)) {
        (void)mm_fail(err, MM_UNREACHABLE, "%.200s: the answer isn't a JSON object", url);
        return NULL;
    }
    return MM_TAKE(value);
}

static json_t *read_json(const char *file, struct mm_error *err)
{
    mm_cleanup(mm_buffer_clear) struct mm_buffer buffer = mm_buffer_make(MM_HTTPS_BODY_MAX);
    if (!mm_file_read(file, &buffer, err))
        return NULL;
    mm_cleanup(json_decref) json_t *value = mm_json_parse(buffer.data, buffer.length, NULL);
    if (!json_is_object(value)) {
        (void)mm_fail(err, MM_FILE, "%s: not a JSON object", file);
        return NULL;
    }
    return MM_TAKE(value);
}

/* The keys of an issuer by OpenID Connect discovery (section 4.3: `issuer` must be the URL that was asked). */
static json_t *discover_jwks(struct mm_https *https, const char *issuer, struct mm_error *err)
{
    mm_cleanup(free) char *url = NULL;
    int length = (int)strlen(issuer);
    if (length > 0 && issuer[length - 1] == '/')
        length--;
    if (asprintf(&url, "%.*s/.well-known/openid-configuration", length, issuer) < 0) {
        url = NULL;
        (void)mm_fail(err, MM_NO_MEMORY, "out of memory");
        return NULL;
    }
    mm_cleanup(json_decref) json_t *document = fetch_json(https, url, err);
    if (!document)
        return NULL;
    const char *named = mm_json_string(document, "issuer");
    const char *jwks_uri = mm_json_string(document, "jwks_uri");
    if (!named || strcmp(named, issuer) != 0 || !jwks_uri) {
        (void)mm_fail(err, MM_TOKEN_INVALID, "%.200s: %s", url,
                      jwks_uri ? "its issuer isn't exactly this URL" : "it names no jwks_uri");
        return NULL;
    }
    return fetch_json(https, jwks_uri, err);
}

static json_t *load_jwks(const struct inspect_options *options, struct mm_error *err)
{
    if (options->jwks && !is_url(options->jwks))
        return read_json(options->jwks, err);
    struct mm_https_options http_options = {.ca_file = options->ca_file};
    mm_cleanup(mm_https_free) struct mm_https *https = mm_https_new(&http_options, err);
    if (!https)
        return NULL;
    return options->jwks ? fetch_json(https, options->jwks, err) : discover_jwks(https, options->issuer, err);
}

/* MM_TOKEN_INVALID if the token must not be believed; another code if that can't be found out. */
static bool judge(const struct inspect_options *options, const struct mm_jws *jws, const char *token, int64_t now,
                  struct mm_error *err)
{
    if (options->mode == DECODE_ONLY)
        return mm_fail(err, MM_TOKEN_INVALID, "nothing was verified: anyone could have written this");
    mm_cleanup(json_decref) json_t *jwks = load_jwks(options, err);
    return jwks && mm_jws_verify(jws, token, jwks, err) &&
           mm_claims_judge(jws->header, jws->payload, options->issuer, now, err);
}

static void print_member(const json_t *object, const char *name, const char *title)
{
    const json_t *value = json_object_get(object, name);
    if (!value)
        return;
    (void)printf("  %-10s ", title);
    mm_print_value(stdout, value);
    (void)fputc('\n', stdout);
}

/* The certificate that it is bound to (RFC 8705 section 3.1), by the fingerprint that everything else shows; otherwise as it stands. */
static void print_binding(const json_t *claims)
{
    enum { DIGEST_LENGTH = 32, TEXT_LENGTH = 43 };
    const json_t *thumbprint = json_object_get(json_object_get(claims, "cnf"), "x5t#S256");
    uint8_t digest[DIGEST_LENGTH + 1];
    char hex[2 * DIGEST_LENGTH + 1];
    size_t length = 0;
    if (json_string_length(thumbprint) != TEXT_LENGTH ||
        !mm_base64url_decode(json_string_value(thumbprint), TEXT_LENGTH, digest, &length)) {
        print_member(claims, "cnf", "bound to");
        return;
    }
    mm_hex_encode(digest, DIGEST_LENGTH, hex);
    (void)printf("  %-10s who holds the certificate with SHA-256 fingerprint %s\n", "bound to", hex);
}

static void print_report(const struct mm_jws *jws, int64_t now, const struct mm_error *verdict)
{
    if (verdict->code == MM_OK) {
        (void)fputs("VERIFIED\n", stdout);
    } else {
        (void)fputs("NOT VERIFIED: ", stdout);
        mm_print_text(stdout, verdict->message);
        (void)fputs("\nDon't rely on what it claims:\n", stdout);
    }
    mm_describe_claims(stdout, jws->payload, now);
    (void)fputc('\n', stdout);
    print_member(jws->payload, "iss", "issuer");
    print_member(jws->payload, "jti", "token id");
    print_binding(jws->payload);
    const json_t *issued = json_object_get(jws->payload, "iat");
    if (json_is_integer(issued)) {
        (void)printf("  %-10s ", "issued");
        mm_print_instant(stdout, json_integer_value(issued), now);
        (void)fputc('\n', stdout);
    }
    print_member(jws->header, "alg", "algorithm");
    print_member(jws->header, "kid", "key");
}

/* The sentence of mm_describe_claims() as a JSON string. */
static json_t *describe_json(const json_t *claims, int64_t now)
{
    mm_cleanup(free) char *text = NULL;
    size_t length = 0;
    FILE *stream = open_memstream(&text, &length);
    if (!stream)
        return NULL;
    mm_describe_claims(stream, claims, now);
    return fclose(stream) == 0 ? json_stringn(text, length) : NULL;
}

static bool print_report_json(const struct mm_jws *jws, int64_t now, const struct mm_error *verdict,
                              struct mm_error *err)
{
    mm_cleanup(json_decref) json_t *report =
        json_pack("{s:b, s:s*, s:o, s:O, s:O}", "verified", verdict->code == MM_OK, "reason",
                  verdict->code == MM_OK ? NULL : verdict->message, "says", describe_json(jws->payload, now), "header",
                  jws->header, "claims", jws->payload);
    if (!report)
        return mm_fail(err, MM_NO_MEMORY, "out of memory");
    return mm_print_json(stdout, report, err);
}

bool mm_verb_inspect(struct mm_cli *cli, int argc, char **argv, struct mm_error *err)
{
    struct inspect_options options = {.token_file = "-"};
    if (!read_options(cli, argc, argv, &options, err))
        return false;
    mm_cleanup(free) char *token = mm_cli_read_token(options.token_file, err);
    mm_cleanup(mm_jws_clear) struct mm_jws jws = {0};
    struct mm_error verdict = {0};
    if (!token)
        return false;
    if (!mm_jws_parse(token, &jws, &verdict))
        return mm_fail(err, verdict.code, "%s%s", verdict.code == MM_TOKEN_INVALID ? "not a token: " : "",
                       verdict.message);

    int64_t now = mm_clock_now(&MM_SYSTEM_CLOCK);
    bool is_verified = judge(&options, &jws, token, now, &verdict);
    if (!is_verified && verdict.code != MM_TOKEN_INVALID)
        return mm_fail(err, verdict.code, "%s", verdict.message);
    if (cli->form == MM_FORM_HUMAN)
        print_report(&jws, now, &verdict);
    else if (!print_report_json(&jws, now, &verdict, err))
        return false;
    return is_verified || options.mode == DECODE_ONLY ? true : mm_fail(err, MM_TOKEN_INVALID, "%s", verdict.message);
}

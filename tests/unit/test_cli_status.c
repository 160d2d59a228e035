/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/status_report.h"
#include "cli/time_line.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "util/clock.h"

static void assert_shown(const char *status_json, const char *expected)
{
    mm_cleanup(json_decref) json_t *status = mm_json_parse(status_json, strlen(status_json), NULL);
    mm_cleanup(free) char *shown = NULL;
    size_t length = 0;
    FILE *stream = open_memstream(&shown, &length);
    assert_non_null(status);
    assert_non_null(stream);
    mm_print_status(stream, status);
    assert_int_equal(fclose(stream), 0);
    assert_string_equal(shown, expected);
}

static void a_status_is_a_table(void **state)
{
    (void)state;
    assert_shown("{\"version\":\"0.1.0\",\"issuer\":\"https://mint.example.com\",\"pid\":42,"
                 "\"started_at\":\"2026-11-24T10:00:00Z\",\"uptime_seconds\":3725,\"draining\":false,"
                 "\"policy\":{\"digest\":\"0123456789abcdef\",\"tenants\":1},\"ledger\":{\"healthy\":true},"
                 "\"hsm_tokens\":[{\"name\":\"primary\",\"workers\":2,\"ready\":1,\"pin_latched\":false,"
                 "\"latency\":{\"signatures\":3,\"p50_us\":128,\"p99_us\":73728}}]}",
                 "Mintmark  0.1.0 at https://mint.example.com\n"
                 "state     serving, up 1 h 2 min since 2026-11-24T10:00:00Z, pid 42\n"
                 "policy    0123456789ab…, 1 tenant\n"
                 "ledger    healthy\n"
                 "HSM       primary: 1 of 2 workers ready, a signature takes 0.128 ms (p99 73.7 ms)\n");
}

static void what_is_wrong_shows(void **state)
{
    (void)state;
    assert_shown("{\"version\":\"0.1.0\",\"issuer\":\"x\",\"pid\":1,\"started_at\":\"y\",\"uptime_seconds\":1,"
                 "\"draining\":true,\"policy\":{\"digest\":\"0123\",\"tenants\":2},\"ledger\":{\"healthy\":false},"
                 "\"hsm_tokens\":[{\"name\":\"a\",\"workers\":2,\"ready\":0,\"pin_latched\":true,"
                 "\"latency\":{\"signatures\":3,\"p50_us\":128,\"p99_us\":256}},"
                 "{\"name\":\"b\",\"workers\":1,\"ready\":1,\"latency\":null},"
                 "{\"name\":\"c\",\"workers\":1,\"ready\":1,\"latency\":{\"p50_us\":99840,\"p99_us\":1572864}},"
                 "{\"name\":\"d\",\"workers\":1,\"ready\":1,\"latency\":{\"p50_us\":-1,\"p99_us\":\"x\"}}]}",
                 "Mintmark  0.1.0 at x\n"
                 "state     draining, up 1 s since y, pid 1\n"
                 "policy    0123…, 2 tenants\n"
                 "ledger    can't be written\n"
                 "HSM       a: 0 of 2 workers ready; the PIN was refused (mintmark token unlock)\n"
                 "          b: 1 of 1 workers ready\n"
                 "          c: 1 of 1 workers ready, a signature takes 99.8 ms (p99 1573 ms)\n"
                 "          d: 1 of 1 workers ready\n");
}

static void keys_and_what_comes_next_are_listed(void **state)
{
    (void)state;
    assert_shown(
        "{\"version\":\"0.1.0\",\"issuer\":\"x\",\"pid\":1,\"started_at\":\"y\",\"uptime_seconds\":1,"
        "\"keyring\":{\"keys\":["
        "{\"kid\":\"A\",\"alg\":\"ES256\",\"state\":\"destroyed\",\"hsm_token\":\"p\",\"since\":\"s\"},"
        "{\"kid\":\"B\",\"alg\":\"ES256\",\"state\":\"retiring\",\"hsm_token\":\"p\",\"since\":\"s\","
        "\"next\":{\"change\":\"withdraw\",\"at\":\"2001-01-02T00:00:00Z\"}},"
        "{\"kid\":\"C\",\"alg\":\"ES256\",\"state\":\"published\",\"hsm_token\":\"q\",\"since\":\"s\","
        "\"next\":{\"change\":\"activate\",\"at\":\"2001-01-01T00:00:00Z\"}},"
        "{\"kid\":\"E\",\"alg\":\"ES256\",\"state\":\"\\u001b[2J\",\"hsm_token\":\"q\",\"since\":\"s\",\"next\":{"
        "\"change\":\"\\u001b[2J\",\"at\":\"2001-01-03T00:00:00Z\"}},"
        "{\"kid\":\"D\",\"alg\":\"ES256\",\"state\":\"retired\",\"hsm_token\":\"q\",\"since\":\"s\",\"revoked\":true,"
        "\"next\":null}],\"not_generated\":{\"hsm_token\":\"p\",\"code\":\"key_limit\",\"detail\":\"no \\u001b room\","
        "\"failed_at\":\"s\",\"next_at\":\"2001-01-01T00:00:00Z\"}}}",
        "Mintmark  0.1.0 at x\n"
        "state     serving, up 1 s since y, pid 1\n"
        "keys      B  ES256  retiring   p, since s\n"
        "          C  ES256  published  q, since s\n"
        "          E  ES256  \\u001b[2J       q, since s\n"
        "          D  ES256  retired    q, since s, revoked\n"
        "          and 0 retired and 1 destroyed earlier (--json has all)\n"
        "no key    could be generated on p: no \\u001b room; next try 2001-01-01T00:00:00Z\n"
        "next      2001-01-01T00:00:00Z (overdue)  C signs\n"
        "          2001-01-02T00:00:00Z (overdue)  B leaves the JWKS\n"
        "          2001-01-03T00:00:00Z (overdue)  E \\u001b[2J\n");
}

static void of_the_keys_that_are_done_with_the_last_show(void **state)
{
    (void)state;
    assert_shown("{\"keyring\":{\"keys\":["
                 "{\"kid\":\"A\",\"alg\":\"ES256\",\"state\":\"retired\",\"hsm_token\":\"p\",\"since\":\"5\"},"
                 "{\"kid\":\"B\",\"alg\":\"ES256\",\"state\":\"retired\",\"hsm_token\":\"p\",\"since\":\"2\"},"
                 "{\"kid\":\"C\",\"alg\":\"ES256\",\"state\":\"destroyed\",\"hsm_token\":\"p\",\"since\":\"9\"},"
                 "{\"kid\":\"D\",\"alg\":\"ES256\",\"state\":\"retired\",\"hsm_token\":\"p\",\"since\":\"3\"},"
                 "{\"kid\":\"E\",\"alg\":\"ES256\",\"state\":\"retired\",\"hsm_token\":\"p\"},"
                 "{\"kid\":\"F\",\"alg\":\"ES256\",\"state\":\"retired\",\"hsm_token\":\"p\",\"since\":\"3\"},"
                 "{\"kid\":\"G\",\"alg\":\"ES256\",\"state\":\"active\",\"hsm_token\":\"p\",\"since\":\"1\"}]}}",
                 "Mintmark  ? at ?\n"
                 "state     serving, up 0 s since ?, pid 0\n"
                 "keys      A  ES256  retired    p, since 5\n"
                 "          D  ES256  retired    p, since 3\n"
                 "          F  ES256  retired    p, since 3\n"
                 "          G  ES256  active     p, since 1\n"
                 "          and 2 retired and 1 destroyed earlier (--json has all)\n");
}

static void stopped_issuance_shows(void **state)
{
    (void)state;
    assert_shown("{\"revocations\":{\"by_operators\":3,\"by_clients\":9,\"stops\":2}}",
                 "Mintmark  ? at ?\nstate     serving, up 0 s since ?, pid 0\n"
                 "stopped   issuance, by 2 revocations (mintmark revocations)\n");
    assert_shown("{\"revocations\":{\"by_operators\":3,\"by_clients\":9,\"stops\":0}}",
                 "Mintmark  ? at ?\nstate     serving, up 0 s since ?, pid 0\n");
}

static void who_is_limited_and_slowed_shows(void **state)
{
    (void)state;
    assert_shown("{\"limited\":[{\"name\":\"acme/ci\",\"refused\":12,\"per_minute\":60,\"burst\":20},"
                 "{\"name\":\"\\u001b[2J\"}],"
                 "\"slowed\":[{\"address\":\"2001:db8:1:2::/64\",\"failures\":40,\"held\":3},7]}",
                 "Mintmark  ? at ?\nstate     serving, up 0 s since ?, pid 0\n"
                 "limited   acme/ci: 12 refused, of 60 a minute and 20 at once\n"
                 "          \\u001b[2J: 0 refused, of 0 a minute and 0 at once\n"
                 "slowed    2001:db8:1:2::/64: 40 failures too many, 3 answers held back\n"
                 "          ?: 0 failures too many, 0 answers held back\n");
    assert_shown("{\"limited\":[],\"slowed\":[]}", "Mintmark  ? at ?\nstate     serving, up 0 s since ?, pid 0\n");
}

static void a_standby_that_is_missing_shows(void **state)
{
    (void)state;
    static const char HEAD[] = "Mintmark  ? at ?\nstate     serving, up 0 s since ?, pid 0\n";
    static const struct {
        const char *members;
        const char *rows;
    } CASES[] = {
        {"\"missing_keys\":[]", ""},
        {"\"missing_keys\":[{\"algorithm\":\"ES256\",\"for\":\"standby\",\"wanted\":1,\"generated\":false},"
         "{\"algorithm\":\"RS256\",\"for\":\"standby\",\"wanted\":2,\"generated\":false}]",
         "standby   none for ES256: generate and stage a key (mintmark key stage)\n"
         "          fewer than 2 for RS256: generate and stage a key (mintmark key stage)\n"},
        {"\"missing_keys\":[{\"algorithm\":\"ES256\",\"for\":\"rotation\",\"wanted\":1,\"generated\":false}]",
         "standby   none for ES256, and its rotation is due: generate and stage a key (mintmark key stage)\n"},
        {"\"missing_keys\":[{\"algorithm\":\"ES256\",\"for\":\"standby\",\"wanted\":1,\"generated\":true},"
         "{\"algorithm\":\"RS256\",\"for\":\"standby\",\"wanted\":1,\"generated\":true}],\"keyring\":{\"keys\":[],"
         "\"not_generated\":{\"hsm_token\":\"p\",\"detail\":\"full\",\"next_at\":\"later\"}}",
         "standby   none for ES256: the service generates a key\n"
         "          none for RS256: the service generates a key\n"
         "no key    for ES256, RS256 could be generated on p: full; next try later\n"},
        {"\"missing_keys\":[3,{\"algorithm\":\"\\u001b[2J\",\"for\":7}]",
         "standby   none for ?: generate and stage a key (mintmark key stage)\n"
         "          none for \\u001b[2J: generate and stage a key (mintmark key stage)\n"},
    };
    for (size_t i = 0; i < MM_ARRAY_SIZE(CASES); i++) {
        char status[512];
        char expected[512];
        (void)snprintf(status, sizeof status, "{%s}", CASES[i].members);
        (void)snprintf(expected, sizeof expected, "%s%s", HEAD, CASES[i].rows);
        assert_shown(status, expected);
    }
}

static void a_crl_that_will_not_last_is_told(void **state)
{
    (void)state;
    assert_shown("{\"stale_crls\":[{\"tenant\":\"acme\",\"ca\":\"CN=A\",\"next_update\":\"soon\",\"expired\":false},"
                 "{\"tenant\":\"globex\",\"ca\":\"CN=\\u001b\",\"expired\":true}]}",
                 "Mintmark  ? at ?\n"
                 "state     serving, up 0 s since ?, pid 0\n"
                 "CRLs      acme: that of CN=A expires at soon\n"
                 "          globex: that of CN=\\u001b has expired at ?: its certificates are refused\n");
}

static void assert_drawn(const char *keys_json, const char *expected)
{
    mm_cleanup(json_decref) json_t *keys = mm_json_parse(keys_json, strlen(keys_json), NULL);
    mm_cleanup(free) char *shown = NULL;
    size_t length = 0;
    int64_t now = 0;
    FILE *stream = open_memstream(&shown, &length);
    assert_non_null(keys);
    assert_non_null(stream);
    assert_true(mm_timestamp_parse("2026-11-24T12:00:00Z", &now));
    mm_print_time_line(stream, keys, now);
    assert_int_equal(fclose(stream), 0);
    assert_string_equal(shown, expected);
}

static void a_rotation_is_seen_at_a_glance(void **state)
{
    (void)state;
    assert_drawn(
        "[{\"kid\":\"AAAAAAAAAAAA\",\"state\":\"retiring\",\"published_at\":\"2026-01-01T00:00:00Z\","
        "\"activated_at\":\"2026-01-02T00:00:00Z\",\"since\":\"2026-11-24T11:30:00Z\","
        "\"next\":{\"change\":\"withdraw\",\"at\":\"2026-11-24T12:15:00Z\"}},"
        "{\"kid\":\"BBBBBBBBBBBB\",\"state\":\"active\",\"published_at\":\"2026-11-24T11:15:00Z\","
        "\"activated_at\":\"2026-11-24T11:30:00Z\",\"next\":null},"
        "{\"kid\":\"CCCCCCCCCCCC\",\"state\":\"published\",\"published_at\":\"2026-11-24T11:45:00Z\","
        "\"activated_at\":null,\"next\":{\"change\":\"activate\",\"at\":\"2026-11-24T13:00:00Z\"}},"
        "{\"kid\":\"DDDDDDDDDDDD\",\"state\":\"published\",\"published_at\":\"2026-11-24T11:00:00Z\",\"next\":null},"
        "{\"kid\":\"EEEEEEEEEEEE\",\"state\":\"retired\",\"published_at\":\"2026-11-24T11:00:00Z\"},"
        "{\"kid\":\"FFFFFFFFFFFF\",\"state\":\"staged\",\"published_at\":null,\"next\":null}]",
        "time      2026-11-24T11:00:00Z to 2026-11-24T13:00:00Z   . published  = signs  - retiring  | now\n"
        "          AAAAAAAA  <=========----------|----                 leaves the JWKS in 15 min\n"
        "          BBBBBBBB       .....==========|==================>  signs\n"
        "          CCCCCCCC                 .....|..................>  signs in 1 h\n"
        "          DDDDDDDD  ....................|..................>  on standby\n");
}

/* The schedule's time has come, and there is no key to rotate to. */
static void a_key_whose_rotation_is_overdue_still_signs(void **state)
{
    (void)state;
    assert_drawn("[{\"kid\":\"A\",\"state\":\"active\",\"published_at\":\"2026-11-24T10:00:00Z\","
                 "\"activated_at\":\"2026-11-24T10:00:00Z\","
                 "\"next\":{\"change\":\"retire\",\"at\":\"2026-11-24T11:00:00Z\"}}]",
                 "time      2026-11-24T10:00:00Z to 2026-11-24T12:00:00Z   . published  = signs  - retiring  | now\n"
                 "          A  =======================================|  "
                 "stops signing: overdue since 2026-11-24T11:00:00Z\n");
}

/* A rotation to a key whose HSM has died: it doesn't sign, the other does, and the third is in the JWKS, whatever was planned. */
static void what_is_overdue_is_drawn_as_not_done(void **state)
{
    (void)state;
    assert_drawn(
        "[{\"kid\":\"AAAAAAAA\",\"state\":\"active\",\"published_at\":\"2026-11-24T10:00:00Z\","
        "\"activated_at\":\"2026-11-24T10:00:00Z\",\"next\":{\"change\":\"retire\",\"at\":\"2026-11-24T11:30:00Z\"}},"
        "{\"kid\":\"BBBBBBBB\",\"state\":\"published\",\"published_at\":\"2026-11-24T11:00:00Z\",\"activated_at\":null,"
        "\"next\":{\"change\":\"activate\",\"at\":\"2026-11-24T11:30:00Z\"}},"
        "{\"kid\":\"CCCCCCCC\",\"state\":\"retiring\",\"published_at\":\"2026-11-24T10:00:00Z\","
        "\"activated_at\":\"2026-11-24T10:00:00Z\",\"since\":\"2026-11-24T11:00:00Z\","
        "\"next\":{\"change\":\"withdraw\",\"at\":\"2026-11-24T11:30:00Z\"}},"
        "{\"kid\":\"DDDDDDDD\",\"state\":\"published\",\"published_at\":\"2026-11-24T11:00:00Z\","
        "\"next\":{\"change\":\"activate\",\"at\":\"2026-11-24T13:00:00Z\"}}]",
        "time      2026-11-24T11:00:00Z to 2026-11-24T13:00:00Z   . published  = signs  - retiring  | now\n"
        "          AAAAAAAA  <===================|------------------>  stops signing: overdue since "
        "2026-11-24T11:30:00Z\n"
        "          BBBBBBBB  ....................|==================>  signs: overdue since 2026-11-24T11:30:00Z\n"
        "          CCCCCCCC  <-------------------|                     leaves the JWKS: overdue since "
        "2026-11-24T11:30:00Z\n"
        "          DDDDDDDD  ....................|..................>  signs in 1 h\n");
}

/* The service's clock is ahead of this machine's. */
static void what_has_happened_is_not_drawn_as_still_to_come(void **state)
{
    (void)state;
    assert_drawn("[{\"kid\":\"A\",\"state\":\"retiring\",\"published_at\":\"2026-11-24T11:30:00Z\","
                 "\"activated_at\":\"2026-11-24T11:30:00Z\",\"since\":\"2026-11-24T12:10:00Z\","
                 "\"next\":{\"change\":\"withdraw\",\"at\":\"2026-11-24T12:30:00Z\"}}]",
                 "time      2026-11-24T11:30:00Z to 2026-11-24T12:30:00Z   . published  = signs  - retiring  | now\n"
                 "          A  ====================|-------------------  leaves the JWKS in 30 min\n");
}

static void a_first_key_is_drawn_up_to_now(void **state)
{
    (void)state;
    assert_drawn("[{\"kid\":\"A\",\"state\":\"active\",\"published_at\":\"2026-11-24T10:00:00Z\","
                 "\"activated_at\":\"2026-11-24T10:00:00Z\",\"next\":null}]",
                 "time      2026-11-24T10:00:00Z to 2026-11-24T12:00:00Z   . published  = signs  - retiring  | now\n"
                 "          A  =======================================|  signs\n");
}

static void times_that_are_none_are_not_drawn(void **state)
{
    (void)state;
    assert_drawn("[]", "");
    assert_drawn("[3,{\"state\":\"active\"},{\"state\":\"active\",\"published_at\":\"x\"},"
                 "{\"state\":\"active\",\"published_at\":\"999999999999999999\"}]",
                 "");
    /* Published now, or by a clock that is ahead: no span to draw. */
    assert_drawn("[{\"kid\":\"A\",\"state\":\"active\",\"published_at\":\"2026-11-24T12:00:00Z\"}]", "");
    assert_drawn("[{\"kid\":\"A\",\"state\":\"active\",\"published_at\":\"9999-11-24T12:00:00Z\"}]", "");
}

static void algorithms_show_where_there_are_several_or_one_has_no_key(void **state)
{
    (void)state;
    static const char HEAD[] = "Mintmark  ? at ?\nstate     serving, up 0 s since ?, pid 0\n";
    static const struct {
        const char *algorithms;
        const char *rows;
    } CASES[] = {
        {"[{\"name\":\"ES256\",\"active_keys\":1,\"ready_keys\":0}]", ""},
        {"[{\"name\":\"ES256\",\"active_keys\":0,\"ready_keys\":0}]",
         "signs     ES256: no active key (mintmark key stage)\n"},
        {"[{\"name\":\"ES256\",\"active_keys\":2,\"ready_keys\":1},{\"name\":\"RS256\"}]",
         "signs     ES256: 1 of 2 keys ready\n"
         "          RS256: no active key (mintmark key stage)\n"},
    };
    for (size_t i = 0; i < MM_ARRAY_SIZE(CASES); i++) {
        char status[256];
        char expected[256];
        (void)snprintf(status, sizeof status, "{\"algorithms\":%s}", CASES[i].algorithms);
        (void)snprintf(expected, sizeof expected, "%s%s", HEAD, CASES[i].rows);
        assert_shown(status, expected);
    }
}

static void an_hsm_tokens_state_is_one_word(void **state)
{
    (void)state;
    static const struct {
        const char *token;
        const char *row;
    } CASES[] = {
        {"\"state\":\"up\",\"workers\":2,\"ready\":2,\"last_worker\":{\"outcome\":\"ready\",\"at\":\"T\"}",
         "up, 2 of 2 workers ready"},
        {"\"state\":\"down\",\"workers\":2,\"ready\":0,"
         "\"last_worker\":{\"outcome\":\"failed\",\"at\":\"T\",\"detail\":\"a\\u001bb\"}",
         "down, 0 of 2 workers ready; the last worker failed at T: a\\u001bb"},
        {"\"state\":\"locked_out\",\"workers\":2,\"ready\":1,\"pin_latched\":true",
         "locked out, 1 of 2 workers ready; the PIN was refused (mintmark token unlock)"},
        {"\"state\":\"locked_out\",\"workers\":0,\"ready\":0,\"pin_latched\":true,"
         "\"last_worker\":{\"outcome\":\"failed\",\"at\":\"T\",\"detail\":\"x\"}",
         "locked out; the PIN was refused (mintmark token unlock)"},
        {"\"state\":\"not_in_use\",\"workers\":0,\"ready\":0,\"last_worker\":null", "not in use"},
        {"\"state\":\"not_in_use\",\"workers\":0,\"last_worker\":{\"outcome\":\"ready\",\"at\":\"T\",\"detail\":\"x\"}",
         "not in use; a worker was ready there at T"},
        {"\"state\":\"not_in_use\",\"workers\":0,\"last_worker\":{\"outcome\":\"failed\",\"at\":\"T\",\"detail\":"
         "\"gone\"}",
         "not in use; the last worker failed at T: gone"},
        {"\"state\":\"\\u001b[2J\",\"workers\":1,\"ready\":0,\"last_worker\":[]", "0 of 1 workers ready"},
    };
    for (size_t i = 0; i < MM_ARRAY_SIZE(CASES); i++) {
        char status[256];
        char expected[256];
        (void)snprintf(status, sizeof status, "{\"hsm_tokens\":[{\"name\":\"h\",%s}]}", CASES[i].token);
        (void)snprintf(expected, sizeof expected,
                       "Mintmark  ? at ?\nstate     serving, up 0 s since ?, pid 0\nHSM       h: %s\n", CASES[i].row);
        assert_shown(status, expected);
    }
}

/* An older or newer service's, or one that means to deceive a terminal. */
#define SOURCE(name, rest) "{\"name\":\"" name "\"," rest "}"
#define FINE(name)         SOURCE(name, "\"keys\":2,\"age_seconds\":61,\"next_seconds\":150,\"stale\":false,\"error\":\"\"")

static void the_sources_of_others_keys_show(void **state)
{
    (void)state;
    static const char FINE_TEXT[] = ": 2 keys, 1 min 1 s old; asked again in 2 min 30 s\n";
    mm_cleanup(free) char *many = NULL;
    assert_true(asprintf(&many,
                         "issuers   https://a%s          https://b%s          https://c%s          https://d%s"
                         "          https://e%s          https://f%s          https://g%s          https://h%s"
                         "          and 1 more whose keys are there (--json has all)\n",
                         FINE_TEXT, FINE_TEXT, FINE_TEXT, FINE_TEXT, FINE_TEXT, FINE_TEXT, FINE_TEXT, FINE_TEXT) > 0);
    const struct {
        const char *json;
        const char *shown;
    } cases[] = {
        {"", ""},
        {SOURCE("https://f", "\"keys\":1,\"age_seconds\":null,\"next_seconds\":null,\"stale\":false,\"error\":\"\""),
         "issuers   https://f: 1 key; of a file\n"},
        {SOURCE("https://s", "\"keys\":3,\"age_seconds\":7260,\"next_seconds\":30,\"stale\":true,\"error\":\"away\""),
         "issuers   https://s: 3 keys, 2 h 1 min old, kept beyond their time; asked again in 30 s; the last time: "
         "away\n"},
        {SOURCE("https://u", "\"keys\":0,\"unusable_keys\":2,\"unusable_why\":\"key 1: of an unknown kty, crv or alg\","
                             "\"age_seconds\":5,\"next_seconds\":9,\"stale\":false,\"error\":\"\""),
         "issuers   https://u: 0 keys that can be used (key 1: of an unknown kty, crv or alg), 5 s old; asked again in "
         "9 "
         "s\n"},
        {SOURCE("https://n", "\"keys\":0,\"age_seconds\":null,\"next_seconds\":0,\"stale\":false,\"error\":\"\""),
         "issuers   https://n: 0 keys; being asked\n"},
        {FINE("https://a") "," FINE("https://b") "," FINE("https://c") "," FINE("https://d") "," FINE(
             "https://e") "," FINE("https://f") "," FINE("https://g") "," FINE("https://h") "," FINE("https://i"),
         many},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        mm_cleanup(free) char *json = NULL;
        mm_cleanup(free) char *shown = NULL;
        assert_true(asprintf(&json,
                             "{\"version\":\"1\",\"issuer\":\"x\",\"pid\":1,\"started_at\":\"t\",\"key_sources\":[%s]}",
                             cases[i].json) > 0);
        assert_true(asprintf(&shown, "Mintmark  1 at x\nstate     serving, up 0 s since t, pid 1\n%s", cases[i].shown) >
                    0);
        assert_shown(json, shown);
    }
}

static void what_is_missing_or_odd_does_no_harm(void **state)
{
    (void)state;
    assert_shown("{}", "Mintmark  ? at ?\nstate     serving, up 0 s since ?, pid 0\n");
    assert_shown("{\"version\":1,\"issuer\":\"\\u001b[2J\",\"policy\":[],\"ledger\":null,\"hsm_tokens\":[3]}",
                 "Mintmark  ? at \\u001b[2J\n"
                 "state     serving, up 0 s since ?, pid 0\n"
                 "ledger    can't be written\n"
                 "HSM       ?: 0 of 0 workers ready\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_crl_that_will_not_last_is_told),
        cmocka_unit_test(a_status_is_a_table),
        cmocka_unit_test(stopped_issuance_shows),
        cmocka_unit_test(who_is_limited_and_slowed_shows),
        cmocka_unit_test(what_is_wrong_shows),
        cmocka_unit_test(keys_and_what_comes_next_are_listed),
        cmocka_unit_test(of_the_keys_that_are_done_with_the_last_show),
        cmocka_unit_test(a_standby_that_is_missing_shows),
        cmocka_unit_test(a_rotation_is_seen_at_a_glance),
        cmocka_unit_test(a_key_whose_rotation_is_overdue_still_signs),
        cmocka_unit_test(what_is_overdue_is_drawn_as_not_done),
        cmocka_unit_test(what_has_happened_is_not_drawn_as_still_to_come),
        cmocka_unit_test(a_first_key_is_drawn_up_to_now),
        cmocka_unit_test(times_that_are_none_are_not_drawn),
        cmocka_unit_test(algorithms_show_where_there_are_several_or_one_has_no_key),
        cmocka_unit_test(an_hsm_tokens_state_is_one_word),
        cmocka_unit_test(the_sources_of_others_keys_show),
        cmocka_unit_test(what_is_missing_or_odd_does_no_harm),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

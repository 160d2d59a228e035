/* SPDX-License-Identifier: Apache-2.0 */
#include "client/runner.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include <curl/curl.h>

#include "client/https.h"
#include "util/clock.h"
#include "util/json.h"

enum { FIRST_DELAY_MS = 500, MOST_DELAY_MS = 5000 };

MM_DEFINE_CLEANUP(CURLU, curl_url_cleanup);
MM_DEFINE_CLEANUP(char, curl_free);

/* The runner's URL with the audience among its parameters. The caller frees it with curl_free(). */
static char *make_url(const struct mm_runner *runner, struct mm_error *err)
{
    mm_cleanup(curl_url_cleanup) CURLU *url = curl_url();
    mm_cleanup(free) char *parameter = NULL;
    char *text = NULL;
    if (!mm_https_check_url(runner->url, MM_HTTPS_ANY, err))
        return NULL;
    if (asprintf(&parameter, "audience=%s", runner->audience) < 0)
        parameter = NULL;
    if (!url || !parameter || curl_url_set(url, CURLUPART_URL, runner->url, 0) != CURLUE_OK ||
        curl_url_set(url, CURLUPART_QUERY, parameter, CURLU_APPENDQUERY | CURLU_URLENCODE) != CURLUE_OK ||
        curl_url_get(url, CURLUPART_URL, &text, 0) != CURLUE_OK) {
        (void)mm_fail(err, MM_NO_MEMORY, "out of memory");
        return NULL;
    }
    return text;
}

bool mm_runner_read_answer(const void *body, size_t length, struct mm_oidc_token *token, struct mm_error *err)
{
    struct mm_error why = {0};
    mm_cleanup(json_decref) json_t *answer = mm_json_parse(body, length, &why);
    const char *value = mm_json_string(answer, "value");
    bool is_read = value && mm_oidc_token_copy(value, "its answer", token, &why);
    mm_json_zero(json_object_get(answer, "value"));
    if (is_read)
        return true;
    return why.code == MM_NO_MEMORY ? mm_fail(err, why.code, "%s", why.message)
                                    : mm_fail(err, MM_UNREACHABLE, "GitHub's runner answered without a token");
}

/* What comes of one attempt: whether another may fare better, and no sooner than when. */
struct outcome {
    bool may_repeat;
    int64_t retry_after_ms;
};

static bool attempt(const struct mm_runner *runner, const char *url, int64_t timeout_ms, struct mm_oidc_token *token,
                    struct outcome *outcome, struct mm_error *err)
{
    const struct mm_https_options options = {
        .ca_file = runner->ca_file,
        .bearer = runner->request_token,
        .total_timeout_ms = timeout_ms > 0 ? timeout_ms : 1,
        .body_max = MM_RUNNER_BODY_MAX,
    };
    mm_cleanup(mm_https_free) struct mm_https *https = mm_https_new(&options, err);
    mm_cleanup(mm_https_response_clear) struct mm_https_response answer = {0};
    *outcome = (struct outcome){0};
    if (!https)
        return false;
    if (!mm_https_get(https, url, &answer, err)) {
        outcome->may_repeat = mm_https_is_unsent(https);
        return false;
    }
    if (answer.status == 200)
        return mm_runner_read_answer(answer.body.data, answer.body.length, token, err);
    outcome->may_repeat = answer.status == 429 || answer.status >= 500;
    outcome->retry_after_ms = answer.retry_after_seconds < 3600 ? answer.retry_after_seconds * 1000 : 3600 * 1000;
    return mm_fail(err, MM_UNREACHABLE, "GitHub's runner answered %u where it gives OIDC tokens", answer.status);
}

static void sleep_for(int64_t milliseconds)
{
    struct timespec until = mm_deadline_timespec(mm_deadline_after_ms(milliseconds));
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL) == EINTR)
        continue;
}

bool mm_runner_get_token(const struct mm_runner *runner, int64_t timeout_ms, struct mm_oidc_token *token,
                         struct mm_error *err)
{
    int64_t deadline_ns = mm_deadline_after_ms(timeout_ms);
    mm_cleanup(curl_free) char *url = make_url(runner, err);
    for (unsigned n = 1; url; n++) {
        struct mm_error why = {0};
        struct outcome outcome;
        if (attempt(runner, url, (deadline_ns - mm_monotonic_ns()) / 1000000, token, &outcome, &why))
            return true;
        int64_t delay_ms = mm_retry_delay_ms(runner->random, n, outcome.retry_after_ms, FIRST_DELAY_MS, MOST_DELAY_MS);
        if (!outcome.may_repeat || n == MM_RUNNER_ATTEMPTS || mm_deadline_after_ms(delay_ms) >= deadline_ns)
            return mm_fail(err, why.code, "%s", why.message);
        sleep_for(delay_ms);
    }
    return false;
}

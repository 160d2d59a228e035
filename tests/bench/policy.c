/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a large policy costs: loading the configuration that scripts/bench wrote, and deciding on requests of random accounts of random
 * tenants. A decision here is all that policy says of a caller with a CI platform's token: the tenant by its id, the account whose rules the
 * token's claims satisfy, of all of the tenant's, and the grant that covers the request.
 *
 * `mm-policy mintmark.yaml TENANTS ACCOUNTS SAMPLES`, one JSON line.
 */
#include <malloc.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "config/config.h"
#include "policy/decide.h"
#include "policy/match.h"
#include "util/clock.h"

static const char ISSUER[] = "https://token.actions.githubusercontent.com";

struct sample {
    char tenant[32];
    char resource[64];
    json_t *claims;
};

static void die(const char *what)
{
    (void)fprintf(stderr, "mm-policy: %s\n", what);
    exit(1);
}

static double cpu_seconds(void)
{
    struct timespec time;
    (void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static struct mm_config *load(const char *file)
{
    mm_cleanup(mm_problems_clear) struct mm_problems problems = {0};
    struct mm_config *config = mm_config_load_policy(file, &problems);
    char line[1024];
    if (!config)
        die(problems.n ? mm_problem_format(&problems.items[0], line, sizeof line) : "not loaded");
    return config;
}

/* Of the i-th account of the t-th tenant, in the shape of a real token. */
static void make_sample(size_t t, size_t i, struct sample *sample)
{
    (void)snprintf(sample->tenant, sizeof sample->tenant, "t-%zu", t);
    (void)snprintf(sample->resource, sizeof sample->resource, "urc-%zu-%zu", t, i);
    char owner[32];
    char repository[32];
    (void)snprintf(owner, sizeof owner, "%zu", 1000 + t);
    (void)snprintf(repository, sizeof repository, "%zu", 1000000 + 1000 * t + i);
    sample->claims =
        json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:i, s:i, s:i}", "jti", "0f",
                  "sub", "repo:acme/app:ref:refs/heads/main", "aud", "https://mint.example.com", "ref",
                  "refs/heads/main", "sha", "00", "repository", "acme/app", "repository_owner", "acme",
                  "repository_owner_id", owner, "run_id", "1", "actor_id", "2", "workflow", "build", "event_name",
                  "push", "repository_id", repository, "iss", ISSUER, "nbf", 1, "exp", 2, "iat", 1);
    if (!sample->claims)
        die("out of memory");
}

static void decide(const struct mm_policy *policy, const struct sample *sample)
{
    static const char *const SCOPES[] = {"read:repo"};
    const struct mm_token_request request = {.scopes = SCOPES, .n_scopes = 1, .resource_id = sample->resource};
    struct mm_error err = {0};
    struct mm_oidc_match match;
    struct mm_decision decision;
    const struct mm_tenant *tenant = mm_policy_tenant(policy, sample->tenant);
    if (!tenant || !mm_policy_match_oidc(tenant, NULL, ISSUER, sample->claims, &match, NULL, &err) ||
        !mm_policy_decide(tenant, match.account, &request, &decision, &err))
        die(tenant ? err.message : "no such tenant");
}

static int compare(const void *a, const void *b)
{
    int64_t difference = *(const int64_t *)a - *(const int64_t *)b;
    return (difference > 0) - (difference < 0);
}

int main(int argc, char **argv)
{
    if (argc != 5)
        die("mintmark.yaml TENANTS ACCOUNTS SAMPLES");
    size_t n_tenants = strtoul(argv[2], NULL, 10);
    size_t n_accounts = strtoul(argv[3], NULL, 10);
    size_t n_samples = strtoul(argv[4], NULL, 10);
    size_t before = mallinfo2().uordblks;
    double start = cpu_seconds();
    mm_cleanup(mm_config_unref) struct mm_config *config = load(argv[1]);
    double loaded = cpu_seconds() - start;
    double mib = (double)(mallinfo2().uordblks - before) / (1 << 20);

    mm_cleanup(free) struct sample *samples = calloc(n_samples, sizeof *samples);
    mm_cleanup(free) int64_t *times = calloc(n_samples, sizeof *times);
    if (!samples || !times)
        die("out of memory");
    uint64_t random = 88172645463325252U; /* the same each time */
    for (size_t i = 0; i < n_samples; i++) {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        make_sample(random % n_tenants, (random >> 32) % n_accounts, &samples[i]);
    }
    for (size_t i = 0; i < n_samples; i++) {
        int64_t at = mm_monotonic_ns();
        decide(&config->policy, &samples[i]);
        times[i] = mm_monotonic_ns() - at;
    }
    qsort(times, n_samples, sizeof *times, compare);
    (void)printf("{\"load_s\":%.3f,\"memory_mib\":%.1f,\"median_us\":%.3f,\"p99_us\":%.3f}\n", loaded, mib,
                 (double)times[n_samples / 2] / 1e3, (double)times[n_samples * 99 / 100] / 1e3);
    for (size_t i = 0; i < n_samples; i++)
        json_decref(samples[i].claims);
    return 0;
}

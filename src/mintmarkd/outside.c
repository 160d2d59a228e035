/* SPDX-License-Identifier: Apache-2.0 */
#include "mintmarkd/outside.h"

#include "util/log.h"

bool mm_service_fetcher(const struct mm_config *config, enum mm_fetcher_confinement confinement,
                        struct mm_fetcher **ret_fetcher, struct mm_error *err)
{
    const struct mm_fetcher_options options = {
        .hosts = (const char *const *)config->fetch.hosts.items,
        .n_hosts = config->fetch.hosts.n,
        .ca_file = config->fetch.ca_file,
        .confinement = confinement,
    };
    *ret_fetcher = NULL;
    if (options.n_hosts == 0)
        return true;
    *ret_fetcher = mm_fetcher_start(&options, err);
    return *ret_fetcher != NULL;
}

static bool fetch(void *context, const char *url, int *ret_fd, struct mm_error *err)
{
    return mm_fetcher_ask(context, url, ret_fd, err);
}

static void on_event(void *context, enum mm_key_source_event event, const char *source, const char *detail)
{
    (void)context;
    if (event == MM_KEY_SOURCE_BACK)
        mm_log(MM_LOG_INFO, "keys_back", "source", source, "detail", detail, NULL);
    else
        mm_log(MM_LOG_WARNING, "keys_unavailable", "source", source, "detail", detail, NULL);
}

struct mm_key_sources *mm_service_key_sources(const struct mm_config *config, struct mm_fetcher *fetcher,
                                              struct mm_error *err)
{
    const struct mm_key_sources_parts parts = {
        .fetch = fetcher ? fetch : NULL,
        .fetch_context = fetcher,
        .random = &MM_SYSTEM_RANDOM,
        .observer = on_event,
    };
    mm_cleanup(mm_key_sources_free) struct mm_key_sources *sources = mm_key_sources_start(&parts, err);
    return sources && mm_key_sources_use(sources, config, err) ? MM_TAKE(sources) : NULL;
}

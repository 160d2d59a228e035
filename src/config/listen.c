/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Listeners: TLS on an address, or plain HTTP on a local socket; and which of them a proxy alone can reach, so that its word on who its
 * clients are counts.
 */
#include "config/loader.h"

#include <stdio.h>
#include <string.h>
#include <sys/un.h>

#include "config/address.h"
#include "config/floors.h"
#include "config/schema.h"

enum { POINTER_MAX = 64 };

static void check_address_is_new(const struct loader *loader, const struct mm_listen *listen, const char *path)
{
    const struct mm_config *config = loader->config;
    for (const struct mm_listen *other = config->listen; other && other < config->listen + config->n_listen; other++)
        if (other != listen && listen->port && other->port == listen->port && other->address && listen->address &&
            strcmp(other->address, listen->address) == 0)
            mm_loader_report(loader, path, "‹address› repeats that of line %d", other->line);
}

void mm_loader_build_listen(const struct loader *loader, const json_t *item, const char *path,
                            struct mm_listen *ret_listen)
{
    struct mm_listen *listen = ret_listen;
    char host[MM_ADDRESS_MAX];
    const char *address = mm_json_string(item, "address");
    listen->line = mm_document_line(&loader->document, path);
    listen->certificate_file = mm_loader_resolve(loader, mm_json_string(item, "certificate"));
    listen->key_file = mm_loader_resolve(loader, mm_json_string(item, "key"));
    mm_loader_note_file(loader, listen->certificate_file);
    mm_loader_note_file(loader, listen->key_file);
    if (address && mm_listen_address_parse(address, host, &listen->port))
        listen->address = mm_loader_copy(loader, host);
    if (MM_KEY_FLOORS.is_test && listen->address && !mm_address_is_loopback(listen->address))
        mm_loader_report(loader, path, "a test build listens on loopback only");
    check_address_is_new(loader, listen, path);
}

/* Each way has its own members. */
static void check_members(const struct loader *loader, const json_t *item, const char *path)
{
    enum { N_NEEDED = 2 };
    static const char *const TLS_ONLY[] = {"certificate", "key", "client_certificates", "proxy_ca"};
    bool is_address = json_object_get(item, "address");
    if (is_address == (json_object_get(item, "unix") != NULL)) {
        mm_loader_report(loader, path, "a listener has ‹address› or ‹unix›");
        return;
    }
    for (size_t i = 0; is_address && i < N_NEEDED; i++)
        if (!json_object_get(item, TLS_ONLY[i]))
            mm_loader_report(loader, path, "missing key ‹%s›", TLS_ONLY[i]);
    if (is_address && json_object_get(item, "socket_group"))
        mm_loader_report(loader, path, "‹socket_group› is about ‹unix›, which isn't there");
    for (size_t i = 0; !is_address && i < MM_ARRAY_SIZE(TLS_ONLY); i++)
        if (json_object_get(item, TLS_ONLY[i]))
            mm_loader_report(loader, path, "‹%s› is about TLS, which a socket doesn't have", TLS_ONLY[i]);
}

/* Whoever reaches such a listener is anybody he likes: proxies alone may. */
static void check_trust(const struct loader *loader, const json_t *item, const char *path)
{
    const char *certificates = mm_json_string(item, "client_certificates");
    bool has_proxy_ca = json_object_get(item, "proxy_ca");
    if (json_is_true(json_object_get(item, "trust_client_cert_header")) && json_object_get(item, "address") &&
        !has_proxy_ca)
        mm_loader_report(
            loader, path,
            "‹trust_client_cert_header› lets whoever connects be anybody: give the listener a ‹proxy_ca›, or "
            "make it a ‹unix› socket");
    if (has_proxy_ca && certificates && strcmp(certificates, "none") == 0)
        mm_loader_report(loader, path, "without client certificates ‹proxy_ca› lets nobody in");
}

static void check_socket(const struct loader *loader, const struct mm_listen *listen, const char *path)
{
    const struct mm_config *config = loader->config;
    if (listen->socket && strlen(listen->socket) >= sizeof((struct sockaddr_un *)0)->sun_path)
        mm_loader_report(loader, path, "%s: a socket's path has at most %zu bytes", listen->socket,
                         sizeof((struct sockaddr_un *)0)->sun_path - 1);
    for (const struct mm_listen *other = config->listen; listen->socket && other < listen; other++)
        if (other->socket && strcmp(other->socket, listen->socket) == 0)
            mm_loader_report(loader, path, "‹unix› repeats that of line %d", other->line);
}

static void build_one(const struct loader *loader, const json_t *item, const char *path, struct mm_listen *listen)
{
    const char *certificates = mm_json_string(item, "client_certificates");
    mm_loader_build_listen(loader, item, path, listen);
    check_members(loader, item, path);
    check_trust(loader, item, path);
    listen->client_certificates = certificates && strcmp(certificates, "none") == 0 ? MM_CLIENT_CERTIFICATES_NONE
                                                                                    : MM_CLIENT_CERTIFICATES_REQUESTED;
    listen->socket = mm_loader_resolve(loader, mm_json_string(item, "unix"));
    listen->trusts_client_cert_header = json_is_true(json_object_get(item, "trust_client_cert_header"));
    check_socket(loader, listen, path);
}

void mm_loader_complete_listeners(const struct loader *loader)
{
    const json_t *items = json_object_get(loader->document.root, "listen");
    struct mm_config *config = loader->config;
    for (size_t i = 0; i < config->n_listen; i++) {
        struct mm_listen *listen = &config->listen[i];
        const json_t *item = json_array_get(items, i);
        char digest[MM_SHA256_HEX_LENGTH + 1];
        char path[POINTER_MAX];
        (void)snprintf(path, sizeof path, "/listen/%zu/unix", i);
        mm_loader_check_socket_folder(loader, listen->socket, path);
        (void)snprintf(path, sizeof path, "/listen/%zu/socket_group", i);
        mm_loader_build_group(loader, mm_json_string(item, "socket_group"), path, &listen->socket_group,
                              &listen->socket_gid);
        (void)snprintf(path, sizeof path, "/listen/%zu/proxy_ca", i);
        listen->proxy_ca = mm_loader_read_cas(loader, mm_json_string(item, "proxy_ca"), path, digest);
        if (listen->proxy_ca)
            mm_loader_check_apart(loader, listen->proxy_ca, path, "proxy_ca",
                                  "who certifies callers could make a proxy, which can be anybody");
    }
}

/* Whether a client that comes by it can have a certificate. */
static bool takes_certificates(const struct mm_listen *listen, bool has_proxy_ca)
{
    if (listen->socket || has_proxy_ca)
        return listen->trusts_client_cert_header;
    return listen->client_certificates == MM_CLIENT_CERTIFICATES_REQUESTED;
}

/* Metadata names certificates always; aliases, where one place asks for them and another doesn't (RFC 8705 section 5). */
static void check_certificates(const struct loader *loader)
{
    const struct mm_config *config = loader->config;
    const json_t *items = json_object_get(loader->document.root, "listen");
    size_t n = 0;
    for (size_t i = 0; i < config->n_listen; i++)
        n += takes_certificates(&config->listen[i], json_object_get(json_array_get(items, i), "proxy_ca"));
    if (n == 0 && config->n_listen > 0)
        mm_loader_report(loader, "/listen", "no listener takes client certificates: one must");
    if (config->mtls_origin && (n == 0 || n == config->n_listen))
        mm_loader_report(loader, "/mtls_origin",
                         "‹mtls_origin› needs a listener that takes client certificates and one that doesn't");
}

void mm_loader_build_listeners(const struct loader *loader)
{
    struct mm_config *config = loader->config;
    const json_t *items = json_object_get(loader->document.root, "listen");
    config->listen = calloc(json_array_size(items) + 1, sizeof *config->listen);
    if (!config->listen) {
        mm_loader_no_memory(loader);
        return;
    }
    for (size_t i = 0; i < json_array_size(items); i++) {
        char path[POINTER_MAX];
        (void)snprintf(path, sizeof path, "/listen/%zu", i);
        build_one(loader, json_array_get(items, i), path, &config->listen[config->n_listen++]);
    }
    check_certificates(loader);
}

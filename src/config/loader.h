/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The parts of loading a configuration, for the files of this folder. Each part reads what it can of a document that the schema
 * may have refused, adds what is wrong to the problems, and leaves the verdict to mm_config_load().
 */
#ifndef MM_CONFIG_LOADER_H
#define MM_CONFIG_LOADER_H

#include "config/config.h"
#include "util/buffer.h"

struct loader {
    struct mm_document document; /* mintmark.yaml */
    struct mm_config *config;    /* being built */
    struct mm_problems *problems;
    enum mm_hands hands;
    const struct mm_config *running; /* knows what names mean; NULL: look them up */
};

/* Add a problem of mintmark.yaml, at the line of `path`. */
void mm_loader_report(const struct loader *loader, const char *path, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* mm_loader_report() of running out of memory. */
void mm_loader_no_memory(const struct loader *loader);

/* `path` resolved beside mintmark.yaml, for the caller to free; NULL if `path` is NULL. */
char *mm_loader_resolve(const struct loader *loader, const char *path);

/* Add a file to the configuration's `files`; NULL is no file. */
void mm_loader_note_file(const struct loader *loader, const char *file);

/* Report, at `path` of mintmark.yaml, a file that isn't, or can't be told to be, in the hands it must be in. NULL is no file. */
void mm_loader_check_hands(const struct loader *loader, const char *file, const char *path);

/* A copy of `string` for the caller to free; NULL if `string` is NULL. */
char *mm_loader_copy(const struct loader *loader, const char *string);

/* service.c: everything but HSM tokens and tenants, from the document alone. */
void mm_loader_build_service(const struct loader *loader);

/*
 * listen.c: the listeners, from the document alone; after the tenants, what needs look-ups and files: groups, folders of sockets, the
 * proxies' CAs, which no tenant may have.
 */
void mm_loader_build_listeners(const struct loader *loader);
void mm_loader_complete_listeners(const struct loader *loader);

/* Build the address, the certificate and the key of the listener that `item`, at `path`, describes. One that is built already has the address to itself. */
void mm_loader_build_listen(const struct loader *loader, const json_t *item, const char *path,
                            struct mm_listen *ret_listen);

/*
 * admin.c: where it listens, from the document alone; who holds which role, names looked up; the socket's folder; the custodians' CAs, which
 * no tenant may have, after the tenants.
 */
void mm_loader_build_admin(const struct loader *loader);
void mm_loader_build_roles(const struct loader *loader);
void mm_loader_check_socket(const struct loader *loader);
void mm_loader_build_custodians(const struct loader *loader);

/*
 * Report, at `path`, that a CA of `trust` and one that certifies callers of some tenant, or workloads of its trust domains, lead to each
 * other. `what` names the trust, `then` says what follows.
 */
void mm_loader_check_apart(const struct loader *loader, const struct mm_trust *trust, const char *path,
                           const char *what, const char *then);

/* A socket's folder, reported at `path` if others can put a socket of theirs there; and its `socket_group`, NULL for none, looked up. */
void mm_loader_check_socket_folder(const struct loader *loader, const char *socket, const char *path);
void mm_loader_build_group(const struct loader *loader, const char *text, const char *path, char **ret_group,
                           gid_t *ret_gid);

/*
 * issuers.c: hosts and URLs, from the document alone; files of keys, trust domains' bundles among them; whose keys can't be had, of envelopes
 * once the tenants are there, and of a tenant's file.
 */
void mm_loader_build_fetch(const struct loader *loader);
void mm_loader_build_issuers(const struct loader *loader);
void mm_loader_read_bundles(const struct loader *loader, const char *tenant_id, struct mm_envelope *envelope);
void mm_loader_check_issuers(const struct loader *loader);
void mm_loader_check_sources(const struct loader *loader, const struct mm_document *document,
                             const struct mm_tenant *tenant);

/* hsm_tokens.c */
void mm_loader_check_pins(
    const struct loader *loader); /* before the schema: a PIN in the file deserves its own words */
void mm_loader_build_hsm_tokens(const struct loader *loader);

/*
 * files.c: reading a file that nobody else could have written or replaced, one that mintmark.yaml names at `path`, where it is reported if it
 * can't be; taking one apart with its digest (the root stays NULL
 * if it can't be), and the files that mintmark.yaml names but that others open.
 */
MM_MUST_USE bool mm_loader_read(const char *file, struct mm_buffer *text, struct mm_error *err);
MM_MUST_USE bool mm_loader_take_file(const struct loader *loader, const char *file, const char *path,
                                     struct mm_buffer *text);
void mm_loader_parse(const char *file, const struct mm_buffer *text, struct mm_document *ret_document,
                     struct mm_problems *problems);
void mm_loader_check_files(const struct loader *loader);

/* store.c: report what decides something and lies where the service may write: an error of an installed one, else a warning. */
void mm_loader_check_store(const struct loader *loader);

/* tenants.c: the tenants' envelopes, files and CAs; one file of CAs, at `path`, NULL if it can't be used, and its digest. */
struct mm_trust *mm_loader_read_cas(const struct loader *loader, const char *file, const char *path,
                                    char ret_digest[MM_SHA256_HEX_LENGTH + 1]);
void mm_loader_build_tenants(const struct loader *loader);
void mm_loader_check_envelopes(const struct loader *loader);

/* jwks_files.c: what the tenant's `private_key_jwt` rules name, into them. */
void mm_loader_read_jwks_files(const struct loader *loader, const struct mm_document *document,
                               const struct mm_tenant *tenant);

#endif

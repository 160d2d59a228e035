/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The `admin` section: where the admin listener is reached, and who may do what there. Names become ids here, before the service is
 * confined: afterwards a look-up, which may want a socket of its own, would end it.
 */
#include "config/loader.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "util/file.h"

enum { POINTER_MAX = 64 };

static const char SECTION[] = "/admin";
static const char SOCKET[] = "/admin/unix";
static const char HTTPS[] = "/admin/https";
static const char CLIENT_CA[] = "/admin/https/client_ca";

static const struct {
    enum mm_role role;
    const char *list;
} LISTS[] = {
    {MM_ROLE_VIEWER, "viewers"},
    {MM_ROLE_OPERATOR, "operators"},
    {MM_ROLE_CUSTODIAN, "custodians"},
};

void mm_loader_build_admin(const struct loader *loader)
{
    const json_t *admin = json_object_get(loader->document.root, "admin");
    struct mm_admin_config *built = &loader->config->admin;
    built->socket = mm_loader_resolve(loader, mm_json_string(admin, "unix"));
    if (built->socket && strlen(built->socket) >= sizeof((struct sockaddr_un *)0)->sun_path)
        mm_loader_report(loader, SOCKET, "%s: a socket's path has at most %zu bytes", built->socket,
                         sizeof((struct sockaddr_un *)0)->sun_path - 1);
    const json_t *https = json_object_get(admin, "https");
    if (https)
        mm_loader_build_listen(loader, https, HTTPS, &built->https);
    if (admin && !built->socket && !https)
        mm_loader_report(loader, SECTION, "‹admin› must name ‹unix›, ‹https› or both");
    if (json_object_get(admin, "socket_group") && !built->socket)
        mm_loader_report(loader, SECTION, "‹socket_group› is about ‹unix›, which isn't there");
}

/* What a name meant when the running service started. */
static bool recall(const struct loader *loader, const char *path, const char *text, uint32_t *ret_id)
{
    const struct mm_admin_config *admin = &loader->running->admin;
    for (size_t i = 0; i < admin->roles.n; i++)
        if (strcmp(admin->roles.items[i].text, text) == 0) {
            *ret_id = admin->roles.items[i].id;
            return true;
        }
    if (admin->socket_group && strcmp(admin->socket_group, text) == 0) {
        *ret_id = admin->socket_gid;
        return true;
    }
    for (size_t i = 0; i < loader->running->n_listen; i++) {
        const struct mm_listen *listen = &loader->running->listen[i];
        if (listen->socket_group && strcmp(listen->socket_group, text) == 0) {
            *ret_id = listen->socket_gid;
            return true;
        }
    }
    mm_loader_report(loader, path, "%s: a restart is needed to look it up", text);
    return false;
}

static bool look_up(const struct loader *loader, const char *path, enum mm_holder_kind kind, const char *name,
                    uint32_t *ret_id)
{
    errno = 0;
    const struct passwd *user = kind == MM_HOLDER_USER ? getpwnam(name) : NULL;
    const struct group *group = kind == MM_HOLDER_GROUP ? getgrnam(name) : NULL;
    if (user)
        *ret_id = user->pw_uid;
    else if (group)
        *ret_id = group->gr_gid;
    else if (errno == ENOMEM)
        mm_loader_no_memory(loader);
    else
        mm_loader_report(loader, path, "there is no %s %s", kind == MM_HOLDER_USER ? "user" : "group", name);
    return user || group;
}

/* The id that an entry stands for; false: it was reported, here or by the schema. */
static bool resolve(const struct loader *loader, const char *path, const char *text, enum mm_holder_kind *ret_kind,
                    uint32_t *ret_id)
{
    const char *name = NULL;
    if (!text || mm_role_holder_parse(text, ret_kind, &name, ret_id))
        return false;
    if (!name || *ret_kind == MM_HOLDER_CERTIFICATE)
        return true;
    return loader->running ? recall(loader, path, text, ret_id) : look_up(loader, path, *ret_kind, name, ret_id);
}

static void add_list(const struct loader *loader, const json_t *admin, size_t list)
{
    struct mm_roles *roles = &loader->config->admin.roles;
    const json_t *entries = json_object_get(admin, LISTS[list].list);
    for (size_t i = 0; i < json_array_size(entries); i++) {
        char path[POINTER_MAX];
        struct mm_role_holder holder = {.role = LISTS[list].role};
        const char *text = json_string_value(json_array_get(entries, i));
        (void)snprintf(path, sizeof path, "/admin/%s/%zu", LISTS[list].list, i);
        if (!resolve(loader, path, text, &holder.kind, &holder.id))
            continue;
        if (holder.kind == MM_HOLDER_CERTIFICATE && !mm_role_holder_rule(text, &holder.rule, NULL))
            mm_loader_no_memory(loader);
        holder.text = mm_loader_copy(loader, text);
        roles->items[roles->n++] = holder;
    }
}

void mm_loader_build_group(const struct loader *loader, const char *text, const char *path, char **ret_group,
                           gid_t *ret_gid)
{
    enum mm_holder_kind kind = MM_HOLDER_GROUP;
    uint32_t id = 0;
    if (!text || !resolve(loader, path, text, &kind, &id))
        return;
    if (kind == MM_HOLDER_USER)
        mm_loader_report(loader, path, "‹socket_group› must be group:NAME or gid:N");
    *ret_group = mm_loader_copy(loader, text);
    *ret_gid = id;
}

void mm_loader_build_roles(const struct loader *loader)
{
    const json_t *admin = json_object_get(loader->document.root, "admin");
    struct mm_roles *roles = &loader->config->admin.roles;
    size_t n = 0;
    for (size_t i = 0; i < MM_ARRAY_SIZE(LISTS); i++)
        n += json_array_size(json_object_get(admin, LISTS[i].list));
    roles->items = calloc(n + 1, sizeof *roles->items);
    if (!roles->items) {
        mm_loader_no_memory(loader);
        return;
    }
    for (size_t i = 0; i < MM_ARRAY_SIZE(LISTS); i++)
        add_list(loader, admin, i);
    struct mm_admin_config *built = &loader->config->admin;
    mm_loader_build_group(loader, mm_json_string(admin, "socket_group"), "/admin/socket_group", &built->socket_group,
                          &built->socket_gid);
}

/* Whoever can write the folder can put a socket of his own there, and be told what others want. */
void mm_loader_check_socket_folder(const struct loader *loader, const char *socket, const char *path)
{
    mm_cleanup(free) char *folder = socket ? mm_path_beside(socket, ".", NULL) : NULL;
    struct stat info;
    if (!socket)
        return;
    if (!folder)
        mm_loader_no_memory(loader);
    else if (stat(folder, &info) != 0) /* made when the service starts (systemd's RuntimeDirectory=), or named then */
        return;
    else if (!S_ISDIR(info.st_mode))
        mm_loader_report(loader, path, "%s: its folder isn't one", socket);
    else if (info.st_mode & (S_IWGRP | S_IWOTH))
        mm_loader_report(loader, path, "%s: group or others can write its folder (mode %04o)", socket,
                         (unsigned)(info.st_mode & 07777));
    else if (info.st_uid != 0 && info.st_uid != geteuid())
        mm_loader_report(loader, path, "%s: its folder is owned by uid %u, neither root nor this user", socket,
                         (unsigned)info.st_uid);
}

void mm_loader_check_socket(const struct loader *loader)
{
    mm_loader_check_socket_folder(loader, loader->config->admin.socket, SOCKET);
}

static void check_apart_from(const struct loader *loader, const struct mm_trust *trust, const struct mm_trust *other,
                             bool *overlaps)
{
    bool overlap = false;
    if (other && !*overlaps && !mm_trusts_overlap(trust, other, &overlap, NULL))
        mm_loader_no_memory(loader);
    *overlaps |= overlap;
}

void mm_loader_check_apart(const struct loader *loader, const struct mm_trust *trust, const char *path,
                           const char *what, const char *then)
{
    const struct mm_policy *policy = &loader->config->policy;
    for (size_t i = 0; i < policy->n_tenants; i++) {
        const struct mm_tenant *tenant = &policy->tenants[i];
        bool overlaps = false;
        check_apart_from(loader, trust, tenant->client_ca, &overlaps);
        for (size_t j = 0; j < tenant->envelope.n_trust_domains; j++)
            check_apart_from(loader, trust, tenant->envelope.trust_domains[j].roots, &overlaps);
        if (overlaps)
            mm_loader_report(loader, path, "‹%s› and that of tenant ‹%s› lead to each other: %s", what,
                             tenant->id ? tenant->id : "?", then);
    }
}

void mm_loader_build_custodians(const struct loader *loader)
{
    const json_t *https = json_object_get(json_object_get(loader->document.root, "admin"), "https");
    struct mm_admin_config *admin = &loader->config->admin;
    char digest[MM_SHA256_HEX_LENGTH + 1];
    admin->client_ca = mm_loader_read_cas(loader, mm_json_string(https, "client_ca"), CLIENT_CA, digest);
    if (admin->client_ca)
        mm_loader_check_apart(loader, admin->client_ca, CLIENT_CA, "client_ca",
                              "who certifies callers could make a custodian");
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "admin/peer.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

static bool untold(struct mm_error *err)
{
    return mm_fail(err, MM_INTERNAL, "the kernel doesn't say who connected: %s", strerror(errno));
}

/* The supplementary groups, with room for one more, for the caller to free. */
static bool read_groups(int fd, gid_t **ret_groups, size_t *ret_n, struct mm_error *err)
{
    socklen_t size = 0;
    if (getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, NULL, &size) != 0 && errno != ERANGE)
        return untold(err);
    mm_cleanup(free) gid_t *groups = calloc(1, size + sizeof *groups);
    if (!groups)
        return mm_fail(err, MM_NO_MEMORY, "out of memory");
    if (size > 0 && getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, groups, &size) != 0)
        return untold(err);
    *ret_n = size / sizeof *groups;
    *ret_groups = MM_TAKE(groups);
    return true;
}

bool mm_admin_peer_of(int fd, const struct mm_roles *roles, uid_t own_uid, struct mm_admin_peer *ret_peer,
                      struct mm_error *err)
{
    struct ucred credentials;
    socklen_t size = sizeof credentials;
    mm_cleanup(free) gid_t *groups = NULL;
    size_t n = 0;
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &credentials, &size) != 0)
        return untold(err);
    if (!read_groups(fd, &groups, &n, err))
        return false;
    groups[n++] = credentials.gid;
    const struct mm_identity identity = {.uid = credentials.uid, .groups = groups, .n_groups = n};
    struct mm_admin_peer peer = {.uid = credentials.uid, .role = mm_roles_of(roles, &identity, own_uid)};
    (void)snprintf(peer.pid, sizeof peer.pid, "%d", (int)credentials.pid);
    const char *name = mm_roles_user_name(roles, peer.uid);
    if (name)
        (void)snprintf(peer.by, sizeof peer.by, "%s (uid %u)", name, (unsigned)peer.uid);
    else
        (void)snprintf(peer.by, sizeof peer.by, "uid %u", (unsigned)peer.uid);
    *ret_peer = peer;
    return true;
}

bool mm_admin_peer_prove(struct mm_admin_peer *peer, const struct mm_bytes *chain, size_t n,
                         const struct mm_admin_config *admin, int64_t now, struct mm_error *err)
{
    int64_t not_after;
    if (n == 0)
        return mm_fail(err, MM_CERTIFICATE_REQUIRED, "no client certificate");
    mm_cleanup(mm_certificate_unref) struct mm_certificate *certificate = mm_certificate_parse(chain, n, err);
    if (!certificate || !mm_trust_verify(admin->client_ca, certificate, now, &not_after, err))
        return false;
    const struct mm_role_holder *holder = mm_roles_holder(&admin->roles, certificate);
    memcpy(peer->fingerprint, mm_certificate_fingerprint(certificate), sizeof peer->fingerprint);
    (void)snprintf(peer->by, sizeof peer->by, holder ? "%s (certificate sha256 %s)" : "%scertificate sha256 %s",
                   holder ? holder->text : "", peer->fingerprint);
    if (!holder)
        return mm_fail(err, MM_ACCESS_DENIED, "no list names this certificate");
    peer->role = holder->role;
    return true;
}

bool mm_admin_peer_is(const struct mm_admin_peer *peer, const struct mm_admin_peer *other)
{
    return peer->uid == other->uid && strcmp(peer->fingerprint, other->fingerprint) == 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "policy/github_subject.h"

#include <stdio.h>
#include <string.h>

static const char PREFIX[] = "repo:";

struct part {
    const char *name;
    size_t name_length;
    const char *id;
    size_t id_length; /* 0: without */
};

struct subject {
    struct part owner;
    struct part repository;
    const char *rest; /* with its colon */
};

static struct part split(const char *text, size_t length)
{
    const char *at = memrchr(text, '@', length);
    size_t before = at ? (size_t)(at - text) : length;
    size_t digits = at ? strspn(at + 1, "0123456789") : 0;
    if (before == 0 || digits == 0 || before + 1 + digits != length)
        return (struct part){.name = text, .name_length = length};
    return (struct part){.name = text, .name_length = before, .id = at + 1, .id_length = digits};
}

static bool take_apart(const char *text, struct subject *ret_subject)
{
    if (strncmp(text, PREFIX, sizeof PREFIX - 1) != 0)
        return false;
    const char *owner = text + sizeof PREFIX - 1;
    size_t owner_length = strcspn(owner, "/:");
    if (owner[owner_length] != '/')
        return false;
    const char *repository = owner + owner_length + 1;
    size_t repository_length = strcspn(repository, "/:");
    *ret_subject = (struct subject){.owner = split(owner, owner_length),
                                    .repository = split(repository, repository_length),
                                    .rest = repository + repository_length};
    return true;
}

/* Give `part` the id that `wanted` asks for, or take it away. */
static bool make_like(const struct part *wanted, const char *claimed_id, struct part *part)
{
    if (wanted->id_length == 0) {
        part->id_length = 0;
    } else if (part->id_length == 0) {
        size_t length = claimed_id ? strlen(claimed_id) : 0;
        if (length == 0 || strspn(claimed_id, "0123456789") != length)
            return false;
        part->id = claimed_id;
        part->id_length = length;
    }
    return true;
}

const char *mm_github_subject_like(const char *pattern, const char *subject, struct mm_github_ids ids, char *buffer,
                                   size_t size)
{
    struct subject wanted;
    struct subject found;
    if (!take_apart(pattern, &wanted) || !take_apart(subject, &found))
        return subject;
    if (!make_like(&wanted.owner, ids.owner, &found.owner) ||
        !make_like(&wanted.repository, ids.repository, &found.repository))
        return NULL;
    int length = snprintf(buffer, size, "%s%.*s%s%.*s/%.*s%s%.*s%s", PREFIX, (int)found.owner.name_length,
                          found.owner.name, found.owner.id_length ? "@" : "", (int)found.owner.id_length,
                          found.owner.id_length ? found.owner.id : "", (int)found.repository.name_length,
                          found.repository.name, found.repository.id_length ? "@" : "", (int)found.repository.id_length,
                          found.repository.id_length ? found.repository.id : "", found.rest);
    return length > 0 && (size_t)length < size ? buffer : NULL;
}

bool mm_github_subject_has_id(const char *pattern)
{
    struct subject subject;
    return take_apart(pattern, &subject) && (subject.owner.id_length > 0 || subject.repository.id_length > 0);
}

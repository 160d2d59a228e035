/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The two forms of `sub` that GitHub Actions has: `repo:org/repo:…` with names alone, and `repo:org@id/repo@id:…`, in which neither can be
 * taken over by somebody else.
 */
#ifndef MM_POLICY_GITHUB_SUBJECT_H
#define MM_POLICY_GITHUB_SUBJECT_H

#include "util/base.h"

/* A token's own word for what `sub` may lack; NULL: it has none. */
struct mm_github_ids {
    const char *owner;
    const char *repository;
};

/*
 * `subject` in the form that `pattern` has, to be compared with it: with the ids that it asks for, of `subject` or else of `ids`, and without
 * those that it doesn't. Points into `buffer`, or is `subject` if one of the two has neither form. NULL if the pattern asks for an id that is
 * nowhere, or for want of room.
 */
const char *mm_github_subject_like(const char *pattern, const char *subject, struct mm_github_ids ids, char *buffer,
                                   size_t size);

/* Whether `pattern` names the owner, or the repository, by id. */
bool mm_github_subject_has_id(const char *pattern);

#endif

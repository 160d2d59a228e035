/* SPDX-License-Identifier: Apache-2.0 */
#include "policy/shared_issuer.h"

#include <string.h>

#include "policy/github_subject.h"
#include "policy/glob.h"

enum { IDS_MAX = 4, NAMES_MAX = 8 };

/* A claim with a name that can change hands, and the one with the id that can't. */
struct name {
    const char *claim;
    const char *id;
};

struct mm_shared_issuer {
    const char *title;
    const char *issuer;
    enum {
        ONE_URL,   /* that is all of it */
        URL_BELOW, /* a path of somebody's follows */
        EITHER,
    } extent;
    enum { FOR_ALL, FOR_ONE_OWNER } url; /* whether the URL has an owner's id in it */
    enum mm_subject_form subject;
    const char *said; /* the ids in words */
    const char *ids[IDS_MAX + 1];
    struct name names[NAMES_MAX + 1];
};

/* The first that fits counts. */
static const struct mm_shared_issuer ISSUERS[] = {
    {.title = "GitHub Actions",
     .issuer = "https://token.actions.githubusercontent.com",
     .extent = EITHER, /* an enterprise's name may follow */
     .subject = MM_SUBJECT_GITHUB,
     .said = "repository_id, repository_owner_id, enterprise_id, or a sub with ids",
     .ids = {"repository_id", "repository_owner_id", "enterprise_id"},
     .names = {{"repository", "repository_id"},
               {"repository_owner", "repository_owner_id"},
               {"enterprise", "enterprise_id"},
               {"workflow_ref", "repository_id"},
               {"sub", "repository_id"},
               {"actor", "actor_id"}}},
    {.title = "GitLab.com",
     .issuer = "https://gitlab.com",
     .said = "project_id or namespace_id",
     .ids = {"project_id", "namespace_id"},
     .names = {{"project_path", "project_id"},
               {"namespace_path", "namespace_id"},
               {"ci_config_ref_uri", "project_id"},
               {"sub", "project_id"},
               {"user_login", "user_id"},
               {"user_email", "user_id"}}},
    {.title = "Buildkite",
     .issuer = "https://agent.buildkite.com",
     .said = "organization_id or pipeline_id, which jobs ask for with --claim",
     .ids = {"organization_id", "pipeline_id"},
     .names = {{"organization_slug", "organization_id"}, {"pipeline_slug", "pipeline_id"}, {"sub", "organization_id"}}},
    {.title = "CircleCI",
     .issuer = "https://oidc.circleci.com/org",
     .extent = URL_BELOW,
     .url = FOR_ONE_OWNER,
     .said = "oidc.circleci.com/project-id",
     .ids = {"oidc.circleci.com/project-id"},
     .names = {{"oidc.circleci.com/vcs-origin", "oidc.circleci.com/project-id"}}},
    {.title = "Bitbucket Pipelines",
     .issuer = "https://api.bitbucket.org/2.0/workspaces",
     .extent = URL_BELOW, /* a workspace's name follows */
     .said = "repositoryUuid or workspaceUuid",
     .ids = {"repositoryUuid", "workspaceUuid"}},
    {.title = "HCP Terraform",
     .issuer = "https://app.terraform.io",
     .said = "terraform_organization_id, terraform_project_id or terraform_workspace_id",
     .ids = {"terraform_organization_id", "terraform_project_id", "terraform_workspace_id"},
     .names = {{"terraform_organization_name", "terraform_organization_id"},
               {"terraform_project_name", "terraform_project_id"},
               {"terraform_workspace_name", "terraform_workspace_id"},
               {"terraform_full_workspace", "terraform_workspace_id"},
               {"sub", "terraform_workspace_id"}}},
    {.title = "Vercel",
     .issuer = "https://oidc.vercel.com",
     .extent = EITHER, /* a team's name may follow */
     .said = "owner_id or project_id",
     .ids = {"owner_id", "project_id"},
     .names = {{"owner", "owner_id"}, {"project", "project_id"}, {"sub", "project_id"}}},
    {.title = "Google",
     .issuer = "https://accounts.google.com",
     .said = "sub or /google/compute_engine/project_number",
     .ids = {"sub", "/google/compute_engine/project_number"},
     .names = {{"email", "sub"},
               {"hd", "sub"},
               {"/google/compute_engine/project_id", "/google/compute_engine/project_number"}}},
};

static bool is_of(const struct mm_shared_issuer *shared, const char *issuer)
{
    size_t length = strlen(shared->issuer);
    if (strncmp(issuer, shared->issuer, length) != 0)
        return false;
    bool is_all = issuer[length] == '\0';
    bool is_below = issuer[length] == '/';
    return (is_all && shared->extent != URL_BELOW) || (is_below && shared->extent != ONE_URL);
}

const struct mm_shared_issuer *mm_shared_issuer_find(const char *issuer)
{
    for (size_t i = 0; i < MM_ARRAY_SIZE(ISSUERS); i++)
        if (is_of(&ISSUERS[i], issuer))
            return &ISSUERS[i];
    return NULL;
}

const char *mm_shared_issuer_title(const struct mm_shared_issuer *issuer)
{
    return issuer->title;
}

const char *mm_shared_issuer_ids(const struct mm_shared_issuer *issuer)
{
    return issuer->said;
}

enum mm_subject_form mm_shared_issuer_subject(const struct mm_shared_issuer *issuer)
{
    return issuer->subject;
}

static bool demands(const struct mm_claim_rules *rules, const char *claim)
{
    const struct mm_claim_rule *rule = mm_claim_rules_find(rules, claim);
    for (size_t i = 0; rule && i < rule->values.n; i++)
        if (!mm_glob_is_literal(rule->values.items[i]))
            return false;
    return rule && rule->values.n > 0;
}

/* Whether all that a rule on GitHub's `sub` stands for has an id. */
static bool demands_subject_id(const struct mm_claim_rules *rules)
{
    const struct mm_claim_rule *rule = rules->subject == MM_SUBJECT_GITHUB ? mm_claim_rules_find(rules, "sub") : NULL;
    for (size_t i = 0; rule && i < rule->values.n; i++)
        if (!mm_github_subject_has_id(rule->values.items[i]))
            return false;
    return rule && rule->values.n > 0;
}

bool mm_shared_issuer_is_pinned(const struct mm_shared_issuer *issuer, const struct mm_claim_rules *rules)
{
    if (issuer->url == FOR_ONE_OWNER || demands_subject_id(rules))
        return true;
    for (const char *const *id = issuer->ids; *id; id++)
        if (demands(rules, *id))
            return true;
    return false;
}

const char *mm_shared_issuer_missing_id(const struct mm_shared_issuer *issuer, const struct mm_claim_rules *rules,
                                        const struct mm_claim_rule *rule)
{
    if (strcmp(rule->name, "sub") == 0 && demands_subject_id(rules))
        return NULL;
    for (const struct name *name = issuer->names; name->claim; name++)
        if (strcmp(name->claim, rule->name) == 0)
            return demands(rules, name->id) ? NULL : name->id;
    return NULL;
}

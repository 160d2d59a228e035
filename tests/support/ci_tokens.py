# SPDX-License-Identifier: Apache-2.0
"""The claims of other people's tokens, in the shapes that the platforms document: for oidc_issuer.Issuer.mint().

Each function gives the claims of one job, without iss (the issuer's own) and the times; keyword arguments change claims.
"""

import hashlib
import secrets
import time
import uuid

GITHUB = "https://token.actions.githubusercontent.com"
GITLAB = "https://gitlab.com"
BUILDKITE = "https://agent.buildkite.com"
CIRCLECI_ORGANIZATION = "b66a3d3a-0d3b-4a2a-9a39-0b0f5e9c2f11"
CIRCLECI = f"https://oidc.circleci.com/org/{CIRCLECI_ORGANIZATION}"
KUBERNETES = "https://kubernetes.default.svc.cluster.local"

AUDIENCE = "https://mint.acme.example"
SHA = hashlib.sha1(b"a commit").hexdigest()


def _changed(claims, changes):
    claims.update(changes)
    return {name: value for name, value in claims.items() if value is not None}


def github(audience=AUDIENCE, ref="refs/heads/main", environment=None, immutable_sub=True, **changes):
    """
    GitHub Actions. `immutable_sub`: the form of `sub` that new repositories have, with the ids of owner and repository beside
    their names; otherwise the older one.
    """
    owner, owner_id, name, repository_id = "acme", "65", "widgets", "4711"
    where = f"repo:{owner}@{owner_id}/{name}@{repository_id}" if immutable_sub else f"repo:{owner}/{name}"
    claims = {
        "jti": str(uuid.uuid4()),
        "sub": f"{where}:environment:{environment}" if environment else f"{where}:ref:{ref}",
        "aud": audience,
        "ref": ref,
        "ref_type": "tag" if ref.startswith("refs/tags/") else "branch",
        "ref_protected": "true",
        "sha": SHA,
        "repository": f"{owner}/{name}",
        "repository_id": repository_id,
        "repository_owner": owner,
        "repository_owner_id": owner_id,
        "repository_visibility": "private",
        "run_id": "16810043233",
        "run_number": "10",
        "run_attempt": "1",
        "actor": "octocat",
        "actor_id": "12",
        "workflow": "build",
        "workflow_ref": f"{owner}/{name}/.github/workflows/build.yml@{ref}",
        "workflow_sha": SHA,
        "job_workflow_ref": f"{owner}/{name}/.github/workflows/build.yml@{ref}",
        "job_workflow_sha": SHA,
        "head_ref": "",
        "base_ref": "",
        "event_name": "push",
        "environment": environment,
        "runner_environment": "github-hosted",
        "enterprise": "acme-corp",
        "enterprise_id": "9",
        "check_run_id": "47584111111",
    }
    return _changed(claims, changes)


def gitlab(audience=AUDIENCE, ref="main", environment=None, **changes):
    """GitLab CI's id_tokens: ids are strings, the runner's is a number."""
    project = "acme/widgets"
    claims = {
        "namespace_id": "72",
        "namespace_path": "acme",
        "project_id": "20",
        "project_path": project,
        "user_id": "1",
        "user_login": "ada",
        "user_email": "ada@acme.example",
        "user_access_level": "developer",
        "pipeline_id": "574",
        "pipeline_source": "push",
        "job_id": "302",
        "ref": ref,
        "ref_type": "branch",
        "ref_path": f"refs/heads/{ref}",
        "ref_protected": "true",
        "groups_direct": ["acme", "acme/builders"],
        "environment": environment,
        "environment_protected": "false" if environment else None,
        "deployment_tier": environment,
        "runner_id": 1,
        "runner_environment": "gitlab-hosted",
        "sha": SHA,
        "project_visibility": "private",
        "ci_config_ref_uri": f"gitlab.com/{project}//.gitlab-ci.yml@refs/heads/{ref}",
        "ci_config_sha": SHA,
        "jti": str(uuid.uuid4()),
        "sub": f"project_path:{project}:ref_type:branch:ref:{ref}",
        "aud": audience,
    }
    return _changed(claims, changes)


def buildkite(audience=AUDIENCE, branch="main", ids=True, **changes):
    """Buildkite; the ids are there if the job asked for them (--claim organization_id --claim pipeline_id). It has no jti."""
    claims = {
        "sub": f"organization:acme:pipeline:widgets:ref:refs/heads/{branch}:commit:{SHA}:step:token",
        "aud": audience,
        "organization_slug": "acme",
        "pipeline_slug": "widgets",
        "build_number": 1,
        "build_branch": branch,
        "build_commit": SHA,
        "step_key": "token",
        "job_id": "0184990a-477b-4fa8-9968-496074483cee",
        "agent_id": "0184990a-4782-42b5-afc1-16715b10b8ff",
        "build_source": "webhook",
        "runner_environment": "self-hosted",
        "organization_id": "f02d6a6f-7a0e-481d-9d6d-89b427aec48d" if ids else None,
        "pipeline_id": "3f6d4a8a-3f5e-4bd6-9be2-6f2a2e6c9a10" if ids else None,
    }
    return _changed(claims, changes)


def circleci(audience=AUDIENCE, **changes):
    project = "c9a7e3f4-8b7d-4d0b-8f3e-0e9d4c1f2a33"
    claims = {
        "aud": audience,
        "sub": f"org/{CIRCLECI_ORGANIZATION}/project/{project}/user/2b6c8f0e-53c4-4c38-9d3d-0c1b0a9f8e77",
        "oidc.circleci.com/project-id": project,
        "oidc.circleci.com/context-ids": ["1fb2b9b2-6f3d-4a1e-bb0a-3d5d1a2f4c55"],
        "oidc.circleci.com/vcs-origin": "github.com/acme/widgets",
        "oidc.circleci.com/vcs-ref": "refs/heads/main",
        "oidc.circleci.com/ssh-rerun": False,
        "exp": int(time.time()) + 3600,
        "nbf": None,
    }
    return {**claims, **changes}  # nbf: None takes the issuer's away


def jenkins(audience=AUDIENCE, job="https://jenkins.acme.example/job/widgets/", **changes):
    """Jenkins with the OpenID Connect Provider plugin: `sub` is the job's URL. It has no jti and no nbf."""
    claims = {"aud": audience, "sub": job, "build_number": 42, "exp": int(time.time()) + 3600, "nbf": None}
    return {**claims, **changes}


def kubernetes(audience=AUDIENCE, namespace="builds", account="widgets", **changes):
    """A projected service account's token: the audience is a list, and what names the pod is one level down."""
    now = int(time.time())
    claims = {
        "aud": [audience],
        "exp": now + 3607,
        "iat": now,
        "jti": str(uuid.uuid4()),
        "kubernetes.io": {
            "namespace": namespace,
            "node": {"name": "node-1", "uid": "3a9a1f7e-9a3e-4f6e-8b8e-0f6b2f4d7a10"},
            "pod": {"name": "build-7k2xw", "uid": "5e0bd49b-f040-43b0-99b7-22765a53f7f3"},
            "serviceaccount": {"name": account, "uid": "14ee3fa4-a7e2-420f-9f9a-dbc4507c3798"},
            "warnafter": now + 3600,
        },
        "nbf": now,
        "sub": f"system:serviceaccount:{namespace}:{account}",
    }
    return _changed(claims, changes)


def keycloak_access(audience="https://lore.acme.example", groups=("developers",), subject=None, **changes):
    """What a user's client holds of Keycloak: the header says JWT, the payload's own `typ` says Bearer."""
    subject = subject or "f1b1c6a4-1d1f-4a4e-8a53-7b2f7cf9d001"
    claims = {
        "jti": f"onrtac:{uuid.uuid4()}",
        "aud": audience,
        "sub": subject,
        "typ": "Bearer",
        "azp": "lore-cli",
        "sid": str(uuid.uuid4()),
        "acr": "1",
        "allowed-origins": ["/*"],
        "realm_access": {"roles": ["default-roles-acme", "offline_access", "uma_authorization"]},
        "resource_access": {"account": {"roles": ["manage-account", "view-profile"]}},
        "scope": "openid profile email",
        "email_verified": True,
        "name": "Ada Lovelace",
        "preferred_username": "ada",
        "email": "ada@acme.example",
        "groups": list(groups),
        "nbf": None,
    }
    return {**claims, **changes}


def keycloak_id(client="lore-cli", **changes):
    """The ID token beside it, which no resource server and no exchange may take."""
    claims = keycloak_access(audience=client, typ="ID", at_hash=secrets.token_urlsafe(16), auth_time=int(time.time()) - 30)
    for name in ("allowed-origins", "realm_access", "resource_access", "scope"):
        del claims[name]
    return {**claims, **changes}


AT_JWT = {"typ": "at+jwt"}


def rfc9068(audience="https://lore.acme.example", groups=("developers",), **changes):
    """An access token of RFC 9068: mint(..., header=AT_JWT)."""
    claims = {
        "aud": audience,
        "sub": "5ba552d67",
        "client_id": "lore-cli",
        "jti": secrets.token_urlsafe(16),
        "scope": "openid profile",
        "auth_time": int(time.time()) - 30,
        "groups": list(groups),
    }
    return _changed(claims, changes)

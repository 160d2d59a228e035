# SPDX-License-Identifier: Apache-2.0
"""docs/openapi.yaml as a judge: what a request must look like, and whether a reply is one that it names.

Stricter than the description asks of clients: a member or a header field that it doesn't name fails.
"""

import json
import pathlib
import re

import jsonschema
import yaml

ROOT = pathlib.Path(__file__).parents[2]
FILE = ROOT / "docs" / "openapi.yaml"
OFFICIAL_SCHEMA = pathlib.Path(__file__).parent / "openapi-3.1-schema.json"  # OAI's own, unchanged

METHODS = ("get", "put", "post", "delete", "options", "head", "patch", "trace")
# HTTP's own: they frame the message and the connection, whatever the operation.
FRAMING = {"connection", "content-length", "content-type", "date"}
HTML = "text/html"
JSON = "application/json"
FORM = "application/x-www-form-urlencoded"


def path_of(target):
    """The path of a target in origin or absolute form; an absolute one may have none."""
    path = re.sub(r"\A(?i:https?)://[^/?]*", "", target)
    return (path if path.startswith("/") or path == target else "/").split("?")[0]


class Undocumented(AssertionError):
    pass


def media_type_of(reply):
    """A reply of the HTTP library itself doesn't say what it is: it has nothing but what frames it."""
    return HTML if set(reply.headers) <= FRAMING - {"content-type"} else reply.headers.get("content-type")


def load():
    return yaml.safe_load(FILE.read_text())


def resolve(root, reference):
    assert reference.startswith("#/"), reference
    node = root
    for part in reference[2:].split("/"):
        node = node[part.replace("~1", "/").replace("~0", "~")]
    return node


def inline(root, node):
    """The node with every reference replaced by what it names. The description has no cycles."""
    if isinstance(node, dict):
        if "$ref" in node:
            return inline(root, resolve(root, node["$ref"]))
        return {name: inline(root, value) for name, value in node.items()}
    if isinstance(node, list):
        return [inline(root, value) for value in node]
    return node


def python_patterns(node):
    """In a schema's regular expressions `$` is the end; in Python's it may have a newline behind it."""
    if isinstance(node, dict):
        node = {name: python_patterns(value) for name, value in node.items()}
        if isinstance(node.get("pattern"), str) and node["pattern"].endswith("$"):
            node["pattern"] = node["pattern"][:-1] + r"\Z"
        return node
    return [python_patterns(value) for value in node] if isinstance(node, list) else node


def sealed(node, is_part=False):
    """The schema with every object closed. Parts of an `allOf` are closed together, by the whole."""
    if isinstance(node, list):
        return [sealed(value, is_part) for value in node]
    if not isinstance(node, dict):
        return node
    made = {name: sealed(value, name == "allOf") for name, value in node.items()}
    if not is_part and ("properties" in node or "allOf" in node):
        made["unevaluatedProperties"] = False
    return made


def schemas_in(node):
    """Every schema of the description, wherever it stands."""
    if isinstance(node, dict):
        for name, value in node.items():
            if name == "schema":
                yield value
            elif name == "schemas":
                yield from value.values()
            else:
                yield from schemas_in(value)
    elif isinstance(node, list):
        for value in node:
            yield from schemas_in(value)


def errors_of(schema):
    """The errors that the schema of an OAuth error allows; none for any other schema."""
    parts = schema.get("allOf", [])
    return parts[1]["properties"].get("error", {}).get("enum", []) if len(parts) == 2 else []


class Description:
    def __init__(self):
        self.source = load()
        self.document = python_patterns(inline(self.source, self.source))
        self.paths = self.document["paths"]
        self.responses = self.document["components"]["responses"]
        self.request = jsonschema.Draft202012Validator(
            self.paths["/v1/service-tokens"]["post"]["requestBody"]["content"]["application/json"]["schema"]
        )
        self.form = jsonschema.Draft202012Validator(
            self.paths["/oauth2/token"]["post"]["requestBody"]["content"][FORM]["schema"]
        )
        self.seen = set()  # (where, status, media type, code) of every reply that was checked
        self._validators = {}

    def operations(self):
        return {(path, method) for path, item in self.paths.items() for method in item if method in METHODS}

    def responses_for(self, method, path):
        """status -> response of what a request with that target may get, and a name for it."""
        path = path_of(path)
        item = self.paths.get(path)
        if item and method.isupper() and method.lower() in item:
            return f"{method} {path}", item[method.lower()]["responses"]
        # No such operation: refused as the nearest one would be, or for what it is.
        general = {"414": "UriTooLong", "505": "VersionNotSupported"}
        if self.is_oauth(path):
            general.update({"400": "BadOauthHead", "413": "OauthContentTooLarge", "431": "OauthHeadersTooLarge"})
            general.update({"500": "OauthServerError", "405": "OauthMethodNotAllowed"})
        else:
            general.update({"400": "BadRequest", "413": "ContentTooLarge", "431": "HeadersTooLarge"})
            general["500"] = "InternalError"
            general["405" if item else "404"] = "MethodNotAllowed" if item else "NotFound"
        kind = "path" if not item else "OAuth method" if self.is_oauth(path) else "method"
        return f"no such {kind}", {k: self.responses[v] for k, v in general.items()}

    def is_oauth(self, path):
        """Whether the failures of that path are OAuth's errors, not problem documents."""
        return self.paths.get(path_of(path), {}).get("x-errors") == "oauth"

    def codes(self):
        """code -> its status, of every problem document that any response has."""
        found = {}
        for status, response in self.all_responses():
            schema = response.get("content", {}).get("application/problem+json", {}).get("schema")
            if schema:
                properties = schema["allOf"][1]["properties"]
                assert properties["status"]["const"] == int(status), response
                found.update({code: int(status) for code in properties["code"]["enum"]})
        return found

    def oauth_errors(self):
        """Every error of OAuth's that any response has."""
        found = set()
        for _, response in self.all_responses():
            schema = response.get("content", {}).get(JSON, {}).get("schema", {})
            found.update(errors_of(schema))
        return found

    def all_responses(self):
        for path, method in sorted(self.operations()):
            yield from self.paths[path][method]["responses"].items()
        yield "404", self.responses["NotFound"]
        yield "405", self.responses["MethodNotAllowed"]
        yield "405", self.responses["OauthMethodNotAllowed"]
        yield "400", self.responses["BadOauthHead"]

    def _validator(self, schema):
        key = id(schema)
        if key not in self._validators:
            self._validators[key] = jsonschema.Draft202012Validator(sealed(schema))
        return self._validators[key]

    def _valid(self, schema, value, what):
        errors = [f"{what}: {error.message}" for error in self._validator(schema).iter_errors(value)]
        if errors:
            raise Undocumented("; ".join(errors))

    def _check_headers(self, response, reply, is_library):
        declared = {} if is_library else {name.lower(): header for name, header in response.get("headers", {}).items()}
        sent = {name: value for name, value in reply.headers.items() if name not in FRAMING}
        optional = {name for name, header in declared.items() if header.get("required") is False}
        if not set(declared) - optional <= set(sent) <= set(declared):
            raise Undocumented(f"header fields {sorted(sent)} instead of {sorted(declared)}: {reply}")
        for name, value in sent.items():
            schema = declared[name]["schema"]
            self._valid(schema, int(value) if schema.get("type") == "integer" else value, name)

    def _check_body(self, response, reply, has_body):
        content = response.get("content", {})
        media_type = media_type_of(reply)
        if not content:
            if reply.body or media_type:
                raise Undocumented(f"a body where there is none: {reply}")
            return None
        if media_type not in content:
            raise Undocumented(f"{media_type} instead of {sorted(content)}: {reply}")
        if not has_body:
            if reply.body:
                raise Undocumented(f"a body in reply to HEAD: {reply}")
            return None
        body = reply.body.decode() if media_type == HTML else json.loads(reply.body)
        self._valid(content[media_type]["schema"], body, f"body {body}")
        return body

    def check(self, method, path, reply):
        """Raise Undocumented unless the description names this reply to a request with that method and target."""
        where, responses = self.responses_for(method, path)
        response = responses.get(str(reply.status))
        if response is None:
            raise Undocumented(f"{where}: status {reply.status} instead of {sorted(responses)}: {reply}")
        media_type = media_type_of(reply)
        self._check_headers(response, reply, media_type == HTML)
        body = self._check_body(response, reply, method != "HEAD")
        code = body.get("code", body.get("error")) if isinstance(body, dict) else None
        self.seen.add((where, reply.status, media_type, code))
        return body

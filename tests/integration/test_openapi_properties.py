# SPDX-License-Identifier: Apache-2.0
"""Generated requests, good and broken: each gets an answer that docs/openapi.yaml names, never a 500, and the service lives on.

The same examples each time. MM_EXAMPLES=20000 tries that many others for each property.
"""

import collections
import json
import os
import re
import urllib.parse

import jsonschema
import pytest
from hypothesis import HealthCheck, assume, configuration, given, settings
from hypothesis import strategies as st

from openapi import Description
from service import AUDIENCE, BUILD, OAUTH_TOKENS, REPOSITORY, TOKENS, Deployment
from wire import FORM, Client

BODY_BYTES = 2048
HEADER_BYTES = 2048
N_EXAMPLES = os.environ.get("MM_EXAMPLES")

configuration.set_hypothesis_home_dir(BUILD / "hypothesis")  # its tables; no examples are kept
settings.register_profile(
    "mint",
    max_examples=int(N_EXAMPLES or 400),
    derandomize=not N_EXAMPLES,
    database=None,
    deadline=None,
    print_blob=True,
    suppress_health_check=list(HealthCheck),
)
settings.load_profile("mint")

DESCRIPTION = Description()


@pytest.fixture(scope="module")
def mint(tmp_path_factory):
    deployment = Deployment(tmp_path_factory.mktemp("mint"))
    deployment.config["limits"].update(body_bytes=BODY_BYTES, header_bytes=HEADER_BYTES)
    deployment.create().start()
    yield deployment
    deployment.ensure_stopped()


@pytest.fixture(scope="module")
def client(mint):
    with Client(mint.port, mint.tls(mint.ci)) as made:
        yield made


@pytest.fixture(autouse=True)
def service_lives_on(mint):
    pid = mint.process.pid
    yield
    mint.issue()
    assert (mint.process.pid, mint.process.poll()) == (pid, None)
    assert not mint.events("request_failed"), "a 5xx"


# --- what the body says

PLAIN = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E, blacklist_characters='"\\'), min_size=1)
SCOPES = st.sampled_from(["read:repo", "read:blob", "write:repo", "read", ":", "read:"]) | PLAIN
VALID = st.fixed_dictionaries(
    {"tenant_id": st.sampled_from(["acme", "globex"]) | PLAIN, "scopes": st.lists(SCOPES, min_size=1, unique=True)},
    optional={
        "resource_id": st.just(REPOSITORY) | PLAIN,
        "audience": st.just(AUDIENCE) | PLAIN,
        "ttl_seconds": st.sampled_from([1, 300, 900, 901, 31622400]) | st.integers(1, 31622400),
        "certificate_bound": st.booleans(),
    },
)
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from([10**400, -(2**63), 2**63]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=8,
)
NAMES = st.sampled_from(["tenant_id", "scopes", "resource_id", "audience", "ttl_seconds", "certificate_bound", ""]) | st.text()
MUTATED = st.builds(lambda good, changes: {**good, **changes}, VALID, st.dictionaries(NAMES, ANYTHING, max_size=3))


def dumped(value, ensure_ascii):
    try:
        return json.dumps(value, ensure_ascii=ensure_ascii).encode("utf-8", "surrogatepass")
    except ValueError:  # an integer of more digits than Python prints
        return b"[" + b"9" * 500 + b"]"


ODDITIES = [b"\0", b"\\u0000", b"\\ud800", b"\xff", b"\xef\xbb\xbf", b"1e400", b"-0", b"01", b"1.0", b"NaN", b"/**/", b",", b"}", b"["]
BYTES = st.one_of(
    st.builds(dumped, VALID | MUTATED | ANYTHING, st.booleans()),
    st.builds(lambda body, size: body[:size], st.builds(dumped, VALID, st.just(True)), st.integers(0, 200)),
    st.binary(),
)


@st.composite
def bodies(draw):
    body = draw(BYTES)
    for _ in range(draw(st.sampled_from([0, 0, 0, 1, 2]))):  # something odd, somewhere
        at = draw(st.integers(0, len(body)))
        body = body[:at] + draw(st.sampled_from(ODDITIES)) + body[at:]
    if draw(st.integers(0, 9)) == 0:  # a member again
        body = body.replace(b"{", b'{"tenant_id": "acme", ', 1)
    if draw(st.integers(0, 9)) == 0:  # as large as may be, give or take one
        body += b" " * (BODY_BYTES + draw(st.sampled_from([-1, 0, 1])) - len(body))
    return body


class NotJson(Exception):
    pass


def pairs(items):
    if len({name for name, _ in items}) < len(items):
        raise NotJson("a duplicate member")
    return dict(items)


def refuse(constant):
    raise NotJson(constant)


def integer(digits):
    if len(digits) > 20 or not -(2**63) <= int(digits) < 2**63:
        raise NotJson("an integer beyond 64 bits")
    return int(digits)


def real(digits):
    if float(digits) in (float("inf"), float("-inf")):
        raise NotJson("a number beyond a double")
    return float(digits)


def parse(body):
    """A body as the service must see it; NotJson if it isn't proper JSON, in UTF-8 and without NUL."""
    hooks = {"object_pairs_hook": pairs, "parse_constant": refuse, "parse_int": integer, "parse_float": real}
    try:
        value = json.loads(body.decode(), **hooks)
        json.dumps(value, ensure_ascii=False).encode()  # fails for half of a surrogate pair
    except (ValueError, RecursionError) as error:
        raise NotJson(str(error))
    if has_nul(value):
        raise NotJson("NUL")
    return value


def has_nul(value):
    if isinstance(value, str):
        return "\0" in value
    if isinstance(value, dict):
        return any(map(has_nul, [*value, *value.values()]))
    return isinstance(value, list) and any(map(has_nul, value))


# The description's `integer` is a JSON integer: 600.0 is none (it says so in words).
Validator = jsonschema.validators.extend(
    jsonschema.Draft202012Validator,
    type_checker=jsonschema.Draft202012Validator.TYPE_CHECKER.redefine("integer", lambda _, value: type(value) is int),
)
REQUEST = Validator(DESCRIPTION.request.schema)


def expected(body):
    """The statuses that a body may get from a caller with a certificate, and the code if there is one only."""
    if len(body) > BODY_BYTES:
        return {413}, "body_too_large"
    try:
        value = parse(body)
    except NotJson:
        return {400}, "invalid_json"
    if REQUEST.is_valid(value):
        return {201, 403}, None
    return {400}, "invalid_request"


@given(body=bodies())
def test_a_body_is_judged_as_the_description_says(client, body):
    reply = client.post(TOKENS, body)
    answer = DESCRIPTION.check("POST", TOKENS, reply)
    statuses, code = expected(body)
    assert reply.status in statuses, (answer, body)
    assert code is None or answer["code"] == code, (answer, body)


@given(request=VALID)
def test_a_request_that_the_description_allows_is_understood(client, request):
    assume(REQUEST.is_valid(request))
    reply = client.post(TOKENS, request)
    answer = DESCRIPTION.check("POST", TOKENS, reply)
    assert reply.status in (201, 403), answer
    if reply.status == 201:
        assert answer["scopes"] == request["scopes"]
        assert answer["tenant_id"] == request["tenant_id"]


# --- what a form says

PARAMETERS = {
    "grant_type": st.sampled_from(["client_credentials"] * 6 + ["password", "Client_credentials"]),
    "scope": st.lists(SCOPES, min_size=1, max_size=4).map(" ".join) | st.sampled_from(["read:repo", " ", "a  b"]),
    "tenant_id": st.sampled_from(["acme"] * 4 + ["globex", "\u0430cme"]),
    "client_id": st.sampled_from(["acme/ci-build", "ci-build", "acme/deploy", "/", "acme/"]) | st.text(),
    "resource": st.sampled_from(["https://lore.acme.example/", "urn:x:y", AUDIENCE, "x:#"]) | st.text(),
    "audience": st.sampled_from([AUDIENCE, "elsewhere"]) | st.text(),
    "ttl_seconds": st.sampled_from(["1", "300", "901", "0", "+1", "01", "1.0", "31622400", "31622401"]) | st.text(),
    "certificate_bound": st.sampled_from(["true", "false", "required"]),
    "client_secret": st.text(),
    "client_assertion": st.text(),
}
OPTIONAL = st.sampled_from(sorted(PARAMETERS)).flatmap(lambda name: st.tuples(st.just(name), PARAMETERS[name]))
UNKNOWN = st.tuples(st.text(max_size=70), st.text())
ESCAPES = st.sampled_from(
    [
        urllib.parse.quote_plus,
        urllib.parse.quote,
        lambda text: urllib.parse.quote(text, safe="/:=?,;"),
        lambda text: "".join(f"%{byte:02x}" for byte in text.encode()),
    ]
)
FORM_ODDITIES = [b"%", b"%4", b"%00", b"%zz", b"%ff", b"%c3", b"\0", b" ", b"\xc3\xa4", b"\xef\xbb\xbf"]
FORM_ODDITIES += [b"&", b"=", b"+", b"&&", b"\r\n", b"%09"]


@st.composite
def forms(draw):
    usual = [("grant_type", draw(PARAMETERS["grant_type"])), ("tenant_id", draw(PARAMETERS["tenant_id"]))]
    fields = usual[: draw(st.sampled_from([2, 2, 2, 1, 0]))] + draw(st.lists(OPTIONAL | UNKNOWN, max_size=4))
    escape = draw(ESCAPES)
    body = "&".join(f"{escape(name)}={escape(value)}" for name, value in draw(st.permutations(fields))).encode()
    for _ in range(draw(st.sampled_from([0, 0, 0, 1, 2]))):
        at = draw(st.integers(0, len(body)))
        body = body[:at] + draw(st.sampled_from(FORM_ODDITIES)) + body[at:]
    if draw(st.integers(0, 19)) == 0:
        body += b"&x=y" * draw(st.sampled_from([31, 32, 33]))
    if draw(st.integers(0, 19)) == 0:
        body += b"&" * (BODY_BYTES + draw(st.sampled_from([-1, 0, 1])) - len(body))
    return body


class NotAForm(Exception):
    pass


def unescaped(text):
    if not re.fullmatch(rb"(?:[\x21-\x24\x26-\x7e]|%[0-9A-Fa-f]{2})*", text) or b"%00" in text:
        raise NotAForm(text)
    try:
        return urllib.parse.unquote_to_bytes(text.replace(b"+", b"%20")).decode()
    except UnicodeDecodeError:
        raise NotAForm(text)


def parameters(body):
    """name -> values, those without a value left out."""
    found = collections.defaultdict(list)
    for field in filter(None, body.split(b"&")):
        name, _, value = field.partition(b"=")
        name, value = unescaped(name), unescaped(value)
        if len(name.encode()) > 64 or len(value.encode()) > 8192:
            raise NotAForm(field)
        if value:
            found[name].append(value)
    repeated = {name for name, values in found.items() if len(values) > 1} - {"resource", "audience"}
    if sum(map(len, found.values())) > 32 or repeated:
        raise NotAForm(body)
    return found


TOKEN_PATTERN = r"[!\x23-\x5b\x5d-\x7e]{1,64}"
GRANTED = {(200, None), (400, "invalid_scope"), (400, "invalid_target"), (400, "invalid_request")}


def expected_of_form(body):
    """The (status, error) pairs that a form may get from acme's ci-build. A secret counts in place of its certificate."""
    if len(body) > BODY_BYTES:
        return {(413, "invalid_request")}
    try:
        given = parameters(body)
    except NotAForm:
        return {(400, "invalid_request")}
    first = lambda name: given[name][0] if given.get(name) else None
    ttl, scope = first("ttl_seconds"), first("scope")
    if not first("grant_type") or (ttl and not (re.fullmatch("[1-9][0-9]{0,8}", ttl) and int(ttl) <= 31622400)):
        return {(400, "invalid_request")}
    if first("certificate_bound") not in (None, "true", "false"):
        return {(400, "invalid_request")}
    if scope and not re.fullmatch(f"{TOKEN_PATTERN}(?: {TOKEN_PATTERN})*", scope):
        return {(400, "invalid_scope")}
    if len(given.get("resource", [])) > 2 or len(given.get("audience", [])) > 1:
        return {(400, "invalid_target")}
    if first("grant_type") != "client_credentials":
        return {(400, "unsupported_grant_type")}
    tenant, client, secret = first("tenant_id"), first("client_id"), first("client_secret")
    if first("client_assertion"):
        return {(400, "invalid_request")}
    if secret:
        return {(401, "invalid_client")}
    if not (tenant or client):
        return {(400, "invalid_request")}
    is_ours = (tenant or client.rpartition("/")[0] or "acme") == "acme" and client in (None, "ci-build", "acme/ci-build")
    return GRANTED if is_ours else {(401, "invalid_client")}


@given(body=forms())
def test_a_form_is_judged_as_the_description_says(client, body):
    reply = client.post(OAUTH_TOKENS, body, FORM)
    answer = DESCRIPTION.check("POST", OAUTH_TOKENS, reply)
    assert (reply.status, answer.get("error")) in expected_of_form(body), (answer, body)


@given(body=forms())
def test_a_token_is_for_what_the_form_asked(client, body):
    reply = client.post(OAUTH_TOKENS, body, FORM)
    assume(reply.status == 200)
    given_values = parameters(body)
    assert DESCRIPTION.form.is_valid({name: values[0] for name, values in given_values.items() if name != "resource"})
    scope = given_values.get("scope", ["read:repo read:blob"])[0]
    assert reply.json["scope"].split() == list(dict.fromkeys(scope.split(" ")))


# --- what the head says


def mostly(usual, odd):
    """One in six is odd, so that requests with several parts are often right but for one."""
    return st.integers(0, 5).flatmap(lambda n: odd if n == 5 else usual)


TARGETS = st.sampled_from([*DESCRIPTION.paths] * 3 + ["/", "*", "/healthz?x=%ff", "http://h/healthz", "https://h"])
LATIN = st.text(st.characters(min_codepoint=0x01, max_codepoint=0xFF), max_size=60)
TARGET = mostly(
    TARGETS, st.sampled_from(["/%00", "/healthz%", ""]) | st.builds(lambda a, b: a + b, TARGETS | st.just("/"), LATIN)
)
METHOD = mostly(
    st.sampled_from(["GET", "HEAD", "POST"]),
    st.sampled_from(["PUT", "DELETE", "OPTIONS", "TRACE", "CONNECT", "get", "Post"])
    | st.text(st.sampled_from("ABCXYZabc-_!#$%&'*+.^`|~019"), min_size=1, max_size=12),
)
OPERATION = st.sampled_from([(method.upper(), path) for path, method in sorted(DESCRIPTION.operations())]) | st.just(
    ("POST", TOKENS)
)
FIELD_NAME = mostly(
    st.sampled_from(["Accept", "If-None-Match", "X-Request-Id", "Cookie", "Connection", "Range", "Expect", "Upgrade"]),
    st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E, blacklist_characters=":"), min_size=1, max_size=20),
)
FIELD_VALUE = mostly(
    st.sampled_from(["", "*", "close", "keep-alive", "h2c", 'W/"x", *', "bytes=0-", "100-continue"]), LATIN
)
MEDIA_TYPE = mostly(
    st.sampled_from(["application/json", "Application/JSON;charset=UTF-8", FORM, FORM + "; charset=utf-8"]),
    st.sampled_from(["application/json; charset=latin-1", "text/json", "", "application/json, text/plain"]) | LATIN,
)
FIELDS = st.lists(st.tuples(FIELD_NAME, FIELD_VALUE), max_size=3)
PADDING = mostly(st.just(0), st.sampled_from([1000, HEADER_BYTES, 3 * HEADER_BYTES]))
GOOD = json.dumps({"tenant_id": "acme", "scopes": ["read:repo"]}).encode()
GOOD_FORM = b"grant_type=client_credentials&client_id=acme%2Fci-build"
BODY = mostly(st.sampled_from([GOOD, GOOD_FORM]), bodies() | forms())
LENGTH = st.sampled_from([b"0", b"1", b"-1", b"+1", b"0x1", b"1,1", b"", b"10000000", b"9" * 30, b"0" * 16 + b"1"])
LAST_CHUNK = mostly(
    st.just(b"0\r\n\r\n"),
    st.sampled_from([b"0\r\nTrailer: x\r\n\r\n", b"0;ext=1\r\n\r\n", b"zz\r\n", b"f" * 17 + b"\r\n", b""]),
)


def with_length(body):
    return b"Content-Length: %d\r\n" % len(body), body


def in_chunks(body, size, last):
    parts = [body[i : i + size] for i in range(0, len(body), size)]
    return b"Transfer-Encoding: chunked\r\n", b"".join(b"%x\r\n%s\r\n" % (len(p), p) for p in parts) + last


FRAMED = mostly(
    st.builds(with_length, BODY) | st.builds(in_chunks, BODY, st.sampled_from([1, 7, 4096]), LAST_CHUNK),
    st.builds(lambda length: (b"Content-Length: %s\r\n" % length, GOOD), LENGTH)
    | st.sampled_from(
        [
            (b"", b""),
            (b"Transfer-Encoding: gzip\r\n", GOOD),
            (b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", GOOD),
            (b"Content-Length: %d\r\nContent-Length: 1\r\n" % len(GOOD), GOOD),
        ]
    ),
)
VERSION = mostly(
    st.just("HTTP/1.1"), st.sampled_from(["HTTP/1.0", "HTTP/1.2", "HTTP/2.0", "HTTP/0.9", "http/1.1", "HTTP/1.1x", ""])
)
HOST = mostly(
    st.just(b"Host: localhost\r\n"), st.sampled_from([b"", b"Host: a\r\nHost: b\r\n", b"Host:\r\n", b"Host: \xff\r\n"])
)


@st.composite
def requests(draw):
    """(method, target, bytes) of one request, or something like one."""
    method, target = draw(mostly(OPERATION, st.tuples(METHOD, TARGET)))
    framing, body = draw(FRAMED)
    fields = [*draw(FIELDS), ("Content-Type", draw(MEDIA_TYPE)), ("X-Pad", "a" * draw(PADDING))]
    line = f"{method} {target} {draw(VERSION)}".rstrip(" ") + "\r\n"
    head = line.encode("latin-1") + draw(HOST) + framing
    return method, target, head + "".join(f"{n}: {v}\r\n" for n, v in fields).encode("latin-1") + b"\r\n" + body


def exchange(mint, method, data):
    """The final replies to those bytes, after which nothing more is sent."""
    with mint.raw() as raw:
        try:
            raw.send(data)
            raw.end()
        except OSError:
            pass  # refused while it was still being sent
        first = raw.reply(method)
        return [reply for reply in [first, *raw.replies()] if reply.status != 100] if first else []


STATUSES = {int(status) for status, _ in DESCRIPTION.all_responses()} - {500}


@given(request=requests())
def test_whatever_is_sent_gets_a_described_answer_or_none(mint, request):
    method, target, data = request
    replies = exchange(mint, method, data)
    # White space in a target, or none at all, makes another request of it than the one meant here.
    if replies and target and not set(target) & set(" \t\r\n\v\f"):
        DESCRIPTION.check(method, target, replies[0])
    assert {reply.status for reply in replies} <= STATUSES


@given(start=st.sampled_from([b"", b"GET /healthz HTTP/1.1\r\n"]), data=st.binary(max_size=400))
def test_garbage_gets_a_described_answer_or_none(mint, start, data):
    replies = exchange(mint, "GET", start + data + b"\r\n\r\n")
    assert {reply.status for reply in replies} <= {400, 404, 405, 413, 431, 505}

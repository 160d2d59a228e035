# SPDX-License-Identifier: Apache-2.0
"""What the admin listener must refuse and close, whichever way it comes: too large, or to be read in two ways."""

import pytest
from wire import get_bytes

CHUNK = b"%x\r\n" % 60_000 + b"x" * 60_000 + b"\r\n"
HEAD = b"POST /v1/reload HTTP/1.1\r\nHost: localhost\r\n"

# name -> what is sent, the answer's status and its code
SHAPES = {
    "long header": (get_bytes("/v1/status", b"X: " + b"x" * 9000 + b"\r\n"), 431, "headers_too_large"),
    "long body": (HEAD + b"Content-Length: 65537\r\n\r\n" + b"x" * 65537, 413, "body_too_large"),
    "announced body": (HEAD + b"Content-Length: 100000000\r\n\r\n", 413, "body_too_large"),
    "long chunks": (HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + CHUNK * 2 + b"0\r\n\r\n", 413, "body_too_large"),
    "two framings": (HEAD + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400, "invalid_request"),
    "two lengths": (HEAD + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nxx", 400, "invalid_request"),
    "old framing": (b"POST /v1/reload HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400, "invalid_request"),
    "no host": (b"GET /v1/status HTTP/1.1\r\n\r\n", 400, "invalid_request"),
    "two hosts": (b"GET /v1/status HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400, "invalid_request"),
    "control character": (get_bytes("/v1/status\x01"), 400, "invalid_request"),
    "NUL": (get_bytes("/v1/status%00"), 400, "invalid_request"),
    "way round": (get_bytes("/v1/../v1/status"), 404, "not_found"),
}

each_shape = pytest.mark.parametrize("data, status, code", SHAPES.values(), ids=SHAPES)

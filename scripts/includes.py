# SPDX-License-Identifier: Apache-2.0
"""Which folder may include what: third-party headers in one folder each, our own only down the ladder.

Run by scripts/check from the top of the tree; prints every violation.
"""

import pathlib
import re
import sys

# A folder includes its own headers and those of the folders named here, nothing else. `include/` is open to all.
LADDER = {
    "util": set(),
    "confine": {"util"},
    "crypto": {"util"},
    "token": {"crypto", "util"},
    "policy": {"token", "crypto", "util"},
    "store": {"crypto", "util"},
    "fetch": {"confine", "util"},
    "config": {"policy", "token", "crypto", "util"},
    "hsm": {"confine", "config", "policy", "token", "crypto", "util"},
    "ledger": {"store", "crypto", "util"},
    "keyring": {"ledger", "config", "token", "crypto", "util"},
    "revocation": {"keyring", "ledger", "config", "policy", "token", "crypto", "util"},
    "oauth": {"fetch", "config", "policy", "token", "crypto", "util"},
    "issue": {"oauth", "revocation", "keyring", "ledger", "hsm", "config", "policy", "token", "crypto", "util"},
    "http": {"issue", "oauth", "revocation", "keyring", "ledger", "hsm", "config", "policy", "token", "crypto", "util"},
    "admin": {
        "http", "oauth", "revocation", "keyring", "ledger", "hsm", "config", "policy", "token", "crypto", "util"
    },
    "mintmarkd": {
        "admin", "http", "issue", "oauth", "revocation", "keyring", "ledger", "hsm", "fetch", "confine", "config",
        "policy", "token", "crypto", "util"
    },
    "client": {"token", "crypto", "util"},
    "cli": {"client", "keyring", "ledger", "store", "hsm", "config", "policy", "token", "crypto", "util"},
}

# Who may include a third-party header: the longest match of its name decides.
THIRD_PARTY = {
    "jansson.h": ["src/util/json.h"],
    "yaml.h": ["src/util/yaml.c"],
    "openssl/": ["src/crypto/", "hsm/"],
    "openssl/ssl.h": ["src/client/"],
    "openssl/err.h": ["src/client/", "src/crypto/", "hsm/"],
    "openssl/engine.h": ["hsm/engine.c"],
    "sqlite3.h": ["src/store/"],
    "microhttpd.h": ["src/http/", "src/admin/"],
    "gnutls/": ["src/http/"],
    "curl/": ["src/client/", "src/fetch/"],
    "p11-kit/": ["hsm/"],
    "seccomp.h": ["src/confine/"],
}

# The C library's and the kernel's headers.
SYSTEM = re.compile(
    r"(sys|netinet|arpa|linux|net)/\w+\.h|"
    r"(assert|ctype|dirent|dlfcn|endian|errno|fcntl|fnmatch|getopt|inttypes|limits|locale|malloc|math|netdb|poll|pthread|pwd|grp|sched|"
    r"semaphore|signal|spawn|stdalign|stdarg|stdatomic|stdbool|stddef|stdint|stdio|stdlib|stdnoreturn|string|strings|"
    r"syslog|termios|threads|time|unistd|wchar)\.h"
)

INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]')


def folder_of(path):
    """The rung a file of the tree stands on; None for mains and tests, which may use all of ours."""
    parts = path.parts
    if parts[0] == "src" and len(parts) > 2:
        return parts[1]
    return "hsm" if parts[0] == "hsm" else None


def check_ours(path, header, top):
    included = header.split("/")[0] if "/" in header else folder_of(path)
    if included == "mintmark" or (top / path.parent / header).exists():
        return None
    folder = folder_of(path)
    if folder is None or included == folder or included in LADDER.get(folder, set()):
        return None
    return f"{folder}/ may not include {header}"


def check_third_party(path, header):
    if SYSTEM.fullmatch(header) or header.startswith("mintmark/"):
        return None
    owners = [name for name in THIRD_PARTY if header == name or (name.endswith("/") and header.startswith(name))]
    if not owners:
        return f"<{header}> is not a header the table knows"
    allowed = THIRD_PARTY[max(owners, key=len)]
    if any(str(path) == one or (one.endswith("/") and str(path).startswith(one)) for one in allowed):
        return None
    return f"only {', '.join(allowed)} may include <{header}>"


def violations(top):
    for source in sorted(p for folder in ("src", "hsm", "include") for p in (top / folder).rglob("*.[ch]")):
        path = source.relative_to(top)
        if path.parts[0] == "src" and len(path.parts) > 2 and path.parts[1] not in LADDER:
            yield f"{path}: src/{path.parts[1]}/ has no place on the ladder"
            continue
        for number, line in enumerate(source.read_text().splitlines(), 1):
            match = INCLUDE.match(line)
            if not match:
                continue
            kind, header = match.groups()
            wrong = check_ours(path, header, top) if kind == '"' else check_third_party(path, header)
            if wrong:
                yield f"{path}:{number}: {wrong}"


def main():
    found = list(violations(pathlib.Path.cwd()))
    print("\n".join(found), end="\n" if found else "")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())

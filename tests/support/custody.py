# SPDX-License-Identifier: Apache-2.0
"""A deployment whose keys live for seconds (config/floors.h's test build), and what its custodian does."""

import hashlib
import json
import socket
import sqlite3
import time

from service import SHORT, Deployment, wait_until

PUBLISH_AHEAD = 2
MAX_TTL = 4
TTL = 2


def short_lived(folder, **options):
    """Not created yet: more HSM tokens may be added."""
    mint = Deployment(folder, programs=SHORT, **options)
    mint.config["keys"].update(publish_ahead=f"{PUBLISH_AHEAD}s", max_ttl=f"{MAX_TTL}s")
    mint.config["limits"] = {"issue_timeout": "1s"}  # a token that waited for an HSM is no good for long
    with socket.create_server(("127.0.0.1", 0)) as probe:  # one that stays the same over restarts
        mint.config["listen"][0]["address"] = f"127.0.0.1:{probe.getsockname()[1]}"
    for tenant in mint.tenants.values():
        tenant["max_ttl"] = f"{MAX_TTL}s"
        for account in tenant["accounts"]:
            for grant in account["grants"]:
                grant["ttl"] = {"default": f"{TTL}s", "max": f"{MAX_TTL}s"}
    return mint


def let_workers_log_in(mint):
    """In a login SoftHSM2 empties the token's file for a moment: whoever opens the token then finds none, or no room."""

    def all_have():
        ready = {event["detail"] for event in mint.events("worker_ready")}
        return all(f"pid {pid}" in ready for pid in mint.workers())

    if mint.process and mint.process.poll() is None:
        wait_until(all_have, seconds=5)  # some never will


def generate(mint, label, hsm_token="primary"):
    """A new key on that HSM token, known to nobody yet: its kid."""
    arguments = ("--hsm-token", hsm_token, "--service-pin", "--label", label, "--json")
    for attempts_left in (2, 1, 0):
        let_workers_log_in(mint)
        try:
            return json.loads(mint.cli("key", "generate", *arguments))["kid"]
        except AssertionError as error:  # one has started meanwhile
            if not attempts_left or not any(why in str(error) for why in ("CKR_FUNCTION_FAILED", "no HSM token with label")):
                raise


def stage(mint, label, hsm_token="primary"):
    """A new key that the service knows: its kid."""
    kid = generate(mint, label, hsm_token)
    let_workers_log_in(mint)
    mint.cli("key", "stage", "--hsm-token", hsm_token, "--service-pin", "--kid", kid)
    return kid


def activate_beside(mint, label, hsm_token):
    """A new key on that HSM token, which signs beside those that do: its kid."""
    kid = stage(mint, label, hsm_token)
    assert wait_until(lambda: states(mint)[kid] == "published")
    time.sleep(PUBLISH_AHEAD + 1)
    mint.cli("key", "activate", "--kid", kid)
    return kid


def keys(mint):
    """kid -> what the service says of the key."""
    status = json.loads(mint.cli("status", "--json"))
    return {key["kid"]: key for key in status["keyring"]["keys"]}


def states(mint):
    return {kid: key["state"] for kid, key in keys(mint).items()}


def active(mint):
    return {kid for kid, state in states(mint).items() if state == "active"}


def append_from_the_future(mint, seconds):
    """An entry as the service itself would have written it had its clock been ahead."""
    db = sqlite3.connect(mint.store_file)
    sequence, before = db.execute("SELECT sequence, hash FROM entries ORDER BY sequence DESC LIMIT 1").fetchone()
    at = int(time.time()) + seconds
    text = json.dumps({"type": "hsm.event", "time": at, "event": "worker_ready"}, separators=(",", ":")).encode()
    digest = hashlib.sha256(b"mintmark-ledger-v1\0" + before + (sequence + 1).to_bytes(8, "big") + text).digest()
    row = (sequence + 1, digest, text, "hsm.event", at)
    db.execute("INSERT INTO entries (sequence, hash, bytes, type, time) VALUES (?, ?, ?, ?, ?)", row)
    db.commit()
    db.close()

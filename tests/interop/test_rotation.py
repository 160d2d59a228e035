# SPDX-License-Identifier: Apache-2.0
"""
Keys rotate, slots move, an HSM goes and comes back and the service restarts, while clients ask and relying parties with caches of
their own verify every token: none is ever refused, and none is lost from the ledger.

MM_SOAK_SECONDS=600 for a long run.
"""

import collections
import itertools
import os
import signal
import time

from custody import TTL, active, short_lived, stage, states
from load import Load
from relying import LoreCache, NpmJose, Verifying
from service import AUDIENCE, wait_until
from shim import GONE, Shim

SECONDS = int(os.environ.get("MM_SOAK_SECONDS", "60"))


def rotate(mint, numbers, hsm_token):
    kid = stage(mint, f"soak-{next(numbers)}", hsm_token)
    before = active(mint)
    mint.cli("key", "rotate", "--to", hsm_token, "--wait", "--reason", "soak")
    assert active(mint) == {kid}, (before, states(mint))
    return kid


def lose_hsm(mint, outages):
    """The only HSM token with an active key goes and comes back."""
    begun = time.monotonic()
    mint.shim.write(*GONE)
    time.sleep(1.5)
    mint.shim.write()
    assert wait_until(lambda: mint.ask(audience=AUDIENCE, ttl_seconds=TTL).status == 201, interval=0.05)
    outages.append((begun, time.monotonic()))


def restart(mint, how):
    if how == "kill":
        mint.kill()
    else:
        mint.stop()
    mint.start()


def test_no_relying_party_ever_meets_a_token_that_it_cannot_check(tmp_path):
    mint = short_lived(tmp_path / "mint")
    mint.add_hsm_token("secondary")
    mint.shim = Shim(mint)
    mint.create().start()

    def fetch():
        with mint.client(None) as client:
            return client.get("/.well-known/jwks.json").body

    # A 180th of what they wait in the field, as the floors of the test build are of the real ones.
    jose = NpmJose(mint, cache_ms=3300, cooldown_ms=170)
    verifying = Verifying({"lore": LoreCache(fetch, cooldown=0.1), "jose": jose})
    numbers = itertools.count(1)
    steps = collections.Counter()
    outages = []
    end = time.monotonic() + SECONDS
    try:
        with Load(mint, 3, on_token=verifying.add, pause=0.03, ttl_seconds=TTL, audience=AUDIENCE) as load:
            for step in itertools.cycle(("to secondary", "worker", "to primary", "hsm", "stop", "in place", "kill")):
                if time.monotonic() > end:
                    break
                steps[step] += 1
                if step.startswith("to "):
                    rotate(mint, numbers, step[3:])
                elif step == "in place":
                    rotate(mint, numbers, "primary")
                elif step == "hsm":
                    lose_hsm(mint, outages)
                elif step == "worker":
                    os.kill(mint.workers()[0], signal.SIGKILL)
                    time.sleep(1)
                else:
                    restart(mint, step)
            assert wait_until(lambda: mint.ask(audience=AUDIENCE, ttl_seconds=TTL).status == 201)
        verifying.close()
        counts = dict(
            steps=dict(steps), tokens=load.n_issued(), verified=verifying.n_verified, refused=len(verifying.refused), late=verifying.n_late,
            statuses=dict(load.statuses), codes=dict(load.codes), found_the_service_away=jose.n_away,
        )
        print(counts)
        assert not verifying.refused, verifying.refused[:10]
        assert verifying.n_verified == 4 * load.n_issued()  # by two parties, new and near its end
        assert verifying.n_late < verifying.n_verified / 20
        # Refused only while no HSM was there, and then as a service that will be back.
        assert set(load.statuses) <= {201, 503} and load.n_without_retry_after == 0
        refusals = [(asked, told) for asked, told, status, _ in load.replies if status == 503]
        assert all(any(begun <= told and asked <= ended for begun, ended in outages) for asked, told in refusals), load.codes
        recorded = {entry["jti"] for entry in mint.ledger("--type", "token.issued")}
        assert {token["token_id"] for token in load.tokens} <= recorded
        assert load.n_issued() > SECONDS
        mint.cli("ledger", "verify")
    finally:
        jose.close()
        mint.ensure_stopped()

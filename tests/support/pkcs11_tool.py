# SPDX-License-Identifier: Apache-2.0
"""OpenSC's pkcs11-tool as a custodian's own tool: what somebody with the PIN can do to a deployment's HSM token behind the service's back."""

import os
import subprocess

from service import MODULE

KEYPAIR = ("--keypairgen", "--key-type", "EC:prime256v1")


def pkcs11_tool(mint, *arguments, pin=None, check=True, **environment):
    """Logged in to the first HSM token, straight to SoftHSM2 whatever stands before it. With `pin`, somebody who types another one."""
    environment = dict(
        os.environ, SOFTHSM2_CONF=str(mint.folder / "softhsm2.conf"), MM_TEST_PIN=pin or mint.pin, **environment
    )
    command = ["pkcs11-tool", "--module", MODULE, "--token-label", "mintmark", "--login", "--pin", "env:MM_TEST_PIN"]
    return subprocess.run([*command, *arguments], env=environment, check=check, capture_output=True, text=True)


def delete(mint, hsm_id):
    """Both halves of a key."""
    for kind in ("privkey", "pubkey"):
        pkcs11_tool(mint, "--delete-object", "--type", kind, "--id", hsm_id)

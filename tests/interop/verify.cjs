// SPDX-License-Identifier: Apache-2.0
//
// Verify JWTs with npm's `jose` against a JWKS fetched over HTTPS, as a relying party would.
// Standard input: {"modules", "jwks_uri", "issuer", "audience", "typ", "tokens": [...]}.
// Standard output: for each token {"claims"} or {"refused": code}.

const { createRequire } = require('node:module');
const { readFileSync } = require('node:fs');

async function main() {
    const task = JSON.parse(readFileSync(0, 'utf8'));
    const { createRemoteJWKSet, jwtVerify } = createRequire(task.modules + '/')('jose');
    const keys = createRemoteJWKSet(new URL(task.jwks_uri));
    const options = { issuer: task.issuer, audience: task.audience, typ: task.typ };
    const results = [];
    for (const token of task.tokens) {
        try {
            results.push({ claims: (await jwtVerify(token, keys, options)).payload });
        } catch (error) {
            results.push({ refused: error.code ?? String(error) });
        }
    }
    console.log(JSON.stringify(results));
}

main();

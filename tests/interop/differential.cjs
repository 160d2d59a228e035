// SPDX-License-Identifier: Apache-2.0
//
// Verify JWTs with npm's `jose` against a JWK set that is given, at a time that is given.
// Standard input: {"modules", "jwks": "text of the set", "issuer", "audience", "now", "tokens": [...]}.
// Standard output: a line a token, "ok" or why not.

const { createRequire } = require('node:module');
const { readFileSync } = require('node:fs');

async function main() {
    const task = JSON.parse(readFileSync(0, 'utf8'));
    const { createLocalJWKSet, jwtVerify } = createRequire(task.modules + '/')('jose');
    const keys = createLocalJWKSet(JSON.parse(task.jwks));
    const options = {
        issuer: task.issuer,
        audience: task.audience,
        requiredClaims: ['exp'],
        clockTolerance: 60,
        currentDate: new Date(task.now * 1000),
    };
    for (const token of task.tokens) {
        try {
            await jwtVerify(token, keys, options);
            console.log('ok');
        } catch (error) {
            console.log(`${error.code ?? error.name}: ${error.message}`.replaceAll('\n', ' '));
        }
    }
}

main();

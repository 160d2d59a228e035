// SPDX-License-Identifier: Apache-2.0
//
// Verify JWTs with npm's `jose` as they come, against a JWKS that it fetches and caches by its own rules.
// First line of standard input: {"modules", "jwks_uri", "issuer", "audience", "cache_ms", "cooldown_ms"}; then a token a line.
// Standard output: for each token a line, "ok" or the error's code.

const { createRequire } = require('node:module');
const readline = require('node:readline');

async function main() {
    let verify = null;
    for await (const line of readline.createInterface({ input: process.stdin })) {
        if (!verify) {
            const task = JSON.parse(line);
            const { createRemoteJWKSet, jwtVerify } = createRequire(task.modules + '/')('jose');
            const options = { cacheMaxAge: task.cache_ms, cooldownDuration: task.cooldown_ms };
            const keys = createRemoteJWKSet(new URL(task.jwks_uri), options);
            verify = (token) => jwtVerify(token, keys, { issuer: task.issuer, audience: task.audience, typ: 'at+jwt' });
            continue;
        }
        try {
            await verify(line);
            console.log('ok');
        } catch (error) {
            console.log(error.code ?? String(error));
        }
    }
}

main();

// SPDX-License-Identifier: Apache-2.0
//
// Discover the token endpoint and ask it by client_credentials, with npm's `openid-client` and `oauth4webapi`, unchanged.
// Standard input: {"modules", "issuer", "port", "ca", "cert", "key", "client_id", "requests": [{parameter: value, ...}], "lives"}, files by path; and
// to authenticate by it instead of the certificate, "assertion": {"key": JWK, "kid"}, or "secret", or "public" by nothing. A request's `grant_type` is
// another grant than client_credentials.
// Standard output: for each library's name a list: for each request {"token": …} or {"error", "status"}; with `lives` {"before", "after"} it was revoked.

const fs = require('node:fs');
const https = require('node:https');
const { pathToFileURL } = require('node:url');

globalThis.crypto ??= require('node:crypto').webcrypto; // Node.js 18

// fetch() can't show a client certificate. The issuer's host is the service on this machine, as a hosts file would say.
function fetchWith(task) {
    const agent = new https.Agent({
        ca: fs.readFileSync(task.ca),
        ...(task.cert ? { cert: fs.readFileSync(task.cert), key: fs.readFileSync(task.key) } : {}),
    });
    return (url, options) =>
        new Promise((resolve, reject) => {
            const { pathname, search } = new URL(url);
            const request = https.request(
                {
                    agent,
                    host: '127.0.0.1',
                    servername: 'localhost',
                    port: task.port,
                    path: pathname + search,
                    method: options.method,
                    headers: Object.fromEntries(new Headers(options.headers)),
                },
                (answer) => {
                    const chunks = [];
                    answer.on('data', (chunk) => chunks.push(chunk));
                    answer.on('end', () =>
                        resolve(new Response(Buffer.concat(chunks), { status: answer.statusCode, headers: answer.headers })),
                    );
                },
            );
            request.on('error', reject);
            request.end(options.body === undefined || options.body === null ? undefined : options.body.toString());
        });
}

async function attempt(ask) {
    try {
        return { token: await ask() };
    } catch (error) {
        return { error: error.error ?? String(error), status: error.status };
    }
}

async function authenticationOf(library, task) {
    if (task.public) {
        return library.None();
    }
    if (task.secret) {
        return library.ClientSecretBasic(task.secret);
    }
    if (!task.assertion) {
        return library.TlsClientAuth();
    }
    const parameters = { name: 'ECDSA', namedCurve: 'P-256' };
    const key = await crypto.subtle.importKey('jwk', task.assertion.key, parameters, false, ['sign']);
    return library.PrivateKeyJwt({ key, kid: task.assertion.kid });
}

async function byOpenidClient(library, task) {
    const fetch = fetchWith(task);
    const execute = { [library.customFetch]: fetch };
    const authentication = await authenticationOf(library, task);
    const config = await library.discovery(new URL(task.issuer), task.client_id, {}, authentication, execute);
    const ask = ({ grant_type, ...request }) =>
        attempt(() =>
            grant_type ? library.genericGrantRequest(config, grant_type, request) : library.clientCredentialsGrant(config, request),
        );
    ask.introspect = (token) => library.tokenIntrospection(config, token);
    ask.revoke = (token) => library.tokenRevocation(config, token);
    return ask;
}

async function byOauth4webapi(library, task) {
    const options = { [library.customFetch]: fetchWith(task), algorithm: 'oauth2' };
    const issuer = new URL(task.issuer);
    const server = await library.processDiscoveryResponse(issuer, await library.discoveryRequest(issuer, options));
    const client = { client_id: task.client_id };
    const authentication = await authenticationOf(library, task);
    const ask = ({ grant_type, ...request }) =>
        attempt(async () => {
            const parameters = new URLSearchParams(request);
            if (grant_type) {
                const answer = await library.genericTokenEndpointRequest(server, client, authentication, grant_type, parameters, options);
                return library.processGenericTokenEndpointResponse(server, client, answer);
            }
            const answer = await library.clientCredentialsGrantRequest(server, client, authentication, parameters, options);
            return library.processClientCredentialsResponse(server, client, answer);
        });
    ask.introspect = async (token) => {
        const answer = await library.introspectionRequest(server, client, authentication, token, options);
        return library.processIntrospectionResponse(server, client, answer);
    };
    ask.revoke = async (token) =>
        library.processRevocationResponse(await library.revocationRequest(server, client, authentication, token, options));
    return ask;
}

// A token, what is said of it, and what is said once it was taken back, twice.
async function live(ask) {
    const { token } = await ask({});
    const before = await ask.introspect(token.access_token);
    await ask.revoke(token.access_token);
    await ask.revoke(token.access_token);
    return { before, after: await ask.introspect(token.access_token) };
}

async function main() {
    const task = JSON.parse(fs.readFileSync(0, 'utf8'));
    const libraries = { 'openid-client': byOpenidClient, oauth4webapi: byOauth4webapi };
    const results = {};
    for (const [name, prepare] of Object.entries(libraries)) {
        const library = await import(pathToFileURL(`${task.modules}/${name}/build/index.js`));
        const ask = await prepare(library, task);
        results[name] = [];
        for (const request of task.requests) {
            results[name].push(await ask(request));
        }
        if (task.lives) {
            results[name].push(await live(ask));
        }
    }
    console.log(JSON.stringify(results));
}

main();

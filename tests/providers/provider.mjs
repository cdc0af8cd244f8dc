// A certified OpenID provider (the npm package oidc-provider) over TLS, led by the test that started it.
//
// stdin, one JSON object a line: first the settings, then any number of {"jwks": ...}, each a whole new key set.
// stdout, one JSON object a line: {"port": N} once it listens, {"keys": N} once a new key set is in force.
// It ends when stdin does, so that it cannot outlive its test.

import { readFileSync } from 'node:fs';
import { createServer } from 'node:https';
import { createInterface } from 'node:readline';

import Provider, { errors } from 'oidc-provider';

/** The provider with one key set. Its metadata and its tokens name `settings.issuer`, wherever it listens. */
function buildProvider(settings, jwks) {
  const provider = new Provider(settings.issuer, {
    jwks,
    clients: [
      {
        client_id: settings.clientId,
        client_secret: settings.clientSecret,
        grant_types: ['client_credentials'],
        redirect_uris: [],
        response_types: [],
      },
    ],
    features: {
      clientCredentials: { enabled: true },
      devInteractions: { enabled: false },
      // RFC 8707: a client that names a resource gets a JWT for it, any other an opaque token.
      resourceIndicators: {
        enabled: true,
        getResourceServerInfo(_ctx, indicator) {
          const resource = settings.resources[indicator];
          if (resource === undefined) throw new errors.InvalidTarget();
          return {
            accessTokenFormat: 'jwt',
            accessTokenTTL: resource.lifeS,
            audience: resource.audience,
            jwt: { sign: { alg: resource.algorithm } },
            scope: '',
          };
        },
      },
    },
  });
  provider.on('server_error', (_ctx, error) => console.error(error));
  return provider;
}

function say(message) {
  process.stdout.write(`${JSON.stringify(message)}\n`);
}

let handle;
let settings;

function useKeys(jwks) {
  handle = buildProvider(settings, jwks).callback();
  say({ keys: jwks.keys.length });
}

function listen() {
  const tls = { cert: readFileSync(settings.certificateFile), key: readFileSync(settings.keyFile) };
  const server = createServer(tls, (request, response) => handle(request, response));
  server.listen(0, '127.0.0.1', () => say({ port: server.address().port }));
}

for await (const line of createInterface({ input: process.stdin })) {
  const message = JSON.parse(line);
  if (settings === undefined) {
    settings = message;
    useKeys(settings.jwks);
    listen();
  } else {
    useKeys(message.jwks);
  }
}
process.exit(0);

"""FastProxy: a front proxy that runs Envoy v3 configuration and verifies JSON Web Tokens.

The life of a request:

1. **Accept.** `listener` takes the connection; httptools turns bytes into one request head.
2. **Framing.** `http.framing` refuses what two parsers could read differently: the request ends here or
   is understood one way only.
3. **Route.** Host and path select a virtual host and a route (`router.table`), once.
4. **Filters**, in configured order (`filters.chain`): `jwt_authn` first removes every identity header that
   a downstream may have forged, then asks for the token its rule requires.
5. **Forward.** The router picks the cluster, the cluster an endpoint, the pool a connection; the head is
   rewritten and sent (`router.forward`).
6. **Stream.** Bodies pass through in both directions; when one side is slow the other is not read.
7. **Finish.** Counters, access log; the upstream connection returns to its pool, the downstream one serves
   its next request.

A local reply (401, 404, 503...) can come from any step; it leaves by the same door as an upstream's answer.
"""

__version__ = "0.1.0"

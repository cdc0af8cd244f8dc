"""A complete small world to see FastProxy in: an issuer, an upstream, the proxy between them, and a story.

Nothing here is used by the proxy itself. The issuer keeps its keys in memory and knows its users' passwords
by heart: it is for looking and for tests, never for production.
"""

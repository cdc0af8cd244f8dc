"""TLS as both sides need it: certificates, what they must be like, and the way into OpenSSL."""

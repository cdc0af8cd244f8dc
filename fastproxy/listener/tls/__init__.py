"""TLS on a listener: certificates by server name, client certificates, what a handshake tells. No bytes pass here."""

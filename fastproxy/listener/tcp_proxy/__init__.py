"""Connections passed on as they are, whatever is spoken on them (Envoy `TcpProxy`; spec/filters.md section 10).

`proxy` is the network filter and `session` one connection through it; `socket_relay`, made of two `pump`s, moves the
bytes between two sockets inside the kernel, `transport_relay` where TLS ends on one side or begins on the other.
"""

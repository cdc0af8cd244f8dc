"""Envoy's `%OPERATOR(argument):length%` formats, compiled once; for access logs, header values and local replies."""

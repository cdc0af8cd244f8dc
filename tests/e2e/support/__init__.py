"""Peers and tools of the end-to-end tests: real proxies, a scripted upstream, a downstream that keeps every byte."""

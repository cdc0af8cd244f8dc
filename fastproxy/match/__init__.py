"""Matchers: what the configuration compares with, compiled once."""

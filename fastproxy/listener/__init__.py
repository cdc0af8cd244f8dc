"""Downstream connections: accepting, parsing, flow control, answering."""

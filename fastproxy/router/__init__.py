"""From a request to an upstream: the route table, and forwarding."""

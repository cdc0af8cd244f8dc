"""Clusters: named upstream services, their endpoints, and the connections to them."""

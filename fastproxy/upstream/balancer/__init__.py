"""Load balancing: which endpoint of a cluster gets a request (spec/clusters.md section 3).

From the outside in: `subset` narrows the endpoints down by metadata, `balancer` keeps what is below current when
endpoints or their health change, `priority` spreads over priorities, `locality` over localities, and one policy
(`round_robin`, `least_request`, `random_choice`, `ring_hash`, `maglev`) chooses one endpoint. Everything that a choice
needs is computed when endpoints or health change; a choice itself is a few steps.
"""

"""The `header_mutation` filter: headers are added, replaced and removed at one place in the chain."""

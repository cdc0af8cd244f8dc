"""HTTP filters: what may look at a request, change it or answer it before it is forwarded."""

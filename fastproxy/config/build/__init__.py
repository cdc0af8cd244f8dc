"""Bootstrap message to `ProxySettings`, one module for each part of it; all of them read through `View`."""

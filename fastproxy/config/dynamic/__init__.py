"""Resources in files (`path_config_source`): clusters, listeners, routes and endpoints of their own."""

"""From an Envoy file to the settings of every part; the only package that imports protobuf or YAML."""

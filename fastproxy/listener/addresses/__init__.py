"""Where listeners listen."""

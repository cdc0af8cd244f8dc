"""What the configuration says about health: checks that the control plane makes, and outliers among the endpoints."""

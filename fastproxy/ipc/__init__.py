"""What the control plane and its workers say to each other: typed messages over one socketpair per worker."""

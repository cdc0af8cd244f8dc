"""Active health checks: made here once, whatever the number of workers, which are told what came of them."""

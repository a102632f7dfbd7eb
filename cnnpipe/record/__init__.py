"""`make record`: runs that differ in their seed, gathered."""

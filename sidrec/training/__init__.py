"""The training engine: one loop for every trained thing."""

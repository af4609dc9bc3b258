"""One training loop for every trained thing."""

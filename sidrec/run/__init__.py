"""A run's folder and its stages, in the order that data flows through them."""

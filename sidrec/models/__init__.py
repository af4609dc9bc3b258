"""The Flax modules."""

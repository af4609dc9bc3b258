"""How good semantic IDs are, and what their codes mean."""

"""Vectors → semantic IDs."""

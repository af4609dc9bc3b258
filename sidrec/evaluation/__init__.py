"""Metrics, protocol, baselines and the results table."""

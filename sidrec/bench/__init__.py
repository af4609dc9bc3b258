"""Benchmarks that anyone can run again: python -m sidrec.bench.<name>."""

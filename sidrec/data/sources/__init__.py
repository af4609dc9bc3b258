"""Readers of raw logs, one for each form: raw files → `Dataset`."""

"""The vocabulary that every room speaks: missing items, checked codes, files that appear whole."""

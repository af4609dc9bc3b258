"""A finished run handed over: a bundle that runs without sidrec, and files for language models."""

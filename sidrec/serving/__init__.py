"""A trained run behind HTTP: `python -m sidrec.serving --workdir=runs/shop`."""

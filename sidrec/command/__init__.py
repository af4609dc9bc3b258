"""The program `sidrec`: commands with names of their own in front of the flags of `sidrec.main`."""

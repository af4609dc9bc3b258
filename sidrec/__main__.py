"""python -m sidrec: the program `sidrec`."""

import sys

from sidrec.command.entry import main

if __name__ == "__main__":
  sys.exit(main())

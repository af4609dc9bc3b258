"""python -m sidrec.data.prepare."""

from absl import app, flags

from sidrec.data.prepare.command import define_flags, main

if __name__ == "__main__":
  define_flags(flags.FLAGS)
  app.run(main, flags_parser=lambda argv: flags.FLAGS(argv, known_only=True))

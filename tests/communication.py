"""What the devices of a compiled program say to each other."""

import re


def moves(text):
  """Operations of a compiled program that communicate, and the shapes they have."""
  found = re.findall(
    r"= (\S*|\(.*\)) (all-reduce|all-gather|reduce-scatter|all-to-all|collective-\w+)(?:-start)?\(",
    text,
  )
  return sorted((kind, re.sub(r"\{.*?\}", "", shape)) for shape, kind in found)

"""What a catalogue says about its items, as plain strings."""

from itertools import pairwise

import numpy as np

from sidrec.data.dataset import Items


def category_names(items: Items) -> list[list[str]]:
  """The categories of each item, in the source's order; '' for a level that is missing."""
  names = items.categories_C[items.category_E].tolist()
  return [names[start:end] for start, end in pairwise(items.category_offsets_Np1.tolist())]


def known_categories(items: Items) -> list[list[str]]:
  """The categories of each item that have a name."""
  return [list(filter(None, names)) for names in category_names(items)]


def number_text(value: np.floating) -> str:
  """A whole number without a point, others as NumPy writes them; '' unless finite."""
  if not np.isfinite(value):
    return ""
  return str(int(value)) if value == np.floor(value) else str(value)

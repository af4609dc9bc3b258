"""Trees by the paths of their leaves, so that a checkpoint outlives the classes it was saved from.

A path looks like 'params/embed' or 'opt_state/0/mu/embed', whether its parts are keys of a
dict, fields of a NamedTuple or indices of a list. Nodes without leaves have no path.
"""

from typing import Any

import jax
import numpy as np

PyTree = Any

MOST_NAMED = 8  # differences that an error names; it counts the others


def by_path(tree: PyTree) -> dict[str, Any]:
  """Path → leaf, in the order of the tree."""
  leaves, _ = jax.tree.flatten_with_path(tree)
  return {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in leaves}


def arranged_like(template: PyTree, tree: PyTree) -> PyTree:
  """The leaves of `tree` in the structure of `template`, which has leaves with the same paths."""
  leaves = by_path(tree)
  return jax.tree.unflatten(jax.tree.structure(template), [leaves[p] for p in by_path(template)])


def check_fit(checkpoint: Any, stored_tree: PyTree, wanted_tree: PyTree) -> None:
  """Raises ValueError, naming differences, if paths, shapes or dtypes of leaves differ.

  Orbax alone would cast silently.

  Args:
    checkpoint: its folder, for the message.
    stored_tree: Orbax's metadata of the checkpoint.
    wanted_tree: pytree of arrays or `jax.ShapeDtypeStruct`s.
  """
  stored = {path: _describe(leaf) for path, leaf in by_path(stored_tree).items()}
  wanted = {path: _describe(leaf) for path, leaf in by_path(wanted_tree).items()}
  differences = [
    f"{path} is {stored.get(path, 'absent')} in it, but {wanted.get(path, 'absent')} here"
    for path in wanted | stored
    if stored.get(path) != wanted.get(path)
  ]
  if len(differences) > MOST_NAMED:
    differences[MOST_NAMED:] = [f"and {len(differences) - MOST_NAMED} more"]
  if differences:
    raise ValueError(
      f"checkpoint {checkpoint} does not fit: {'; '.join(differences)};"
      " was the configuration changed since it was saved?"
    )


def _describe(leaf: Any) -> str:
  """'dtype[shape]'; the same for an array and for Orbax's metadata of it."""
  if not hasattr(leaf, "dtype"):
    return type(leaf).__name__
  if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
    leaf = jax.eval_shape(jax.random.key_data, leaf)
  return f"{np.dtype(leaf.dtype).name}[{','.join(map(str, leaf.shape))}]"

"""Trees by the names of their leaves, so that a checkpoint outlives the classes it was saved from.

A name is the path to a leaf ('params/embed', 'opt_state/0/mu/embed'), whether its parts are
keys of a dict, fields of a NamedTuple or places in a list. Nodes without leaves have no name.
"""

from typing import Any

import jax
import numpy as np

PyTree = Any

MOST_NAMED = 8  # differences that an error names; it counts the others


def by_name(tree: PyTree) -> dict[str, Any]:
  """Name → leaf, in the order of the tree."""
  leaves, _ = jax.tree.flatten_with_path(tree)
  return {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in leaves}


def arranged_like(template: PyTree, tree: PyTree) -> PyTree:
  """The leaves of `tree` in the structure of `template`, which has leaves of the same names."""
  leaves = by_name(tree)
  return jax.tree.unflatten(jax.tree.structure(template), [leaves[n] for n in by_name(template)])


def check_fit(path: Any, stored_tree: PyTree, wanted_tree: PyTree) -> None:
  """Checks that leaves have the same names, shapes and dtypes; Orbax would cast silently.

  Args:
    path: of the checkpoint, for the message.
    stored_tree: Orbax's metadata of the checkpoint.
    wanted_tree: pytree of arrays or `jax.ShapeDtypeStruct`s.

  Raises:
    ValueError: if they differ; names the leaves that do.
  """
  stored, wanted = (
    {name: _describe(leaf) for name, leaf in by_name(tree).items()}
    for tree in (stored_tree, wanted_tree)
  )
  differences = [
    f"{name} is {stored.get(name, 'absent')} in it, but {wanted.get(name, 'absent')} here"
    for name in wanted | stored
    if stored.get(name) != wanted.get(name)
  ]
  if not differences:
    return
  if len(differences) > MOST_NAMED:
    differences[MOST_NAMED:] = [f"and {len(differences) - MOST_NAMED} more"]
  raise ValueError(
    f"checkpoint {path} does not fit: {'; '.join(differences)};"
    " was the configuration changed since it was saved?"
  )


def _describe(leaf: Any) -> str:
  """'dtype[shape]'; the same for an array and for Orbax's metadata of it."""
  if not hasattr(leaf, "dtype"):
    return type(leaf).__name__
  if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
    leaf = jax.eval_shape(jax.random.key_data, leaf)
  return f"{np.dtype(leaf.dtype).name}[{','.join(map(str, leaf.shape))}]"

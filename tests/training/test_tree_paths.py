from typing import NamedTuple

import jax
import jax.numpy as jnp
import pytest

from sidrec.training.tree_paths import MOST_NAMED, arranged_like, by_path, check_fit


class Pair(NamedTuple):
  left: object
  right: object


def test_leaves_are_found_by_path_in_another_structure():
  tree = {"right": [1, (2,)], "left": {}}
  template = Pair(None, ((10, [20]),)[0])
  assert list(by_path(template)) == ["right/0", "right/1/0"]
  assert arranged_like(template, tree) == Pair(None, (1, [2]))


def test_keys_are_compared_by_their_data():
  stored = {"key": jax.ShapeDtypeStruct((2,), jnp.uint32)}
  check_fit("x", stored, {"key": jax.random.key(0)})
  with pytest.raises(ValueError, match=r"key is uint32\[2\] in it, but uint32\[5,2\] here"):
    check_fit("x", stored, {"key": jax.random.split(jax.random.key(0), 5)})


@pytest.mark.parametrize("more", [0, 1, 7])
def test_an_error_names_so_many_leaves_and_counts_the_others(more):
  wanted = {f"leaf{i:02}": jax.ShapeDtypeStruct((3,), jnp.int32) for i in range(MOST_NAMED + more)}
  with pytest.raises(ValueError, match="checkpoint x does not fit") as error:
    check_fit("x", {}, wanted)
  assert str(error.value).count("absent in it") == MOST_NAMED
  assert (f"and {more} more; was" in str(error.value)) == (more > 0)

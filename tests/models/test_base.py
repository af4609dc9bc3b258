"""What the decoder attends to: keys and values, or the encoder's states."""

import jax
import jax.numpy as jnp
import pytest
from tiny import all_codes, init_params, make_model

from sidrec.models.layers import AbsorbedKeyValues, KeyValues


@pytest.mark.parametrize(
  ("beams", "expected"), [(None, KeyValues), (3, AbsorbedKeyValues), (4, KeyValues)]
)
def test_the_decoder_attends_to_states_where_that_is_less_work(beams, expected):
  # A state costs 12·6 products as key and value, and otherwise 12 - 6 for each beam and level.
  model, trie, path = make_model(all_codes(3, 2), width=12, heads=1, head_width=6)
  params = init_params(model, trie, path)

  def inputs(states):
    return model.apply({"params": params}, states, beams, method="cross_attention_inputs")

  (cross,) = jax.eval_shape(inputs, jnp.zeros((2, 4, 12)))
  assert isinstance(cross, expected)

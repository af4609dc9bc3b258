"""Base conversion as a tokenizer."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sidrec.core.codes import radix_codes
from sidrec.tokenizers.radix import radix


def test_tokenizer_numbers_rows_and_ignores_values():
  tokenizer = radix(3, 4)
  vectors_NxF = jnp.ones((30, 2))
  params = tokenizer.fit(jax.random.key(0), vectors_NxF)
  assert jax.tree.leaves(params) == []
  codes_NxL = tokenizer.encode(params, vectors_NxF)
  assert codes_NxL.dtype == jnp.int32
  np.testing.assert_array_equal(codes_NxL, radix_codes(30, 3, 4))
  np.testing.assert_array_equal(jax.jit(tokenizer.encode)(params, vectors_NxF * 7), codes_NxL)
  with pytest.raises(ValueError, match="id_length=4 would do"):
    tokenizer.encode(params, jnp.ones((65, 2)))

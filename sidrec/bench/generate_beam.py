"""The beam search of transformers' T5 on PyTorch, constrained by `prefix_allowed_tokens_fn`.

Where other work shares the cores, PyTorch's threads wait for each other busily and `generate` may
take a hundred times as long: measure on an idle machine. OMP_WAIT_POLICY=passive prevents that, but
costs `generate` time on an idle one, so that ratios measured with it flatter our search.

Needs the extra 'bench'.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from sidrec.bench.decoding_model import MeasuredModel

START = 0  # padding, which T5's decoder starts from; code c of level l is token 1 + l · V + c


def make_generate(
  model: MeasuredModel, codes_NxL: np.ndarray, token_BxS: np.ndarray, beams: int
) -> tuple[Callable[[], Any], Callable[[], Any]]:
  """Searches of a T5 of the recommender's sizes, with random parameters, for random histories.

  Args:
    model: whose sizes it takes.
    codes_NxL: the catalogue.
    token_BxS: int tokens of the histories.
    beams: K, prefixes kept and items returned.

  Returns:
    The search alone, encoder outputs handed over, and all of it. Both return the tokens found,
    [B · K, L].
  """
  import torch
  from transformers import T5Config, T5ForConditionalGeneration
  from transformers.modeling_outputs import BaseModelOutput

  torch.manual_seed(0)
  c, sizes = model.config, model.sizes
  t5 = T5ForConditionalGeneration(
    T5Config(
      vocab_size=1 + sizes.num_levels * sizes.codebook_size,
      d_model=c.width,
      d_kv=c.head_width,
      d_ff=c.hidden,
      num_layers=c.encoder_layers,
      num_decoder_layers=c.decoder_layers,
      num_heads=c.heads,
      dropout_rate=0.0,
      pad_token_id=START,
      decoder_start_token_id=START,
      eos_token_id=None,
      bos_token_id=None,
    )
  ).eval()
  t5.generation_config.eos_token_id = None  # IDs end by their length
  allowed = _allowed_tokens(codes_NxL, sizes.codebook_size)
  input_ids = torch.from_numpy(np.asarray(token_BxS, np.int64))
  mask = torch.ones_like(input_ids)
  settings = {
    "num_beams": beams,
    "num_return_sequences": beams,
    "max_new_tokens": sizes.num_levels,
    "do_sample": False,
    "length_penalty": 0.0,
    "prefix_allowed_tokens_fn": lambda _, sent: allowed[tuple(sent[1:].tolist())],
  }
  with torch.inference_mode():
    states = t5.encoder(input_ids, attention_mask=mask).last_hidden_state

  def alone():
    with torch.inference_mode():
      outputs = BaseModelOutput(last_hidden_state=states.clone())
      return t5.generate(encoder_outputs=outputs, attention_mask=mask, **settings)[:, 1:]

  def whole():
    with torch.inference_mode():
      return t5.generate(input_ids, attention_mask=mask, **settings)[:, 1:]

  return alone, whole


def as_codes(token_xL: np.ndarray, codebook_size: int) -> np.ndarray:
  """Tokens of the T5 as codes."""
  return token_xL - 1 - codebook_size * np.arange(token_xL.shape[-1])


def _allowed_tokens(codes_NxL: np.ndarray, codebook_size: int) -> dict[tuple[int, ...], list[int]]:
  """Prefix → tokens that continue it; the fastest answer that Python has."""
  num_levels = codes_NxL.shape[1]
  tokens = (codes_NxL.astype(np.int64) + 1 + codebook_size * np.arange(num_levels)).tolist()
  allowed: dict[tuple[int, ...], dict[int, None]] = {}
  for row in tokens:
    for level, token in enumerate(row):
      allowed.setdefault(tuple(row[:level]), {})[token] = None
  return {prefix: list(following) for prefix, following in allowed.items()}

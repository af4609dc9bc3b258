"""Speed of the tokenizers against scikit-learn, faiss, PyTorch and the machine's matrix products.

Everything compared runs alternately in one process, from the same data and the
same start, with all cores. Needs the extra 'bench'.
"""

import functools
import itertools
import warnings
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from sidrec.bench.timing import alternate
from sidrec.features.combine import combine
from sidrec.tokenizers.base import map_blocks
from sidrec.tokenizers.kmeans.kmeans import lloyd, nearest
from sidrec.tokenizers.kmeans.residual import residual_kmeans
from sidrec.tokenizers.rqvae.task import rqvae_task
from sidrec.tokenizers.settings import RQVAEConfig
from sidrec.training.optimizer import adamw
from sidrec.training.state import init_state, update

CODES = 256
LEVELS = 3
ITERATIONS = 20
BATCH = 1024
STEPS = 50  # of training per timed run


def measure(num_items: int, width: int, repeats: int) -> dict[str, Any]:
  """All measurements, a flat dict of numbers; times are medians of `repeats` warm runs."""
  vectors_NxF = clustered(num_items, width)
  return {
    "items": num_items,
    "width": width,
    "codes": CODES,
    "levels": LEVELS,
    "repeats": repeats,
    **measure_kmeans(vectors_NxF, repeats),
    **measure_encoding(vectors_NxF, repeats),
    **measure_rqvae(vectors_NxF, repeats),
  }


def clustered(num_items: int, width: int) -> np.ndarray:
  """A mixture of 1,000 Gaussians: float32 [N, F]."""
  rng = np.random.default_rng(0)
  centres = rng.normal(size=(1000, width)).astype(np.float32)
  vectors_NxF = centres[rng.integers(0, 1000, num_items)]
  return vectors_NxF + rng.normal(size=vectors_NxF.shape).astype(np.float32)


def measure_kmeans(vectors_NxF: np.ndarray, repeats: int) -> dict[str, float]:
  """Milliseconds an iteration of Lloyd's algorithm, of sidrec, scikit-learn and faiss."""
  import faiss
  from sklearn.cluster import KMeans
  from sklearn.exceptions import ConvergenceWarning

  warnings.simplefilter("ignore", ConvergenceWarning)
  rows = np.random.default_rng(1).choice(len(vectors_NxF), CODES, replace=False)
  seeds_VxF = np.ascontiguousarray(vectors_NxF[rows])
  points, seeds = jnp.asarray(vectors_NxF), jnp.asarray(seeds_VxF)
  found: dict[str, np.ndarray] = {}

  def ours():
    found["sidrec"] = lloyd(points, seeds, ITERATIONS)[0]
    return found["sidrec"]

  def sklearn():
    kmeans = KMeans(CODES, init=seeds_VxF, n_init=1, max_iter=ITERATIONS, tol=0)
    found["sklearn"] = kmeans.fit(vectors_NxF).cluster_centers_
    if kmeans.n_iter_ != ITERATIONS:
      raise RuntimeError(f"scikit-learn stopped after {kmeans.n_iter_} iterations")

  def faiss_kmeans():
    kmeans = faiss.Kmeans(
      vectors_NxF.shape[1], CODES, niter=ITERATIONS, max_points_per_centroid=len(vectors_NxF)
    )
    kmeans.train(vectors_NxF, init_centroids=seeds_VxF)
    found["faiss"] = kmeans.centroids

  seconds = alternate({"sidrec": ours, "sklearn": sklearn, "faiss": faiss_kmeans}, repeats)
  inertia = {name: _inertia(vectors_NxF, centroids) for name, centroids in found.items()}
  return {
    "kmeans_iterations": ITERATIONS,
    **{f"kmeans_{name}_ms": 1e3 * value / ITERATIONS for name, value in seconds.items()},
    "kmeans_vs_sklearn": seconds["sklearn"] / seconds["sidrec"],
    "kmeans_vs_faiss": seconds["faiss"] / seconds["sidrec"],
    "kmeans_inertia_vs_sklearn": inertia["sidrec"] / inertia["sklearn"],
    "kmeans_inertia_vs_faiss": inertia["sidrec"] / inertia["faiss"],
  }


def measure_encoding(vectors_NxF: np.ndarray, repeats: int) -> dict[str, float]:
  """Encoding a catalogue by residual k-means, as a share of what matrix products alone reach."""
  tokenizer = residual_kmeans(LEVELS, CODES, iterations=2)
  params = tokenizer.fit(jax.random.key(0), vectors_NxF)
  # The products of encoding, and a square one, whichever is faster here.
  left, right = jnp.asarray(vectors_NxF), jnp.asarray(vectors_NxF[:CODES]).T
  square = jnp.asarray(clustered(2048, 2048))
  product = jax.jit(functools.partial(jnp.dot, precision=jax.lax.Precision.HIGHEST))
  seconds = alternate(
    {
      "encode": lambda: tokenizer.encode(params, vectors_NxF),
      "product": lambda: product(left, right),
      "square": lambda: product(square, square),
    },
    repeats,
  )
  flops = 2.0 * CODES * vectors_NxF.size
  rate = max(flops / seconds["product"], 2.0 * 2048**3 / seconds["square"])
  return {
    "matmul_gflops_per_s": rate / 1e9,
    "encode_items_per_s": len(vectors_NxF) / seconds["encode"],
    "encode_fraction_of_matmul": LEVELS * flops / seconds["encode"] / rate,
  }


def measure_rqvae(vectors_NxF: np.ndarray, repeats: int) -> dict[str, float]:
  """Milliseconds a training step, of sidrec and of ResidualVQ in an equal PyTorch autoencoder."""
  config = RQVAEConfig(num_levels=LEVELS, codebook_size=CODES)
  items_NxF = combine({"vectors": vectors_NxF}, {"vectors": 1.0})  # as every run does
  order = np.random.default_rng(2).integers(0, len(items_NxF), (STEPS, BATCH))
  batches = items_NxF[order]
  task = rqvae_task(config, items_NxF)
  optimizer = adamw(1e-3, warmup_steps=100, steps=10_000, weight_decay=1e-4, clip_norm=1.0)
  state = jax.jit(functools.partial(init_state, task, optimizer))(jax.random.key(0))
  # As the training loop does: several steps in one call, the state donated.
  run = jax.jit(
    lambda state, batches: jax.lax.scan(
      lambda state, batch: update(task, optimizer, state, batch), state, batches
    ),
    donate_argnums=0,
  )
  holder = {"state": state}
  on_device = {"vectors_BxF": jnp.asarray(batches)}  # torch has its batches, too

  def ours():
    holder["state"], metrics = run(holder["state"], on_device)
    return metrics

  torch_step, torch_batches = _torch_trainer(config, batches)

  def torch():
    for batch in torch_batches:
      torch_step(batch)

  # More runs, each of which trains on, so that the median is of a whole training and not of its
  # start, where many codes die and are revived.
  seconds = alternate({"sidrec": ours, "torch": torch}, 4 * repeats)
  return {
    "rqvae_batch": BATCH,
    "rqvae_step_sidrec_ms": 1e3 * seconds["sidrec"] / STEPS,
    "rqvae_step_torch_ms": 1e3 * seconds["torch"] / STEPS,
    "rqvae_step_vs_torch": seconds["torch"] / seconds["sidrec"],
  }


def speed_table(measured: dict[str, Any]) -> str:
  """The measurements as text."""
  width = max(map(len, measured))
  lines = []
  for name, value in measured.items():
    number = f"{value:,.3f}" if isinstance(value, float) else f"{value}"
    lines.append(f"{name:<{width}}  {number}")
  return "\n".join(lines)


def _inertia(vectors_NxF: np.ndarray, centroids: Any) -> float:
  """The sum of squared distances to the nearest centroid."""
  centroids_VxF = np.asarray(centroids, np.float32)
  codes_N = map_blocks(lambda rows: nearest(jnp.asarray(rows), centroids_VxF), vectors_NxF)
  return float(np.square(vectors_NxF - centroids_VxF[codes_N], dtype=np.float64).sum())


def _torch_trainer(config: RQVAEConfig, batches: np.ndarray):
  """A step of the same autoencoder around vector-quantize-pytorch's ResidualVQ, and its batches."""
  import torch
  from torch import nn
  from vector_quantize_pytorch import ResidualVQ

  def mlp(*widths: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for before, after in itertools.pairwise(widths):
      layers += [nn.ReLU()] * bool(layers) + [nn.Linear(before, after)]
    return nn.Sequential(*layers)

  torch.manual_seed(0)
  width = batches.shape[-1]
  encoder = mlp(width, *config.hidden, config.latent_dim)
  decoder = mlp(config.latent_dim, *reversed(config.hidden), width)
  quantizer = ResidualVQ(
    dim=config.latent_dim,
    codebook_size=config.codebook_size,
    num_quantizers=config.num_levels,
    kmeans_init=False,
  )
  parameters = [*encoder.parameters(), *decoder.parameters(), *quantizer.parameters()]
  optimizer = torch.optim.AdamW(parameters, lr=1e-3, weight_decay=1e-4)
  variance = float(batches.reshape(-1, width).var(0).sum())

  def step(batch):
    quantized, _, commitment = quantizer(encoder(batch))
    error = (decoder(quantized) - batch).square().sum(-1).mean() / variance
    loss = error + config.commitment * commitment.sum()
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    nn.utils.clip_grad_norm_(parameters, 1.0)
    optimizer.step()

  return step, torch.from_numpy(batches)

"""The transformers in plain NumPy, one history at a time: what the models have to compute.

Nothing here knows of padding, packing, masks, caches or JAX: a history is a list of items, and
each function follows the papers' formulas. Arrays are float64.

Letters: S positions, L levels, V codes per level, D model width, H heads, I width of a head,
N items, Q positions that look, X positions that are looked at.
"""

import numpy as np

EPSILON = 1e-6  # of T5's layer norm
NUM_BUCKETS, MAX_DISTANCE = 32, 128  # of T5's relative positions


def keep_all(site, x):
  """Dropout outside training: `site` names the module that would drop."""
  del site
  return x


def rms_norm(params, x):
  """x / √(mean x² + ε) · scale, over the last axis (Zhang and Sennrich, 2019)."""
  [scale] = params["RMSNorm_0"].values()
  return x / np.sqrt((x**2).mean(axis=-1, keepdims=True) + EPSILON) * scale


def softmax(logits):
  weights = np.exp(logits - logits.max(axis=-1, keepdims=True))
  return weights / weights.sum(axis=-1, keepdims=True)


def log_softmax(logits):
  shifted = logits - logits.max(axis=-1, keepdims=True)
  return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


def attention(params, heads, x_QxD, source_XxD, visible_QxX, bias_HxQxX=None):
  """softmax(q kᵀ / √I + bias) v of each head, then one linear map (Vaswani et al., 2017)."""
  query = x_QxD @ params["query"]["kernel"]
  key, value = np.split(source_XxD @ params["key_value"]["kernel"], 2, axis=1)
  outputs = []
  for head, (q, k, v) in enumerate(
    zip(*(np.split(part, heads, axis=1) for part in (query, key, value)), strict=True)
  ):
    logits_QxX = q @ k.T / np.sqrt(q.shape[1])
    if bias_HxQxX is not None:
      logits_QxX = logits_QxX + bias_HxQxX[head]
    outputs.append(softmax(np.where(visible_QxX, logits_QxX, -np.inf)) @ v)
  return np.concatenate(outputs, axis=1) @ params["out"]["kernel"]


def feed_forward(params, x):
  return np.maximum(x @ params["up"]["kernel"], 0.0) @ params["down"]["kernel"]


def encoder_block(params, heads, x_SxD, visible_SxS, bias_HxSxS=None, drop=keep_all, site=""):
  """Pre-norm residual attention and feed-forward."""
  y_SxD = rms_norm(params["attention_norm"], x_SxD)
  y_SxD = attention(params["attention"], heads, y_SxD, y_SxD, visible_SxS, bias_HxSxS)
  x_SxD = x_SxD + drop(site, y_SxD)
  return x_SxD + drop(site, feed_forward(params["feed"], rms_norm(params["feed_norm"], x_SxD)))


def decoder_block(params, heads, x_LxD, states_SxD, bias_HxLxL=None, drop=keep_all, site=""):
  """Causal self-attention over levels, attention to all states given, and feed-forward."""
  L, S = len(x_LxD), len(states_SxD)
  y_LxD = rms_norm(params["self_norm"], x_LxD)
  causal_LxL = np.tril(np.ones((L, L), bool))
  y_LxD = attention(params["self_attention"], heads, y_LxD, y_LxD, causal_LxL, bias_HxLxL)
  x_LxD = x_LxD + drop(site, y_LxD)
  y_LxD = rms_norm(params["cross_norm"], x_LxD)
  seen_LxS = np.ones((L, S), bool)
  y_LxD = attention(params["cross_attention"], heads, y_LxD, states_SxD, seen_LxS)
  x_LxD = x_LxD + drop(site, y_LxD)
  return x_LxD + drop(site, feed_forward(params["feed"], rms_norm(params["feed_norm"], x_LxD)))


def bucket(distance, bidirectional):
  """T5's bucket of `looked at - looking` (mesh_tensorflow's `_relative_position_bucket`)."""
  count, first = NUM_BUCKETS, 0
  if bidirectional:
    count //= 2
    first = count if distance > 0 else 0
    steps = abs(distance)
  else:
    steps = max(-distance, 0)
  exact = count // 2
  if steps < exact:
    return first + steps
  large = np.log(steps / exact) / np.log(MAX_DISTANCE / exact) * (count - exact)
  return first + min(exact + int(large + 1e-9), count - 1)


def relative_bias(params, length, bidirectional):
  """A number per head and bucket, for every pair of positions: [H, S, S]."""
  at_SxS = [[bucket(x - q, bidirectional) for x in range(length)] for q in range(length)]
  return params["bias"][:, np.array(at_SxS)]


def gap_bucket(seconds):
  """⌊2.5 · ln(1 + seconds)⌋."""
  return int(np.floor(2.5 * np.log(1.0 + max(seconds, 0))))


def event_inputs(params, inputs, events):
  """What times and ratings add to a history's positions [S, D], and to each layer's attention.

  `events` holds a time, the time of what is asked for next, and a rating or None for each item.
  """
  params, S = params["inputs"], len(events)
  known = inputs.request_time == "known"
  rows, now = [], [asked if known else time for time, asked, _ in events]
  for at, (time, asked, rating) in enumerate(events):
    x_D = 0.0
    if inputs.gap and known:
      x_D = x_D + params["gap"][gap_bucket(asked - time)]
    elif inputs.gap:  # the last row is of an event with none before it
      x_D = x_D + params["gap"][gap_bucket(time - events[at - 1][0]) if at else -1]
    if inputs.rating:
      row = 0 if rating is None else 1 + round(rating / inputs.rating_step)
      x_D = x_D + params["rating"][row]
    rows.append(x_D)
  biases = None
  if inputs.time_bias:
    at_SxS = [[gap_bucket(now[q] - events[s][0]) for s in range(S)] for q in range(S)]
    biases = [bias_HxP[:, np.array(at_SxS)] for bias_HxP in params["time_bias"]]
  return np.array(rows) if inputs.gap or inputs.rating else 0.0, biases


def stack(params, name):
  """The layers `name_0`, `name_1`, … in order, each with its name."""
  layers = [key for key in params if key.startswith(f"{name}_") and key[-1].isdigit()]
  return [(key, params[key]) for key in sorted(layers, key=lambda key: int(key.split("_")[-1]))]


# The recommender.


def encode_dense(params, config, codes_NxL, items, drop=keep_all, events=None):
  """States [S, D] of a history: a position per item, each seeing itself and those before it."""
  S, D = len(items), config.width
  x_SxD = np.zeros((S, D))
  for level in range(codes_NxL.shape[1]):
    x_SxD = x_SxD + params["code"][level, codes_NxL[items, level]]
  if config.positions == "absolute":
    x_SxD = x_SxD + params["position"][:S]
  if config.item_embedding:
    # As an input, the table of an output layer is scaled up (Vaswani et al., 2017, section 3.4).
    x_SxD = x_SxD + rows(params, "item")[items] * (np.sqrt(D) if config.item_head else 1.0)
  biases = None
  if events is not None:
    more_SxD, biases = event_inputs(params, config.inputs, events)
    x_SxD = x_SxD + more_SxD
  causal_SxS = np.tril(np.ones((S, S), bool))
  return _encode(params, config, x_SxD, causal_SxS, False, drop, biases)


def encode_tiger(params, config, codes_NxL, items, user=None, drop=keep_all, events=None):
  """States [(1 +) S · L, D] of a history: a position per token, all seeing all."""
  tokens, more_SxD = [], np.zeros((len(items), config.width))
  if events is not None:
    more_SxD, _ = event_inputs(params, config.inputs, events)
  for place, item in enumerate(items):
    for level in range(codes_NxL.shape[1]):
      x_D = params["code"][level, codes_NxL[item, level]] + more_SxD[place]
      if config.item_embedding:
        x_D = x_D + rows(params, "item")[item]
      if config.positions == "absolute":
        x_D = x_D + params["position"][place] + params["level"][level]
      tokens.append(x_D)
  if user is not None:
    tokens.insert(0, params["user"][user])
  visible = np.ones((len(tokens), len(tokens)), bool)
  return _encode(params, config, np.array(tokens), visible, bidirectional=True, drop=drop)


def _encode(params, config, x_SxD, visible_SxS, bidirectional, drop, biases=None):
  bias_HxSxS = None
  if config.positions == "relative":
    bias_HxSxS = relative_bias(params["encoder_bias"], len(x_SxD), bidirectional)
  x_SxD = drop("encoder_drop", x_SxD)
  for number, (name, layer) in enumerate(stack(params, "encoder")):
    site, bias = f"{name}/drop", bias_HxSxS
    if biases is not None:
      bias = biases[number] if bias is None else bias + biases[number]
    x_SxD = encoder_block(layer, config.heads, x_SxD, visible_SxS, bias, drop, site)
  return rms_norm(params["encoder_norm"], x_SxD)


def decode(params, config, start_D, states_SxD, codes_L, drop=keep_all):
  """Hidden states [L, D] before each code: level l has read the start and the codes before l."""
  x_LxD = np.array(
    [start_D, *(params["code"][level, code] for level, code in enumerate(codes_L[:-1]))]
  )
  bias_HxLxL = None
  if config.positions == "absolute":
    x_LxD = x_LxD + params["level"]
  else:
    bias_HxLxL = relative_bias(params["decoder_bias"], len(codes_L), bidirectional=False)
  x_LxD = drop("decoder_drop", x_LxD)
  for name, layer in stack(params, "decoder"):
    site = f"{name}/drop"
    x_LxD = decoder_block(layer, config.heads, x_LxD, states_SxD, bias_HxLxL, drop, site)
  return rms_norm(params["decoder_norm"], x_LxD)


def level_log_likelihood(
  params, config, hidden_LxD, codes_NxL, path_NxLp1, target, temperature=1.0
):
  """log p(each code of the target | those before it): [L].

  A softmax over the codes that continue the prefix to some item, or over all codes. `path_NxLp1`
  names the parameters of each prefix: row n, column l + 1 is of item n's first l + 1 codes.
  """
  logp_L = []
  for level, hidden_D in enumerate(hidden_LxD):
    logits_V = hidden_D @ params["out"][level]
    code = codes_NxL[target, level]
    if config.constrained_softmax:
      below = (codes_NxL[:, :level] == codes_NxL[target, :level]).all(axis=1)
      chosen_V = np.full(len(logits_V), -np.inf)
      for item in np.flatnonzero(below):
        node, token = path_NxLp1[item, level + 1], codes_NxL[item, level]
        chosen_V[token] = logits_V[token]
        if config.node_vectors:
          chosen_V[token] += hidden_D @ rows(params, "node")[node]
        if config.node_bias:
          chosen_V[token] += params["node_bias"][node]
      logits_V = chosen_V
    logp_L.append(log_softmax(logits_V / temperature)[code])
  return np.array(logp_L)


def dense_log_likelihood(
  params,
  config,
  codes_NxL,
  path_NxLp1,
  items,
  target,
  drop=keep_all,
  temperature=1.0,
  events=None,
):
  """log p(each code of the target | history): [L]; and the item head's scores [N], if any."""
  states_SxD = encode_dense(params, config, codes_NxL, items, drop, events)
  start_D = params["start"] + states_SxD[-1]
  hidden_LxD = decode(params, config, start_D, states_SxD, codes_NxL[target], drop)
  score_N = item_scores(params, states_SxD[-1], codes_NxL) if config.item_head else None
  arguments = (params, config, hidden_LxD, codes_NxL, path_NxLp1, target, temperature)
  return level_log_likelihood(*arguments), score_N


def tiger_log_likelihood(
  params,
  config,
  codes_NxL,
  path_NxLp1,
  items,
  target,
  user=None,
  drop=keep_all,
  temperature=1.0,
  events=None,
):
  """log p(each code of the target | history and user): [L]."""
  states_SxD = encode_tiger(params, config, codes_NxL, items, user, drop, events)
  hidden_LxD = decode(params, config, params["start"], states_SxD, codes_NxL[target], drop)
  arguments = (params, config, hidden_LxD, codes_NxL, path_NxLp1, target, temperature)
  return level_log_likelihood(*arguments)


def rows(params, name):
  """The vector of each row of a table, which all share a matrix that lifts narrow rows: [N, D]."""
  lift = params.get(f"{name}_lift")
  return params[name] if lift is None else params[name] @ lift


def item_scores(params, state_D, codes_NxL=None):
  """The product of a state and each item's vector, and the item's bias: [N].

  Where items have a narrow row or none, each of their codes adds a vector.
  """
  score_N = rows(params, "item") @ state_D if "item" in params else 0.0
  if "item_code" in params:
    for level in range(codes_NxL.shape[1]):
      score_N = score_N + (params["item_code"][level] @ state_D)[codes_NxL[:, level]]
  return score_N + params["item_bias"] if "item_bias" in params else score_N


# SASRec.


def sasrec_states(params, config, items, drop=keep_all, events=None):
  """States [S, D] of a history (Kang and McAuley, 2018), the item table scaled by √D."""
  S, D = len(items), config.width
  x_SxD = params["item"][items] * np.sqrt(D) + params["position"][:S]
  biases = None
  if events is not None:
    more_SxD, biases = event_inputs(params, config.inputs, events)
    x_SxD = x_SxD + more_SxD
  x_SxD = drop("drop", x_SxD)
  causal_SxS = np.tril(np.ones((S, S), bool))
  for number, (name, layer) in enumerate(stack(params, "blocks")):
    bias, site = None if biases is None else biases[number], f"{name}/drop"
    x_SxD = encoder_block(layer, config.heads, x_SxD, causal_SxS, bias, drop, site)
  return rms_norm(params["norm"], x_SxD)


# BSARec.


def low_pass(x_SxD, length, frequencies):
  """The lowest frequencies of a history, zeros before it, over `length` positions."""
  spectrum = np.fft.rfft(np.pad(x_SxD, ((length - len(x_SxD), 0), (0, 0))), axis=0)
  spectrum[frequencies:] = 0.0
  return np.fft.irfft(spectrum, n=length, axis=0)[length - len(x_SxD) :]


def bsarec_states(params, config, items, drop=keep_all):
  """States [S, D] of a history (Shin et al., AAAI 2024), places counted from the newest item."""
  S, D, c = len(items), config.width, config.filter
  x_SxD = params["item"][items] * np.sqrt(D) + params["position"][:S][::-1]
  x_SxD = drop("drop", rms_norm(params["norm"], x_SxD))
  for name, layer in stack(params, "blocks"):

    def added(part, x_SxD, y_SxD, name=name, layer=layer):
      return rms_norm(layer[f"{part}_norm"], x_SxD + drop(f"{name}/{part}_drop", y_SxD))

    causal_SxS = np.tril(np.ones((S, S), bool))
    attended_SxD = attention(layer["attention"], config.heads, x_SxD, x_SxD, causal_SxS)
    low_SxD = low_pass(x_SxD, config.history_length, c.frequencies)
    filtered_SxD = low_SxD + layer["filter"]["scale"] ** 2 * (x_SxD - low_SxD)
    mixed_SxD = (1 - c.share) * added("attention", x_SxD, attended_SxD)
    mixed_SxD = mixed_SxD + c.share * added("filter", x_SxD, filtered_SxD)
    x_SxD = added("feed", mixed_SxD, feed_forward(layer["feed"], mixed_SxD))
  return x_SxD

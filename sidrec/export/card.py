"""The model card of a bundle: Markdown with the header that the Hugging Face hub reads."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

_SHOWN = ("ndcg@10", "recall@10", "ndcg@5", "recall@5", "mrr")  # of the test split, masked


class Licence(NamedTuple):
  """What is known of the data's licence."""

  name: str  # as the hub knows it, or 'other'
  words: str


_MOVIELENS = Licence(
  "other",
  "GroupLens: research use, no redistribution without permission; cite Harper & Konstan, 'The "
  "MovieLens Datasets', 2015, doi:10.1145/2827872. items.json holds ids and titles of these data.",
)
_UNSTATED = Licence("other", "no licence is stated for the data: research use, no redistribution")
_LICENCES = {
  "demo": Licence("mit", "MIT; cite Dooms, De Pessemier, Martens, 'MovieTweetings', CrowdRec 2013"),
  "amazon-beauty": _UNSTATED,
  "amazon-sports": _UNSTATED,
}
_UNKNOWN = Licence("unknown", "not known to sidrec; whoever passes the bundle on has to know it")


def licence_of(source: str) -> dict[str, str]:
  """The licence of a source of data, by its name in the config."""
  licence = _MOVIELENS if source.startswith("movielens-") else _LICENCES.get(source, _UNKNOWN)
  return licence._asdict()


_COMMAND = """```
python run.py "ID OR TITLE" "ID OR TITLE"
```

"""


def card(
  manifest: Mapping[str, Any], evaluation: Mapping[str, Any] | None, notes: Sequence[str]
) -> str:
  """README.md.

  Args:
    manifest: of the bundle.
    evaluation: the content of evaluation.json; None if the run was not evaluated.
    notes: what the reader of the data dropped or assumed.
  """
  name, checked = manifest["name"], manifest["checked"]
  num_items, platforms = manifest["statics"]["num_items"], ", ".join(manifest["platforms"])
  given = _given(manifest["reads"])
  not_run = [p for p in manifest["platforms"] if p != checked["platform"]]
  return f"""---
{_header(manifest, evaluation)}
---

# {name}: generative recommendation with semantic IDs

A transformer reads the items of a history and writes the semantic ID of the next one, level by
level; a beam search over the catalogue's trie finds the {manifest["beams"]} best of {num_items:,} \
items. Trained by
[sidrec](https://pypi.org/project/sidrec) {manifest["sidrec"]}, exported on {manifest["date"]}.

## Use

`run.py` needs `pip install jax numpy flatbuffers`, and nothing else:

{"" if given else _COMMAND}```python
from run import Bundle

Bundle(".").recommend([["ID", "ID"]]{given}, k=10, forbidden=["ID"])
```

`MANIFEST.json` holds the SHA-256 of every file, and `run.py` compares them. The programs are
StableHLO for {platforms}, in which only the number of requests is free: histories are filled up to
{manifest["history_length"]} items, of longer ones the latest are read. jax reads exported programs
for about six months of its releases; after that, export the run again:
`{manifest["export"]}`.

## Data

{name}. Licence: {manifest["data_licence"]["words"]}.
{"".join(f"- {note}.{chr(10)}" for note in notes)}
## Results

{_results(evaluation)}

## Limits

- It knows the items of its catalogue alone, and refuses ids and titles of others. New items need
  sidrec: `semantic_ids.json` {_tokenizer(manifest)}.
- Scores are {_scores(evaluation)}.
- Filters leave items out; the probabilities of those that stay are not scaled up.
- Items are those that the run itself finds, compared on {checked["platform"]} for \
{checked["requests"]} requests. The programs for
  {", ".join(not_run)} were made, and not run.
"""


def _given(reads: Mapping[str, Any]) -> str:
  """What the example of the card gives beside items; `events.py` says more."""
  return "".join(
    f", {name}=[{values}]"
    for name, values, is_read in (
      ("times", [1700000000, 1700000500], reads["times"]),
      ("ratings", [4 * reads["rating_step"], None], reads["ratings"]),
      ("actions", [*reads.get("actions", [])[:1], None], "actions" in reads),
      (
        "attributes",
        {
          one["name"]: (one["values"] or one["edges"])[0]
          for one in reads.get("user_attributes", [])
        },
        "user_attributes" in reads,
      ),
      ("request_times", 1700090000, reads["request_time"]),
    )
    if is_read
  )


def _header(manifest: Mapping[str, Any], evaluation: Mapping[str, Any] | None) -> str:
  """The YAML header; every value is JSON, which is YAML."""
  name = manifest["name"]
  fields: dict[str, Any] = {
    "library_name": "sidrec",
    "license": manifest["data_licence"]["name"],
    "tags": ["recommendation", "sequential-recommendation", "semantic-ids", "jax", "stablehlo"],
  }
  metrics = _test_metrics(evaluation)
  if metrics:
    shown = [{"type": metric, "value": round(metrics[metric], 5)} for metric in metrics]
    task = {"type": "sequential-recommendation", "name": "Sequential recommendation"}
    dataset = {"type": name, "name": name, "split": "test"}
    result = {"task": task, "dataset": dataset, "metrics": shown}
    fields["model-index"] = [{"name": name, "results": [result]}]
  return "\n".join(f"{key}: {json.dumps(value)}" for key, value in fields.items())


def _test_metrics(evaluation: Mapping[str, Any] | None) -> dict[str, float]:
  """Metrics of the test split in which items of the history are never returned."""
  try:
    found = (evaluation or {})["results"]["sidrec"]["test"]["masked"]
  except KeyError:
    return {}
  return {metric: found[metric] for metric in _SHOWN if metric in found}


def _results(evaluation: Mapping[str, Any] | None) -> str:
  if evaluation is None:
    return "The run was not evaluated."
  protocol = evaluation["protocol"]
  words = [f"- {key}: {protocol[key]}" for key in ("split", "candidates", "masking", "time_ties")]
  rows = [f"| {metric} | {value:.4f} |" for metric, value in _test_metrics(evaluation).items()]
  table = "\n".join(["| test, masked | |", "| --- | --- |", *rows])
  users = f"{protocol['num_users']:,} users and {protocol['num_items']:,} items"
  return f"{table}\n\nOn {users}; `MANIFEST.json` holds all metrics.\n\n" + "\n".join(words)


def _scores(evaluation: Mapping[str, Any] | None) -> str:
  return (evaluation or {}).get("protocol", {}).get("scores", "log p(semantic ID | history)")


def _tokenizer(manifest: Mapping[str, Any]) -> str:
  has_one = manifest["tokenizer"] == "in semantic_ids.json"
  return "holds the tokenizer" if has_one else f"has no tokenizer ({manifest['tokenizer']})"

"""What an update decided and why: `update.json`, and the same for people, `update.txt`."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from etils import epath

from sidrec.core.atomic import write_whole_text
from sidrec.evaluation.bootstrap import Difference, Interval
from sidrec.evaluation.intervals import interval_text
from sidrec.run.settings import UpdateConfig
from sidrec.update.drift import drift_text, due

FILES = ("update.json", "update.txt")
PROMOTED, REFUSED, FORCED = "promoted", "refused", "forced"


def decide(found: Mapping[str, Any], settings: UpdateConfig, *, force: bool) -> str:
  """PROMOTED unless the updated model is worse than allowed; then REFUSED, or FORCED."""
  updated, before = found["updated"]["mean"], found["before"]["mean"]
  if updated >= (1 - settings.max_worse) * before:
    return PROMOTED
  return FORCED if force else REFUSED


def sentence(decision: str, found: Mapping[str, Any], settings: UpdateConfig) -> str:
  """What was decided, with the figures."""
  difference = Difference(**found["updated - before"])
  updated, before = found["updated"]["mean"], found["before"]["mean"]
  text = (
    f"{decision}: NDCG@10 on {found['targets']} of {found['users']:,} users is {updated:.4f}, and "
    f"{before:.4f} with the model before: {difference.mean:+.4f} [{difference.low:+.4f}, "
    f"{difference.high:+.4f}]"
  )
  allowed = f"more than nightly.max_worse={settings.max_worse:g} of it worse"
  match decision:
    case "refused":
      return f"{text}, {allowed}; the model before goes on answering, and --force promotes this one"
    case "forced":
      return f"{text}, {allowed}, but --force promotes it"
  return text


def write_report(folder: epath.Path, content: Mapping[str, Any], settings: UpdateConfig) -> None:
  """Writes FILES.

  Args:
    folder: takes them.
    content: of `update.json`, without the decision's sentence and the reasons for a new tokenizer.
    settings: of the update.
  """
  said = sentence(content["decision"], content["newest events"], settings)
  whole = {"sentence": said, **content, "a new tokenizer is due": due(content["drift"], settings)}
  write_whole_text(folder / "update.json", json.dumps(whole, indent=2, allow_nan=False) + "\n")
  write_whole_text(folder / "update.txt", "\n".join(_lines(whole, settings)) + "\n")


def _lines(whole: Mapping[str, Any], settings: UpdateConfig) -> Sequence[str]:
  grown, trained, found = whole["log"], whole["trained"], whole["newest events"]
  lines = [
    f"update: {whole['sentence']}",
    f"log: {grown['new events']:,} new events, {grown['new users']:,} new users, "
    f"{grown['new items']:,} new items of {grown['items']:,}"
    + (f"; {grown['gone items']:,} items are gone" if grown["gone items"] else ""),
    f"trained: {trained['steps']:,} steps on {trained['recent targets']:,} recent events and "
    f"{trained['replayed targets']:,} older ones again, of histories with {trained['only read']:,} "
    f"more events; {trained['cpu_seconds']:,.0f} CPU seconds",
    f"compared on {found['users']:,} of {found['of so many']:,} users, {found['metric']}; "
    f"candidates: {found['candidates']}; {found['targets that are new items']:,} targets are new",
  ]
  for system in ("updated", "before", "from zero"):
    if system in found:
      interval = Interval(**{name: found[system][name] for name in Interval._fields})
      known = found[system].get("mean on items known before")
      more = "" if known is None else f"; on items known before {known:.4f}"
      lines.append(f"  {system:<10} {interval.mean:.4f} {interval_text(interval)}{more}")
  return [*lines, drift_text(whole["drift"], settings)]

"""Several tokenizers side by side, by the headline figures of their quality reports."""

from collections.abc import Mapping
from typing import Any

from sidrec.core.tables import aligned_table, markdown_table

HEADINGS = (
  "tokenizer",
  "codes",
  "shared",
  "used",
  "perplexity",
  "lost",
  "AMI",
  "near 1",
  "near 2",
  "fit s",
  "items/s",
)


def compare_table(reports: Mapping[str, Mapping[str, Any]], label: str = "category") -> str:
  """A line for each tokenizer, '-' where a figure was not measured; then what the columns are.

  Args:
    reports: tokenizer → its `quality.report`.
    label: the one whose adjusted mutual information with the first code is shown.

  Raises:
    ValueError: without reports.
  """
  return "\n".join([aligned_table(_rows(reports, label), names=1), "", _legend(label)])


def compare_markdown(reports: Mapping[str, Mapping[str, Any]], label: str = "category") -> str:
  """The same as a Markdown table; `reports`, `label` and errors as for `compare_table`."""
  return "\n".join([markdown_table(_rows(reports, label), names=1), "", _legend(label)])


def _rows(reports: Mapping[str, Mapping[str, Any]], label: str) -> list[tuple[str, ...]]:
  if not reports:
    raise ValueError("no reports to compare; give at least one")
  return [HEADINGS, *((name, *_figures(report, label)) for name, report in reports.items())]


def _figures(report: Mapping[str, Any], label: str) -> tuple[str, ...]:
  """The cells of HEADINGS after the first."""
  levels, timings = report["levels"], report["timings"] or {}
  labelled = (report["agreement"] or {}).get(label)
  near_L = [row["share"] for row in (report["neighbours"] or {"depths": []})["depths"]]
  near_1, near_2 = (near_L + [None, None])[:2]
  return (
    f"{report['num_levels']}x{report['codebook_size']}",
    f"{report['collision_rate']:.1%}",
    f"{levels[0]['codes_used']}",
    "/".join(f"{level['perplexity']:.0f}" for level in levels),
    _cell(report["unexplained_variance"], ".1%"),
    _cell(labelled["depths"][0]["ami"] if labelled else None, "z.3f"),
    _cell(near_1, ".1%"),
    _cell(near_2, ".1%"),
    _cell(timings.get("fit", {}).get("seconds"), ",.1f"),
    _cell(timings.get("encode", {}).get("items_per_second"), ",.0f"),
  )


def _cell(value: float | None, form: str) -> str:
  return "-" if value is None else format(value, form)


def _legend(label: str) -> str:
  return f"""\
codes: levels x codes per level. shared: items whose ID another item has too, before collisions are
resolved. used: codes used on the first level. perplexity: of each level. lost: variance of the
vectors that the codes do not explain. AMI: adjusted mutual information of the first code and the
{label}. near 1, near 2: share of the nearest vectors of an item that share its first code, its
first two codes. fit s: seconds to fit. items/s: items encoded per second."""

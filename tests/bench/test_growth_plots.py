"""What the plots of growth show, read from the figure before it is saved."""

import pytest

from sidrec.bench import growth_plots

pytest.importorskip("matplotlib")


@pytest.fixture
def drawn(monkeypatch, tmp_path):
  """(axes of what is drawn, by a function; the file)."""
  kept, save = [], growth_plots._save

  def keep(plt, figure, axes, path):
    kept.append([{line.get_label(): line.get_xydata().tolist() for line in a.lines} for a in axes])
    save(plt, figure, axes, path)

  monkeypatch.setattr(growth_plots, "_save", keep)
  path = tmp_path / "plot.png"
  yield kept, path
  assert path.read_bytes().startswith(b"\x89PNG")


def test_runs_have_a_point_for_each_size_and_method_that_was_measured(drawn):
  axes, path = drawn
  measured = {"repeats": 3}
  for items, methods in {1000: ("sidrec", "exact"), 10: ("sidrec",)}.items():
    measured[f"items_n{items}"] = items
    for number, name in enumerate(methods, start=1):
      measured[f"{name}_share_n{items}"] = 0.1 * number
      measured[f"{name}_users_per_s_n{items}"] = items * number
      measured[f"{name}_bytes_per_item_n{items}"] = 7.0 * number
  growth_plots.plot_runs(measured, path)
  ((by_time, by_memory),) = axes
  assert by_time == {"sidrec": [[100.0, 10.0], [1.0, 10.0]], "SASRec, exact": [[0.5, 20.0]]}
  assert by_memory == {"sidrec": [[7.0, 10.0], [7.0, 10.0]], "SASRec, exact": [[14.0, 20.0]]}


def test_sizes_have_the_time_and_the_memory_of_each_method(drawn):
  axes, path = drawn
  measured = {"hnsw_ms_per_user_n10": 0.5, "hnsw_mib_n10": 2.0}
  growth_plots.plot_sizes(measured, [10, 100], path)
  label = growth_plots._OF_SIZES["hnsw"]
  assert axes == [[{label: [[10.0, 0.5]]}, {label: [[10.0, 2.0]]}]]

"""Readers by name."""

import json
from pathlib import Path

import pytest

from sidrec.data.sources import registry


def _write_movielens(folder: Path) -> None:
  (folder / "movies.dat").write_text("1::A (2000)::War\n2::B (2001)::War\n3::C (2002)::\n")
  (folder / "ratings.dat").write_text("".join(f"7::{m}::5::{m}\n" for m in (3, 2, 1)))


def test_every_source_reads(tmp_path: Path) -> None:
  _write_movielens(tmp_path)
  assert registry.read("movielens-1m", str(tmp_path)).items.num_items == 3
  (tmp_path / "Beauty.txt").write_text("1 1 2 3\n2 1 2 3 4\n")
  (tmp_path / "Sports_and_Outdoors.txt").write_text("1 1 2 3\n")
  assert registry.read("amazon-beauty", str(tmp_path)).histories.lengths_U.tolist() == [3, 4]
  assert registry.read("amazon-beauty", str(tmp_path), 4).histories.lengths_U.tolist() == [4]
  assert registry.read("amazon-sports", str(tmp_path)).name == "amazon-sports"
  assert registry.read("sequences", str(tmp_path / "Beauty.txt")).name == "Beauty"
  assert registry.read("demo", min_interactions=100).histories.lengths_U.min() >= 100


def test_signatures_are_json_and_change_with_source_and_files(tmp_path: Path) -> None:
  _write_movielens(tmp_path)
  first = registry.signature("movielens-1m", str(tmp_path))
  assert json.loads(json.dumps(first)) == first
  assert first["source"] == "movielens-1m"
  demo = registry.signature("demo")
  assert json.loads(json.dumps(demo)) == demo
  (tmp_path / "Beauty.txt").write_text("1 1 2 3\n")
  beauty = registry.signature("amazon-beauty", str(tmp_path))
  assert json.loads(json.dumps(beauty)) == beauty
  assert beauty["source"] == "amazon-beauty"
  with (tmp_path / "ratings.dat").open("a") as file:
    file.write("8::1::5::1\n")
  assert registry.signature("movielens-1m", str(tmp_path)) != first


@pytest.mark.parametrize("function", [registry.read, registry.signature])
def test_an_unknown_source_names_the_nearest_and_all(function) -> None:
  editions = ", ".join(
    f"movielens-{edition}" for edition in ("100k", "1m", "10m", "20m", "25m", "32m")
  )
  others = "amazon-beauty, amazon-sports, sequences, amazon-reviews, lcrec, atomic, store, table"
  known = f"demo, dataset, {editions}, {others}"
  nearest = f"'movielens1m'; did you mean 'movielens-1m'. known sources: {known}$"
  with pytest.raises(ValueError, match=nearest):
    function("movielens1m")
  with pytest.raises(ValueError, match="'zzz'; known sources"):
    function("zzz")

"""Charts and markup: what is drawn where, and that text stays text."""

import re

import numpy as np
import pytest

from sidrec.report.charts.forest import Point, Row, forest
from sidrec.report.charts.lines import Axes, Line, lines
from sidrec.report.charts.scatter import Cloud, scatter
from sidrec.report.charts.sunburst import Slice, sunburst
from sidrec.report.charts.svg import Scale, short, ticks
from sidrec.report.html import Html, join, table, tag


def numbers(name, text):
  return [float(x) for x in re.findall(rf' {name}="(-?[\d.]+)"', text)]


def test_text_is_escaped_and_markup_is_not():
  assert tag("p", "<b>", Html("<br>"), title='"') == '<p title="&quot;">&lt;b&gt;<br></p>'
  assert join(["a & b", None, 0.5]) == "a &amp; b0.5"
  assert tag("line", x1=1.0, y1=0.25, x2=-0.001, y2=None) == '<line x1="1" y1="0.25" x2="0"/>'
  assert "&lt;td&gt;" in table("t", [["x", "y"], ["a", "<td>"]])


def test_ticks_are_round_and_inside():
  assert ticks(0, 1) == [0, 0.2, 0.4, 0.6, 0.8, 1]
  assert ticks(0.071, 0.131, 3) == [0.08, 0.1, 0.12]
  assert ticks(3, 3) == [3]
  assert [short(x) for x in (0.05, 200, 20_000)] == ["0.05", "200", "20k"]


def test_a_scale_maps_its_ends_whatever_its_power():
  for power in (1, 0.5):
    scale = Scale(0, 4, 10, 50, power)
    assert (scale(0), scale(4)) == (10, 50)
  assert Scale(0, 4, 10, 50, 0.5)(1) == 30
  assert Scale(2, 2, 10, 50)(2) == 10  # a scale without width


def test_a_forest_draws_each_interval_around_its_mean():
  drawn = forest([Row("a", [Point(0.2, 0.1, 0.4)])], "metric", "label")
  (interval,) = re.findall(r'<line x1="([\d.]+)" [^>]*x2="([\d.]+)" [^>]*class="range k0"/>', drawn)
  (mean,) = numbers("cx", drawn)
  low, high = map(float, interval)
  assert (mean - low) / (high - low) == pytest.approx(1 / 3, abs=0.01)
  assert "a: 0.2000 [0.1000, 0.4000]" in drawn


def test_a_forest_of_differences_marks_zero_and_shows_signs():
  drawn = forest([Row("a", [Point(-0.2, -0.3, -0.1)])], "gap", "label", signed=True)
  assert 'class="zero"' in drawn
  assert "-0.2000 [-0.3000, -0.1000]" in drawn
  assert 'class="zero"' not in forest([Row("a", [Point(0.2, 0.1, 0.3)])], "x", "label")


def test_lines_end_where_their_values_do():
  series = [Line("<a>", [0, 10], [0, 5]), Line("b", [0, 10], [5, 0], best=0)]
  drawn = lines(series, Axes("x", "y", from_zero=True), "label")
  first, second = re.findall(r'd="M([\d. L]+)" class="line', drawn)
  assert first.split("L")[0].split()[0] == second.split("L")[0].split()[0]
  assert first.split("L")[0].split()[1] == second.split("L")[1].split()[1]
  assert "&lt;a&gt;" in drawn
  assert "<a>" not in drawn


def test_a_whole_ring_is_drawn_though_it_starts_where_it_ends():
  drawn = sunburst([Slice(0, 0.0, 1.0, None, 1.0, "all")], 1, ["1"], "label")
  start, end = re.search(r"M(\S+ \S+)L\S+ \S+A\S+ \S+ 0 1 1 (\S+ \S+)L", drawn).groups()
  assert start != end


def test_a_map_keeps_all_points_inside_and_names_what_it_shall():
  rng = np.random.default_rng(0)
  clouds = [
    Cloud("7", rng.normal(5, 100, (20, 2)), ["w"] * 20, named=True),
    Cloud("8", rng.normal(0, 1, (30, 2)), ["v"] * 10),
  ]
  drawn = scatter(clouds, "label")
  width, height = map(float, re.search(r'viewBox="0 0 (\S+) (\S+)"', drawn).groups())
  assert len(numbers("cx", drawn)) == 30
  assert drawn.count("h0") == 20
  assert 0 < min(numbers("cx", drawn)) < max(numbers("cx", drawn)) < width
  assert 0 < min(numbers("cy", drawn)) < max(numbers("cy", drawn)) < height
  assert re.search(r">7</text>", drawn)
  assert not re.search(r">8</text>", drawn)


def test_points_at_one_place_can_be_drawn():
  assert scatter([Cloud("a", np.zeros((3, 2)), ["w"] * 3)], "label").count("<circle") == 3

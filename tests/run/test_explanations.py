"""Explanations as text; tests/serving/test_explain.py compares what they say with the search."""

from sidrec.run.answers import Answer, Recommended
from sidrec.run.explanations import Explanation, HistoryItem


def test_the_text_names_what_counts_most_for_each_result():
  results = (
    Recommended(id=7, title="Alien (1979)", score=-1.5, probability=0.22, semantic_id=(1, 2)),
    Recommended(id="x9", title="", score=-2.0, probability=0.14, semantic_id=(1, 3)),
  )
  added = {"Big (1988)": (0.1, -3.0), "Jaws (1975)": (-0.75, 0.0), "Heat (1995)": (0.5, 0.25)}
  added |= {"": (0.25, -0.5)}
  history = tuple(HistoryItem(4, title, (0, 0), parts) for title, parts in added.items())
  assert str(Explanation(Answer(results), (), history)).split("\n") == [
    "   1. Alien (1979)  -1.50",
    "      -0.75  Jaws (1975)",
    "      +0.50  Heat (1995)",
    "      +0.25  4",
    "   2. x9  -2.00",
    "      -3.00  Big (1988)",
    "      -0.50  4",
    "      +0.25  Heat (1995)",
  ]


def test_without_a_history_the_results_stand_alone():
  result = Recommended(id=7, title="Alien (1979)", score=-1.5, probability=0.22, semantic_id=(1,))
  assert str(Explanation(Answer((result,)), (), ())) == "   1. Alien (1979)  -1.50"

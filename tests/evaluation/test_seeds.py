import pytest

from sidrec.evaluation.seeds import check_same_protocol, over_seeds, summary

PROTOCOL = {"dataset": "tiny", "num_users": 4, "num_beams": 20, "cold_targets": {"test": 1}}


def run(value, protocol=PROTOCOL, systems=("sidrec", "popular")):
  results = {
    name: {"test": {"masked": {"recall@10": value, "ndcg@10": value / 2}}} for name in systems
  }
  return {"protocol": protocol, "results": results}


def test_mean_and_standard_error_of_every_metric():
  found = over_seeds({"a": run(0.3), "b": run(0.4), "c": run(0.8)})
  recall, ndcg = (found[f"sidrec/test/masked/{metric}"] for metric in ("recall@10", "ndcg@10"))
  # Deviations -0.2, -0.1, 0.3: a variance of 0.14 / 2, and a third of it is the mean's.
  assert recall.mean == pytest.approx(0.5)
  assert recall.standard_error == pytest.approx((0.07 / 3) ** 0.5)
  assert recall.num_seeds == 3
  assert ndcg.mean == pytest.approx(0.25)
  assert {path.split("/")[0] for path in found} == {"sidrec", "popular"}


def test_one_seed_has_no_standard_error_and_shows_none():
  only = over_seeds({"a": run(0.3)})["sidrec/test/masked/recall@10"]
  assert only == (0.3, None, 1)
  assert str(only) == "0.3000"
  assert str(summary([0.3, 0.4])) == "0.3500 ± 0.0500"


def test_a_system_that_a_run_lacks_is_averaged_over_the_others():
  found = over_seeds({"a": run(0.3), "b": run(0.5), "c": run(0.9, systems=("sidrec",))})
  assert found["popular/test/masked/recall@10"].num_seeds == 2
  assert found["popular/test/masked/recall@10"].mean == pytest.approx(0.4)
  assert found["sidrec/test/masked/recall@10"].num_seeds == 3


@pytest.mark.parametrize(
  ("field", "value"), [("num_beams", 50), ("dataset", "other"), ("cold_targets", {"test": 2})]
)
def test_other_protocols_are_refused_by_the_field_that_differs(field, value):
  runs = {"a": run(0.3), "b": run(0.3), "c": run(0.3, {**PROTOCOL, field: value})}
  with pytest.raises(ValueError, match=f"a and c .* different protocols: {field} is") as error:
    over_seeds(runs)
  assert repr(value) in str(error.value)
  assert repr(PROTOCOL[field]) in str(error.value)


def test_a_field_that_only_one_protocol_has_is_a_difference():
  with pytest.raises(ValueError, match="num_results is None in one and 20"):
    check_same_protocol({"a": run(0.3), "b": run(0.3, {**PROTOCOL, "num_results": 20})})


def test_no_runs_is_an_error():
  with pytest.raises(ValueError, match="no runs"):
    over_seeds({})

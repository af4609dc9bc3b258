import re

import numpy as np
import pytest
from absl import flags
from tiny import means_of

from sidrec.core.checked_json import checked_text
from sidrec.evaluation import results
from sidrec.evaluation.bootstrap import bootstrap_difference, bootstrap_mean
from sidrec.evaluation.intervals import difference_rows
from sidrec.evaluation.protocol import Protocol
from sidrec.evaluation.published import PROTOCOLS, PUBLISHED
from sidrec.evaluation.report import write_evaluation, write_per_user
from sidrec.evaluation.results import group_runs, group_text, read_run, results_rows

NUM_USERS, RESAMPLES = 60, 300
PROTOCOL = Protocol(
  dataset="movielens-1m",
  num_users=NUM_USERS,
  num_items=9,
  num_results=20,
  num_beams=50,
  cold_targets={"valid": 0, "test": 1},
  tied_targets={"valid": 0.0, "test": 0.0},
)
SHARES = {"popular": 0.1, "sidrec": 0.5, "sasrec": 0.4}  # of users with a hit


def make_run(
  folder, seed, systems=("popular", "sidrec"), protocol=PROTOCOL, users=True, **settings
):
  """A work directory of made-up metrics: the baseline's are the same for every seed."""
  folder.mkdir()
  per_user = {}
  for system in systems:
    rng = np.random.default_rng(0 if system == "popular" else 1 + seed)
    per_user[system] = {"test": {}, "valid": {}}
    for split in per_user[system]:
      for way in ["masked", "unmasked"]:
        hit_U = rng.random(NUM_USERS) < SHARES[system]
        gain_U = (hit_U / np.log2(2 + rng.integers(0, 10, NUM_USERS))).astype(np.float32)
        kept = {"recall@10": hit_U.astype(np.float32), "ndcg@10": gain_U}
        per_user[system][split][way] = kept
  write_evaluation(folder / "evaluation.json", protocol, means_of(per_user))
  config = {"seed": seed, "train": {"steps": 10}, "data": {"path": str(folder)}, **settings}
  (folder / "config.json").write_text(checked_text(config))
  if users:
    write_per_user(folder / "per_user.npz", per_user)
  return folder


def the_group(*folders):
  (group,) = group_runs([read_run(folder) for folder in folders])
  return group


def three_seeds(tmp_path):
  names = {0: "ml1m", 1: "ml1m-seed1", 2: "ml1m-seed2"}
  return the_group(*(make_run(tmp_path / name, seed) for seed, name in names.items()))


def test_a_cell_holds_mean_standard_error_and_the_interval_of_the_seed_mean(tmp_path):
  group = three_seeds(tmp_path)
  header, sidrec, popular, *_ = results_rows(group, "test", RESAMPLES)
  assert header[:4] == ["system", "seeds", "masked: Recall@10", "masked: NDCG@10"]
  assert sidrec[:2] == ["sidrec", "3"]  # first, though the file has it last
  assert popular[0] == "popular"

  stacked = np.stack([run.per_user["sidrec/test/masked/ndcg@10"] for run in group.runs])
  mean_S = stacked.mean(axis=1, dtype=np.float64)
  interval = bootstrap_mean(stacked.mean(axis=0, dtype=np.float64), RESAMPLES)
  error = mean_S.std(ddof=1) / np.sqrt(3)
  assert error > 0
  assert sidrec[3] == (
    f"{mean_S.mean():.4f} ± {error:.4f} [{interval.low:.4f}, {interval.high:.4f}]"
  )
  assert "± 0.0000" in popular[2]


def test_the_columns_are_masked_and_unmasked_in_the_order_of_the_header(tmp_path):
  group = the_group(make_run(tmp_path / "ml1m", 0))
  sidrec = results_rows(group, "test", RESAMPLES)[1]
  ways = group.runs[0].evaluation["results"]["sidrec"]["test"]
  expected = [ways[w][m] for w in ("masked", "unmasked") for m in ("recall@10", "ndcg@10")]
  assert [float(cell.split()[0]) for cell in sidrec[2:6]] == [round(x, 4) for x in expected]
  assert len(set(expected)) == 4


def test_the_other_split_is_another_table_without_published_figures(tmp_path):
  group = the_group(make_run(tmp_path / "ml1m", 0))
  rows = results_rows(group, "valid", RESAMPLES)
  assert [row[0] for row in rows] == ["system", "sidrec", "popular"]
  assert rows[1] != results_rows(group, "test", RESAMPLES)[1][:6]
  assert "published" not in group_text(group, "valid", resamples=RESAMPLES)


def test_differences_are_paired_by_user_and_taken_from_the_reference(tmp_path):
  group = three_seeds(tmp_path)
  header, row = difference_rows(group.per_user, "test", RESAMPLES)
  assert header[0] == "difference"
  assert row[0] == "popular − sidrec"
  name = "/test/unmasked/recall@10"
  mean_U = {
    system: np.mean([run.per_user[system + name] for run in group.runs], axis=0, dtype=float)
    for system in ["popular", "sidrec"]
  }
  found = bootstrap_difference(mean_U["popular"], mean_U["sidrec"], RESAMPLES)
  assert found.mean < 0
  assert row[3] == (
    f"{found.mean:+.4f} [{found.low:+.4f}, {found.high:+.4f}] p={found.p_value:.4f}"
  )


def test_published_figures_stand_in_their_own_column_with_their_protocol(tmp_path):
  group = the_group(make_run(tmp_path / "ml1m", 0))
  header, *rows = results_rows(group, "test", RESAMPLES)
  assert header[-1].startswith("published")
  large = next(row for row in rows if row[0] == "HSTU-large")
  assert large[1:] == ["-"] * 5 + ["0.3294 / 0.1893 (HSTU README)"]
  assert all(row[-1] == "-" for row in rows[:2])
  text = group_text(group, "test", resamples=RESAMPLES)
  assert PROTOCOLS["HSTU README"] in text
  assert PROTOCOLS["TIGER paper"] not in text  # not measured on this data set


def test_every_published_figure_names_a_protocol_that_says_how_seen_items_went():
  for figures in PUBLISHED.values():
    assert len({(other.system, other.protocol) for other in figures}) == len(figures)
    for other in figures:
      assert 0 < other.ndcg < other.recall < 1
      assert "mask" in PROTOCOLS[other.protocol]
  assert {other.protocol for figures in PUBLISHED.values() for other in figures} == set(PROTOCOLS)


def test_a_data_set_without_published_figures_has_no_such_column(tmp_path):
  group = the_group(make_run(tmp_path / "demo", 0, protocol=PROTOCOL._replace(dataset="demo")))
  assert {len(row) for row in results_rows(group, "test", RESAMPLES)} == {6}


def test_one_seed_has_no_standard_error_and_says_so(tmp_path):
  group = the_group(make_run(tmp_path / "ml1m", 0))
  text = group_text(group, "test", resamples=RESAMPLES)
  assert "±" not in text
  assert "one seed (0): no standard error" in text
  assert "3 seeds (0, 1, 2)" in group_text(three_seeds_elsewhere(tmp_path), "test", RESAMPLES)


def three_seeds_elsewhere(tmp_path):
  (tmp_path / "more").mkdir()
  return three_seeds(tmp_path / "more")


def test_a_system_of_some_seeds_is_averaged_and_compared_over_those(tmp_path):
  group = the_group(
    make_run(tmp_path / "ml1m", 0, ("popular", "sidrec", "sasrec")),
    make_run(tmp_path / "ml1m-seed1", 1),
  )
  rows = {row[0]: row for row in results_rows(group, "test", RESAMPLES)}
  assert rows["sidrec"][1] == "2"
  assert rows["sasrec"][1] == "1"
  assert re.fullmatch(r"0\.\d{4} \[.*\]", rows["sasrec"][2])
  _, popular, sasrec = difference_rows(group.per_user, "test", RESAMPLES)
  assert popular[0] == "popular − sidrec"
  assert sasrec[0] == "sasrec − sidrec"
  assert "-" not in sasrec[1:]


def test_without_the_users_of_every_run_there_is_no_interval(tmp_path):
  group = the_group(
    make_run(tmp_path / "ml1m", 0), make_run(tmp_path / "ml1m-seed1", 1, users=False)
  )
  assert re.fullmatch(r"0\.\d{4} ± 0\.\d{4}", results_rows(group, "test", RESAMPLES)[1][2])
  assert difference_rows(group.per_user, "test", RESAMPLES) == []
  text = group_text(group, "test", resamples=RESAMPLES)
  assert f"no per_user.npz in {tmp_path / 'ml1m-seed1'}" in text


def test_without_the_reference_there_are_no_differences(tmp_path):
  group = the_group(make_run(tmp_path / "ml1m", 0, ("popular",)))
  assert difference_rows(group.per_user, "test", RESAMPLES) == []
  assert [row[0] for row in results_rows(group, "test", RESAMPLES)][:2] == ["system", "popular"]


def test_configs_and_data_sets_are_groups_of_their_own(tmp_path):
  other = PROTOCOL._replace(dataset="amazon-beauty")
  folders = [
    make_run(tmp_path / "ml1m-seed3", 3),
    make_run(tmp_path / "ml1m-tiger", 0, model={"setting": "tiger"}),
    make_run(tmp_path / "beauty", 0, protocol=other),
    make_run(tmp_path / "ml1m", 0),
  ]
  groups = group_runs([read_run(folder) for folder in folders])
  assert [(group.dataset, group.config_name, len(group.runs)) for group in groups] == [
    ("movielens-1m", "ml1m", 2),
    ("movielens-1m", "ml1m-tiger", 1),
    ("amazon-beauty", "beauty", 1),
  ]


def test_a_table_names_what_models_know_of_the_request(tmp_path):
  known = PROTOCOL._replace(request_time="sidrec: request_time=known")
  timed = the_group(make_run(tmp_path / "timed", 0, protocol=known))
  assert "beams; sidrec: request_time=known\n" in group_text(timed, "test", 20)
  assert "request_time" not in group_text(the_group(make_run(tmp_path / "off", 0)), "test", 20)


def test_runs_of_one_name_and_other_settings_are_refused(tmp_path):
  folders = [
    make_run(tmp_path / "ml1m", 0),
    make_run(tmp_path / "ml1m-seed1", 1, train={"steps": 99}),
  ]
  with pytest.raises(ValueError, match=r"not one config: train\.steps is 99 and 10"):
    the_group(*folders)


def test_the_same_seed_twice_is_refused(tmp_path):
  folders = [make_run(tmp_path / "ml1m", 1), make_run(tmp_path / "ml1m-seed1", 1)]
  with pytest.raises(ValueError, match="same seed 1"):
    the_group(*folders)


def test_other_protocols_are_refused(tmp_path):
  folders = [
    make_run(tmp_path / "ml1m", 0),
    make_run(tmp_path / "ml1m-seed1", 1, protocol=PROTOCOL._replace(num_beams=20)),
  ]
  with pytest.raises(ValueError, match="num_beams is 50 in one and 20 in the other"):
    the_group(*folders)


def test_users_of_another_evaluation_are_refused(tmp_path):
  folder = make_run(tmp_path / "ml1m", 0)
  other = make_run(tmp_path / "other", 5)
  (other / "per_user.npz").replace(folder / "per_user.npz")
  with pytest.raises(ValueError, match=r"per_user\.npz and evaluation\.json disagree on sidrec/"):
    read_run(folder)


def test_a_folder_that_is_no_run_is_named(tmp_path):
  with pytest.raises(FileNotFoundError, match=r"nowhere/evaluation\.json"):
    read_run(tmp_path / "nowhere")
  folder = make_run(tmp_path / "ml1m", 0)
  (folder / "config.json").unlink()
  with pytest.raises(FileNotFoundError, match=r"config\.json"):
    read_run(folder)


def command(arguments):
  values = flags.FlagValues()
  results.define_flags(values)
  results.main(values(["results", *map(str, arguments)]), values)


def test_the_command_prints_aligned_text_or_markdown(tmp_path, capsys):
  folders = [make_run(tmp_path / "ml1m", 0), make_run(tmp_path / "ml1m-seed1", 1)]
  command(folders)
  plain = capsys.readouterr().out
  assert plain.startswith(
    "movielens-1m, config ml1m, test: 60 users, 9 items, 50 beams\n\nsystem  "
  )
  command([*folders, "--markdown"])
  lines = capsys.readouterr().out.splitlines()
  table = [line for line in lines[2:] if line.startswith("|")]
  assert table[0].startswith("| system | seeds | masked: Recall@10 |")
  assert table[1] == "|" + " --- |" * 7
  widths = {line.count("|") for line in table}
  assert widths == {8, 6}  # the results, and the differences below them


def test_the_command_ends_with_a_sentence(tmp_path):
  with pytest.raises(SystemExit, match=r"sidrec: there is no .*evaluation\.json"):
    command([tmp_path])

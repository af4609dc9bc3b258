"""Requests of --mode=recommend: ids and titles as shops have them, lists, and what is refused."""

import csv
import json
import os

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tiny import ROWS, tiny_config

from sidrec.run import named_rows, recommend
from sidrec.run.load import load_recommender
from sidrec.run.recommend import Request
from sidrec.run.stages import run_to

USERS = [*(f"Müller, {user}" for user in range(57)), "Doe", "Jane", "Doe, Jane"]
ITEMS = [f"SKU {row:02d}, {'abc'[row % 3]}" for row in range(30)]
TITLES = ["C# mug", "C++ mug", "AA+ battery", "AA- battery", "???", "मेला", "माला", "Amélie"]
TITLES += ["T-shirt", "T-shirt", "Bell \x1b[31mred"] + [f"thing {row}" for row in range(11, 30)]


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
  """A trained run, whose ids and titles hold commas, signs and control characters."""
  folder = tmp_path_factory.mktemp("shop")
  config = tiny_config(folder)
  with (folder / "log.csv").open("w", newline="", encoding="utf-8") as file:
    rows = [(USERS[u], ITEMS[i], t) for u, row in enumerate(ROWS) for t, i in enumerate(row)]
    csv.writer(file).writerows([("user_id", "item_id", "timestamp"), *rows])
  with (folder / "items.csv").open("w", newline="", encoding="utf-8") as file:
    csv.writer(file).writerows([("id", "title"), *zip(ITEMS, TITLES, strict=True)])
  config.data.path = str(folder / "log.csv")
  config.data.table.items_path = str(folder / "items.csv")
  config.data.table.item_columns.update(id="id", title="title")
  config.train.update(steps=2, steps_per_call=2, validate_every=2)
  run_to("train", config, folder)
  return config, folder


def written(shop, **request):
  """The lines of an answer in a file."""
  config, folder = shop
  path = folder / "lists.jsonl"
  recommend.answer(config, folder, Request(output=str(path), **request))
  return [json.loads(line) for line in path.open(encoding="utf-8")]


def users_of(shop, **request):
  return [line["user"] for line in written(shop, **request)]


def printed(shop, capsys, **request):
  capsys.readouterr()
  recommend.answer(*shop, Request(**request))
  return capsys.readouterr().out


def test_a_user_is_never_split(shop):
  assert users_of(shop, user=["Müller, 5"]) == ["Müller, 5"]
  assert users_of(shop, user=["Doe, Jane"]) == ["Doe, Jane"]
  assert users_of(shop, user=["Doe", " Jane "]) == ["Doe", "Jane"]


def test_lists_take_the_longest_ids(shop):
  assert users_of(shop, users=["Doe, Jane,Jane, Müller, 3,"]) == ["Doe, Jane", "Jane", "Müller, 3"]
  assert users_of(shop, users=["Doe", "Jane"]) == ["Doe", "Jane"]
  assert users_of(shop, users=["all"]) == sorted(USERS)
  ids = np.array(ITEMS)
  assert named_rows.rows_of_ids("SKU 00, a, SKU 03, a,SKU 00, a", ids, "item") == [0, 3, 0]


def test_files_hold_an_id_a_line(shop, tmp_path):
  path = tmp_path / "users.txt"
  path.write_text("\ufeffMüller, 5\r\n\nDoe, Jane\n", encoding="utf-8")
  assert users_of(shop, users=[f"@{path}", "Doe"]) == ["Müller, 5", "Doe, Jane", "Doe"]
  assert named_rows.rows_of_ids("@anna", np.array(["bob", "@anna"]), "user") == [1]
  path.write_bytes(b"\xff\xfe\xff")
  with pytest.raises(ValueError, match="is not UTF-8 text; write one id a line"):
    users_of(shop, users=[f"@{path}"])


def test_allow_and_deny_lists(shop):
  allowed = ["SKU 01, b, SKU 02, c", "SKU 04, b"]
  lists = written(shop, users=["all"], allow=allowed, exclude_seen=False)
  assert all(sorted(line["items"]) == ["SKU 01, b", "SKU 02, c", "SKU 04, b"] for line in lists)
  denied = written(
    shop, users=["all"], allow=allowed, deny=["SKU 02, c"], exclude_seen=False, count=1
  )
  assert {item for line in denied for item in line["items"]} <= {"SKU 01, b", "SKU 04, b"}
  whole = written(shop, user=["Doe"], deny=ITEMS[:20])[0]["items"]
  assert not set(whole) & {*ITEMS[:20], *(ITEMS[row] for row in ROWS[57])}


def test_draws_repeat_by_their_seed(shop):
  draws = [written(shop, user=["Doe"], draw=seed, count=5)[0]["items"] for seed in (1, 1, 2)]
  assert draws[0] == draws[1] != draws[2]
  assert draws[0] != written(shop, user=["Doe"], count=5)[0]["items"]


def test_lists_say_whether_they_are_certified(shop, capsys):
  """The trained run answers with the setting and without, and 50 beams find all of its 30 items."""
  certified = shop[0].copy_and_resolve_references()
  certified.search.certify = True
  lines = written((certified, shop[1]), users=["Doe", "Jane"], count=3)
  assert [line.pop("certified") for line in lines] == [True, True]
  assert lines == written(shop, users=["Doe", "Jane"], count=3)
  assert "\n  certified: no item is better\n" in printed(
    (certified, shop[1]), capsys, user=["Doe"], count=3
  )
  assert "certified" not in printed(shop, capsys, user=["Doe"], count=3)


def test_titles_find_their_own_items(shop, capsys):
  for title in ("C# mug", "AA- battery", "मेला", "माला", "???"):
    assert f"after: {title}\n" in printed(shop, capsys, history=[title])
  out = printed(shop, capsys, history=["C mug, T-shirt, thing-12", "C++ mug"])
  assert "left out, for 2 items may be meant by 'C mug'" in out
  assert "'T-shirt': T-shirt (id SKU 08, c), T-shirt (id SKU 09, a); ask with --items" in out
  assert "no title is 'thing-12'; taken for thing 12 (id SKU 12, a)" in out
  assert "after: thing 12 · C++ mug" in out


def test_control_characters_do_not_reach_the_terminal(shop, capsys):
  out = printed(shop, capsys, history=["Bell \x1b[31mred"])
  assert "after: Bell \\x1b[31mred" in out
  assert "\x1b" not in out
  with pytest.raises(ValueError, match="none of the titles"):
    printed(shop, capsys, history=["\x1b[2J nothing"])
  assert "\x1b" not in capsys.readouterr().out


@pytest.mark.parametrize(
  ("request_", "message"),
  [
    ({}, "needs one of --user, --users, --history and --items"),
    ({"user": ["Doe"], "items": [ITEMS[0]]}, "needs one of"),
    ({"user": [""]}, "--user is empty"),
    ({"user": []}, "--user is empty"),
    ({"users": [""]}, "--users is empty"),
    ({"history": [" "]}, "--history is empty"),
    ({"user": ["Doe"], "allow": [""]}, "--allow is empty"),
    ({"users": [",,"]}, "no user is named; give user ids, such as"),
    ({"user": ["Doe"], "count": -3}, "--k=-3 asks for no results"),
    ({"user": ["Doe"], "count": 0}, "--k=0 asks for no results"),
    ({"user": ["Doe"], "count": 21}, "add --config.search.beams=21"),
    ({"user": ["Doe, "]}, "user 'Doe,' is not in the data set; user ids look like"),
    ({"users": ["Doe, Nobody\x1b, Jane"]}, r"user 'Nobody\\x1b' is not in the data set"),
    ({"items": ["SKU 00"]}, "item 'SKU 00' is not in the data set; item ids look like SKU"),
    ({"history": ["T-shirt"]}, "none of the titles in --history names one item"),
    ({"users": ["@no.txt"]}, "there is no file 'no.txt'; after @ comes a file of ids"),
    ({"user": ["Doe"], "deny": ["zzz"]}, "item 'zzz' is not in the data set"),
  ],
)
def test_what_is_refused(shop, request_, message):
  with pytest.raises((ValueError, FileNotFoundError), match=message) as caught:
    recommend.answer(*shop, Request(**request_))
  assert len(str(caught.value)) < 300


texts = st.lists(
  st.text(max_size=8)
  | st.sampled_from(["Doe, Jane", "Doe,Jane", "Müller, 5", ITEMS[0], "T-shirt", "@", "@.", "all"]),
  max_size=2,
)


@settings(
  max_examples=int(os.environ.get("SIDREC_FUZZ", "25")),
  suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
  st.dictionaries(st.sampled_from(["user", "users", "history", "items", "allow"]), texts),
  st.sampled_from([None, 5, 0, -1, 100]),
)
def test_any_request_is_answered_or_refused(shop, monkeypatch, lists, count):
  config, folder = shop
  recommender = load_recommender(config, folder)
  monkeypatch.setattr(recommend, "load_recommender", lambda *_: recommender)
  monkeypatch.setattr(recommend, "print_lists", lambda *args: asked.append(args))
  asked = []
  try:
    recommend.answer(config, folder, Request(**lists, count=count))
  except (ValueError, OSError):
    return
  ((_, histories, users, k, _, shared),) = asked
  assert k > 0
  assert len(users)
  assert all(0 <= user < histories.num_users for user in users)
  assert all(0 <= row < 30 for row in (() if shared.allowed_J is None else shared.allowed_J))

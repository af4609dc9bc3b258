"""The k-core of a data set."""

import numpy as np
import pytest
from tiny import build_from

from sidrec.data import dataset, k_core
from sidrec.data.sources.build import item_table


def _dataset(num_rows: int) -> dataset.Dataset:
  rng = np.random.default_rng(0)
  user_T, item_T = rng.integers(0, 30, num_rows), rng.zipf(1.5, num_rows) % 40
  ids = [f"i{item}" for item in range(40)]
  metadata = item_table(
    ids=ids,
    titles=[f"Title of {id_}" for id_ in ids],
    categories=[[f"c{item % 3}"] * (item % 2) for item in range(40)],
    numeric={"price": list(range(40))},
  )
  names_T = np.array(ids)[item_T]
  users_T = np.array([f"u{user}" for user in range(30)])[user_T]
  times_T = rng.integers(0, 5, num_rows)
  return build_from("d", users_T, names_T, times_T, np.arange(num_rows), metadata)


def _rows(data: dataset.Dataset) -> list[tuple]:
  """All interactions in order, with everything that is known about the item."""
  histories, items = data.histories, data.items
  user_T = np.repeat(histories.user_ids_U, histories.lengths_U).tolist()
  described = [
    (items.ids_N[n], items.titles_N[n], *items.categories_of(n), items.numeric["price"][n])
    for n in histories.item_T
  ]
  return list(
    zip(user_T, histories.time_T.tolist(), histories.rating_T.tolist(), described, strict=True)
  )


def test_the_core_keeps_what_is_known_of_its_users() -> None:
  data = _dataset(500)
  names = data.histories.user_ids_U
  core = k_core.core_of(data._replace(users={"name": names}), 8)
  assert 0 < core.histories.num_users < data.histories.num_users
  assert core.users["name"].tolist() == core.histories.user_ids_U.tolist()


def test_the_core_keeps_order_ids_and_descriptions() -> None:
  data = _dataset(300)
  cored = k_core.core_of(data, 5)
  items = cored.items
  assert 0 < items.num_items < data.items.num_items
  assert np.bincount(cored.histories.item_T).min() >= 5
  assert cored.histories.lengths_U.min() >= 5
  whole, left = _rows(data), _rows(cored)
  kept = {row[2] for row in left}  # ratings number the rows
  assert left == [row for row in whole if row[2] in kept]
  assert sorted(items.ids_N.tolist()) == sorted({row[3][0] for row in left})
  assert cored.notes[: len(data.notes)] == data.notes
  assert cored.notes[-2] == (
    f"the 5-core has {cored.histories.num_users} of {data.histories.num_users} users, "
    f"{items.num_items} of {data.items.num_items} items and {len(left)} of {len(whole)} "
    "interactions"
  )


def test_a_core_of_a_core_is_itself() -> None:
  cored = k_core.core_of(_dataset(300), 4)
  assert _rows(k_core.core_of(cored, 4)) == _rows(cored)


def test_too_small_or_too_large() -> None:
  with pytest.raises(ValueError, match="a core of 2 is too small"):
    k_core.core_of(_dataset(300), 2)
  with pytest.raises(ValueError, match="'d' has no 99-core; use a smaller k"):
    k_core.core_of(_dataset(300), 99)

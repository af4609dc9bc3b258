"""MovieLens-1M: what the files say, and where the files of every edition are looked for."""

import gzip
import re
import time
import zipfile
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidrec.data.sources import movielens, movielens_movies, movielens_ratings

_EDITION = movielens.EDITIONS["movielens-1m"]
_ML_1M = Path(__file__).resolve().parents[3] / "../shared/data/ml-1m"
_MOVIES = (
  "3::Zoë, la misérable (2001)::Drama|Children's\n"
  "1::Toy Story (1995)::Animation|Children's|Comedy\n"
  "20::No Year::\n"
  "7::Never Rated (1980)::War\n"
)
_RATINGS = (
  "1::20::5::978300760\n1::1::3::978300760\n1::3::4::978300759\n"
  "2::3::1::978300000\n2::1::2::978300000\n"
  "10::1::5::1\n10::3::4::2\n10::20::3::3\n"
)


@pytest.fixture(autouse=True)
def _nothing_around(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
  """No test sees this machine's data, and none reaches the internet."""

  def no_network(url: str, *args: object) -> Path:
    raise ConnectionError(f"could not download {url} (4 attempts): no network")

  monkeypatch.delenv("SIDREC_DATA_DIR", raising=False)
  monkeypatch.delenv("TFDS_DATA_DIR", raising=False)
  monkeypatch.setenv("HOME", str(tmp_path / "home"))
  monkeypatch.setenv("SIDREC_CACHE_DIR", str(tmp_path / "cache"))
  monkeypatch.setattr(movielens, "fetch", no_network)


def _write(folder: Path, ratings: str = _RATINGS, movies: str = _MOVIES) -> str:
  folder.mkdir(parents=True, exist_ok=True)
  (folder / "ratings.dat").write_text(ratings, encoding="latin-1")
  (folder / "movies.dat").write_text(movies, encoding="latin-1")
  return str(folder)


def test_the_files_become_a_data_set(tmp_path: Path) -> None:
  data = movielens.read_movielens("movielens-1m", _write(tmp_path))
  items, histories = data.items, data.histories
  assert items.ids_N.tolist() == [1, 3, 20]
  assert items.titles_N.tolist() == ["Toy Story (1995)", "Zoë, la misérable (2001)", "No Year"]
  assert [items.categories_of(row) for row in range(3)] == [
    ["Animation", "Children's", "Comedy"],
    ["Drama", "Children's"],
    [],
  ]
  np.testing.assert_array_equal(items.numeric["year"], [1995, 2001, np.nan])
  assert histories.user_ids_U.tolist() == [1, 10]
  assert histories.item_T.tolist() == [1, 2, 0, 0, 1, 2]
  assert histories.time_T.tolist() == [978300759, 978300760, 978300760, 1, 2, 3]
  assert histories.rating_T.tolist() == [4, 5, 3, 5, 4, 3]
  assert data.notes == (
    "dropped 1 user with fewer than 3 interactions",
    "1 of 4 items have no interaction left and are not in the catalogue",
    "1 of 6 interactions share their user's previous timestamp; equal timestamps keep file order",
  )


@pytest.mark.parametrize("name", ["movielens-1m", "movielens-100k"])
def test_users_are_described(tmp_path: Path, name: str) -> None:
  place, users = Path(_write(tmp_path)), "users.dat"
  lines = ["10::F::1::10::48067", "9::M::56::16::70072", "11::M::25::1::é"]
  if name == "movielens-100k":
    users, lines = "u.user", ["10|1|F|10|48067", "9|56|M|16|70072", "11|25|M|1|é"]
    (place / "u.data").write_text(_RATINGS.replace("::", "\t"))
    films = "".join(f"{k}|Film|||" + "|0" * 19 + "\n" for k in (1, 3, 20))
    (place / "u.item").write_text(films)
  before = movielens.signature_movielens(name, str(place))
  bare = movielens.read_movielens(name, str(place))
  assert dict(bare.users) == {}
  (place / users).write_text("\n".join(lines), encoding="latin-1")
  assert movielens.signature_movielens(name, str(place)) != before
  data = movielens.read_movielens(name, str(place))
  assert {key: str(column.tolist()) for key, column in sorted(data.users.items())} == {
    "age": "[nan, 1.0]", "gender": "['', 'F']", "occupation": "['', '10']",
    "zip code": "['', '48067']",
  }  # fmt: skip
  assert data.notes == (*bare.notes, f"{users} lacks 1 user of the data set")
  np.testing.assert_array_equal(data.histories.item_T, bare.histories.item_T)
  for line, fault in ((lines[0], "user 10 stands on line 1 already"), ("x", "1 fields instead of "),
                      (lines[0].replace("10", "a"), "the user is not a whole number")):  # fmt: skip
    (place / users).write_text("\n".join([lines[0], line]), encoding="latin-1")
    with pytest.raises(ValueError, match=rf"{users}:2: {fault}"):
      movielens.read_movielens(name, str(place))


@pytest.mark.skipif(not _ML_1M.is_dir(), reason="needs the folder shared/data")
def test_all_users_of_movielens_1m_are_described() -> None:
  users = movielens.read_movielens("movielens-1m", str(_ML_1M)).users
  assert sorted(users) == ["age", "gender", "occupation", "zip code"]
  assert set(users["gender"].tolist()) == {"F", "M"}
  assert (len(users["age"]), np.nanmin(users["age"])) == (6040, 1)


def test_gzip_line_ends_and_a_missing_last_newline_do_not_matter(tmp_path: Path) -> None:
  plain = movielens.read_movielens("movielens-1m", _write(tmp_path / "plain"))
  folder = tmp_path / "other"
  _write(folder, movies=_MOVIES.replace("\n", "\r\n"))
  (folder / "ratings.dat").unlink()
  text = _RATINGS.replace("\n", "\r\n").removesuffix("\r\n")
  (folder / "ratings.dat.gz").write_bytes(gzip.compress(text.encode()))
  other = movielens.read_movielens("movielens-1m", str(folder))
  for expected, found in zip(plain.histories, other.histories, strict=True):
    np.testing.assert_array_equal(expected, found)
  np.testing.assert_array_equal(plain.items.titles_N, other.items.titles_N)


_NOT_WHOLE = "a user, movie or time is not a whole number"


@pytest.mark.parametrize(
  ("line", "fault"),
  [
    (
      "1::3::4",
      "3 fields instead of the 4 (UserID, MovieID, Rating, Timestamp), separated by '::'",
    ),
    ("1::3::4::5::6", "5 fields instead of the 4"),
    ("", "1 fields instead of the 4"),
    ("1,3,4,5", "1 fields instead of the 4"),
    ("1::x::4::5", _NOT_WHOLE),
    ("1::3::4::-5", _NOT_WHOLE),
    ("1::3::4::5.0", _NOT_WHOLE),
    ("1::3::4:::5", _NOT_WHOLE),
    ("1::3::4::", _NOT_WHOLE),
    ("1::3::4::" + "9" * 17, _NOT_WHOLE),
    ("1::3::::5", "the rating '' is none of 1, 2, … 5"),
    ("1::3:::4::5", "the rating ':4' is none of"),
    ("1::3::4.5::5", "the rating '4.5' is none of"),
    ("1::3::4.0::5", "the rating '4.0' is none of"),
    ("1::3::6::5", "the rating '6' is none of"),
    ("1::3::0::5", "the rating '0' is none of"),
    ("1::3::04::5", "the rating '04' is none of"),
    ("1::999::4::5", "movie 999 is not in the file of movies"),
  ],
)
def test_a_malformed_rating_is_named(tmp_path: Path, line: str, fault: str) -> None:
  lines = _RATINGS.splitlines()
  path = _write(tmp_path, "\n".join([*lines[:4], line, *lines[4:]]))
  pattern = f"^{re.escape(f'{tmp_path}/ratings.dat:5: {fault}')}.*{re.escape(f': {line!r}')}$"
  with pytest.raises(ValueError, match=pattern):
    movielens.read_movielens("movielens-1m", path)


def test_blank_lines_at_the_end_do_not_matter_and_the_line_is_named(tmp_path: Path) -> None:
  whole = movielens.read_movielens("movielens-1m", _write(tmp_path))
  parts = movielens.read_movielens("movielens-1m", _write(tmp_path, _RATINGS + "\n\n"))
  np.testing.assert_equal(parts.histories._asdict(), whole.histories._asdict())
  faulty = _RATINGS.replace("10::3::4::2", "10::3::4")
  with pytest.raises(ValueError, match=r"ratings\.dat:7: 3 fields"):
    movielens.read_movielens("movielens-1m", _write(tmp_path, faulty))


@settings(max_examples=300)
@given(
  st.booleans(),
  st.lists(
    st.tuples(
      st.integers(0, len(_RATINGS) - 1),
      st.sampled_from(["", ":", "::", "\n", "7", ".5", ".", "x", " ", "\r", "12345678901"]),
    ),
    max_size=4,
  ),
)
def test_all_lines_at_once_accepts_what_line_by_line_accepts(
  halves: bool, edits: list[tuple[int, str]]
) -> None:
  text = _RATINGS
  for place, inserted in edits:
    text = text[:place] + inserted + text[place + (inserted == "") :]
  data = text.rstrip("\n").encode() + b"\n"
  scale = [f"{k / 2:g}" for k in range(1, 11)] + ["1.0", "2.0", "3.0", "4.0", "5.0"]
  ratings = scale if halves else ["1", "2", "3", "4", "5"]

  def is_sound(fields: list[str]) -> bool:
    return (
      len(fields) == 4
      and all(re.fullmatch("[0-9]{1,16}", fields[field]) for field in (0, 1, 3))
      and fields[2] in ratings
    )

  lines = [line.split("::") for line in data.decode()[:-1].split("\n")]
  form = movielens_ratings.RatingsForm("::", halves=halves)
  ratings_frame = movielens_ratings.parse_text(data, form)
  assert (ratings_frame is not None) == all(map(is_sound, lines))
  if ratings_frame is not None:
    for name, field in (("user", 0), ("item", 1), ("rating", 2), ("time", 3)):
      assert ratings_frame[name].to_list() == [float(line[field]) for line in lines]


@pytest.mark.parametrize(
  ("line", "fault"),
  [
    ("9::Heat (1995)", "2 fields instead of the 3"),
    ("9::Heat::1995::Crime", "4 fields instead of the 3"),
    ("nine::Heat (1995)::Crime", "the movie id 'nine' is not a whole number"),
    ("1::Heat (1995)::Crime", "movie 1 stands on line 2 already"),
  ],
)
def test_a_malformed_movie_is_named(tmp_path: Path, line: str, fault: str) -> None:
  pattern = f"^{re.escape(f'{tmp_path}/movies.dat:5: {fault}')}.*{re.escape(f': {line!r}')}$"
  with pytest.raises(ValueError, match=pattern):
    movielens.read_movielens("movielens-1m", _write(tmp_path, movies=_MOVIES + line + "\n"))


def test_damaged_or_empty_ratings_are_named(tmp_path: Path) -> None:
  for empty in ("", "\n\n"):
    path = _write(tmp_path, ratings=empty)
    with pytest.raises(ValueError, match=r"ratings\.dat holds no rating"):
      movielens.read_movielens("movielens-1m", path)
  (tmp_path / "ratings.dat").unlink()
  for content in (b"no gzip", gzip.compress(_RATINGS.encode())[:-12]):
    (tmp_path / "ratings.dat.gz").write_bytes(content)
    with pytest.raises(ValueError, match=r"ratings\.dat\.gz is not a readable gzip file"):
      movielens.read_movielens("movielens-1m", path)


@pytest.mark.parametrize(
  ("title", "year"), [("A (1999)", 1999), ("B (1980) (2001) ", 2001), ("C (19) x", np.nan)]
)
def test_title_year(title: str, year: float) -> None:
  found = pl.DataFrame({"title": [title]}).select(movielens_movies.title_year())["year"]
  assert found.dtype == pl.Float32
  np.testing.assert_equal(found.fill_null(np.nan).item(), year)


def test_places_are_tried_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
  assert movielens.find_source("movielens-1m")[:2] == ("archive", tmp_path / "cache/ml-1m")

  copy = tmp_path / "home/tensorflow_datasets/movielens/1m-ratings/0.1.1"
  copy.mkdir(parents=True)
  for name in ("dataset_info.json", "features.json", "movie_genres.labels.txt"):
    (copy / name).touch()
  assert movielens.find_source("movielens-1m").kind == "archive"  # as for a copy in tfrecord format
  (copy / "movielens-train.array_record-00000-of-00001").touch()
  assert movielens.find_source("movielens-1m")[:2] == ("tfds", copy)

  monkeypatch.setenv("SIDREC_DATA_DIR", str(tmp_path))
  assert movielens.find_source("movielens-1m").kind == "tfds"  # the folder holds other data
  _write(tmp_path / "ml-1m")
  assert movielens.find_source("movielens-1m")[:2] == ("folder", tmp_path / "ml-1m")

  given = _write(tmp_path / "given")
  assert movielens.find_source("movielens-1m", given)[:2] == ("folder", tmp_path / "given")


def test_a_folder_that_is_named_but_wrong_is_an_error(
  tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
  _write(tmp_path / "data/ml-1m")
  monkeypatch.setenv("SIDREC_DATA_DIR", str(tmp_path / "data"))  # would do, if asked
  with pytest.raises(FileNotFoundError, match=r"nowhere \(the path given\) is not a folder"):
    movielens.read_movielens("movielens-1m", str(tmp_path / "nowhere"))
  (tmp_path / "half").mkdir()
  with pytest.raises(FileNotFoundError, match=r"half \(the path given\) has no ratings\.dat or"):
    movielens.signature_movielens("movielens-1m", str(tmp_path / "half"))
  (tmp_path / "half/ratings.dat").touch()
  with pytest.raises(FileNotFoundError, match=r"half \(the path given\) has no movies\.dat or"):
    movielens.read_movielens("movielens-1m", str(tmp_path / "half"))
  (tmp_path / "data/ml-1m/movies.dat").unlink()
  with pytest.raises(FileNotFoundError, match=r"ml-1m \(SIDREC_DATA_DIR\) has no movies\.dat"):
    movielens.read_movielens("movielens-1m")
  monkeypatch.setenv("SIDREC_DATA_DIR", str(tmp_path / "typo"))
  with pytest.raises(FileNotFoundError, match=r"ml-1m \(SIDREC_DATA_DIR\) is not a folder"):
    movielens.read_movielens("movielens-1m")


def test_one_message_names_all_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
  with pytest.raises(FileNotFoundError) as error:
    movielens.read_movielens("movielens-1m")
  for part in (
    "no path was given",
    "SIDREC_DATA_DIR is not set",
    f"TFDS: {tmp_path}/home/tensorflow_datasets/movielens/1m-ratings/0.1.1 does not exist",
    f"download into {tmp_path}/cache: could not download {_EDITION.url} (4 attempts): no network",
  ):
    assert f"\n  {part}\n" in str(error.value)

  monkeypatch.setenv("SIDREC_DATA_DIR", str(tmp_path))
  monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "tfds"))
  (tmp_path / "tfds/movielens/1m-ratings/0.1.1").mkdir(parents=True)
  with pytest.raises(FileNotFoundError) as error:
    movielens.read_movielens("movielens-1m")
  assert f"SIDREC_DATA_DIR: {tmp_path} has no folder ml-1m\n" in str(error.value)
  assert "0.1.1 has no dataset_info.json, features.json, movie_genres.labels.txt, *.array_rec" in (
    str(error.value)
  )


def _archive(file: Path, **members: str) -> Path:
  with zipfile.ZipFile(file, "w") as archive:
    for name, text in members.items():
      archive.writestr(f"ml-1m/{name.replace('_', '.')}", text.encode("latin-1"))
    archive.writestr("../escaped.txt", "x")
    archive.writestr("ml-1m/README", "x")
  return file


def test_the_archive_is_downloaded_and_unpacked_once(
  tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
  users = "1::F::1::10::48067"
  made = _archive(tmp_path / "a.zip", ratings_dat=_RATINGS, movies_dat=_MOVIES, users_dat=users)
  calls = []

  def fetch(url: str, destination: Path, md5: str, max_bytes: int) -> Path:
    calls.append((url, destination, md5))
    destination.parent.mkdir(parents=True, exist_ok=True)
    return made

  monkeypatch.setattr(movielens, "fetch", fetch)
  data = movielens.read_movielens("movielens-1m")
  again = movielens.read_movielens("movielens-1m")
  assert calls == [(_EDITION.url, tmp_path / "cache/ml-1m.zip", _EDITION.md5)]
  assert data.items.ids_N.tolist() == again.items.ids_N.tolist() == [1, 3, 20]
  written = {str(f.relative_to(tmp_path)) for f in (tmp_path / "cache").rglob("*") if f.is_file()}
  assert written == {f"cache/ml-1m/{name}" for name in ("movies.dat", "ratings.dat", "users.dat")}
  assert not (tmp_path / "escaped.txt").exists()


def test_a_bad_archive_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
  (tmp_path / "cache").mkdir()
  made = tmp_path / "a.zip"
  monkeypatch.setattr(movielens, "fetch", lambda *args: made)
  _archive(made, ratings_dat=_RATINGS, movies_dat=_MOVIES)
  with pytest.raises(FileNotFoundError, match=r"is not the archive ml-1m\.zip.*users\.dat"):
    movielens.read_movielens("movielens-1m")
  made.write_bytes(b"no zip")
  with pytest.raises(FileNotFoundError, match=r"is not the archive ml-1m\.zip"):
    movielens.read_movielens("movielens-1m")
  _archive(made, ratings_dat=_RATINGS, movies_dat=_MOVIES, users_dat="1::F::1::10::48067")
  small = {"movielens-1m": _EDITION._replace(max_megabytes=0)}
  monkeypatch.setattr(movielens, "EDITIONS", small)
  with pytest.raises(FileNotFoundError, match=r"ml-1m/ratings\.dat has \d+ bytes, too many"):
    movielens.read_movielens("movielens-1m")
  assert list((tmp_path / "cache").iterdir()) == []


def test_the_signature_changes_with_the_files(tmp_path: Path) -> None:
  path = _write(tmp_path)
  first = movielens.signature_movielens("movielens-1m", path)
  assert movielens.signature_movielens("movielens-1m", path) == first
  _write(tmp_path, movies=_MOVIES + "8::Late (2003)::War\n")
  second = movielens.signature_movielens("movielens-1m", path)
  (tmp_path / "ratings.dat").rename(tmp_path / "kept.dat")
  (tmp_path / "ratings.dat.gz").write_bytes(gzip.compress(_RATINGS.encode()))
  third = movielens.signature_movielens("movielens-1m", path)
  assert first != second != third != first
  assert movielens.signature_movielens("movielens-1m") == {
    "kind": "archive",
    "url": _EDITION.url,
    "md5": _EDITION.md5,
  }


@pytest.mark.skipif(not _ML_1M.is_dir(), reason="MovieLens-1M is not beside the checkout")
def test_the_real_data() -> None:
  start = time.perf_counter()
  data = movielens.read_movielens("movielens-1m", str(_ML_1M))
  print(f"read MovieLens-1M in {time.perf_counter() - start:.2f} s")
  assert data.histories.num_users == 6040
  assert data.items.num_items == 3706
  assert len(data.histories.item_T) == 1_000_209
  assert data.histories.lengths_U.min() == 20
  assert data.histories.lengths_U.max() == 2314
  assert np.bincount(data.histories.rating_T.astype(int)).tolist() == [
    0, 56174, 107557, 261197, 348971, 226310
  ]  # fmt: skip
  assert "177 of 3,883 items have no interaction left and are not in the catalogue" in data.notes
  assert data.items.titles_N[0] == "Toy Story (1995)"
  assert not np.isnan(data.items.numeric["year"]).any()
  assert len(data.items.categories_C) == 18

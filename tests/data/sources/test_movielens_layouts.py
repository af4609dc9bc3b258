"""The MovieLens editions besides 1M: what their files say."""

import gzip
import re
import zipfile
from pathlib import Path

import numpy as np
import pytest

from sidrec.data.sources import movielens

_ML_100K = Path(__file__).resolve().parents[3] / "../shared/data/ml-100k"
_CSV_EDITIONS = ("movielens-20m", "movielens-25m", "movielens-32m")
_FILMS = {7: ('Zoë, "la" misérable (2001)', "Drama|War"), 30: ("八月 (1988)", ""), 4: ("No", "War")}
_LOG = [
  *((1, 30, "5", 9), (1, 4, "3.5", 8), (1, 7, "0.5", 8)),
  *((2, 7, "4", 1), (2, 4, "1", 2), (2, 30, "3", 3)),
]


@pytest.fixture(autouse=True)
def _nothing_around(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
  """No test sees this machine's data, and none reaches the internet."""

  def no_network(url: str, *args: object) -> Path:
    raise ConnectionError(f"could not download {url}: no network")

  monkeypatch.delenv("SIDREC_DATA_DIR", raising=False)
  monkeypatch.setenv("SIDREC_CACHE_DIR", str(tmp_path / "cache"))
  monkeypatch.setattr(movielens, "fetch", no_network)


def _flags(*numbers: int) -> str:
  return "|".join("1" if number in numbers else "0" for number in range(19))


def _write(folder: Path, name: str) -> str:
  """The same films and ratings in the layout of an edition."""
  folder.mkdir(parents=True, exist_ok=True)
  whole = [(user, film, rating.partition(".")[0] or "1", time) for user, film, rating, time in _LOG]
  if name == "movielens-100k":
    rows = [f"{u}\t{f}\t{'1' if r == '0' else r}\t{t}\n" for u, f, r, t in whole]
    (folder / "u.data").write_text("".join(rows))
    films = [
      f"7|Zoë (2001)|01-Jan-2001||http://x|{_flags(8, 17)}\n",
      f"30|Plain (1988)||||{_flags(0)}\n",
      f"4|No||||{_flags(17)}\n",
    ]
    (folder / "u.item").write_text("".join(films), encoding="latin-1")
  elif name == "movielens-10m":
    rows = [f"{u}::{f}::{r}::{t}\n" for u, f, r, t in _LOG]
    (folder / "ratings.dat").write_text("".join(rows))
    films = [
      f"{f}::{title}::{genres or '(no genres listed)'}\n" for f, (title, genres) in _FILMS.items()
    ]
    (folder / "movies.dat").write_text("".join(films), encoding="utf-8")
  else:
    rows = [f"{u},{f},{float(r)},{t}\n" for u, f, r, t in _LOG]
    (folder / "ratings.csv").write_text("userId,movieId,rating,timestamp\n" + "".join(rows))
    quoted = {f: title.replace('"', '""') for f, (title, _) in _FILMS.items()}
    films = [
      f'{f},"{quoted[f]}",{genres or "(no genres listed)"}\n' for f, (_, genres) in _FILMS.items()
    ]
    (folder / "movies.csv").write_text("movieId,title,genres\n" + "".join(films), encoding="utf-8")
    (folder / "links.csv").write_text("movieId,imdbId,tmdbId\n7,1,2\n")
  return str(folder)


@pytest.mark.parametrize("name", ["movielens-10m", *_CSV_EDITIONS])
def test_half_stars_titles_and_genres(tmp_path: Path, name: str) -> None:
  data = movielens.read_movielens(name, _write(tmp_path, name))
  assert data.name == name
  assert data.items.ids_N.tolist() == [4, 7, 30]
  assert data.items.titles_N.tolist() == ["No", _FILMS[7][0], _FILMS[30][0]]
  assert [data.items.categories_of(row) for row in range(3)] == [["War"], ["Drama", "War"], []]
  np.testing.assert_array_equal(data.items.numeric["year"], [np.nan, 2001, 1988])
  assert data.items.text_N.tolist() == ["", "", ""]
  assert data.histories.item_T.tolist() == [0, 1, 2, 1, 0, 2]
  assert data.histories.rating_T.tolist() == [3.5, 0.5, 5, 4, 1, 3]
  assert data.histories.time_T.tolist() == [8, 8, 9, 1, 2, 3]


def test_flags_and_tabs_of_100k(tmp_path: Path) -> None:
  data = movielens.read_movielens("movielens-100k", _write(tmp_path, "movielens-100k"))
  assert data.items.ids_N.tolist() == [4, 7, 30]
  assert data.items.titles_N.tolist() == ["No", "Zoë (2001)", "Plain (1988)"]
  # The flag 'unknown' is no genre.
  assert [data.items.categories_of(row) for row in range(3)] == [["War"], ["Drama", "War"], []]
  assert data.histories.item_T.tolist() == [0, 1, 2, 1, 0, 2]
  assert data.histories.rating_T.tolist() == [3, 1, 5, 4, 1, 3]


@pytest.mark.parametrize("name", list(movielens.EDITIONS))
def test_compressed_files_say_the_same(tmp_path: Path, name: str) -> None:
  layout = "movielens-10m" if name == "movielens-1m" else name
  path = _write(tmp_path, layout)
  if name == "movielens-1m":  # has no half stars, and another encoding
    for file in ("ratings.dat", "movies.dat"):
      text = (tmp_path / file).read_text(encoding="utf-8")
      text = text.replace("0.5", "1").replace("3.5", "3").replace("八月", "Août")
      (tmp_path / file).write_text(text, encoding="latin-1")
  plain = movielens.read_movielens(name, path)
  for file in list(tmp_path.iterdir()):
    (tmp_path / f"{file.name}.gz").write_bytes(gzip.compress(file.read_bytes()))
    file.unlink()
  packed = movielens.read_movielens(name, path)
  for part in ("histories", "items"):
    np.testing.assert_equal(getattr(packed, part)._asdict(), getattr(plain, part)._asdict())
  files = movielens.signature_movielens(name, path)["files"]
  assert [Path(file).name for file, *_ in files] == [
    f"{n}.gz" for n in movielens.EDITIONS[name][3:5]
  ]


@pytest.mark.parametrize("name", ["movielens-10m", "movielens-25m"])
def test_tags_become_text(tmp_path: Path, name: str) -> None:
  path = _write(tmp_path, name)
  before = movielens.signature_movielens(name, path)
  tags = [(1, 7, "Dark Comedy"), (1, 7, "war, what else"), (2, 7, "COMEDY")]
  tags += [(3, 4, "x" * 33), (3, 99, "y")]
  if name == "movielens-10m":
    rows = [f"{u}::{f}::{tag}::5\n" for u, f, tag in [*tags, (4, 30, "a::b")]]
    (tmp_path / "tags.dat").write_text("".join(rows))
  else:
    rows = [f'{u},{f},"{tag}",5\n' for u, f, tag in tags] + ["4,30,a::b,6\n"]
    (tmp_path / "tags.csv").write_text("userId,movieId,tag,timestamp\n" + "".join(rows))
  data = movielens.read_movielens(name, path)
  # The most frequent first, others as they come; a word of 33 letters is none.
  assert data.items.text_N.tolist() == ["", "comedy dark war, what else", "a::b"]
  assert data.notes[0].startswith("the movies' text is the words of tags.")
  assert movielens.signature_movielens(name, path) != before


def test_text_is_twenty_words_at_most(tmp_path: Path) -> None:
  path = _write(tmp_path, "movielens-32m")
  rows = [f"1,7,w{k},5\n" for k in range(30)] + ["2,7,w29,5\n"]
  (tmp_path / "tags.csv").write_text("userId,movieId,tag,timestamp\n" + "".join(rows))
  text = movielens.read_movielens("movielens-32m", path).items.text_N[1]
  assert text.split() == ["w29", *(f"w{k}" for k in range(19))]


@pytest.mark.parametrize(
  ("file", "old", "new", "fault"),
  [
    (
      "ratings.csv",
      "rating,timestamp",
      "rating,time",
      ":1: the header is 'userId,movieId,rating,ti",
    ),
    ("ratings.csv", "1,4,3.5,8", "1,4,3.25,8", ":3: the rating '3.25' is none of 0.5, 1, … 5"),
    ("ratings.csv", "1,4,3.5,8", "1,4,5.5,8", ":3: the rating '5.5' is none of"),
    ("ratings.csv", "1,4,3.5,8", "1,4,0.0,8", ":3: the rating '0.0' is none of"),
    ("ratings.csv", "1,4,3.5,8", "1,4.5,3.5,8", ":3: a user, movie or time is not a whole number"),
    ("ratings.csv", "1,4,3.5,8", "1,5,3.5,8", ":3: movie 5 is not in the file of movies"),
    ("ratings.csv", "1,4,3.5,8", "1,4,3.5", ":3: 3 fields instead of the 4"),
    (
      "movies.csv",
      "title,genres",
      "title,kinds",
      ":1: the header is 'movieId,title,kinds', not 'movieId,",
    ),
    ("movies.csv", "4,", "7,", ":4: movie 7 stands on line 2 already"),
    ("movies.csv", ",War", "", ":4: 2 fields instead of the 3 of movieId,title,genres"),
    ("tags.csv", "7,tag", "x,tag", ":2: expected userId, movieId, tag, timestamp with a whole num"),
    ("tags.csv", "7,tag", "7,tag,more", ":2: expected userId, movieId, tag, timestamp with a who"),
  ],
)
def test_a_malformed_csv_line_is_named(
  tmp_path: Path, file: str, old: str, new: str, fault: str
) -> None:
  path = _write(tmp_path, "movielens-20m")
  (tmp_path / "tags.csv").write_text("userId,movieId,tag,timestamp\n1,7,tag,5\n")
  text = (tmp_path / file).read_text(encoding="utf-8")
  head, found, tail = text.rpartition(old)
  assert found
  (tmp_path / file).write_text(head + new + tail, encoding="utf-8")
  with pytest.raises(ValueError, match=re.escape(file + fault)):
    movielens.read_movielens("movielens-20m", path)


@pytest.mark.parametrize(
  ("line", "fault"),
  [
    ("7|Zoë (2001)|", "3 fields instead of the 24 of movie id|title|"),
    (f"x|T||||{_flags()}", "the movie id 'x' is not a whole number"),
    (f"9|T||||{_flags()}".replace("|0|", "|2|", 1), "a genre flag is neither 0 nor 1"),
  ],
)
def test_a_malformed_line_of_u_item_is_named(tmp_path: Path, line: str, fault: str) -> None:
  path = _write(tmp_path, "movielens-100k")
  with (tmp_path / "u.item").open("a", encoding="latin-1") as file:
    file.write(line + "\n")
  with pytest.raises(ValueError, match=re.escape(f"u.item:4: {fault}")):
    movielens.read_movielens("movielens-100k", path)


def test_only_a_header_wrong_text_and_empty_files(tmp_path: Path) -> None:
  path = _write(tmp_path, "movielens-20m")
  good = (tmp_path / "movies.csv").read_bytes()
  (tmp_path / "movies.csv").write_bytes(good.replace("ë".encode(), b"\xeb"))
  with pytest.raises(ValueError, match=r"movies\.csv:2: the text is not utf-8"):
    movielens.read_movielens("movielens-20m", path)
  (tmp_path / "movies.csv").write_text("movieId,title,genres\n")
  with pytest.raises(ValueError, match=r"movies\.csv describes no movie"):
    movielens.read_movielens("movielens-20m", path)
  (tmp_path / "movies.csv").write_bytes(good)
  for text in ("userId,movieId,rating,timestamp\n", ""):
    (tmp_path / "ratings.csv").write_text(text)
    with pytest.raises(ValueError, match=r"ratings\.csv holds no rating"):
      movielens.read_movielens("movielens-20m", path)


def test_a_byte_order_mark_is_no_part_of_a_header(tmp_path: Path) -> None:
  path = _write(tmp_path, "movielens-20m")
  for file in ("ratings.csv", "movies.csv"):
    (tmp_path / file).write_bytes(b"\xef\xbb\xbf" + (tmp_path / file).read_bytes())
  assert movielens.read_movielens("movielens-20m", path).items.num_items == 3


def test_duplicates_are_dropped_and_counted(tmp_path: Path) -> None:
  path = _write(tmp_path, "movielens-20m")
  with (tmp_path / "ratings.csv").open("a") as file:
    file.write("1,30,5.0,9\n1,30,5.0,10\n")  # the second is a rating of its own
  data = movielens.read_movielens("movielens-20m", path)
  assert data.histories.lengths_U.tolist() == [4, 3]
  assert data.notes[0].startswith("dropped 1 interaction that repeats another")


@pytest.mark.parametrize("name", ["movielens-100k", "movielens-10m", *_CSV_EDITIONS])
def test_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
  edition = movielens.EDITIONS[name]
  with pytest.raises(FileNotFoundError) as error:
    movielens.read_movielens(name)
  assert f"{name} was not found in any of the 3 places:" in str(error.value)
  assert f"could not download {edition.url}" in str(error.value)
  assert "TFDS" not in str(error.value)
  assert movielens.signature_movielens(name) == {
    "kind": "archive",
    "url": edition.url,
    "md5": edition.md5,
  }

  _write(tmp_path / "data" / edition.folder, name)
  monkeypatch.setenv("SIDREC_DATA_DIR", str(tmp_path / "data"))
  assert movielens.read_movielens(name).histories.num_users == 2
  (tmp_path / "data" / edition.folder / edition.movies).unlink()
  with pytest.raises(FileNotFoundError, match=rf"has no {edition.movies} or {edition.movies}\.gz"):
    movielens.read_movielens(name)


@pytest.mark.parametrize("name", ["movielens-10m", "movielens-25m"])
def test_the_archive_is_unpacked(
  tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
  edition = movielens.EDITIONS[name]
  _write(tmp_path / "files", name)
  if name == "movielens-10m":
    (tmp_path / "files/tags.dat").write_text("1::7::dark::5\n")
  else:
    (tmp_path / "files/tags.csv").write_text("userId,movieId,tag,timestamp\n1,7,dark,5\n")
  (tmp_path / "cache").mkdir()
  with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
    for file in (tmp_path / "files").iterdir():
      archive.write(file, f"{edition.members}/{file.name}")
    archive.writestr(f"{edition.members}/README.html", "x")
  monkeypatch.setattr(movielens, "fetch", lambda *args: tmp_path / "a.zip")
  assert movielens.read_movielens(name).items.text_N.tolist() == ["", "dark", ""]
  unpacked = {file.name for file in (tmp_path / "cache" / edition.folder).iterdir()}
  assert unpacked == {file.name for file in (tmp_path / "files").iterdir()}


def test_every_checksum_is_one() -> None:
  checksums = [edition.md5 for edition in movielens.EDITIONS.values()]
  assert len(set(checksums)) == len(checksums)
  assert all(re.fullmatch("[0-9a-f]{32}", checksum) for checksum in checksums)


@pytest.mark.skipif(not _ML_100K.is_dir(), reason="MovieLens-100K is not beside the checkout")
def test_the_real_100k() -> None:
  data = movielens.read_movielens("movielens-100k", str(_ML_100K))
  assert (data.histories.num_users, data.items.num_items) == (943, 1682)
  assert np.bincount(data.histories.rating_T.astype(int)).tolist() == [
    0, 6110, 11370, 27145, 34174, 21201
  ]  # fmt: skip
  assert len(data.items.categories_C) == 18
  assert data.items.categories_of(0) == ["Animation", "Children's", "Comedy"]

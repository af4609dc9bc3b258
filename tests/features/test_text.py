import sys

import numpy as np
import pytest

from sidrec.data.sources.build import item_table
from sidrec.features import text
from sidrec.features.settings import TextConfig
from sidrec.features.text import item_texts

TEMPLATE = "{title}. Genres: {categories}. {text}"


def make_items():
  return item_table(
    ["a", "b", "c", "d"],
    ["Heat", "Alien", "", ""],
    [["Action", "Crime"], [], ["Drama"], []],
    {"year": [1995, np.nan, 2001, np.nan], "price": [2.5, 3, np.nan, np.nan]},
    ["A heist.", "In space.", "", ""],
  )


def text_vectors(items, model, template, cache, encode=None):
  return text.text_vectors(items, TextConfig(model=model, template=template), cache, encode)


def lengths(texts):
  """An encoder of which results are easy to tell."""
  return np.array([[len(text), text.count("e")] for text in texts], np.float64)


class Counting:
  """The same, counting what it is asked for."""

  def __init__(self):
    self.calls = []

  def __call__(self, texts):
    self.calls.append(texts)
    return lengths(texts)


@pytest.mark.parametrize(
  ("template", "texts"),
  [
    ("{title}", ["Heat", "Alien", "", ""]),
    (TEMPLATE, ["Heat. Genres: Action, Crime. A heist.", "Alien. In space.", "Genres: Drama.", ""]),
    ("{title} ({year}).", ["Heat (1995).", "Alien.", "(2001).", ""]),
    ("{title} costs {price}", ["Heat costs 2.5", "Alien costs 3", "", ""]),
    (
      "Title: {title}, Year: {year}",
      ["Title: Heat, Year: 1995", "Title: Alien", "Year: 2001", ""],
    ),
    ("A film.\n{title} | {year}", ["A film. Heat | 1995", "A film. Alien", "A film. 2001", ""]),
    ("{{{id}}}", ["{a}", "{b}", "{c}", "{d}"]),
  ],
)
def test_templates(template, texts):
  assert item_texts(make_items(), template) == texts


def test_values_are_not_changed():
  items = item_table([1, 2], ["What () . is, {this}?", "Heat;"], [(), ()], {})
  assert item_texts(items, "{title}") == ["What () . is, {this}?", "Heat;"]


@pytest.mark.parametrize(
  ("template", "message"),
  [
    (
      "{brand}: {title}",
      r"unknown field {brand}; fields are {title}, {text}, {categories}, {id}, ",
    ),
    ("{brand}", r"{id}, {price}, {year}$"),
    ("{}", "unknown field {}"),
    ("{title.upper}", "unknown field {title.upper}"),
    ("Title", "has no field"),
    ("", "has no field"),
    ("{title", "malformed"),
    ("{year:>10}", "plain fields only"),
    ("{title!r}", "plain fields only"),
  ],
)
def test_bad_templates_are_named(template, message):
  with pytest.raises(ValueError, match=message):
    item_texts(make_items(), template)


def test_vectors_are_those_of_the_texts(tmp_path):
  vectors_NxF = text_vectors(make_items(), "model", TEMPLATE, tmp_path, lengths)
  assert vectors_NxF.dtype == np.float32
  np.testing.assert_array_equal(vectors_NxF, lengths(item_texts(make_items(), TEMPLATE)))


def test_texts_are_encoded_once_and_never_again(tmp_path):
  encode = Counting()
  first = text_vectors(make_items(), "model", "{title}", tmp_path / "new", encode)
  assert encode.calls == [["Heat", "Alien", ""]]
  second = text_vectors(make_items(), "model", "{title}", tmp_path / "new", encode)
  np.testing.assert_array_equal(first, second)
  assert len(encode.calls) == 1
  assert [path.suffix for path in (tmp_path / "new").iterdir()] == [".npy"]


def test_another_model_template_or_catalogue_is_encoded_anew(tmp_path):
  encode = Counting()
  items = make_items()
  for model, template, catalogue in [
    ("model", "{title}", items),
    ("other", "{title}", items),
    ("model", "{title} {year}", items),
    ("model", "{title}", items._replace(titles_N=np.array(["Heat", "Aliens", "", ""]))),
  ]:
    vectors_NxF = text_vectors(catalogue, model, template, tmp_path, encode)
    np.testing.assert_array_equal(vectors_NxF, lengths(item_texts(catalogue, template)))
  assert len(encode.calls) == 4


def test_a_changed_model_folder_is_noticed(tmp_path):
  encode, folder = Counting(), tmp_path / "model"
  folder.mkdir()
  (folder / "weights").write_bytes(b"1")
  text_vectors(make_items(), str(folder), "{title}", tmp_path / "cache", encode)
  text_vectors(make_items(), str(folder), "{title}", tmp_path / "cache", encode)
  assert len(encode.calls) == 1
  (folder / "weights").write_bytes(b"12")
  text_vectors(make_items(), str(folder), "{title}", tmp_path / "cache", encode)
  assert len(encode.calls) == 2


@pytest.mark.parametrize(
  ("encode", "message"),
  [
    (lambda texts: np.zeros(len(texts)), r"gave shape \(3,\) for 3 texts"),
    (lambda texts: np.zeros((1, 4)), r"gave shape \(1, 4\) for 3 texts"),
    (lambda texts: np.log(lengths(texts)), "NaN or infinity for ''"),
  ],
)
@pytest.mark.filterwarnings("ignore:divide by zero")
def test_a_bad_encoder_is_named_and_leaves_no_cache(tmp_path, encode, message):
  with pytest.raises(ValueError, match=message):
    text_vectors(make_items(), "model", "{title}", tmp_path, encode)
  assert not list(tmp_path.iterdir())


def test_without_sentence_transformers_the_error_names_the_command_to_install_it(
  tmp_path, monkeypatch
):
  monkeypatch.setitem(sys.modules, "sentence_transformers", None)
  with pytest.raises(ImportError, match=r"pip install 'sidrec\[text\]'"):
    text_vectors(make_items(), "model", "{title}", tmp_path)

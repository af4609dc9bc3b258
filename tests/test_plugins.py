"""Plugins: files and installed packages that register, and the settings of what they register."""

import dataclasses
import importlib.metadata
import textwrap

import jax
import numpy as np
import pytest

from sidrec.config import default_config
from sidrec.flags import named_plugins
from sidrec.plugins import load_plugins
from sidrec.run.settings import run_config
from sidrec.run.tokenize import TOKENIZE
from sidrec.tokenizers import registry
from sidrec.tokenizers.registry import make_tokenizer

# Codes by the sign of single columns; as in docs/plug_in.md.
SIGNS = """
import dataclasses

import numpy as np

import sidrec
from sidrec.tokenizers.base import Tokenizer


@dataclasses.dataclass(frozen=True)
class Settings:
  first: int = 0  # the first column that counts


def make(config, train, settings):
  def fit(key, vectors):
    return {"middle": np.median(vectors, axis=0)}

  def encode(params, vectors):
    stop = settings.first + config.num_levels
    return (np.asarray(vectors) > params["middle"])[:, settings.first : stop].astype(np.int32)

  return Tokenizer("NAME", config.num_levels, config.codebook_size, fit, encode)


sidrec.register_tokenizer("NAME", make, Settings())
"""


@pytest.fixture
def write(tmp_path):
  """Writes a plugin."""
  names = [set(registry.TOKENIZERS), set(registry.SETTINGS)]

  def plugin(text, name="plugin.py"):
    (tmp_path / name).write_text(textwrap.dedent(text))
    return str(tmp_path / name)

  yield plugin
  for known, table in zip(names, (registry.TOKENIZERS, registry.SETTINGS), strict=True):
    for name in set(table) - known:
      del table[name]


def test_a_file_registers_a_tokenizer_with_settings_of_its_own(write):
  load_plugins([file := write(SIGNS.replace("NAME", "signs"))])
  load_plugins([file])  # again changes nothing
  config = default_config()
  config.tokenizer.name = "signs"
  config.tokenizer.plugins.signs.first = 1
  with pytest.raises(AttributeError, match='Did you mean "first"'):
    _ = config.tokenizer.plugins.signs.fist
  tokenizer = make_tokenizer(run_config(config).tokenizer, None)
  vectors = np.array([[9, 1, 0, 5], [9, 2, 7, 5], [9, 3, 8, 6]], np.float32)
  params = tokenizer.fit(jax.random.key(0), vectors)
  np.testing.assert_array_equal(tokenizer.encode(params, vectors), [[0, 0], [0, 0], [1, 1]])


def test_its_settings_and_code_decide_a_run_and_those_of_others_do_not(write):
  load_plugins(
    [write(SIGNS.replace("NAME", "mine")), write(SIGNS.replace("NAME", "other"), "b.py")]
  )
  config = default_config()
  config.tokenizer.name = "mine"

  def settings(**changed):
    for path, value in changed.items():
      config.tokenizer.plugins[path].first = value
    return TOKENIZE.settings(run_config(config))

  before = settings()
  assert before["tokenizer"]["plugins"] == {"mine": {"first": 0}}
  assert len(before["code of tokenizer and features"]) == 1
  assert settings(other=3) == before
  assert settings(mine=3) != before


def test_a_run_without_plugins_has_no_settings_of_any():
  assert "plugins" not in TOKENIZE.settings(run_config(default_config()))["tokenizer"]


def test_a_run_of_a_tokenizer_that_is_not_loaded_says_so():
  config = default_config()
  config.tokenizer.name = "gone"
  with pytest.raises(ValueError, match=r"'gone'.*or load the plugin that registers it \(--plugin="):
    TOKENIZE.settings(run_config(config))


def test_settings_are_a_dataclass_and_known(write):
  with pytest.raises(TypeError, match="no instance of a dataclass"):
    registry.register_tokenizer("signs", lambda config, train: None, {"first": 0})
  assert "signs" not in registry.TOKENIZERS
  load_plugins([write(SIGNS.replace("NAME", "signs"))])
  config = run_config(default_config()).tokenizer
  config = dataclasses.replace(config, name="signs", plugins={"signs": {"fist": 1}})
  with pytest.raises(ValueError, match="'fist'"):
    make_tokenizer(config, None)


@pytest.mark.parametrize(
  ("text", "sentence"),
  [
    ("x = 1", "registers nothing"),
    ("\nfoo(1)", r"fails: NameError: name 'foo' is not defined \(plugin.py, line 2\)"),
    ("import sidrec\nsidrec.register_tokenizer('rqvae', None)", "there is a tokenizer 'rqvae'"),
    ("def f(:", "fails: SyntaxError"),
  ],
)
def test_a_plugin_that_does_not_work_is_one_sentence(write, text, sentence):
  file = write(text)
  for _ in range(2):  # a second try finds the same
    with pytest.raises(ValueError, match=sentence):
      load_plugins([file])


def test_a_missing_file_is_named():
  with pytest.raises(FileNotFoundError, match=r"there is no plugin gone\.py"):
    load_plugins(["gone.py"])


def test_installed_plugins_are_loaded(write, monkeypatch):
  class Point:
    name = "mine"

    def __init__(self, act):
      self.load = act

  points = [Point(lambda: registry.register_tokenizer("installed", lambda config, train: None))]
  monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: points)
  load_plugins()
  assert "installed" in registry.TOKENIZERS
  points[:] = [Point(lambda: 1 / 0)]
  with pytest.raises(ValueError, match="the installed plugin 'mine' fails: ZeroDivisionError"):
    load_plugins()


def test_flags_are_found_before_the_config_is_read():
  arguments = ["sidrec", "--plugin=a.py", "--plugin", "b.py", "--config=c.py"]
  assert named_plugins(arguments) == ["a.py", "b.py"]

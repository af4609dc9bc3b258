import importlib
import os
import sys

from sidrec.core.python_file import module_of


def test_a_file_of_the_same_size_and_second_is_read_anew(tmp_path, monkeypatch):
  monkeypatch.setattr(sys, "dont_write_bytecode", False)
  path = tmp_path / "mine.py"
  found = []
  for text in ("X = 1", "X = 2"):
    path.write_text(text)
    os.utime(path, (1e9, 1e9))
    module, execute = module_of("mine", path)
    execute()
    found.append(module.X)
    # What Python itself would keep and take for the next text.
    monkeypatch.syspath_prepend(str(tmp_path))
    importlib.import_module("mine")
    del sys.modules["mine"]
  assert found == [1, 2]
  assert module.__file__ == str(path)

"""What sidrec needs of JAX's private modules is in this JAX, and one file alone asks for it."""

import inspect
import re
import sys
import types
from pathlib import Path

import jax
import pytest

from sidrec.parallel import coordination

ROOT = Path(__file__).parents[2]


def test_the_names_are_in_this_jax():
  """Two real processes use them in test_hosts.py; this says which name a new JAX lacks."""
  from jax._src import distributed
  from jax._src.lib import _jax

  assert distributed.global_state.client is None  # of a process that has joined no others
  assert coordination.process_id() == distributed.global_state.process_id == 0
  client = _jax.DistributedRuntimeClient
  used = re.findall(r"\.client\.(\w+)\(", inspect.getsource(coordination))
  assert len(used) == 3
  assert [name for name in used if not hasattr(client, name)] == []
  assert not jax.distributed.is_initialized()


def test_a_jax_without_them_is_refused_in_a_sentence(monkeypatch):
  for module in (types.ModuleType("empty"), None):  # without the name; without the module
    monkeypatch.setitem(sys.modules, "jax._src.distributed", module)
    with pytest.raises(ImportError, match=r"jax \d.* keeps elsewhere; install jax 0.10 to 0.12"):
      coordination.check()


def test_no_other_file_uses_private_modules():
  private = re.compile(r"^\s*(from|import)\s+jax\._src|jax\._src\.\w+\.", re.MULTILINE)
  here = Path(__file__).resolve()
  found = [
    str(file.relative_to(ROOT))
    for folder in ("sidrec", "tests", "configs", "launch")
    for file in (ROOT / folder).rglob("*.py")
    if file.resolve() != here and private.search(file.read_text(encoding="utf-8"))
  ]
  assert found == ["sidrec/parallel/coordination.py"]

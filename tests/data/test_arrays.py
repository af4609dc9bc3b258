"""Arrays in files of others are checked before memory is asked for."""

import io
import zipfile

import numpy as np
import pytest

from sidrec.data.arrays import load_npz


def _member(shape: tuple, data: bytes = b"") -> bytes:
  buffer = io.BytesIO()
  header = {"descr": "<f4", "fortran_order": False, "shape": shape}
  np.lib.format.write_array_header_1_0(buffer, header)
  return buffer.getvalue() + data


def test_only_what_is_asked_for_is_read(tmp_path):
  np.savez(tmp_path / "a.npz", a=np.arange(3), b=np.zeros((2, 2)), c=np.array([{}], object))
  names, arrays = load_npz(tmp_path / "a.npz", ["a", "x"])
  assert names == ["a", "b", "c"]
  np.testing.assert_equal(arrays, {"a": np.arange(3)})
  with pytest.raises(ValueError, match=r"a\.npz is no readable .npz file of plain arrays: Object"):
    load_npz(tmp_path / "a.npz", ["c"])
  with pytest.raises(FileNotFoundError):
    load_npz(tmp_path / "b.npz", ["a"])


@pytest.mark.parametrize("shape", [(2**42, 384), (2**63, 2**63), (-1, 2), (3,)])
def test_headers_that_announce_other_sizes_are_refused(tmp_path, shape):
  with zipfile.ZipFile(tmp_path / "a.npz", "w") as file:
    file.writestr("a.npy", _member(shape, b"\0" * 8))
  with pytest.raises(ValueError, match=r"a\.npz is no readable .npz"):
    load_npz(tmp_path / "a.npz", ["a"])


def test_what_unpacks_to_too_much_is_refused(tmp_path):
  np.savez_compressed(tmp_path / "a.npz", a=np.zeros(5 << 20, np.float32))
  with pytest.raises(ValueError, match=r"a\.npy unpacks to more than 200 times its size"):
    load_npz(tmp_path / "a.npz", ["a"])

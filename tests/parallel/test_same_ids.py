"""Item vectors and semantic IDs are the same on any number of processes and devices."""

import pytest
from processes import environment, free_address, together

SHORT = (
  "--config.features.item2vec.steps=20",
  "--config.features.sasrec.steps=20",
  "--config.tokenizer.rqvae.steps=40",
)
LEARNT = ("--config.features.item2vec.weight=0.5", "--config.features.sasrec.weight=0.5")


def tokenize(folder, *flags, processes=1, devices=1):
  """The files that `--mode=tokenize` of the demo makes."""
  command = ["-m", "sidrec.main", "--config=configs/demo.py", "--mode=tokenize", *SHORT, *flags]
  commands = [[*command, f"--workdir={folder}"]]
  if processes > 1:
    cluster = [f"--coordinator={free_address()}", f"--num_processes={processes}"]
    commands = [[*commands[0], *cluster, f"--process_id={at}"] for at in range(processes)]
  for ended in together(commands, environment(devices)):
    assert ended.status == 0, ended.stderr
  return [(folder / name).read_bytes() for name in ("vectors.npy", "semantic_ids.json")]


@pytest.mark.slow  # test_two_processes compares one case
def test_ids_depend_on_no_number_of_processes(tmp_path):
  one = tokenize(tmp_path / "one", *LEARNT)
  for processes, devices in [(1, 2), (2, 1), (4, 2)]:
    folder = tmp_path / f"{processes} processes, {devices} devices"
    assert tokenize(folder, *LEARNT, processes=processes, devices=devices) == one


@pytest.mark.slow
def test_ids_depend_on_no_number_of_devices(tmp_path):
  """Each virtual device has a thread of its own; learnt vectors depend on how many there are."""
  one = tokenize(tmp_path / "one")
  for devices in (4, 8):
    assert tokenize(tmp_path / f"{devices}", devices=devices) == one

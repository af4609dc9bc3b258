"""The first stage of a run, with the log in a bucket."""

import dataclasses

import buckets
import pytest

from sidrec.core.paths import as_path
from sidrec.data.settings import DataConfig, TableConfig
from sidrec.run.prepare import load_prepared
from sidrec.run.settings import RunConfig
from sidrec.run.stages import run_to

CSV = "user_id,item_id,timestamp\n" + "".join(
  f"{user},{item},{user + item}\n" for user in range(9) for item in range(user, user + 5)
)
ITEMS = "item_id,title\n" + "".join(f"{item},Film {item}\n" for item in range(13))


def config_of(path, items=""):
  data = DataConfig(source="table", path=path, table=TableConfig(items_path=items))
  return dataclasses.replace(RunConfig(), data=data)


@pytest.fixture(scope="module")
def bucket():
  with buckets.google() as root:
    yield root


def test_a_log_in_a_bucket_is_read_again_only_if_it_changed(bucket, tmp_path, capsys):
  log, items = as_path(f"{bucket}/shop/log.csv"), tmp_path / "items.csv"
  log.write_bytes(CSV.encode())
  items.write_text(ITEMS)
  config = config_of(f"{bucket}/shop/log.csv", str(items))

  def prepared():
    data = load_prepared(run_to("prepare", config, tmp_path / "run"))
    return data, capsys.readouterr().out

  data, said = prepared()
  assert data.histories.num_users == 9
  assert data.items.titles_N[1] == "Film 1"
  assert "9 users, 13 items, 45 interactions" in said
  data, said = prepared()
  assert said == "prepare: unchanged, kept\n"
  log.write_bytes(log.read_bytes())  # the same content at another time
  assert prepared()[1] == "prepare: unchanged, kept\n"
  log.write_bytes(CSV.replace("8,12,20", "8,11,20").encode())  # of the same size
  data, said = prepared()
  assert "prepare: done again, because" in said
  assert "log.csv has other content" in said
  assert data.items.num_items == 12
  log.unlink()
  with pytest.raises(FileNotFoundError, match=f"there is no file {bucket}/shop/log.csv"):
    prepared()


def test_the_run_may_lie_there_too(bucket):
  as_path(f"{bucket}/other/log.csv").write_bytes(CSV.encode())
  chain = run_to("prepare", config_of(f"{bucket}/other/log.csv"), f"{bucket}/run")
  assert load_prepared(chain).histories.num_users == 9

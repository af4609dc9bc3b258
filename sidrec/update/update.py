"""Mode 'update': a finished run takes in a log that has grown, without a training from zero.

What is in the folder afterwards. The grown log, its catalogue and the updated parameters are new
outputs of the stages 'prepare', 'tokenize' and 'train', next to those before; they count from one
moment on, when the record of the last of them says so. All that loads a run finds them as it finds
any other.

What their records say. 'prepare' is what the stage itself makes of this log. 'tokenize' and 'train'
are not: from zero, the stages would fit another tokenizer and train other parameters. So their
records name the output that they are an update of, and how many updates lie between it and a
training from zero. `--mode=status` says so, and so does every mode that runs stages and keeps these
outputs. They are kept while settings and log stay as they are, for it is they who answer; but no
plain `--mode=train` takes them for its own without saying so. `--redo=train` trains from zero, on
the same IDs; `--redo=tokenize` makes IDs and parameters from zero. When the log has grown once
more, a plain `--mode=all` makes everything from zero, and `--mode=update` goes on from what
answers, whichever of both made it.
"""

import json
import time
import warnings
from collections.abc import Mapping
from typing import Any, NamedTuple

from etils import epath
from ml_collections import ConfigDict

from sidrec.core.atomic import PathLike, write_whole_text
from sidrec.core.paths import as_path
from sidrec.core.settings import to_dict
from sidrec.data.dataset import Dataset, describing_users
from sidrec.parallel import hosts
from sidrec.run import generations as folders
from sidrec.run.config_file import CONFIG
from sidrec.run.evaluate import EVALUATE
from sidrec.run.fitted_catalogue import FOLDER as FITTED
from sidrec.run.generations import Chain, Generation
from sidrec.run.lock import locked
from sidrec.run.prepare import PREPARE, load_prepared, read, samples_users, write
from sidrec.run.record import UPDATE, Inputs
from sidrec.run.sasrec import BSAREC, SASREC
from sidrec.run.settings import RunConfig, run_config
from sidrec.run.stage import Stage, find, inputs_of
from sidrec.run.tokenize import TOKENIZE
from sidrec.run.train import TRAIN
from sidrec.training.checkpoint import check_can_save
from sidrec.update.candidates import Candidates, drop_unwanted, promote
from sidrec.update.catalogue import write_grown_catalogue
from sidrec.update.forget import check_events, drop_given, forget
from sidrec.update.judgement import TRAINED, Choices, Updated, reported
from sidrec.update.logs import Growth, compare_logs
from sidrec.update.report import FILES, REFUSED
from sidrec.update.training import write_updated

_STAGES = ("prepare", "tokenize", "train")
_DECIDE = (  # settings of `config.nightly` that decide what is trained
  "steps_share",
  "learning_rate_share",
  "recent_share",
  "replay",
  "most_passes",
  "trained_share",
)


class UpdateRefusedError(ValueError):
  """The updated model is worse than the one before, which goes on answering."""


class Wish(NamedTuple):
  """How to update."""

  force: bool = False  # promotes a model that is worse, too
  forget_users: tuple[str, ...] = ()  # original ids of users who may be gone from the log
  from_zero: bool = False  # whether a model trained from zero is compared, too
  wait: bool = False  # for another process in the same folder; it is refused otherwise


AS_IT_IS = Wish()


def update(config: RunConfig | ConfigDict, workdir: PathLike, wish: Wish = AS_IT_IS) -> Chain:
  """Updates a finished run to the log that its settings name now.

  Returns:
    The chain that answers: the updated one, or that of before where nothing is new.

  Raises:
    UpdateRefusedError: if the updated model is worse than `nightly.max_worse` allows.
    ValueError: for settings of another run, a log that lacks what it had, new items that nothing
      describes, users to forget who are still there, or more than one process.
    FileNotFoundError: if the run is not trained yet.
    BlockingIOError: if another process is at work in the folder.
  """
  config, workdir = run_config(config), as_path(workdir)
  if not hosts.is_alone():
    raise ValueError("--mode=update runs in one process; start it once, on one host")
  if samples_users(config) or config.cold_start.held_out:
    raise ValueError(
      "--mode=update compares all users of two logs; it needs data.store.users=0 and no held-out "
      "items"
    )
  check_can_save(workdir)
  _answering(config, workdir)  # before the lock, which makes a folder
  with locked(workdir, wish.wait):
    if wish.forget_users:
      check_events(workdir)
    return _update(config, workdir, wish)


def _answering(config: RunConfig, workdir: epath.Path) -> Chain:
  """The chain that answers now; an interrupted update may have left newer parts of another."""
  with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    return find(TRAIN, config, workdir)


def _update(config: RunConfig, workdir: epath.Path, wish: Wish) -> Chain:
  before = _answering(config, workdir)
  make = Candidates(config, workdir)
  prepared, new, growth = _prepared(make, config, workdir, before, wish)
  if not growth.new_T.any() and not growth.gone_items and not _users_gone(before, new):
    print("update: the log holds no event that is new, so there is nothing to do")
    drop_unwanted(workdir, _STAGES, ())
    _tidy(config, workdir, before, None)
    _forget(config, workdir, list(before.values()), wish)
    return before
  updated = _candidates(make, config, before, prepared, new, growth)
  drop_unwanted(workdir, _STAGES, list(updated.chain.values()))
  report = reported(
    make, config, workdir, updated, Choices(wish.force, wish.from_zero or config.nightly.from_zero)
  )
  content = json.loads(report.file("update.json").read_bytes())
  print(report.file("update.txt").read_bytes().decode(), end="")
  promote(report)
  if content["decision"] == REFUSED:
    folders.link(workdir, dict.fromkeys(FILES, report))
    folders.prune(workdir)
    still = "; the users to forget are still in it" if wish.forget_users else ""
    raise UpdateRefusedError(f"the update is {content['sentence']}{still}")
  # The parts first: the run before answers until the last record is written.
  chain = {name: promote(updated.chain[name]) for name in _STAGES}
  _tidy(config, workdir, chain, report)
  _forget(config, workdir, [*chain.values(), report], wish)
  return chain


def _prepared(
  make: Candidates, config: RunConfig, workdir: epath.Path, before: Chain, wish: Wish
) -> tuple[Generation, Dataset, Growth]:
  """The grown log as the stage 'prepare' makes it, and what is new in it."""
  old = load_prepared(before)
  inputs = inputs_of(PREPARE, config, {}, folders.generations(workdir, "prepare"))
  if inputs.equal(before["prepare"].record.inputs):
    return before["prepare"], old, compare_logs(old, old, wish.forget_users)
  new = describing_users(read(config))
  growth = compare_logs(old, new, wish.forget_users)  # nothing is written of a log that is refused
  outputs = PREPARE.outputs(config)
  return make.make("prepare", inputs, outputs, lambda folder: write(new, folder)), new, growth


def _users_gone(before: Chain, new: Dataset) -> bool:
  return load_prepared(before).histories.num_users > new.histories.num_users


def _candidates(
  make: Candidates,
  config: RunConfig,
  before: Chain,
  prepared: Generation,
  new: Dataset,
  growth: Growth,
) -> Updated:
  """The grown catalogue, and the parameters trained further."""
  began = time.process_time()
  tokenized = make.make(
    "tokenize",
    _inputs_of_update(TOKENIZE, config, before, {"prepare": prepared}),
    [*TOKENIZE.outputs(config), FITTED],
    lambda folder: write_grown_catalogue(config, folder, before, new, growth),
  )
  encoded = time.process_time()

  def train(folder: epath.Path) -> None:
    trained = write_updated(config, folder, before, tokenized, new, growth)
    write_whole_text(folder / TRAINED, json.dumps(trained, indent=2) + "\n")

  nightly = to_dict(config.nightly)
  inputs = _inputs_of_update(
    TRAIN, config, before, {"tokenize": tokenized}, {name: nightly[name] for name in _DECIDE}
  )
  trained = make.make("train", inputs, [*TRAIN.outputs(config), TRAINED], train)
  chain = {"prepare": prepared, "tokenize": tokenized, "train": trained}
  return Updated(chain, before, new, growth, {"catalogue": round(encoded - began, 2)})


def _inputs_of_update(
  stage: Stage,
  config: RunConfig,
  before: Chain,
  chain: Chain,
  settings: Mapping[str, Any] | None = None,
) -> Inputs:
  """What decides an update of a stage's output: what decides the output, and what is updated."""
  inputs, updated = inputs_of(stage, config, chain), before[stage.name].record
  earlier = updated.inputs.update or {"number": 0, "from_zero": updated.finished}
  inputs.origin[UPDATE] = {
    "of": updated.identity,
    "number": earlier["number"] + 1,
    "from_zero": earlier["from_zero"],
    **({"settings": dict(settings)} if settings else {}),
  }
  return inputs


def _tidy(config: RunConfig, workdir: epath.Path, chain: Chain, report: Generation | None) -> None:
  """Links to what answers, and none to an evaluation of what answered before."""
  stages = {stage.name: stage for stage in (PREPARE, TOKENIZE, TRAIN)}
  outputs = {n: chain[name] for name in _STAGES for n in (*stages[name].outputs(config), CONFIG)}
  if report is not None:
    outputs |= dict.fromkeys(FILES, report)
  folders.link(workdir, outputs)
  identity = chain["train"].record.identity
  evaluated = [g.record.inputs.built_on for g in folders.generations(workdir, EVALUATE.name)]
  if not any(built_on.get("train") == identity for built_on in evaluated):
    stale = [name for stage in (EVALUATE, SASREC, BSAREC) for name in stage.outputs(config)]
    folders.unlink(workdir, stale)
  if report is not None:
    folders.prune(workdir)
    drop_given(config, workdir)


def _forget(config: RunConfig, workdir: epath.Path, kept: list[Generation], wish: Wish) -> None:
  if wish.forget_users:
    for said in forget(config, workdir, kept, wish.forget_users):
      print(f"update: {said}")

"""What `import sidrec` offers beyond semantic IDs: train, load, recommend."""

import functools
from collections.abc import Iterable, Sequence
from typing import Any, Unpack, overload

import jax
from ml_collections import ConfigDict

from sidrec.catalogue.trie.trie import build_trie
from sidrec.cold_start.frozen_ids import FrozenIDs
from sidrec.cold_start.grown_run import with_new
from sidrec.config import custom_config
from sidrec.core.atomic import PathLike
from sidrec.core.paths import as_path
from sidrec.data.dataset import Dataset, Items
from sidrec.data.events import Events
from sidrec.estimators.category_rule import CategoryRule
from sidrec.estimators.estimators import (
  LSH,
  RQVAE,
  HierarchicalKMeans,
  ProductQuantization,
  ResidualKMeans,
)
from sidrec.export.hand_over import HandOver
from sidrec.export.hub import SCHEME, fetched
from sidrec.models.base import EncoderOutput
from sidrec.run.answers import Answer, Id, Options, Recommended, Wanted, wanted_of
from sidrec.run.ask import Asker
from sidrec.run.config_file import load_config
from sidrec.run.explanations import Explainer, Explanation
from sidrec.run.generations import Chain
from sidrec.run.given import listed
from sidrec.run.given_data import given_data, grown_data
from sidrec.run.load import trained_of
from sidrec.run.prepare import load_prepared
from sidrec.run.settings import RunConfig, run_config
from sidrec.run.stage import find
from sidrec.run.stages import run_to
from sidrec.run.train import TRAIN
from sidrec.search.buckets import BucketSearch
from sidrec.search.filters import NO_FILTERS, Filters, padded_lists
from sidrec.search.recommend import recommend
from sidrec.search.results import Recommendations
from sidrec.search.settings import SearchConfig
from sidrec.search.states import Beams, beam_search, encode
from sidrec.update.update import UpdateRefusedError, Wish, update

__all__ = [
  "LSH",
  "RQVAE",
  "Answer",
  "Beams",
  "CategoryRule",
  "Events",
  "Explanation",
  "Filters",
  "HierarchicalKMeans",
  "ProductQuantization",
  "Recommended",
  "ResidualKMeans",
  "SearchConfig",
  "TrainedRun",
  "UpdateRefusedError",
  "beam_search",
  "build_trie",
  "encode",
  "fit",
  "load",
  "padded_lists",
  "recommend",
]

WHOM = ("items", "titles", "user", "users", "histories")  # who may be asked for


class TrainedRun(HandOver):
  """A finished run: its settings, its data, its model and the catalogue to search."""

  @property
  def search(self) -> SearchConfig:
    """How the run searches: what was evaluated."""
    return self.config.search

  @functools.cached_property
  def asker(self) -> Asker:
    """Reads requests by original ids and titles, and words the answers."""
    return Asker(self.dataset, self.ids, self.model, self.search)

  @functools.cached_property
  def bucket_search(self) -> BucketSearch:
    """The compiled search behind `recommend`; a handful of shapes, compiled when first needed."""
    return BucketSearch(self.model, self.params, self.trie, self.search, self.new)

  @functools.cached_property
  def explainer(self) -> Explainer:
    """What `explain` asks."""
    return Explainer(self.asker)

  @overload
  def recommend(self, *, items: Sequence[Id], **options: Unpack[Options]) -> Answer: ...
  @overload
  def recommend(self, *, titles: Sequence[str], **options: Unpack[Options]) -> Answer: ...
  @overload
  def recommend(self, *, user: Id, **options: Unpack[Options]) -> Answer: ...
  @overload
  def recommend(self, *, users: Sequence[Id], **options: Unpack[Options]) -> list[Answer]: ...
  @overload
  def recommend(self, *, histories: Any, **options: Unpack[Options]) -> list[Answer]: ...

  def recommend(self, **request: Any) -> Any:
    """The best items after histories of original ids or titles, ranked as the run was evaluated.

    A history of any length compiles nothing new; of more items than the model reads, it reads the
    latest, and all of them count as seen. `recommend_rows` takes arrays of item rows.

    Args:
      **request: whom for, exactly one of these, and options.
        items: original ids of one history, oldest first.
        titles: titles of one history, oldest first.
        user: the original id of a user of the run, for what comes after their whole history.
        users: original ids of several.
        histories: a list of original ids for each of many; or a table (Polars, Pandas) of users,
          items and times. Its columns are called as in the run's log, or 'user', 'item', 'time'.
        k: results, at most the run's number of beams; 10 by default.
        exclude_seen: leaves out the items of the history; True by default.
        forbidden: original ids of items not to return.
        allowed: original ids of the only items to return.
        categories: names of categories; only items that have any of them are returned, and with
          `allowed` only those of both.
        forbidden_categories: names of categories; items that have any of them are not returned.
        temperature: that logits are divided by, 0.01 to 100; the run's own by default.
        times, ratings, actions: of `items` and `titles`, one for each; of lists of histories, a
          list for each. A model that reads them (`config.model.inputs`) needs them: seconds since
          1970, None or NaN for an unknown rating, and names of actions, None where unknown. Users
          of the run, and tables, have their own.
        attributes: of the user of `items` or `titles`, names and values such as {"age": 35}, or a
          mapping or None for each of lists of histories, where the model reads them; what they do
          not name is unknown. Users of the run have their own.
        request_time: seconds since 1970, where the model reads it; now by default. The answer says
          it as `asked_at`.

    Returns:
      An `Answer` for `items`, `titles` and `user`; for `users` and `histories` a list of them, in
      the order asked for; of a table, in the order in which its users first come. Ids and titles
      that name no item are in `Answer.unknown`, and nothing stands in for them.

    Raises:
      TypeError: for what is no list, no id, or no option.
      ValueError: for a user or a category that the run does not know, or numbers that make no
        sense.
    """
    name, value, wanted = _asked("recommend", WHOM, request)
    asker = self.asker
    match name:
      case "users":
        readings = [asker.reading("user", user, wanted) for user in listed("users", value)]
      case "histories":
        columns = dict(self.config.data.table.columns)
        readings = asker.of_histories(value, columns, wanted)
      case _:
        readings = [asker.reading(name, value, wanted)]
    answers = asker.ask(readings, wanted, self.bucket_search.find)
    return answers if name in ("users", "histories") else answers[0]

  def explain(self, **request: Any) -> Explanation:
    """How one request is searched: the beams of each level, and what each history item adds.

    A history item's part in a result is exact: the result's score, less its score after the same
    history without that item. The first call compiles two functions; others compile nothing.

    Args:
      **request: as for `recommend`: one of `items`, `titles` and `user`, and its options.

    Returns:
      An `Explanation`, whose `answer` is that of `recommend`.

    Raises:
      TypeError, ValueError: as `recommend` does.
    """
    name, value, wanted = _asked("explain", WHOM[:3], request)
    reading = self.asker.reading(name, value, wanted)
    parts = self.model, self.params, self.trie
    return self.explainer.explain(*parts, reading, wanted, new=self.new)

  def recommend_rows(
    self,
    history_BxS: Any,
    k: int = 10,
    filters: Filters = NO_FILTERS,
    key: jax.Array | None = None,
  ) -> Recommendations:
    """The K best items for each history of item rows; see `sidrec.recommend`.

    Args:
      history_BxS: int32 item rows, oldest first, -1 after the newest; or lists of item rows; or
        `sidrec.Events.of(…)`, which a model that reads more than items needs.
      k: K, at most the run's number of beams.
      filters: what each request may get.
      key: for a random draw of items instead of the best; see `search.beam.search`.

    Returns:
      (item_BxK int32 rows, -1 where there are fewer; score_BxK float32, best first; valid_BxK).

    Raises:
      TypeError, ValueError: as `sidrec.recommend` does.
    """
    return recommend(
      self.params,
      self.trie,
      history_BxS,
      k,
      filters,
      model=self.model,
      search=self.search,
      key=key,
      new=self.new,
    )

  def with_new_items(self, items: Items, share: float | None = None) -> "TrainedRun":
    """This run with items that it was not trained on, in memory; nothing is trained or written.

    New items get IDs by the run's tokenizer. They are ranked by their similarity to the history,
    as a server does: see `search.new_items`.

    Args:
      items: their ids, titles, categories, numbers and text, as `data.sources.build.item_table`
        makes them.
      share: the probability that the next item is a new one, before anything is known of the user;
        None for `config.serving.new_share`.

    Raises:
      ValueError: if an item is in the catalogue already, says nothing that IDs are made of, or
        finds no free ID; if the run was not loaded from a folder.
    """
    if self.chain is None or self.workdir is None or self.new is not None:
      raise ValueError("new items come to what sidrec.load returns, all of them at once")
    share = self.config.serving.new_share if share is None else share
    ids = FrozenIDs(self.config, self.chain)
    grown = with_new(self.dataset.items, ids, (self.model, self.params, self.trie), items, share)
    dataset = self.dataset._replace(items=grown.items)
    model, params, trie, new = grown.parts
    return TrainedRun(
      *(self.config, dataset, grown.ids, model, params, trie, self.workdir, self.chain, new)
    )

  def encode(self, history_BxS: Any) -> EncoderOutput:
    """The encoder's output for histories, which `beam_search` starts from."""
    return encode(self.params, self.trie, history_BxS, model=self.model)

  def beam_search(
    self,
    encoder_output: EncoderOutput,
    beam_size: int,
    max_length: int | None = None,
    filters: Filters = NO_FILTERS,
  ) -> Beams:
    """The most probable IDs from encoder states, or their first tokens: codes, log probabilities.

    Arguments, results and errors are those of `sidrec.beam_search`, with the run's settings.
    """
    return beam_search(
      encoder_output,
      beam_size,
      max_length,
      params=self.params,
      trie=self.trie,
      model=self.model,
      filters=filters,
      search=self.search,
    )

  def update(
    self,
    data: Any = None,
    *,
    items: Any = None,
    users: Any = None,
    forget_users: Iterable[Id] = (),
    force: bool = False,
    from_zero: bool = False,
  ) -> "TrainedRun":
    """Takes in a log that has grown, without a training from zero; see `sidrec.update.update`.

    The run's folder gets new outputs, which answer from then on. This object stays as it is.

    Args:
      data: the whole grown log: a path, a table or a `Dataset`, of the same form as the run's own;
        None for the file that the run names, which has grown.
      items: with a table, one of items, as `sidrec.fit` takes it.
      users: with a table, one of users' attributes, as `sidrec.fit` takes it; with None the run's
        users keep theirs, and nothing is known of new ones.
      forget_users: original ids of users whom the log no longer holds, and who are to disappear
        from all files of the run's folder.
      force: makes the updated model answer even if it is worse than the one before.
      from_zero: compares a model trained from zero, too.

    Returns:
      The run that answers now: the updated one, or that of before if no event is new.

    Raises:
      UpdateRefusedError: if the updated model is worse than `config.nightly.max_worse` allows; the
        run before goes on answering.
      ValueError, FileNotFoundError, BlockingIOError: as `sidrec.update.update.update` does.
    """
    if self.workdir is None:
      raise ValueError("this run was not loaded from a folder; update what sidrec.load returns")
    if isinstance(forget_users, str):
      raise TypeError("forget_users is one text; give a list of ids")
    wish = Wish(force, tuple(map(str, forget_users)), from_zero)
    with grown_data(data, items, users, self.workdir, self.config) as config:
      chain = update(config, self.workdir, wish)
    return _trained_run(config, chain, self.workdir)


def _asked(what: str, names: Sequence[str], request: dict[str, Any]) -> tuple[str, Any, Wanted]:
  """Whom a call asks for, one of these names, and its options."""
  whom = {name: request.pop(name) for name in names if name in request}
  wanted = wanted_of(request)
  if len(whom) != 1:
    given = " and ".join(whom) or "none of them"
    raise TypeError(f"{what} takes one of {', '.join(names)}, and was given {given}")
  ((name, value),) = whom.items()
  return name, value, wanted


def load(workdir: PathLike) -> TrainedRun:
  """Loads a finished run from its folder: the newest recommender and all it was built on, checked.

  Args:
    workdir: the folder; or hf://owner/name, what `push_to_hub(…, with_users=True)` uploaded there.

  Raises:
    FileNotFoundError: if there is no run, or it is not trained yet.
    ValueError: if its parts do not belong together.
  """
  if str(workdir).startswith(SCHEME):
    workdir = fetched(str(workdir))
  config = load_config(workdir)
  chain = find(TRAIN, config, as_path(workdir))
  return _trained_run(config, chain, workdir)


def _trained_run(config: RunConfig, chain: Chain, workdir: PathLike) -> TrainedRun:
  trained = trained_of(config, chain)
  return TrainedRun(config, load_prepared(chain), *trained, as_path(workdir), chain)


def fit(
  data: RunConfig | ConfigDict | Dataset | Any,
  workdir: PathLike,
  *,
  config: ConfigDict | None = None,
  items: Any = None,
  users: Any = None,
) -> TrainedRun:
  """Trains a recommender, or continues where a run was stopped, and loads it.

  Args:
    data: the settings of a run, such as `configs/demo.py` returns, which name their data; or the
      data: a `Dataset`, or a table (Polars, Pandas) of users, items and times, whose columns are
      called so or as `config.data.table.columns` says. Rows without times are in order.
    workdir: takes all files of the run, data that are given here too.
    config: with data, the settings; None for those of configs/custom.py. Steps of training are for
      about 80,000 interactions; give `config.train.steps` in proportion.
    items: with a table, one of items, whose columns are called as `config.data.table.item_columns`
      says.
    users: with a table, one of users' attributes, whose columns `config.data.table.user_columns`
      names; that of ids may be called user. Models read those that
      `config.model.inputs.user_attributes` names.

  Raises:
    TypeError: for data that are none of these, or settings given twice.
    ValueError, FileNotFoundError: as `run.stage.run` does.
  """
  if isinstance(data, (RunConfig, ConfigDict)):
    if any(given is not None for given in (config, items, users)):
      raise TypeError("the settings name the data; give config, items and users with a table alone")
    settings = run_config(data)
  else:
    config = custom_config() if config is None else config
    settings = run_config(given_data(data, items, users, as_path(workdir), config))
  chain = run_to("train", settings, workdir)
  return _trained_run(settings, chain, workdir)

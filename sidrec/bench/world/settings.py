"""What a world is made of; every figure of it follows from these settings."""

import dataclasses

from sidrec.core.settings import from_dict, to_dict

DAY = 24 * 3600  # seconds

# Of a user's interests, and of the items that follow an item: how likely each is, the first most.
WEIGHTS = (0.4, 0.3, 0.2, 0.1)


@dataclasses.dataclass(frozen=True)
class WorldConfig:
  """A world. The defaults are those of every figure in docs/results.md."""

  items: int
  users: int
  seed: int = 0

  # Items.
  branches: int = 0  # of the tree of categories at each of 3 levels; 0 for about N^(1/5)
  leaf_exponent: float = 0.6  # of Zipf's law among the children of a node
  item_exponent: float = 0.9  # of Zipf's law among the items of a leaf
  new_share: float = 0.2  # of the items, at most a half: they appear after the start
  width: int = 32  # F, of item vectors
  level_scales: tuple[float, float, float] = (1.0, 0.7, 0.5)  # deviation of each level's centres
  noise: float = 0.4  # deviation of an item from its leaf's centre

  # Users.
  mean_length: float = 30.0  # events of a user, geometric above `shortest`
  shortest: int = 5
  longest: int = 200
  days: int = 365  # in which users come and items appear
  session_events: float = 5.0  # of a session, on average
  session_gap: float = 14.0  # days between sessions, on average
  event_gap: float = 120.0  # seconds between the events of a session, on average
  kindred: float = 0.5  # that an interest lies in the first one's top category
  drift: float = 0.2  # that a session starts with one interest replaced

  # An event: again what was met, or what follows the item before, or else by taste.
  repeat: float = 0.1
  recent: int = 8  # events that repeats come from
  follow: float = 0.25
  # Shares of taste: the session's leaf, its neighbours, anything popular; interests get the rest.
  focus: float = 0.5
  near: float = 0.2
  anything: float = 0.1

  def __post_init__(self) -> None:
    """Raises ValueError for a world that cannot be."""
    if self.items < self.leaves or self.fan_out < 2:
      raise ValueError(
        f"{self.items:,} items are too few for {self.leaves:,} categories; give more items, or "
        "2 branches or more, with an item for each of the branches³ categories"
      )
    if self.users < 1:
      raise ValueError(f"users is {self.users}; give 1 or more")
    if not 3 <= self.shortest <= self.mean_length or self.mean_length > self.longest:
      raise ValueError(
        f"histories of {self.shortest} to {self.longest} events with a mean of "
        f"{self.mean_length} cannot be; give 3 <= shortest <= mean_length <= longest"
      )
    if not 0 <= self.new_share <= 0.5:
      raise ValueError(f"new_share is {self.new_share}; give 0 to 0.5")
    if min(self.recent, self.width, self.days) < 1 or self.session_events < 1:
      raise ValueError("recent, width, days and session_events must be 1 or more")
    shares = (self.repeat, self.follow, self.focus, self.near, self.anything)
    if min(shares) < 0 or self.repeat + self.follow > 1 or sum(shares[2:]) > 1:
      raise ValueError(
        f"repeat + follow is {self.repeat + self.follow:g} and focus + near + anything "
        f"{sum(shares[2:]):g}; give shares of 0 or more that sum to 1 at most"
      )
    if min(self.item_exponent, self.leaf_exponent) < 0.5 or self.drift > 1 or self.kindred > 1:
      raise ValueError("exponents must be 0.5 or more, drift and kindred probabilities")

  @property
  def fan_out(self) -> int:
    """Children of each node of the tree."""
    return self.branches or max(2, round(self.items**0.2))

  @property
  def leaves(self) -> int:
    """G, categories of the lowest level."""
    return self.fan_out**3

  @property
  def interests(self) -> float:
    """The share of taste that goes to all of a user's interests."""
    return 1.0 - self.focus - self.near - self.anything


def as_json(config: WorldConfig) -> dict:
  """What world.json holds."""
  return to_dict(config)


def from_json(values: dict) -> WorldConfig:
  """The settings that `as_json` wrote."""
  return from_dict(WorldConfig, values)

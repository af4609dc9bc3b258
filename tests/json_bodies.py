"""Bodies of requests to a server, most of them wrong, for Hypothesis."""

from hypothesis import strategies as st

SIMPLE = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9)


def nested(children):
  return st.lists(children, max_size=5) | st.dictionaries(st.text(), children, max_size=3)


JSON = st.recursive(SIMPLE, nested, max_leaves=12)
NAMES = ("user", "items", "titles", "k", "exclude_seen", "forbidden", "allowed", "temperature")
REQUEST = st.dictionaries(st.sampled_from(NAMES), JSON, max_size=4)
DESCRIBED = st.dictionaries(st.sampled_from(["id", "title", "categories", "text", "year"]), JSON)
CHANGES = st.fixed_dictionaries(
  {"base": JSON}, optional={"add": st.lists(DESCRIBED) | JSON, "remove": JSON, "more": JSON}
)
BODIES = st.dictionaries(st.sampled_from(["requests", "events"]), st.lists(REQUEST | JSON) | JSON)

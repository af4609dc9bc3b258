"""The explorer in a real browser: every panel, by mouse and by keys, offline, wide and narrow."""

import dataclasses
from urllib.parse import quote

import pytest
from explorer_page import accessible, after, chips, drawn, listening, picture, results
from explorer_run import make_extras

from sidrec.run.explanations import Explainer
from sidrec.serving.explore import Explorer

HOSTILE = "<img src=x onerror=\"document.title='hacked'\"> & <b>bold</b>"


@pytest.fixture(scope="module")
def address(served):
  """Where a server with an explorer listens."""
  from sidrec.serving.app import make_app

  service, _ = served
  app = make_app(service, explorer=Explorer(service, make_extras(sasrec="this run trained none")))
  with listening(app) as at:
    yield at


@pytest.fixture(scope="module")
def library(run, served):
  """The run as a library, with the arrays that its functions are compiled for already."""
  search = served[0].catalogue.now.snapshot.search
  return dataclasses.replace(run, model=search.model, params=search.params, trie=search.trie)


# Whether items are offered, all of which were found by these words.
OFFERED = """words => {
  const options = [...document.querySelectorAll("#found:not([hidden]) [role=option]")];
  return options.length && options.every(o => o.textContent.toLowerCase().includes(words));
}"""


def test_a_history_is_typed_by_keys_and_the_beam_follows(view, run):
  page = view("#h=1")
  before = page.inner_text("#beam")
  page.keyboard.press("Tab")
  assert page.evaluate("document.activeElement.className") == "skip"
  page.focus("#search")
  page.keyboard.type("thing 1")
  page.wait_for_function(OFFERED, arg="thing 1")
  page.keyboard.press("ArrowDown")
  chosen = page.locator("#found [aria-selected=true]").inner_text()
  assert page.get_attribute("#search", "aria-activedescendant") == "found-1"
  after(page, lambda: page.keyboard.press("Enter"))
  assert chips(page) == ["Thing 1 (1981)", chosen]
  assert page.inner_text("#beam") != before
  assert page.is_hidden("#found")
  titles = run.recommend(titles=chips(page)).titles
  assert results(page) == titles
  page.focus("#history .name >> nth=1")
  after(page, lambda: page.keyboard.press("Alt+ArrowLeft"))
  assert chips(page) == [chosen, "Thing 1 (1981)"]
  assert page.evaluate("document.activeElement.textContent") == chosen
  after(page, lambda: page.keyboard.press("Delete"))
  assert chips(page) == ["Thing 1 (1981)"]
  page.focus("#clear")
  after(page, lambda: page.keyboard.press("Space"))
  assert chips(page) == []
  assert results(page) == run.recommend(items=[]).titles


def typed_in_two(view, first, more):
  """A page where `more` was typed after the answer to `first`; requests for both are held."""
  page, held = view("#h=1"), []
  page.route(f"**query={quote(first + more)}", lambda route: held.append(route))
  page.focus("#search")
  page.keyboard.type(first)
  page.wait_for_function(OFFERED, arg=first)
  page.keyboard.type(more)
  return page, held


def asked_for(page, held):
  """Waits until a request is held."""
  for _ in range(500):
    if held:
      return
    page.wait_for_timeout(10)
  raise AssertionError("nothing was asked")


def test_what_was_chosen_stays_when_an_answer_comes_late(view):
  """The answer to the last key comes after the arrow keys, and offers the item again."""
  page, held = typed_in_two(view, "19", "8")
  asked_for(page, held)
  for _ in range(2):
    page.keyboard.press("ArrowDown")
  chosen = page.locator("#found [role=option] >> nth=2").inner_text()
  page.evaluate("document.querySelector('#found [role=option]').className = 'old'")
  held[0].fallback()
  page.wait_for_selector("#found .old", state="detached")
  assert page.locator("#found [aria-selected=true]").inner_text() == chosen
  after(page, lambda: page.keyboard.press("Enter"))
  assert chips(page)[1] == chosen


def test_enter_takes_what_was_typed_and_not_what_is_still_offered(view):
  page, held = typed_in_two(view, "thing", " 12")
  page.keyboard.press("Enter")
  asked_for(page, held)
  after(page, held[0].fallback)
  assert chips(page) == ["Thing 1 (1981)", "Thing 12 (1992)"]


def test_a_history_is_changed_by_mouse(view):
  page = view("#h=1&h=2&h=3")
  after(page, lambda: page.drag_and_drop("#history li >> nth=0", "#history li >> nth=2"))
  assert chips(page) == ["Thing 2 (1982)", "Thing 3 (1983)", "Thing 1 (1981)"]
  after(page, lambda: page.click("#history .later >> nth=0"))
  assert chips(page) == ["Thing 3 (1983)", "Thing 2 (1982)", "Thing 1 (1981)"]
  after(page, lambda: page.click("#history .remove >> nth=1"))
  assert chips(page) == ["Thing 3 (1983)", "Thing 1 (1981)"]
  page.go_back()
  page.wait_for_selector("#history li >> nth=2")
  after(page, lambda: page.click("#example"))
  assert len(chips(page)) == 3


def test_filters_show_what_they_remove(view):
  page = view("#h=1")
  after(page, lambda: page.uncheck("#seen"))
  assert page.locator(".removed").count() == 0
  first = results(page)[0]
  after(page, lambda: page.click(".results .ban >> nth=0"))
  assert first not in results(page)
  assert "Removed by the filter: 1" in page.inner_text(".removed >> nth=-1")
  page.click(".removed summary >> nth=-1")
  assert first in page.inner_text(".removed >> nth=-1")
  after(page, lambda: page.click("#banned .pill"))
  assert results(page)[0] == first
  before = page.inner_text("#beam .p >> nth=0")
  page.focus("#temperature")
  after(page, lambda: page.keyboard.press("End"))
  assert page.inner_text("#warmth") == "5.66"
  assert page.inner_text("#beam .p >> nth=0") != before


def test_every_level_has_bars_and_says_how_much_it_holds(view, library):
  page = view("#h=1&h=2")
  levels = library.explain(items=[1, 2]).levels
  assert page.locator(".level").count() == len(levels) == 2
  for at, level in enumerate(levels):
    panel = page.locator(f".level >> nth={at}")
    shown = panel.locator(".bars >> nth=0").locator(".code").all_inner_texts()
    codes = ["·".join(map(str, prefix.codes)) for prefix in level.kept]
    assert shown == codes[: len(shown)]
    assert f"{level.kept_probability:.1%}" in panel.locator(".sum").inner_text()
  page.click(".level >> nth=1 >> .quiet")
  assert page.locator(".level >> nth=1 >> .bars >> nth=0 >> li").count() == len(levels[1].kept)


def test_why_says_what_each_history_item_adds(view, library):
  page = view("#h=1&h=2&h=5")
  page.click(".why >> nth=1")
  assert page.get_attribute(".why >> nth=1", "aria-expanded") == "true"
  lines = page.locator("#why-1 .added li").all_inner_texts()
  history = library.explain(items=[1, 2, 5]).history
  expected = sorted(history, key=lambda item: -abs(item.added[1]))
  assert [line.split("\n")[0] for line in lines] == [item.title for item in expected]
  assert [line.split("\n")[-1][0] for line in lines] == [
    "+" if item.added[1] >= 0 else "−" for item in expected
  ]
  page.keyboard.press("Enter")
  assert page.locator("#why-1").is_hidden()


def test_others_stand_beside_and_say_what_is_missing(view):
  page = view("#h=1&h=2")
  assert page.locator(".others h3").all_inner_texts() == ["item-kNN", "SASRec", "most popular"]
  assert page.locator(".others section >> nth=0 >> li").count() == 10
  assert "Not available: this run trained none." in page.inner_text(".others section >> nth=1")


def test_an_item_has_its_page_and_hostile_titles_are_text(view):
  page = view("#h=27&item=27")
  page.wait_for_selector("#item[open]")
  assert page.inner_text("#item-title") == HOSTILE
  assert chips(page) == [HOSTILE]
  assert page.locator("#item .meanings li").count() == 2
  assert page.locator("#item section").count() == 2
  assert page.locator("#item section >> nth=1 >> li").count() == 12
  assert page.locator("main img, dialog img, main b").count() == 0
  assert page.title() == "sidrec explorer"
  neighbour = page.locator("#item section >> nth=0 >> .link >> nth=0").inner_text()
  page.click("#item section >> nth=0 >> .link >> nth=0")
  page.wait_for_function(
    "title => document.getElementById('item-title').textContent === title", arg=neighbour
  )
  after(page, lambda: page.click("#item .actions button"))
  assert chips(page) == [HOSTILE, neighbour]
  assert page.locator("#item[open]").count() == 0
  page.click(".results .link >> nth=0")
  page.wait_for_selector("#item[open]")
  page.keyboard.press("Escape")
  page.wait_for_selector("#item:not([open])", state="attached")
  page.wait_for_function("() => !location.hash.includes('item=')")  # as soon as it has closed


def test_codes_are_walked_and_lit_on_the_map(view, run):
  page = view("#h=1")
  page.wait_for_selector("#map canvas")
  page.click("#beam .row >> nth=0")
  code = page.inner_text("#beam .code >> nth=0")
  page.wait_for_selector(f"#codes [aria-label='Prefix {code}']")
  count = int((run.ids.codes[:, 0] == int(code)).sum())
  assert f"{count} items of {code}" in page.inner_text(".legend")
  assert f"{count} items of the prefix {code} are lit" in page.get_attribute(
    "#map canvas", "aria-label"
  )
  assert page.get_attribute("#beam .row >> nth=0", "aria-pressed") == "true"
  page.click("#codes .row >> nth=0")
  page.wait_for_selector("#codes .crumbs li >> nth=2")
  assert page.locator("#codes .columns li").count() == 1
  page.focus("#codes .crumbs .link >> nth=0")
  page.keyboard.press("Enter")
  page.wait_for_selector("#codes .grid li >> nth=4")
  assert "items of" not in page.inner_text(".legend")
  page.focus("#map canvas")
  for key in ("+", "ArrowLeft", "-"):
    page.keyboard.press(key)
  page.click("#map [aria-label='Zoom to the results']")
  box = page.locator("#map canvas").bounding_box()
  found = page.evaluate("fetch('/v1/map').then(r => r.json())")
  page.click("#map [aria-label='Whole map']")
  x, y = found["places"][0]
  at = {"x": 26 + x / 1000 * (box["width"] - 52), "y": 26 + y / 1000 * (box["height"] - 52)}
  page.hover("#map canvas", position=at)
  assert page.is_visible(".tip")
  page.click("#map canvas", position=at)
  page.wait_for_selector("#item[open]")


def test_an_address_keeps_the_view(view):
  page = view("#h=1&h=4&seen=0&t=3&at=5&r=4&asked=9")
  page.click("#beam .row >> nth=1")
  page.click(".results .ban >> nth=1")
  drawn(page)
  assert page.url.split("#")[1].startswith("h=1&h=4&not=")  # this run reads no times
  assert page.locator(".when:visible, .rated, #assumed:visible, #moment:visible").count() == 0
  again = view(page.url[page.url.index("#") :])
  for one in ("#history", "#beam", "#banned", ".results"):
    assert again.inner_text(one) == page.inner_text(one)
  assert not again.is_checked("#seen")


def test_a_server_that_fails_is_said_to_fail(view, served, monkeypatch):
  from sidrec.serving.bodies import RequestError

  view.may_fail = True
  broken = view("#h=none&code=99.x&t=zzz&item=")
  assert "no item has the id none" in broken.inner_text("#status")
  assert chips(broken) == ["none (unknown)"]
  page = view("#h=1&code=99&item=none")
  assert "no item's ID begins with these codes." in page.inner_text("#codes")
  page.wait_for_selector("#item[open]")
  assert "no item has this id." in page.inner_text("#item")
  page.keyboard.press("Escape")

  async def refuse(body):
    raise RequestError(503, "too much to do")

  with monkeypatch.context() as patched:
    patched.setattr(served[0].explaining, "explain", refuse)
    page.click("#example")
    page.wait_for_selector("#error:not([hidden])")
    assert page.inner_text("#error") == "too much to do."
  page.wait_for_selector("#error", state="hidden")  # it asks again
  assert len(results(page)) == 10


def test_how_likely_an_item_comes_again_is_said(view, run, monkeypatch):
  explain = Explainer.explain
  monkeypatch.setattr(
    Explainer, "explain", lambda *x, **y: explain(*x, **y)._replace(again_probability=0.25)
  )
  page = view("#h=1")
  assert "comes again with p = 25.0%" in page.inner_text("#beam")
  assert results(page) == run.recommend(items=[1]).titles


def test_a_token_is_asked_for_and_sent(view):
  view.may_fail = True
  view.token = "0123456789abcdef"
  page = view("#h=1")
  assert len(results(page)) == 10
  assert view.locked == {"/v1/about"}


@pytest.mark.parametrize(("size", "scheme"), [("wide", "light"), ("narrow", "dark")])
def test_it_fits_and_is_accessible(view, size, scheme):
  page = view("#h=1&h=27&h=5&code=1", size, scheme)
  page.wait_for_selector("#map canvas")
  page.click(".why >> nth=0")
  picture(page, f"{size}-{scheme}")
  wide = page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
  assert wide[0] <= wide[1]
  accessible(page)
  page.click(".results .link >> nth=0")
  page.wait_for_selector("#item[open]")
  picture(page, f"{size}-{scheme}-item")
  assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
  accessible(page)

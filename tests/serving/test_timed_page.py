"""The explorer of a run that reads times and ratings: each event's fields, and the request's."""

import calendar
import re
import time

import pytest
from explorer_page import accessible, after, chips, drawn, listening, picture, results
from explorer_run import make_extras, make_sasrec
from timed_run import NOW

from sidrec.data.inputs import InputsConfig
from sidrec.serving.explore import Explorer

THREE = f"#h=1&h=2&h=3&at={NOW - 900}&at={NOW - 600}&at={NOW - 9}&r=4&r=&r=2&asked={NOW}"


@pytest.fixture(scope="module")
def address(timed):
  """Where a server with an explorer listens, whose SASRec reads times, too."""
  from sidrec.serving.app import make_app

  inputs = InputsConfig(gap=True, rating=True, request_time="known")
  extras = make_extras(sasrec=make_sasrec(30, inputs))
  explorer = Explorer(timed[1], extras, read_only=True)
  explorer._others.start()
  with listening(make_app(timed[1], explorer=explorer)) as at:
    yield at


def written(seconds):
  return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))


def times(page):
  shown = page.locator("#history .when").evaluate_all("all => all.map(field => field.value)")
  return [text if len(text) > 16 else f"{text}:00" for text in shown]


def ratings(page):
  return page.locator("#history .rated").evaluate_all("all => all.map(field => field.value)")


def test_an_address_names_times_ratings_and_the_moment(view, timed):
  page = view(THREE)
  given = {"items": [1, 2, 3], "times": [NOW - 900, NOW - 600, NOW - 9], "ratings": [4, None, 2]}
  expected = timed[0].recommend(**given, request_time=NOW)
  assert results(page) == expected.titles
  assert times(page) == [written(at) for at in given["times"]]
  assert ratings(page) == ["4", "", "2"]
  assert page.input_value("#asked") == written(NOW)
  assert f"asked at {written(NOW).replace('T', ' ')} UTC" in page.inner_text("#status")
  names = ["item-kNN", "SASRec", "most popular"]
  assert page.locator(".others h3").all_inner_texts() == names
  assert page.locator(".others section >> nth=1 >> li").count() == 10
  page.click(".why >> nth=0")
  assert page.locator("#why-0 .added li").count() == 3


def test_fields_change_the_request_by_keys_alone(view):
  page = view(THREE)
  before = page.inner_text("#beam")
  page.focus("#history .rated >> nth=0")
  after(page, lambda: page.keyboard.type("rated 1"))
  assert ratings(page) == ["1", "", "2"]
  assert page.evaluate("document.activeElement.className") == "rated"
  rated = page.inner_text("#beam")
  assert rated != before
  page.keyboard.press("Shift+Tab")
  assert page.evaluate("document.activeElement.className") == "when"
  page.fill("#history .when >> nth=0", written(NOW - 10**6))
  after(page, lambda: page.keyboard.press("Enter"))
  assert page.inner_text("#beam") != rated
  assert page.evaluate("document.activeElement.className") == "when"
  page.fill("#asked", written(NOW + 10**7))
  after(page, lambda: page.focus("#search"))  # a field is done when it is left, too
  assert f"asked={NOW + 10**7}" in page.url
  assert "r=1&r=&r=2" in page.url
  again = view(page.url[page.url.index("#") :])
  for one in ("#history", "#beam", ".results"):
    assert again.inner_text(one) == page.inner_text(one)
  assert (times(again), ratings(again)) == (times(page), ratings(page))
  page.go_back()
  drawn(page)
  assert page.input_value("#asked") == written(NOW)


def test_events_stand_in_the_order_of_their_times(view):
  page, titles = view(THREE), [f"title {item}" for item in (1, 2, 3)]
  assert chips(page) == titles
  page.fill("#history .when >> nth=0", written(NOW - 300))
  after(page, lambda: page.keyboard.press("Enter"))
  assert chips(page) == [titles[1], titles[0], titles[2]]
  assert times(page) == [written(NOW - ago) for ago in (600, 300, 9)]
  assert ratings(page) == ["", "4", "2"]
  place = "[...document.querySelectorAll('#history .when')].indexOf(document.activeElement)"
  assert page.evaluate(place) == 1  # the focus goes where its event goes
  page.focus("#history .name >> nth=2")
  after(page, lambda: page.keyboard.press("Alt+ArrowLeft"))
  assert chips(page) == [titles[1], titles[2], titles[0]]
  assert times(page) == [written(NOW - ago) for ago in (600, 300, 9)]
  assert ratings(page) == ["", "2", "4"]
  after(page, lambda: page.click("#history .remove >> nth=0"))
  assert times(page) == [written(NOW - ago) for ago in (300, 9)]


def test_what_is_not_said_is_assumed_and_shown(view, timed):
  page = view("#h=4")
  assert "an hour after the one before it" in page.inner_text("#assumed")
  (first,) = times(page)
  assert abs(int(re.search(r"at=(\d+)", page.url)[1]) - (time.time() - 86400)) < 60
  page.fill("#search", "title 7")
  page.wait_for_selector("#found [role=option]")
  after(page, lambda: page.keyboard.press("Enter"))
  assert chips(page) == ["title 4", "title 7"]
  one, two = map(int, re.findall(r"at=(\d+)", page.url))
  assert (times(page), two - one) == ([written(one), written(two)], 3600)
  assert times(page)[0] == first
  assert ratings(page) == ["", ""]
  assert page.is_checked("#is-now")
  asked = page.inner_text("#status").split("asked at ")[1][:19]
  expected = timed[0].recommend(
    items=[4, 7],
    times=[one, two],
    ratings=[None, None],
    request_time=calendar.timegm(time.strptime(asked, "%Y-%m-%d %H:%M:%S")),
  )
  assert results(page) == expected.titles
  after(page, lambda: page.click("#example"))
  assert len(times(page)) == 3
  after(page, lambda: page.click("#clear"))
  assert (chips(page), times(page)) == ([], [])
  assert "at=" not in page.url


def test_an_event_after_the_request_and_odd_addresses_are_named(view):
  page = view(THREE)
  page.fill("#asked", written(NOW - 60))
  page.keyboard.press("Enter")
  page.wait_for_selector("#error:not([hidden])")
  newest, asked = (written(NOW - ago).replace("T", " ") for ago in (9, 60))
  said = f"the newest event is of {newest} UTC, after the request at {asked} UTC."
  assert page.inner_text("#error") == said
  after(page, lambda: page.check("#is-now"))
  assert page.is_hidden("#error")
  assert page.is_hidden("#asked")
  odd = view("#h=1&h=2&at=x&at=-5&r=many&r=3&asked=1e99")
  assert ratings(odd) == ["", "3"]
  assert len(times(odd)) == 2
  assert odd.is_checked("#is-now")
  view.may_fail = True
  refused = view(f"#h=1&at=5&r=77&asked={NOW}", beam=None)
  refused.wait_for_selector("#error:not([hidden])")
  assert "a rating is 77" in refused.inner_text("#error")
  assert ratings(refused) == ["77"]


def test_it_fits_a_phone_and_is_accessible(view):
  page = view(THREE, "narrow", "dark")
  page.wait_for_selector("#map canvas")
  picture(page, "timed-narrow-dark")
  wide = page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
  assert wide[0] <= wide[1]
  accessible(page)

"""The explorer of a run that reads users' attributes: a field for each, beside the history."""

import pytest
from explorer_page import accessible, after, drawn, listening, picture, results
from explorer_run import make_extras

from sidrec.serving.explore import Explorer

COOK = "#h=3&h=7&user.job=cook&user.age=30"


@pytest.fixture(scope="module")
def address(attributed):
  """Where a server with an explorer listens."""
  from sidrec.serving.app import make_app

  extras = make_extras(sasrec="this run trained none")
  explorer = Explorer(attributed[1], extras, read_only=True)
  with listening(make_app(attributed[1], explorer=explorer)) as at:
    yield at


def known(page):
  return page.locator("#user .known").evaluate_all("all => all.map(field => field.value)")


def shown(page):
  """The titles of the results, and their probabilities."""
  return results(page), page.locator(".results .line .p").all_inner_texts()


def test_an_address_says_what_is_known_of_the_user(view, attributed):
  page = view(COOK)
  expected = attributed[0].recommend(items=[3, 7], attributes={"job": "cook", "age": 30})
  assert results(page) == expected.titles
  assert known(page) == ["cook", "30"]
  assert page.locator("#user label").all_inner_texts()[1] == "age"
  options = page.locator("#user select option").all_inner_texts()
  assert options == ["unknown", "baker", "cook"]
  assert "user: job cook, age 30" in page.inner_text("#status")
  assert page.locator(".others section >> nth=0 >> li").count() == 10
  page.click(".why >> nth=0")
  assert page.locator("#why-0 .added li").count() == 2


def test_fields_change_the_request_by_keys_alone(view, attributed):
  page = view("#h=3&h=7")
  unknown = shown(page)
  assert unknown[0] == attributed[0].recommend(items=[3, 7]).titles
  assert (known(page), "user." in page.url) == (["", ""], False)
  assert "nothing is known of the user" in page.inner_text("#status")
  page.focus("#user select")
  after(page, lambda: page.keyboard.type("baker"))
  baker = shown(page)
  expected = attributed[0].recommend(items=[3, 7], attributes={"job": "baker"})
  assert baker[0] == expected.titles
  assert baker != unknown
  page.keyboard.press("Tab")
  page.keyboard.type("41.5")
  after(page, lambda: page.keyboard.press("Enter"))
  expected = attributed[0].recommend(items=[3, 7], attributes={"job": "baker", "age": 41.5})
  assert results(page) == expected.titles
  assert page.url.endswith("user.job=baker&user.age=41.5")
  again = view(page.url[page.url.index("#") :])
  assert (shown(again), known(again)) == (shown(page), ["baker", "41.5"])
  page.fill("#user input", "")
  after(page, lambda: page.keyboard.press("Enter"))
  assert (shown(page), known(page)) == (baker, ["baker", ""])
  page.go_back()
  drawn(page)
  page.wait_for_function("document.querySelector('#user select').value === 'baker'")
  after(page, lambda: page.click("#clear"))
  assert known(page)[0] == "baker"  # it is the history that is cleared


@pytest.mark.parametrize(
  ("said", "shows"),
  [
    ("user.job=pope&user.age=old&user.wage=3", ["", ""]),
    ("user.age=1e39&user.job=", ["", ""]),
    ("user.age=%203e1&user.toString=x", ["", "30"]),
  ],
)
def test_what_the_run_does_not_know_is_shown_as_unknown(view, attributed, said, shows):
  page = view(f"#h=3&h=7&{said}")
  assert known(page) == shows
  age = {"age": float(shows[1])} if shows[1] else {}
  assert results(page) == attributed[0].recommend(items=[3, 7], attributes=age).titles
  assert page.url.split("#")[1] == "h=3&h=7" + ("&user.age=30" if age else "")


def test_it_fits_a_phone_and_is_accessible(view):
  page = view(COOK, "narrow", "dark")
  page.wait_for_selector("#map canvas")
  picture(page, "user-narrow-dark")
  wide = page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
  assert wide[0] <= wide[1]
  accessible(page)


def test_the_page_hears_what_is_read_of_users(attributed, served):
  about = lambda service: Explorer(service, make_extras()).about()["inputs"]
  job, age = {"name": "job", "values": ["baker", "cook"]}, {"name": "age", "values": None}
  assert about(attributed[1])["attributes"] == [job, age]
  assert "attributes" not in about(served[0])


def test_the_document_says_so(attributed):
  from http_client import Client

  from sidrec.serving.app import make_app

  client = Client(make_app(attributed[1], explorer=Explorer(attributed[1], make_extras())))
  schemas = client.call("GET", "/openapi.json").json()["components"]["schemas"]
  inputs = schemas["About"]["properties"]["inputs"]
  said = client.call("GET", "/v1/about").json()["inputs"]
  assert {*said} == {*inputs["properties"]}
  assert {*said} - {*inputs["required"]} == {"attributes"}
  assert {*said["attributes"][0]} == {*inputs["properties"]["attributes"]["items"]["required"]}

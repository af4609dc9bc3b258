"""The page in a browser that has no network: no errors, no requests, and room on a telephone."""

import shutil

import pytest

from sidrec.report.compare import compare
from sidrec.report.write import write_report

playwright = pytest.importorskip("playwright.sync_api")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


@pytest.fixture(scope="module")
def browser():
  if not CHROMIUM:
    pytest.skip("there is no chromium")
  with playwright.sync_playwright() as api:
    opened = api.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
    yield opened
    opened.close()


@pytest.mark.parametrize(
  ("kind", "scheme", "width"),
  [("report", "light", 380), ("report", "dark", 1200), ("compare", "dark", 380)],
)
def test_the_page_opens_from_disk(trained, browser, tmp_path, kind, scheme, width):
  _, workdir = trained
  file = tmp_path / "page.html"
  write_report(workdir, output=file) if kind == "report" else compare([workdir] * 2, file)
  context = browser.new_context(
    viewport={"width": width, "height": 800}, color_scheme=scheme, offline=True
  )
  page, errors, requests = context.new_page(), [], []
  page.on("console", lambda message: errors.append(message.text))
  page.on("pageerror", lambda error: errors.append(str(error)))
  page.on("request", lambda request: requests.append(request.url))
  page.goto(file.as_uri())
  assert errors == []
  assert requests == [file.as_uri()]
  assert page.evaluate("document.documentElement.scrollWidth") <= width
  light = page.evaluate("getComputedStyle(document.body).backgroundColor")
  assert (light == "rgb(247, 246, 243)") == (scheme == "light")
  if kind == "report":
    title = page.locator("title", has_text="alert").first  # of a slice of the tree
    assert title.text_content().startswith('<script>alert("x")</script>')
    assert page.evaluate("document.scripts.length") == 0
  context.close()

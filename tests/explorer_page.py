"""What tests do with the explorer's page: wait, read, take pictures, check accessibility.

SIDREC_SCREENSHOTS=FOLDER keeps pictures. SIDREC_AXE=axe.min.js checks accessibility; the file comes
from `npm pack axe-core` or from the package axe-playwright-python.
"""

import contextlib
import importlib.util
import os
import re
import threading
import time
from pathlib import Path

SIZES = {"wide": (1300, 900), "narrow": (380, 800)}


@contextlib.contextmanager
def listening(app):
  """Serves an app on this machine; gives its address."""
  import uvicorn

  server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="warning", lifespan="off"))
  thread = threading.Thread(target=server.run, daemon=True)
  thread.start()
  while not server.started:
    assert thread.is_alive()
    time.sleep(0.01)
  yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
  server.should_exit = True
  thread.join(20)


@contextlib.contextmanager
def viewing(browser, address):
  """Gives what opens the page: (hash, size, scheme) → page; at the end, what went wrong in it.

  `open_page.may_fail` lets the server refuse requests, which a browser writes to the console. With
  `open_page.token` data are refused without it; `open_page.locked` is what was.
  """
  mishaps, foreign = [], []
  with contextlib.ExitStack() as stack:

    def guard(route):
      url, header = route.request.url, route.request.headers.get("authorization")
      if "/v1/" in url and open_page.token and header != f"Bearer {open_page.token}":
        open_page.locked.add(url.removeprefix(address))
        route.fulfill(status=401, json={"error": "give the token"})
      elif url.startswith(address):
        route.continue_()
      else:
        foreign.append(route.request.url)
        route.abort()

    def open_page(place="", size="wide", scheme="light", beam="#beam .level"):
      width, height = SIZES[size]
      context = browser.new_context(
        viewport={"width": width, "height": height}, color_scheme=scheme, reduced_motion="reduce"
      )
      stack.callback(context.close)
      context.route("**/*", guard)
      page = context.new_page()
      page.set_default_timeout(20_000)
      page.on("console", lambda said: mishaps.append(said.text) if said.type == "error" else None)
      page.on("pageerror", lambda error: mishaps.append(str(error)))
      page.goto(f"{address}/{place}")
      if open_page.token:
        for given in ("wrong", open_page.token):
          page.wait_for_selector("#token[open]")
          page.fill("#token-text", given)
          page.keyboard.press("Enter")
      if beam:
        drawn(page, beam)
      return page

    open_page.may_fail, open_page.token, open_page.locked = False, None, set()
    yield open_page
  refused = "Failed to load resource: the server responded with a status of"
  assert [said for said in mishaps if not (open_page.may_fail and said.startswith(refused))] == []
  assert foreign == []


def drawn(page, beam="#beam .level"):
  """Waits until the answer to the last change is drawn."""
  page.wait_for_selector(f"body:not(.busy) {beam}")
  page.wait_for_selector(".others section >> nth=2")


def chips(page):
  return page.locator("#history .name").all_inner_texts()


def results(page):
  return page.locator(".results .line > .link:not(.code)").all_inner_texts()


def after(page, act):
  """Acts, and waits for the new answer."""
  with page.expect_response("**/v1/explain"):
    act()
  drawn(page)


def picture(page, name):
  if folder := os.environ.get("SIDREC_SCREENSHOTS"):
    page.screenshot(path=Path(folder) / f"{name}.png", full_page=True)


def accessible(page):
  """Asserts that axe-core finds nothing serious, if it is there."""
  script = os.environ.get("SIDREC_AXE")
  if script is None:
    spec = importlib.util.find_spec("axe_playwright_python")
    if spec is None or spec.origin is None:
      return
    script = Path(spec.origin).parent / "axe.min.js"
  page.evaluate(
    Path(script).read_text(encoding="utf-8")
  )  # the page's policy allows no other script
  found = page.evaluate("axe.run()")
  serious = [
    (one["id"], [re.sub(r"\s+", " ", node["html"])[:120] for node in one["nodes"][:3]])
    for one in found["violations"]
    if one["impact"] in ("serious", "critical")
  ]
  assert serious == []
  assert len(found["passes"]) > 10

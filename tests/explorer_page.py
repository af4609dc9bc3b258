"""What tests do with the explorer's page: wait, read, take pictures, check accessibility.

SIDREC_SCREENSHOTS=FOLDER keeps pictures. SIDREC_AXE=axe.min.js checks accessibility; the file comes
from `npm pack axe-core` or from the package axe-playwright-python.
"""

import importlib.util
import os
import re
from pathlib import Path


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

"""The page around the sections: one file that loads nothing and runs nothing."""

from collections.abc import Sequence

from sidrec.report.html import Html, Part, anchor, join, tag
from sidrec.report.style import style

# Nothing may be fetched and no script may run, whatever a title holds.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; form-action 'none'; base-uri 'none'"


def page(
  title: str, top: Sequence[Part], sections: Sequence[tuple[str, Html]], made_of: str | None = None
) -> str:
  """A whole HTML document.

  Args:
    title: of the document.
    top: what stands above the list of contents; it holds the h1.
    sections: (title, content), in order.
    made_of: what tells whether the page is up to date; it stands at the beginning of the file.
  """
  links = [tag("li", tag("a", name, href=f"#{anchor(name)}")) for name, _ in sections]
  head = tag(
    "head",
    tag("meta", charset="utf-8"),
    tag("meta", name_="made-of", content=made_of) if made_of else None,
    tag("meta", name_="viewport", content="width=device-width, initial-scale=1"),
    tag("meta", http_equiv="Content-Security-Policy", content=_POLICY),
    tag("title", title),
    tag("style", style()),
  )
  body = tag(
    "body",
    tag("header", *top, tag("nav", tag("ul", *links), aria_label="contents")),
    tag("main", *(content for _, content in sections)),
    tag(
      "footer",
      tag(
        "p",
        "Made by sidrec from the files of the run alone. The page loads nothing and holds no "
        "script. Hover over a point or a slice to read it.",
      ),
    ),
  )
  return join([Html("<!doctype html>\n"), tag("html", head, body, lang="en"), Html("\n")])

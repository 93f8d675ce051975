"""Check a built site: dead links, hosts that a page asks, error output, and what a browser makes of each page.

`python -m book.crawl FOLDER [PICTURES]` prints what is wrong and fails; a second folder gets screenshots.
"""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Iterator, Mapping
from html.parser import HTMLParser
from itertools import product
from pathlib import Path
from urllib.parse import unquote, urlsplit

WIDE, NARROW = 1280, 390  # CSS pixels: a laptop's window, a telephone
SHOWN = (
    "index",
    "tables",
    "arms/colbert-unsupervised",
    "notebooks/03_unsupervised",
    "api/colbert_zero_lib/verdicts/verdict/index",
)
_LOADED = re.compile(r"url\(\s*['\"]?((?:https?:)?//[^)'\"]+)")


class Page(HTMLParser):
    """What a page has and asks for: ids, links that a reader clicks, and what the browser loads by itself."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.errors = 0
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note one element."""
        own = {name: value or "" for name, value in attrs}
        self.ids |= {own[name] for name in ("id", "name") if name in own}
        self.errors += "traceback" in own.get("class", "").split()
        if tag == "a" and "href" in own:
            self.links.append(own["href"])
        elif tag in ("script", "img", "iframe", "source", "audio", "video", "embed", "link"):
            fetched = tag != "link" or own.get("rel") not in ("canonical", "index", "search", "next", "prev")
            self.loaded += [own[name] for name in ("src", "href") if fetched and name in own]


def html_files(site: Path) -> list[Path]:
    """The pages of a site, without the theme's own templates."""
    return [file for file in sorted(site.rglob("*.html")) if "_static" not in file.parts]


def faults(site: Path) -> Iterator[str]:
    """What is wrong with the files of a site, one sentence each; no browser is needed."""
    pages = {file: Page(file.read_text(encoding="utf-8")) for file in html_files(site)}
    for file, page in pages.items():
        name = file.relative_to(site)
        if page.errors:
            yield f"{name} shows {page.errors} errors"
        for link in page.loaded:
            if urlsplit(link).netloc:
                yield f"{name} asks another host for {link}"
        for link in dict.fromkeys((*page.links, *page.loaded)):
            if wrong := _dead(file, link, pages):
                yield f"{name} links to {link}, {wrong}"
    for file in site.rglob("*.css"):
        yield from (
            f"{file.relative_to(site)} asks another host for {url}"
            for url in _LOADED.findall(file.read_text())
        )


def _dead(file: Path, link: str, pages: Mapping[Path, Page]) -> str:
    parts = urlsplit(link)
    if parts.scheme or parts.netloc:
        return ""
    target = (file.parent / unquote(parts.path)).resolve() if parts.path else file
    if not target.is_file():
        return "which is not there"
    known = pages.get(target)
    missing = known and parts.fragment and unquote(parts.fragment) not in known.ids
    return "a place that the page does not have" if missing else ""


def seen(site: Path, pictures: Path | None = None) -> Iterator[str]:
    """What a browser finds wrong: requests that leave the folder, script errors, pages wider than the window."""
    from playwright.sync_api import sync_playwright

    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if program is None:
        yield "no Chromium or Chrome is installed, so no page was opened: install one"
        return
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=program)
        tab = browser.new_page(viewport={"width": WIDE, "height": 900})
        said: list[str] = []
        tab.on(
            "request",
            lambda asked: said.append(asked.url) if not asked.url.startswith(("file:", "data:")) else None,
        )
        tab.on("pageerror", lambda error: said.append(str(error)))
        for file in html_files(site):
            name = file.relative_to(site)
            said.clear()
            tab.goto(file.resolve().as_uri(), wait_until="load")
            yield from (
                f"{name} in a browser: {what}" for what in said if not what.startswith(("file:", "data:"))
            )
            if (wide := tab.evaluate("document.documentElement.scrollWidth")) > WIDE:
                yield f"{name} is {wide} pixels wide in a window of {WIDE}"
        for page, width in product(SHOWN, (WIDE, NARROW)):
            if pictures:
                tab.set_viewport_size({"width": width, "height": 900})
                tab.goto((site / f"{page}.html").resolve().as_uri(), wait_until="load")
                tab.screenshot(path=pictures / f"{page.replace('/', '-')}-{width}.png")
        browser.close()


if __name__ == "__main__":
    place = Path(sys.argv[1])
    wrong = [*faults(place), *seen(place, *map(Path, sys.argv[2:3]))]
    print(
        "\n".join(wrong)
        or f"{len(html_files(place))} pages: no dead link, no outside request, nothing too wide"
    )
    sys.exit(bool(wrong))

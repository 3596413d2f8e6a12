"""A page as a test reads it, hostile words to put into one, and the page in a real browser."""

from __future__ import annotations

import html
import json
import re
import subprocess
from collections.abc import Mapping, Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=http://example.org/x onerror=alert(1)>',
    "</text></svg></style>&amp;",
    "--><b>",
    "$\\frac{$",
    "日本\n語",
    "\udcff\x00\x1b[31m",
    'url(#x) id="y" href="#z"',
]


class Page(HTMLParser):
    """Collects what a test asks of a page; complains of tags that do not match."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self.stack: list[str] = []
        self.feed(text)
        self.close()
        assert self.stack == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in ("meta",):
            self.stack.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag: str) -> None:
        assert self.stack.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data.replace("\u00a0", " ")


class Tables(HTMLParser):
    """The rows of every table with a head, by the table's caption: the head first, cells as text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: dict[str, list[list[str]]] = {}
        self.caption, self.into = "", ""
        self.rows: list[list[str]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "table":
            self.caption, self.rows = "", []
        elif tag == "tr":
            self.rows.append([])
        elif tag in ("th", "td"):
            self.rows[-1].append("")
        self.into = tag if tag in ("caption", "th", "td") else self.into

    def handle_endtag(self, tag: str) -> None:
        if tag == "table":
            self.found[self.caption] = self.rows
        self.into = "" if tag == self.into else self.into

    def handle_data(self, data: str) -> None:
        if self.into == "caption":
            self.caption += data
        elif self.into:
            self.rows[-1][-1] += data


def browsed(pages: Mapping[str, str], widths: Sequence[int], folder: Path, browser: str) -> dict[str, dict[str, Any]]:
    """Open pages in a browser without a network, each at several widths (pixels), all at once.

    Returns:
        By `NAME at WIDTH`: `over`, pixels that the page is wider than its window; `outside`, the elements that reach
        over its edge and stand in no box that scrolls; `loaded`, what it fetched; `smallest`, the size of its smallest
        text in pixels; `figures`, their widths. Under `console` the browser's messages about the pages.
    """
    frames = "".join(
        f'<iframe name="{name} at {width}" style="width:{width}px;height:900px;border:0" '
        f'srcdoc="{html.escape(text)}"></iframe>'
        for name, text in pages.items() for width in widths
    )  # fmt: skip
    whole = f"<!doctype html>{frames}<pre id=seen></pre><script>{_PROBE}</script>"
    (folder / "frames.html").write_text(whole, encoding="utf-8")
    command = [
        browser, "--headless=new", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr",
        "--virtual-time-budget=20000", "--host-resolver-rules=MAP * ~NOTFOUND", "--dump-dom",
        f"--user-data-dir={folder / 'profile'}", f"file://{folder / 'frames.html'}",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, check=True)
    found = re.search(r'<pre id="seen">(.*?)</pre>', done.stdout, re.S)
    assert found is not None, done.stderr
    console = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    return json.loads(html.unescape(found[1])) | {"console": console}


_PROBE = """
addEventListener("load", () => {
  const seen = {};
  for (const frame of document.querySelectorAll("iframe")) {
    const page = frame.contentDocument, root = page.documentElement, wide = frame.clientWidth;
    const free = [...page.body.querySelectorAll("*")].filter(one => !one.closest(".scroll, svg"));
    const sizes = [...page.querySelectorAll("p, td, th, dt, dd, small, figcaption, caption, pre")].map(
      one => parseFloat(getComputedStyle(one).fontSize));
    seen[frame.name] = {
      over: Math.max(root.scrollWidth, page.body.scrollWidth) - wide,
      outside: free.filter(one => one.getBoundingClientRect().right > wide + 0.5).map(
        one => one.outerHTML.slice(0, 80)),
      loaded: frame.contentWindow.performance.getEntriesByType("resource").map(one => one.name),
      smallest: Math.min(...sizes),
      figures: [...page.querySelectorAll("figure svg")].map(one => one.getBoundingClientRect().width),
    };
  }
  document.getElementById("seen").textContent = JSON.stringify(seen);
});
"""

"""HTML for reports: one self-contained page, no script and nothing from elsewhere."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any


@dataclass(frozen=True)
class Section:
    """One part of the page: an anchor, a heading and its HTML, already escaped."""

    anchor: str
    title: str
    body: str


def escape(value: Any) -> str:
    """Return `value` as HTML text, also fit for a quoted attribute.

    File names may hold bytes that are no text (lone surrogates) and control characters; both become U+FFFD.
    """
    shown = "".join("\ufffd" if _unprintable(letter) else letter for letter in str(value))
    return html.escape(shown)


def _unprintable(letter: str) -> bool:
    code = ord(letter)
    return 0xD800 <= code <= 0xDFFF or (code < 0x20 and letter not in "\t\n") or 0x7F <= code < 0xA0


def paragraph(text: str, *, kind: str = "") -> str:
    """Return a paragraph of user text, escaped; `kind` is its CSS class."""
    return f'<p class="{kind}">{_prose(text)}</p>' if kind else f"<p>{_prose(text)}</p>"


def _prose(text: str) -> str:
    """Escaped, and with no line break between a figure and its percent sign."""
    return escape(text).replace(" %", "\u00a0%")


def table(caption: str, headers: Sequence[str], rows: Iterable[Sequence[Any]], *, numbers: Sequence[int] = ()) -> str:
    """Return a table whose first column heads its row; the columns in `numbers` are set flush right."""
    body = list(rows)
    tall = " tall" if len(body) > 40 else ""
    head = "".join(
        f'<th scope="col"{_right(column in numbers)}>{escape(text)}</th>' for column, text in enumerate(headers)
    )
    lines = []
    for row in body:
        cells = [f'<th scope="row">{escape(row[0])}</th>'] + [
            f"<td{_right(column in numbers)}>{escape(value)}</td>" for column, value in enumerate(row[1:], 1)
        ]
        lines.append(f"<tr>{''.join(cells)}</tr>")
    return (
        f'<div class="scroll{tall}" tabindex="0"><table><caption>{escape(caption)}</caption>'
        f"<thead><tr>{head}</tr></thead>\n<tbody>\n{chr(10).join(lines)}\n</tbody></table></div>"
    )


def facts(caption: str, pairs: Iterable[tuple[str, Any]]) -> str:
    """Return a table of two columns without a head: what, and its value."""
    lines = "\n".join(f'<tr><th scope="row">{escape(key)}</th><td>{escape(value)}</td></tr>' for key, value in pairs)
    return f'<table class="facts"><caption>{escape(caption)}</caption>\n<tbody>\n{lines}\n</tbody></table>'


def figure(svg: str, caption: str, *, width: int | None = None) -> str:
    """Return a figure, of a fixed width (pixels) where it has one: a narrower screen scrolls it sideways."""
    inner = f'<div style="width:{width}px">{svg}</div>' if width else svg
    return (
        f'<figure{" class=wide" if width else ""}><div class="scroll"{" tabindex=0" if width else ""}>{inner}</div>'
        f"<figcaption>{_prose(caption)}</figcaption></figure>"
    )


def page(title: str, lead: str, sections: Sequence[Section]) -> str:
    """Return the whole document. `title` is escaped here; `lead` and the sections' bodies are HTML."""
    links = " ".join(f'<a href="#{part.anchor}">{escape(part.title)}</a>' for part in sections)
    parts = "\n".join(
        f'<section id="{part.anchor}"><h2>{escape(part.title)}</h2>\n{part.body}\n</section>' for part in sections
    )
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>{escape(title)}</title>\n<style>{_style()}</style></head>\n"
        f"<body><header><h1>{escape(title)}</h1>\n{lead}</header>\n"
        f'<nav aria-label="Contents">{links}</nav>\n<main>\n{parts}\n</main></body></html>\n'
    )


def _style() -> str:
    return resources.files(__package__).joinpath("page.css").read_text(encoding="utf-8")


def _right(yes: bool) -> str:
    return ' class="number"' if yes else ""

"""HTML for reports: one self-contained page, no script and nothing from elsewhere."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any

LONG = 24  # letters from which the text of a cell may run over several lines


@dataclass(frozen=True)
class Section:
    """One part of the page: an anchor, a heading and its HTML, already escaped."""

    anchor: str
    title: str
    body: str


def escape(value: Any) -> str:
    """Return `value` as HTML text, also fit for a quoted attribute.

    File names may hold bytes that are no text (lone surrogates) and control characters, also those that turn the
    direction of writing around; all become U+FFFD.
    """
    shown = "".join("\ufffd" if _unprintable(letter) else letter for letter in str(value))
    return html.escape(shown)


def _unprintable(letter: str) -> bool:
    code = ord(letter)
    turning = code in (0x200E, 0x200F) or 0x202A <= code <= 0x202E or 0x2066 <= code <= 0x2069
    return turning or 0xD800 <= code <= 0xDFFF or (code < 0x20 and letter not in "\t\n") or 0x7F <= code < 0xA0


def paragraph(text: str, *, kind: str = "") -> str:
    """Return a paragraph of user text, escaped; `kind` is its CSS class."""
    return f'<p class="{kind}">{_prose(text)}</p>' if kind else f"<p>{_prose(text)}</p>"


def _prose(text: str) -> str:
    """Escaped, and with no line break between a figure and its percent sign."""
    return escape(text).replace(" %", "\u00a0%")


def table(
    caption: str,
    headers: Sequence[str],
    rows: Iterable[Sequence[Any]],
    *,
    numbers: Sequence[int] = (),
    quoted: Sequence[int] = (),
) -> str:
    """Return a table whose first column heads its row.

    Args:
        caption: above the table.
        headers: of the columns.
        rows: as long as `headers`.
        numbers: columns that are set flush right.
        quoted: columns that are someone else's figures, and look so.
    """
    body = list(rows)
    tall = " tall" if len(body) > 40 else ""
    kinds = [{"number": column in numbers, "quoted": column in quoted} for column in range(len(headers))]
    head = "".join(
        f'<th scope="col"{_classes(kind)}>{escape(text)}</th>' for kind, text in zip(kinds, headers, strict=True)
    )
    lines = []
    for row in body:
        cells = [_cell(value, column, kinds[column]) for column, value in enumerate(row)]
        lines.append(f"<tr>{''.join(cells)}</tr>")
    return (
        f'<div class="scroll{tall}" tabindex="0"><table><caption><span>{escape(caption)}</span></caption>'
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


def tiles(entries: Iterable[tuple[str, str, str]]) -> str:
    """Return the figures to take away as tiles, each with what it is, its value, and its unit or a remark."""
    items = "".join(
        f"<div><dt>{escape(what)}</dt><dd>{escape(value)}<small>{escape(unit)}</small></dd></div>"
        for what, value, unit in entries
    )
    return f'<dl class="tiles">{items}</dl>'


def light() -> dict[str, str]:
    """Return the colours of the page by light, by the names of its CSS variables."""
    style = _style()
    return dict(re.findall(r"--([\w-]+): (#\w+)", style[: style.index("}")]))


def _style() -> str:
    return resources.files(__package__).joinpath("page.css").read_text(encoding="utf-8")


def _cell(value: Any, column: int, kind: Mapping[str, bool]) -> str:
    name = 'th scope="row"' if column == 0 else "td"
    return f"<{name}{_classes({**kind, 'long': len(str(value)) > LONG})}>{escape(value)}</{name[:2]}>"


def _classes(present: Mapping[str, bool]) -> str:
    words = " ".join(word for word, yes in present.items() if yes)
    return f' class="{words}"' if words else ""

"""The one exception a user's mistake ends in, and the help for misspelt names."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable


class InputError(Exception):
    """Bad input, told in one line: the thing, what was expected, and what to do.

    What the message quotes may be anything: control characters are spelt out, and of a message longer than `LONGEST`
    characters the middle is left out. The command line prints it as `error: …` and exits with 2; from Python it is an
    ordinary exception.
    """

    LONGEST = 2000

    def __init__(self, message: str) -> None:
        if len(message) > self.LONGEST:
            message = f"{message[: self.LONGEST // 2]} … {message[-self.LONGEST // 4 :]}"
        super().__init__(one_line(message))


def one_line(text: str) -> str:
    """Spell out line breaks, control characters and the like, which file names may hold: a message stays one line."""
    # Among them what turns the direction of writing, with which a name can pretend to be another.
    odd = r"[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
    return re.sub(odd, lambda found: ascii(found[0])[1:-1], text)


def counted(n: int, thing: str) -> str:
    """`1 case`, `1,204 cases`."""
    return f"{n:,} {thing}" if n == 1 else f"{n:,} {thing}s"


def nearest(word: object, known: Iterable[str]) -> str:
    """Return `"; did you mean 'x'?"` for the known word closest to `word`, or an empty string."""
    close = difflib.get_close_matches(str(word)[:100].lower(), list(known), n=1, cutoff=0.5)
    return f"; did you mean '{close[0]}'?" if close else ""


def brief(value: object, most: int = 100) -> str:
    """A value from a file, short enough for a message; of what is no text, number or None only the type is told."""
    if isinstance(value, str):
        return value if len(value) <= most else f"{value[:most]}…"
    if value is None or isinstance(value, float) or (isinstance(value, int) and value.bit_length() < 64):
        return str(value)
    return type(value).__name__

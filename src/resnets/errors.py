"""The one exception a user's mistake ends in, and the help for misspelt names."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class InputError(Exception):
    """Bad input, told in one line: the thing, what was expected, and what to do.

    The command line prints it as `error: …` and exits with 2; from Python it is an ordinary exception.
    """


def nearest(word: str, known: Iterable[str]) -> str:
    """Return `"; did you mean 'x'?"` for the known word closest to `word`, or an empty string."""
    close = difflib.get_close_matches(word.lower(), list(known), n=1, cutoff=0.5)
    return f"; did you mean '{close[0]}'?" if close else ""

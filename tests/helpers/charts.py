"""Reports without charts, where a run's end is reached and what its page shows is not the point."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest


@contextmanager
def left_out() -> Iterator[None]:
    """Inside, in this process and those forked from it, charts are not rendered, which takes a second a run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("resnets.pages.ink.render", lambda *_, **__: b'<svg viewBox="0 0 1 1"></svg>')
        yield

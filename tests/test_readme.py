"""The README's blocks marked `<!-- run -->` do run, in their order, in an empty folder."""

from __future__ import annotations

import re
from pathlib import Path

import pages
import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_marked_blocks_run(tmp_path):
    assert [block.language for block in pages.blocks(README)] == ["bash", "python"]
    pages.check(README, tmp_path)
    assert (tmp_path / "digits.json").stat().st_size > 0


@pytest.mark.parametrize("path", sorted(set(re.findall(r"\b(?:docs/)?[A-Z]+\.md\b", README))))
def test_the_files_it_names_are_there(path):
    assert (ROOT / path).is_file()


def test_generated_parts_have_their_marks():
    for name in ("demo", "results"):
        assert README.count(f"<!-- {name}:begin -->") == README.count(f"<!-- {name}:end -->") == 1

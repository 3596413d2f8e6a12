"""The pages of docs/: their blocks marked `<!-- run -->` run, each on its own, and print what the page shows."""

from __future__ import annotations

from pathlib import Path

import pages
import pytest

DOCS = Path(__file__).parents[1] / "docs"
ARITHMETIC = (DOCS / "ARITHMETIC.md").read_text(encoding="utf-8")
RUNNABLE = [path for path in sorted(DOCS.glob("*.md")) if "<!-- run -->" in path.read_text(encoding="utf-8")]


@pytest.mark.parametrize("path", RUNNABLE, ids=lambda path: path.name)
def test_the_marked_blocks_print_what_is_shown(path, tmp_path):
    page = path.read_text(encoding="utf-8")
    assert len(pages.blocks(page)) == page.count("<!-- run -->")
    pages.check(page, tmp_path)


def test_every_block_of_the_arithmetic_is_run_and_shows_its_output():
    marked = pages.blocks(ARITHMETIC)
    assert len(marked) == ARITHMETIC.count("```python") > 10
    assert all(block.output for block in marked)


def test_the_arithmetic_shows_the_papers_figures():
    printed = "".join(block.output for block in pages.blocks(ARITHMETIC))
    for figure in ("0.720", "0.551", "1,179,648", "69,632", "94.1 % fewer", "102,764,544", "24 24"):
        assert figure in printed


def page(*parts: str) -> str:
    return "\n".join(parts) + "\n"


RUN = ("<!-- run -->", "```python")


def test_a_right_output_passes_and_a_wrong_one_is_seen(tmp_path):
    for shown in ("4", "5"):
        text = page(*RUN, "print(2 + 2)", "```", "", "```text", shown, "```")
        if shown == "4":
            pages.check(text, tmp_path)
        else:
            with pytest.raises(AssertionError, match="the page shows"):
                pages.check(text, tmp_path)


def test_a_block_that_fails_is_seen(tmp_path):
    with pytest.raises(AssertionError, match="NameError"):
        pages.check(page(*RUN, "x = 1", "```", *RUN, "print(x)", "```"), tmp_path)
    with pytest.raises(AssertionError, match="false"):
        pages.check(page("<!-- run -->", "```bash", "false", "true", "```"), tmp_path)


def test_blocks_see_the_files_of_those_before_them(tmp_path):
    text = page("<!-- run -->", "```bash", "echo 7 > seven", "```", *RUN, 'print(open("seven").read(), end="")', "```")
    assert pages.outputs(pages.blocks(text), tmp_path) == ["", "7\n"]


def test_unmarked_blocks_are_left_alone():
    assert pages.blocks(page("```python", "1 / 0", "```")) == []

"""The README's blocks marked `<!-- run -->` do run, in their order, in an empty folder."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^<!-- run -->\n```(\w+)\n(.*?)^```$", README, flags=re.MULTILINE | re.DOTALL)


def test_the_marked_blocks_run(tmp_path):
    assert [language for language, _ in BLOCKS] == ["bash", "python"]
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    # One thread: on a busy machine, threads that wait for each other are many times slower.
    environment = {**os.environ, "NO_COLOR": "1", "OMP_NUM_THREADS": "1", "PATH": path}
    for language, text in BLOCKS:
        program = ["bash", "-eu", "-c", text] if language == "bash" else [sys.executable, "-c", text]
        done = subprocess.run(program, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=280)
        assert done.returncode == 0, f"{text}\n{done.stdout}\n{done.stderr}"
    assert (tmp_path / "digits.json").stat().st_size > 0


@pytest.mark.parametrize("path", sorted(set(re.findall(r"\b(?:docs/)?[A-Z]+\.md\b", README))))
def test_the_files_it_names_are_there(path):
    assert (ROOT / path).is_file()


def test_generated_parts_have_their_marks():
    for name in ("demo", "results"):
        assert README.count(f"<!-- {name}:begin -->") == README.count(f"<!-- {name}:end -->") == 1

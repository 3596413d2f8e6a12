"""One tiny finished run for the tests of the commands."""

from __future__ import annotations

from pathlib import Path

import pytest
from commandline import TINY, resnets


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run on the digits, made by the real command. Tests must not change it."""
    run = tmp_path_factory.mktemp("finished") / "run"
    outcome = resnets("train", "digits", *TINY, "--seed", "3", "--out", run)
    assert outcome.code == 0, outcome.err
    return run

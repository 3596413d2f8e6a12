"""One tiny finished run for the tests of the commands, and the commands within this process."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from commandline import TINY, Outcome, resnets

from resnets import cli


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Outcome]:
    """A finished run on the digits, made by the real command, and what that printed. Tests must not change it."""
    run = tmp_path_factory.mktemp("finished") / "run"
    outcome = resnets("train", "digits", *TINY, "--seed", "3", "--json", "--out", run)
    assert outcome.code == 0, outcome.err
    return run, outcome


@pytest.fixture(scope="session")
def finished(trained: tuple[Path, Outcome]) -> Path:
    """The folder of `trained`."""
    return trained[0]


@pytest.fixture
def command(capfd: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    """As `commandline.resnets`, within this process: for what need not wait for an interpreter and torch to start."""

    def run(*words: object) -> Outcome:
        capfd.readouterr()
        code = cli.main([str(word) for word in words])
        return Outcome(code, *capfd.readouterr())

    return run

"""One tiny finished run for the tests of the commands, and the commands within this process."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from commandline import TINY, Outcome, resnets

from resnets import cli


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Outcome]:
    """A finished run on the digits, made by the real command, and what that printed. Tests must not change it.

    The first of the tests' processes that needs it makes it, for all.
    """
    base = tmp_path_factory.getbasetemp()
    place = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "finished"
    place.mkdir(exist_ok=True)
    run, told = place / "run", place / "told.json"
    with (place / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not told.exists():
            shutil.rmtree(run, ignore_errors=True)  # of another process whose training failed
            outcome = resnets("train", "digits", *TINY, "--seed", "3", "--json", "--out", run)
            assert outcome.code == 0, outcome.err
            told.write_text(json.dumps([outcome.code, outcome.out, outcome.err]), encoding="utf-8")
    return run, Outcome(*json.loads(told.read_text(encoding="utf-8")))


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

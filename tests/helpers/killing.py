"""A training in a forked child, killed in a phase of one's choice; forked, because torch takes seconds to start."""

from __future__ import annotations

import mmap
import os
import signal
import sys
import time
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import resnets.__main__ as program
import resnets.training.course as running
from resnets.training import checkpoint, keeping

PHASES = ("starting", "training", "validating", "saving", "ending")


class Child:
    """`resnets WORDS` in a child that says which phase it is in, and how often it has been in each."""

    def __init__(self, words: list[object], log: Path) -> None:
        self.board = mmap.mmap(-1, 4096)
        self.pid = os.fork()
        if self.pid == 0:
            code = 70
            try:
                self._announce()
                sys.argv = ["resnets", *(str(word) for word in words)]
                with log.open("a", buffering=1) as file, redirect_stdout(file), redirect_stderr(file):
                    program.run()
            except SystemExit as stop:
                code = int(stop.code or 0)
            finally:
                os._exit(code)

    @property
    def phase(self) -> str:
        return PHASES[self.board[0]]

    def entered(self, phase: str) -> int:
        """How often the child has come to a phase; it starts once."""
        return 1 if phase == PHASES[0] else self.board[1 + PHASES.index(phase)]

    def ended(self) -> int | None:
        """The exit code, None while it runs, less than 0 if it was killed."""
        pid, status = os.waitpid(self.pid, os.WNOHANG)
        return os.waitstatus_to_exitcode(status) if pid else None

    def wait(self) -> int:
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])

    def kill_in(self, phase: str, times: int, delay: float) -> str | None:
        """Kill it some seconds after it came to a phase for the n-th time; the phase it was in, or None if it ended."""
        while self.entered(phase) < times:
            if (code := self.ended()) is not None:
                assert code == 0, code
                return None
            time.sleep(0.0005)
        time.sleep(delay)
        os.kill(self.pid, signal.SIGKILL)
        code = self.wait()
        assert code in (0, -signal.SIGKILL), code
        return self.phase if code else None

    def _announce(self) -> None:
        """Within the child: set the board at the doors of each phase; and save as often as may be."""
        keeping.SHARE = 0
        checkpoint.save = self._marked(PHASES.index("saving"), checkpoint.save)
        running.evaluate = self._marked(PHASES.index("validating"), running.evaluate)
        running.finish = self._entering(PHASES.index("ending"), running.finish)
        running.fit = self._entering(PHASES.index("training"), running.fit)

    def _marked(self, phase: int, function: Callable[..., Any]) -> Callable[..., Any]:
        def marked(*args: Any, **options: Any) -> Any:
            before = self.board[0]
            self.board[0], self.board[1 + phase] = phase, min(255, self.board[1 + phase] + 1)
            try:
                return function(*args, **options)
            finally:
                self.board[0] = before

        return marked

    def _entering(self, phase: int, function: Callable[..., Any]) -> Callable[..., Any]:
        def entering(*args: Any, **options: Any) -> Any:
            self.board[0], self.board[1 + phase] = phase, 1
            return function(*args, **options)

        return entering

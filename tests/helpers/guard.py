"""A process of its own in which hostile files are read: watched by an audit hook, short of memory and of time.

`guarded("module:function", words)` runs `function(*words)` of a module of this folder in a new process and returns
what it returns, as JSON. Inside, `Watch.call` runs one piece of our code on one file, and says what came of it.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import resource
import signal
import sys
import time
import unicodedata
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from forking import forked

from resnets.models.allocator import give_back

SPARE = 1 << 30  # bytes of address space that reading may take beyond what the process has when it starts
GROWTH = 96 << 20  # bytes of resident memory that one small file may cost at its peak
PATIENCE = 20  # seconds of the processor for one file
HANGING = 200  # seconds of the clock: on a busy machine, far more than the other
TELL = os.environ.get("RESNETS_GUARD_TELL") == "1"  # name every file before it is read: which one killed us?
# What Python may do while our code reads a file. Whatever else an audit hook can see is a violation.
INNOCENT = frozenset(
    ["object.__getattr__", "sys._getframe", "array.__new__", "builtins.id", "mmap.__new__", "sys._getframemodulename"]
)
_UNFIT = frozenset(["Cc", "Cs", "Zl", "Zp"])  # control characters, surrogates, separators of lines
_LOOKING = frozenset(["os.listdir", "os.scandir"])


class Late(BaseException):
    """A file kept us for longer than `PATIENCE` or `HANGING`."""


@dataclass
class Watch:
    """What happened while files were read.

    Attributes:
        folder: the only one in which files may be opened, for reading.
        violations: events that must not happen, with what was being read.
        faults: what went wrong otherwise: exceptions of another kind, refusals of several lines, time, memory.
        counts: how often each outcome came.
        parses: whether text may be parsed as a literal of Python, which runs nothing.
    """

    folder: str
    patience: int = HANGING
    growth: int = GROWTH
    parses: bool = False
    violations: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    longest: float = 0.0
    most: int = 0
    _now: str = ""

    def __post_init__(self) -> None:
        self.folder = os.path.realpath(self.folder)
        sys.addaudithook(self._see)
        signal.signal(signal.SIGALRM, _late)
        signal.signal(signal.SIGPROF, _late)

    def limit(self, spare: int = SPARE) -> None:
        """Take away what memory is not needed; call it when everything is imported."""
        most = _status("VmSize") + spare
        resource.setrlimit(resource.RLIMIT_AS, (most, most))

    def call(self, title: str, refusal: type[Exception], read: Callable[[], Any]) -> Any:
        """What `read()` returns, or its refusal; anything but these two is a fault."""
        before = _reset_peak()
        began = time.process_time()
        signal.setitimer(signal.ITIMER_PROF, PATIENCE)
        signal.alarm(self.patience)
        if TELL:
            print(title, file=sys.stderr, flush=True)
        self._now = title
        result: Any = None
        try:
            result = read()
            self.counts["read"] += 1
        except refusal as error:
            result, text = error, str(error)
            self.counts["refused"] += 1
            self.reasons[text.partition(": ")[2][:40]] += 1
            if (
                len(text.splitlines()) != 1
                or len(text) > 2100
                or any(unicodedata.category(char) in _UNFIT for char in text)
            ):
                self.faults.append(f"{title}: not one short line: {text[:300]!r}")
        except (Exception, Late) as error:
            result = error
            self.faults.append(f"{title}: {type(error).__name__}: {str(error)[:300]}")
        finally:
            self._now = ""
            signal.alarm(0)
            signal.setitimer(signal.ITIMER_PROF, 0)
        self.longest = max(self.longest, time.process_time() - began)
        grown = _status("VmHWM") - before
        self.most = max(self.most, grown)
        if grown > self.growth:
            self.faults.append(f"{title}: {grown >> 20} MiB more at its peak")
        return result

    def summary(self) -> dict[str, Any]:
        """Plain data: counts, what went wrong, and the largest processor time (s) and memory (MiB) of one file."""
        return {
            "counts": dict(self.counts), "violations": self.violations, "faults": self.faults,
            "reasons": dict(self.reasons.most_common(60)), "longest_s": round(self.longest, 2),
            "peak_mib": self.most >> 20,
        }  # fmt: skip

    def _see(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self._now or event in INNOCENT:
            return
        if self.parses and event == "compile" and arguments[1] == "<unknown>":  # so ast.literal_eval calls it
            return
        if event == "open" or event in _LOOKING:
            path = arguments[0]
            writes = event == "open" and isinstance(arguments[2], int) and bool(arguments[2] & ~_HARMLESS)
            inside = isinstance(path, int) or os.path.realpath(os.fsdecode(path)).startswith(self.folder)
            if inside and not writes:
                return
        self.violations.append(f"{self._now}: {event} {str(arguments)[:200]}")


_HARMLESS = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_LARGEFILE", 0)


def guarded(target: str, *words: object, timeout: float = 240) -> dict[str, Any]:
    """Run `function(*words)` (words as text) of `module:function` in a guarded process and return its result."""
    module, _, name = target.partition(":")

    def run() -> None:
        give_back()  # what the tests' own process has freed and kept would hide what is taken now
        print(json.dumps(getattr(importlib.import_module(module), name)(*map(str, words))))

    code, out, err = forked(run, timeout=timeout)
    assert code == 0, f"the process died ({code}):\n{out[-2000:]}{err[-4000:]}"
    return json.loads(out.splitlines()[-1])


def _status(name: str) -> int:
    """Bytes, of /proc/self/status."""
    for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    return 0


def _reset_peak() -> int:
    """Let the peak of resident memory begin anew; returns what is resident now."""
    with contextlib.suppress(OSError):  # forbidden: the peak is then that of the whole process, never too small
        Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")
    return _status("VmRSS")


def _late(signum: int, frame: object) -> None:
    raise Late

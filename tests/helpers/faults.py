"""What the disk, or a kill, does to a piece of code at an exact system call: a forked child under strace.

A child forked from a process that has torch already starts in milliseconds, so that every single call can be tried.
"""

from __future__ import annotations

import mmap
import os
import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

# All that can change a disk; `?` lets strace pass over the names that a processor family lacks.
MUTATING = (
    "?open,openat,?creat,?mkdir,mkdirat,write,pwrite64,writev,?rename,renameat,?renameat2,?unlink,unlinkat,?rmdir,"
    "fsync,fdatasync,ftruncate,?truncate,fallocate,?copy_file_range,?sendfile,close"
)
# Those of them that a disk can refuse. (A close that fails has still closed; only a network's disk does that.)
FAILING = (
    "?open,openat,?mkdir,mkdirat,write,pwrite64,writev,?rename,renameat,?renameat2,fsync,fdatasync,close,"
    "?unlink,unlinkat,?rmdir"
)
ERRORS = ("ENOSPC", "EIO", "EROFS")
_SECONDS = 120


@dataclass(frozen=True)
class Trial:
    """How a child ended: `done`, `failed` with what it raised (its type and text), or `killed`."""

    end: str
    raised: str
    calls: tuple[str, ...]  # the names of the traced calls, in order

    def counted(self) -> Iterator[tuple[str, int]]:
        """Every call as strace counts them: the k-th of its name."""
        seen: Counter[str] = Counter()
        for name in self.calls:
            seen[name] += 1
            yield name, seen[name]


def attempt(action: Callable[[], object], log: Path, *options: str, trace: str = MUTATING) -> Trial:
    """Run `action` in a forked child under strace, with strace's further `options` (`-e inject=…`)."""
    _require()
    said = mmap.mmap(-1, 1 << 16)  # shared with the child, and written to without a system call
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.read(reading, 1)
            action()
            code = 0
        except BaseException as error:
            said.write(f"{type(error).__name__}: {error}".encode()[: 1 << 15])
        finally:
            os._exit(code)
    tracer = subprocess.Popen(
        ["strace", "-f", "-o", str(log), "-e", f"trace={trace}", *options, "-p", str(child)],
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    line = tracer.stderr.readline()
    assert "attached" in line, line
    os.write(writing, b"x")
    _, status = os.waitpid(child, 0)
    tracer.communicate(timeout=_SECONDS)
    os.close(reading), os.close(writing)
    calls = re.findall(r"^(?:\d+ +)?([a-z_0-9]+)\(", log.read_text(errors="replace"), re.MULTILINE)
    if os.WIFSIGNALED(status):
        return Trial(f"killed {os.WTERMSIG(status)}", "", tuple(calls))
    raised = said[:].rstrip(b"\0").decode()
    return Trial("failed" if os.waitstatus_to_exitcode(status) else "done", raised, tuple(calls))


def kill_at(name: str, k: int) -> Sequence[str]:
    """strace's options for SIGKILL as the k-th call of a name begins."""
    return "-e", f"inject={name}:signal=KILL:when={k}"


def fail_at(name: str, when: str | int, error: str) -> Sequence[str]:
    """strace's options for an error of the k-th call of a name, or of those from the k-th on (`3+`)."""
    return "-e", f"inject={name}:error={error}:when={when}"


@cache
def _strace_works() -> str:
    if shutil.which("strace") is None:
        return "strace is not installed (apt-get install strace)"
    done = subprocess.run(["strace", "-e", "trace=none", "true"], capture_output=True, text=True)
    return "" if done.returncode == 0 else f"strace cannot trace here: {done.stderr.strip()}"


def _require() -> None:
    if reason := _strace_works():
        if "not installed" in reason:
            pytest.fail(reason)
        pytest.skip(reason)

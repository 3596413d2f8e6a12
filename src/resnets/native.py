"""Small C kernels: compiled where they are first used, kept in the user's cache, and never needed.

Every caller has a plain path beside its kernel, for machines without a C compiler. A kernel is one C file that lies in
the package and includes nothing of it.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import logging
import os
import platform
import shlex
import shutil
import stat
import subprocess
import sys
import threading
from pathlib import Path

from resnets.files import cache_folder, publish

# No -ffast-math: a library that was linked with it turns denormals off for the whole process. OpenMP, because torch has
# loaded its library (libgomp.so.1) already, whose threads a kernel then shares; Apple's compiler has none.
FLAGS = ("-O3", "-march=native", "-shared", "-fPIC")
_OPENMP = () if sys.platform == "darwin" else ("-fopenmp",)
_COMPILERS = ("cc", "gcc", "clang")
_LONGEST = 60  # seconds that a compiler may take
_PROCESSOR = ("vendor_id", "model name", "flags", "CPU implementer", "CPU part", "Features")  # lines of /proc/cpuinfo
_LOGGER = logging.getLogger("resnets")
_lock = threading.Lock()  # two threads would write the same file aside


def library(source: Path, *defined: str) -> ctypes.CDLL | None:
    """The functions of a C file, compiled for this very processor; its arguments' types are the caller's to declare.

    The first use on a machine takes as long as the compiler does, later ones under a millisecond. ctypes lets other
    Python threads run meanwhile, whatever a kernel does.

    Args:
        source: the C file.
        defined: names of macros that are defined for it.

    Returns:
        None where there is no compiler, or where it fails or takes more than a minute, where the library cannot be
        kept, or the kept one could have been written by others; and on Windows.
    """
    if sys.platform not in ("linux", "darwin"):
        return None
    with _lock:
        return _library(source, defined)


@functools.cache
def _library(source: Path, defined: tuple[str, ...]) -> ctypes.CDLL | None:
    flags = (*FLAGS, *_OPENMP, *(f"-D{name}" for name in defined))
    try:
        place = _place(source, flags)
        if not place.exists():
            _compile(source, place, flags)
        _check(place.parent, stat.S_IFDIR)
        _check(place, stat.S_IFREG)
        return ctypes.CDLL(str(place))
    except (OSError, RuntimeError, ValueError, subprocess.SubprocessError) as problem:
        _LOGGER.info("%s is not used, but plain code: %s", source.name, " ".join(str(problem).split())[:500])
        return None


def _command() -> list[str]:
    """The compiler, with what the user would have it given: CC, or the first that is found."""
    asked = shlex.split(os.environ.get("CC", ""))
    for name in asked[:1] or _COMPILERS:
        if found := shutil.which(name):
            return [found, *asked[1:]]
    raise OSError(f"no C compiler ({asked[0] if asked else ', '.join(_COMPILERS)})")


def _place(source: Path, flags: tuple[str, ...] = (*FLAGS, *_OPENMP)) -> Path:
    """Where the library lies: another for each source, compiler and processor, as it runs on no other."""
    command = _command()
    compiler = os.path.realpath(command[0])
    found = os.stat(compiler)
    known = [*command[1:], *flags, compiler, str(found.st_size), str(found.st_mtime_ns), _processor()]
    digest = hashlib.sha256("\0".join(known).encode("utf-8", "surrogateescape") + b"\0" + source.read_bytes())
    return cache_folder() / "native" / f"{source.stem}-{digest.hexdigest()[:32]}.so"


def _processor() -> str:
    """The processor's model and what it can do: code made for one dies of an illegal instruction on another."""
    try:
        first = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").split("\n\n")[0]
    except OSError:
        return f"{platform.machine()} {platform.processor()}"
    return "\n".join(line for line in first.splitlines() if line.startswith(_PROCESSOR))


def _compile(source: Path, place: Path, flags: tuple[str, ...]) -> None:
    def write(aside: Path) -> None:
        command = [*_command(), *flags, "-o", str(aside), str(source)]
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", timeout=_LONGEST
        )
        if done.returncode:
            raise OSError(f"{command[0]} ended with {done.returncode}: {done.stderr[-400:]}")
        aside.chmod(0o700)  # whatever the umask: what others may write to is not loaded

    place.parent.parent.mkdir(parents=True, exist_ok=True)
    place.parent.mkdir(mode=0o700, exist_ok=True)
    _check(place.parent, stat.S_IFDIR)
    publish(place, write)


def _check(path: Path, kind: int) -> None:
    """Refuse what is not this user's alone to write: it is about to be run."""
    found = os.lstat(path)
    if stat.S_IFMT(found.st_mode) != kind or found.st_uid != os.getuid() or found.st_mode & 0o022:
        raise OSError(f"{path} is not yours alone to write; remove it")

"""One process writes a run: a lock on its folder, which the system lets go when its holder ends, however it ends."""

from __future__ import annotations

import errno
import json
import os
import socket
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from resnets.errors import InputError, brief
from resnets.evaluation.provenance import command, now
from resnets.files import LOCK, make_folder

try:
    import fcntl
except ImportError:  # pragma: no cover  # Windows
    _LOCKS = False
else:
    _LOCKS = True

# What a file system without locks says, such as some network ones.
_WITHOUT = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL}
_NO_LINK = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)  # nor is a pipe waited for
_held: set[int] = set()  # descriptors


@contextmanager
def holding(folder: Path) -> Iterator[str | None]:
    """Hold the lock of a run folder, which is made if it is not there, and taken away again if it stays empty.

    Yields:
        None, or what the user should know: that this file system has no locks.

    Raises:
        InputError: another process holds it; names that process.
    """
    missing = [place for place in (folder, *folder.parents) if not place.exists()]
    handle, told = _acquire(folder)
    _held.add(handle)
    try:
        yield told
    finally:
        _held.discard(handle)
        with suppress(OSError):
            (folder / LOCK).unlink()  # while it is held: whoever opened it meanwhile sees that it is not the one
        os.close(handle)
        with suppress(OSError):  # not empty
            for place in missing:
                place.rmdir()


def _acquire(folder: Path) -> tuple[int, str | None]:
    file, told = folder / LOCK, None
    while True:
        try:
            make_folder(folder)
            # No link is followed: in a folder from elsewhere it may lead to any file of the user's.
            handle = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | _NO_LINK, 0o666)
        except FileNotFoundError:  # the folder was another's, who took it away
            continue
        except FileExistsError:  # so it was, between two looks at it; or something else has its name
            if any(map(_in_the_way, (folder, *folder.parents))):
                raise
            continue
        except OSError as error:
            if error.errno != errno.ELOOP:
                raise
            raise InputError(f"{file} is a link, which resnets never makes; remove it") from None
        try:
            if not _LOCKS:
                told = _unlocked(folder)
            else:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not _is(handle, file):
                os.close(handle)
                continue
        except BlockingIOError:
            os.close(handle)
            raise InputError(f"{folder} is being written by {_holder(file)}; wait until it ends, or stop it") from None
        except OSError as error:
            if error.errno not in _WITHOUT:
                os.close(handle)
                raise
            told = _unlocked(folder)
        except BaseException:
            os.close(handle)
            raise
        # What a dead holder wrote is overwritten. A full disk is no reason not to hold the lock.
        with suppress(OSError):
            os.ftruncate(handle, 0)
            os.pwrite(handle, json.dumps(_about()).encode(), 0)
        return handle, told


def _in_the_way(place: Path) -> bool:
    """Whether what has this name is no folder: a file, or a link that leads to none."""
    try:
        return not stat.S_ISDIR(os.stat(place).st_mode)
    except FileNotFoundError:
        return place.is_symlink()
    except OSError:
        return True


def _unlocked(folder: Path) -> str:
    return (
        f"the file system of {folder} has no locks: nothing keeps a second process from writing this run; see that"
        " there is none"
    )


def _is(handle: int, file: Path) -> bool:
    """Whether the open file is still the one of that name: its last holder may have removed it meanwhile."""
    try:
        return os.path.samestat(os.fstat(handle), os.stat(file))
    except FileNotFoundError:
        return False


def _about() -> dict[str, object]:
    return {"pid": os.getpid(), "host": socket.gethostname(), "since": now(), "command": command()}


def _holder(file: Path) -> str:
    """Who holds the lock, in words."""
    for _ in range(5):  # it may be about to write that
        try:
            about = json.loads(file.read_text(encoding="utf-8"))
            return (
                f"process {brief(about['pid'])} on {brief(about['host'])} since {brief(about['since'])}"
                f" ({brief(about['command'], 200)})"
            )
        except (OSError, ValueError, KeyError, TypeError):
            time.sleep(0.1)
    return "another process"


def _let_go() -> None:
    """In a child: a copy of the descriptor would keep the lock when the holder is dead."""
    for handle in _held:
        with suppress(OSError):
            os.close(handle)
    _held.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_let_go)

"""A process forked from the tests' own: an interpreter of its own would need four seconds to load torch.

What has threads of its own (OpenVINO, ONNX Runtime, torch with several) may hang in it, if the tests' process used it
before: that needs a fresh interpreter.
"""

from __future__ import annotations

import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from tempfile import TemporaryFile


def forked(action: Callable[[], object], stdin: str = "", *, timeout: float = 240) -> tuple[int, str, str]:
    """What `action` does in a process of its own: its exit code (less than 0 if a signal ended it), stdout, stderr."""
    with TemporaryFile("w+") as given, TemporaryFile("w+") as out, TemporaryFile("w+") as err:
        given.write(stdin)
        given.seek(0)
        pid = os.fork()
        if pid == 0:
            code = 70
            try:
                for number, file in enumerate((given, out, err)):
                    os.dup2(file.fileno(), number)
                sys.stdin, sys.stdout, sys.stderr = given, out, err
                action()
                code = 0
            except SystemExit as stop:
                code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
            except BaseException:
                traceback.print_exc()
            finally:  # whatever happens, the child must not go on as a second run of the tests
                try:
                    sys.stdout.flush()
                    sys.stderr.flush()
                except BaseException:
                    code = code or 70
                finally:
                    os._exit(code)
        code = _waited(pid, time.monotonic() + timeout)
        out.seek(0)
        err.seek(0)
        return code, out.read(), err.read()


def _waited(pid: int, until: float) -> int:
    try:
        while not (ended := os.waitpid(pid, os.WNOHANG))[0]:
            assert time.monotonic() < until, "the process takes too long"
            time.sleep(0.005)
    except BaseException:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        raise
    return os.waitstatus_to_exitcode(ended[1])

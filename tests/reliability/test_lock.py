"""Two processes never write one run: the second is refused and told by whom, and a dead holder never blocks."""

import errno
import fcntl
import json
import os
import signal
import subprocess
import sys
import time

import pytest
from commandline import ENVIRONMENT, TINY, resnets

from resnets.errors import InputError
from resnets.models.folder import write_info
from resnets.training import lock, train
from resnets.training.lock import holding


def hold(folder, then):
    """A child that holds the lock, says so, and ends as `then` says."""
    code = (
        "from pathlib import Path; from resnets.training.lock import holding; import os, time\n"
        f"with holding(Path({str(folder)!r})): print('held', flush=True); {then}"
    )
    return subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT
    )


def test_the_second_is_refused_at_once_and_told_who_holds_it(tmp_path):
    run = tmp_path / "run"
    with holding(run) as told:
        assert told is None
        began = time.monotonic()
        with pytest.raises(InputError) as caught, holding(run):
            raise AssertionError("held twice")
        assert time.monotonic() - began < 1
        about = json.loads((run / ".lock").read_text())
    message = str(caught.value)
    assert f"process {os.getpid()} on {os.uname().nodename}" in message and about["command"][:100] in message
    assert "\n" not in message
    assert not run.exists()  # nothing was written: it leaves no trace


def test_a_holder_that_is_killed_never_blocks_and_what_it_wrote_is_overwritten(tmp_path):
    run = tmp_path / "run"
    child = hold(run, "time.sleep(60)")
    assert child.stdout.readline() == "held\n"
    with pytest.raises(InputError, match=f"process {child.pid} "), holding(run):
        pass
    child.send_signal(signal.SIGKILL)
    child.wait()
    child.stdout.close(), child.stderr.close()
    assert json.loads((run / ".lock").read_text())["pid"] == child.pid
    with holding(run):
        assert json.loads((run / ".lock").read_text())["pid"] == os.getpid()


def test_a_child_of_a_dead_holder_does_not_keep_the_lock(tmp_path):
    # DataLoader's workers are forked and outlive a killed parent by seconds.
    run = tmp_path / "run"
    with holding(run):
        child = os.fork()
        if child == 0:
            time.sleep(20)
            os._exit(0)
    try:
        with holding(run) as told:
            assert told is None
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def test_of_many_at_once_exactly_one_holds_it_at_a_time(tmp_path):
    run, log = tmp_path / "run", tmp_path / "log"
    log.touch()
    children = []
    for _ in range(8):
        pid = os.fork()
        if pid == 0:
            done = 0
            for _ in range(100):
                try:
                    with holding(run):
                        try:
                            os.close(os.open(tmp_path / "inside", os.O_CREAT | os.O_EXCL))  # fails if not alone
                            os.unlink(tmp_path / "inside")
                            done += 1
                        except FileExistsError:
                            os._exit(1)
                except InputError:
                    pass
            os._exit(0 if done else 2)
        children.append(pid)
    codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children]
    assert 1 not in codes and codes.count(0) >= 1, codes


def test_a_folder_that_is_taken_away_between_two_looks_is_made_again(tmp_path, monkeypatch):
    real, failures = lock.make_folder, [FileExistsError(errno.EEXIST, "File exists"), FileNotFoundError()]
    monkeypatch.setattr(lock, "make_folder", lambda folder: real(folder) if not failures else _raise(failures.pop()))
    with holding(tmp_path / "run") as told:
        assert told is None and not failures


@pytest.mark.timeout(20)
def test_what_is_no_folder_and_has_its_name_is_not_waited_for(tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "nowhere").symlink_to(tmp_path / "gone")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for name in ("file", "file/run", "nowhere", "nowhere/run", "loop", "loop/run"):
        with pytest.raises((OSError, InputError), match=name.split("/")[0]), holding(tmp_path / name):
            pass


def _raise(error):
    raise error


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_told_of_and_trained_on(tmp_path, monkeypatch, number):
    def refuse(handle, operation):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with holding(tmp_path / "run") as told:
        assert "has no locks" in told and str(tmp_path / "run") in told


def test_a_full_disk_is_no_reason_not_to_hold_it(tmp_path, monkeypatch):
    def full(handle, data, offset):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(lock.os, "pwrite", full)
    monkeypatch.setattr(lock.time, "sleep", lambda seconds: None)
    refused = pytest.raises(InputError, match="is being written by another process")
    with holding(tmp_path / "run"), refused, holding(tmp_path / "run"):
        pass


@pytest.mark.slow
def test_train_and_resume_are_refused_while_another_trains_and_leave_its_files_alone(tmp_path):
    run = tmp_path / "run"
    child = hold(run, "time.sleep(100)")
    assert child.stdout.readline() == "held\n"
    try:
        first = resnets("train", "digits", *TINY, "--out", run)
        assert first.code == 2 and f"process {child.pid} on" in first.error
        assert [file.name for file in run.iterdir()] == [".lock"]
    finally:
        child.kill()
        child.communicate()
    # The holder is dead, and its lock is in the folder: that is no reason to refuse.
    begun = subprocess.Popen(
        [sys.executable, "-m", "resnets", "train", "digits", "--epochs", "50", "--arch", "resnet8", "--out", str(run)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT,
    )  # fmt: skip
    while not (run / "metrics.jsonl").exists():
        assert begun.poll() is None, begun.communicate()
        time.sleep(0.05)
    try:
        before = (run / "run.json").read_bytes()
        for words in (["--resume"], ["digits", *TINY]):
            second = resnets("train", *words, "--out", run)
            assert second.code == 2 and f"is being written by process {begun.pid} on" in second.error
        assert (run / "run.json").read_bytes() == before
    finally:
        begun.terminate()
        _, err = begun.communicate(timeout=60)
    assert begun.returncode == 143, err
    assert not (run / ".lock").exists()


@pytest.mark.slow
def test_two_that_name_their_folder_alike_at_once_get_two(tmp_path):
    words = [sys.executable, "-m", "resnets", "train", "digits", *TINY, "--json"]
    both = [
        subprocess.Popen(
            words, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT
        )
        for _ in range(2)
    ]
    ended = [process.communicate(timeout=240) for process in both]
    assert [process.returncode for process in both] == [0, 0], ended
    assert {json.loads(out)["run"] for out, _ in ended} == {"runs/digits-resnet8", "runs/digits-resnet8-2"}
    assert not list(tmp_path.glob("runs/*/.lock"))


def test_a_link_in_the_place_of_the_lock_is_not_written_through(tmp_path):
    (tmp_path / "mine").write_text("mine")
    (tmp_path / ".lock").symlink_to(tmp_path / "mine")
    with pytest.raises(InputError, match=r"\.lock is a link"), holding(tmp_path):
        pass
    assert (tmp_path / "mine").read_text() == "mine"


@pytest.mark.parametrize("name", ["metrics.jsonl", "checkpoints"])
def test_a_link_in_a_run_from_elsewhere_is_not_written_through(tmp_path, name):
    run, mine = tmp_path / "run", tmp_path / "mine"
    run.mkdir()
    write_info(run, {"format": 2, "status": "running"})
    mine.mkdir() if name == "checkpoints" else mine.write_text("mine")
    (run / name).symlink_to(mine)
    with pytest.raises(InputError, match=f"{name} is a link"):
        train(out=run, resume=True)
    assert not list(mine.iterdir()) if name == "checkpoints" else mine.read_text() == "mine"

"""SIGTERM and SIGINT in every phase: the step is kept, the exit code is right, and the run goes on to the same bits.

The long form, at random times: `RESNETS_STOPS=100 pytest -m slow tests/reliability/test_signals.py -s`.
"""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter

import pytest
import torch
from commandline import ENVIRONMENT, images
from killing import PHASES, Child
from small import SPEC

from resnets import cli
from resnets.training.checkpoint import checkpoints
from resnets.training.stopping import Signals, Stopped, signals
from resnets.verification import verify_run

CODES = {signal.SIGTERM: 143, signal.SIGINT: 130}
LONGEST = 30.0


def words(run, *more):
    """The command: it resumes what is there to be resumed."""
    if (run / "run.json").exists():
        return ["train", "--resume", "--out", run, *more]
    spec = run.parent / "small.json"
    spec.write_text(json.dumps(SPEC.to_dict()))
    return [
        "train", "digits", "--arch", spec, "--epochs", "2", "--deterministic", "--threads", "1",
        "--set", "batch_size=128", "--out", run, *more,
    ]  # fmt: skip


def digest(run):
    return json.loads((run / "run.json").read_text())["weights"]["sha256"]


def stop(child, number, times=1):
    """Send a signal some times over; returns the exit code and the seconds that it took."""
    began = time.monotonic()
    for _ in range(times):
        if child.ended() is None:
            os.kill(child.pid, number)
    while (code := child.ended()) is None:
        assert time.monotonic() - began < LONGEST, f"still {child.phase} after {LONGEST} s"
        time.sleep(0.005)
    return code, time.monotonic() - began


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The weights of a run that nothing stops; in this process, so that its children have imported everything."""
    run = tmp_path_factory.mktemp("whole") / "run"
    threads = torch.get_num_threads()
    assert cli.main([str(word) for word in words(run)]) == 0
    torch.set_num_threads(threads)
    return digest(run)


class Watched(Child):
    """A child whose end is asked for once."""

    code = None

    def ended(self):
        if self.code is None:
            self.code = super().ended()
        return self.code


@pytest.mark.parametrize(
    ("phase", "number", "times"),
    [
        ("starting", signal.SIGINT, 1), ("training", signal.SIGTERM, 1), ("training", signal.SIGINT, 10),
        ("validating", signal.SIGTERM, 1), ("saving", signal.SIGTERM, 10), ("ending", signal.SIGINT, 10),
    ],
)  # fmt: skip
def test_a_signal_in_any_phase_keeps_the_step_and_the_run_ends_in_the_same_weights(
    whole, tmp_path, phase, number, times, request
):
    if phase != "ending":  # of which the charts are the longest part
        request.getfixturevalue("no_charts")
    run, log = tmp_path / "run", tmp_path / "log"
    child = Watched(words(run), log)
    while child.entered(phase) < 1 or not (run if phase == "starting" else run / "metrics.jsonl").exists():
        assert child.ended() is None
        time.sleep(0.0005)
    code, _ = stop(child, number, times)
    said = log.read_text()
    assert code == CODES[number], said
    assert "Traceback" not in said and "Exception ignored" not in said
    if not (run / "run.json").exists():
        assert phase == "starting" and not run.exists()  # nothing was begun, nothing is left
    else:
        assert verify_run(run).ok and not (run / ".lock").exists()
        status = json.loads((run / "run.json").read_text())["status"]
        assert status == ("finished" if "is finished" in said else "interrupted")
        if phase != "starting":
            assert checkpoints(run / "checkpoints")
            assert f"go on with: resnets train --resume --out {run}" in said or status == "finished"
    assert Child(words(run), log).wait() == 0, log.read_text()
    assert digest(run) == whole


def test_while_images_are_decoded_nothing_is_left_behind(tmp_path):
    photos = images(tmp_path / "photos", ["a", "b"], 1, side=600)
    for picture in list(photos.rglob("*.png")):
        for number in range(500):
            os.link(picture, picture.with_name(f"link{number}.png"))
    run, log = tmp_path / "run", tmp_path / "log"
    child = Watched(["train", photos, "--arch", "resnet8", "--out", run, "--size", "32"], log)
    while not run.exists():
        time.sleep(0.001)
    time.sleep(0.3)
    code, _ = stop(child, signal.SIGTERM, 3)  # within LONGEST
    assert code == 143, log.read_text()
    assert not run.exists()


def test_signals_to_the_real_command_from_its_first_moment_on(tmp_path):
    for delay, number in ((0.05, signal.SIGTERM), (0.6, signal.SIGINT), (1.5, signal.SIGTERM)):
        run = tmp_path / str(delay)
        process = subprocess.Popen(
            [sys.executable, "-m", "resnets", *map(str, words(run, "--json"))], env=ENVIRONMENT, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        time.sleep(delay)
        process.send_signal(number)
        out, err = process.communicate(timeout=LONGEST)
        # Before the first line of ours runs the signal ends the interpreter, which a shell reports in the same way.
        assert process.returncode in (CODES[number], -number), err
        assert out == ""


@pytest.mark.parametrize(
    ("number", "after"), [(signal.SIGINT, "raise AttributeError"), (signal.SIGTERM, "while True: pass")]
)
def test_a_signal_that_a_library_swallowed_still_ends_the_program_without_a_fault(number, after):
    # torch imports numpy and clears whatever error that gives: numpy is then half made, and fails at some later point.
    told = subprocess.run(
        [sys.executable, "-c", f"""
import os, resnets.__main__ as program, resnets.cli as cli
program.LONGEST = 0.2
def swallow(argv):
    try:
        os.kill(os.getpid(), {int(number)})
    except BaseException:
        pass
    {after}
cli._run = swallow
program.run()
"""], env=ENVIRONMENT, text=True, capture_output=True, timeout=LONGEST,
    )  # fmt: skip
    assert (told.returncode, told.stderr) == (CODES[number], "")


def test_only_stretches_that_may_end_anywhere_are_ended_and_only_once():
    found = Signals()
    found.note(signal.SIGINT)  # noted
    with pytest.raises(Stopped), found.at_once():
        raise AssertionError("a signal that came before ends it at once")
    found = Signals()
    with pytest.raises(Stopped), found.at_once():
        found.note(signal.SIGTERM)
    found.note(signal.SIGTERM)  # the next ones disturb nothing
    assert found.received == [signal.SIGTERM] * 2
    assert isinstance(found.end(), SystemExit) and found.end().code == 143


@pytest.mark.parametrize("then", ["an error of its own", "nothing"])
def test_a_library_that_turns_the_signal_into_something_else_does_not_hide_it(then):
    def work():
        try:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(1)
        except Stopped:
            if then != "nothing":
                raise ValueError("not a readable file") from None

    with signals() as found, pytest.raises(Stopped), found.at_once():
        work()
    assert found.received == [signal.SIGINT]


def test_the_handlers_are_given_back():
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with signals() as found:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.01)
        assert found.received == [signal.SIGTERM]
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_signals_at_random_times_end_in_the_same_weights(whole, tmp_path):
    stops, chance = int(os.environ.get("RESNETS_STOPS", "100")), random.Random(0)
    figures, longest, runs, done = Counter(), 0.0, 0, 0
    log = tmp_path / "log"
    while done < stops:
        run = tmp_path / f"run{runs}"
        runs += 1
        while True:
            child = Watched(words(run), log)
            phase = chance.choice(PHASES)
            while child.entered(phase) < 1 and child.ended() is None:
                time.sleep(0.0005)
            time.sleep(chance.random() ** 2)
            if child.ended() is not None or done >= stops:
                assert child.wait() == 0 if child.ended() is None else child.ended() == 0, log.read_text()
                break
            number, where = chance.choice(list(CODES)), child.phase
            code, seconds = stop(child, number, chance.choice((1, 1, 2, 10)))
            assert code in (CODES[number], 0), log.read_text()
            figures[where] += 1
            longest, done = max(longest, seconds), done + 1
            assert not run.exists() or verify_run(run).ok
            if (run / "run.json").exists() and json.loads((run / "run.json").read_text())["status"] == "finished":
                break
        assert digest(run) == whole
    print(json.dumps({"stops": done, "runs": runs, "phases": figures, "longest_seconds": round(longest, 2)}))

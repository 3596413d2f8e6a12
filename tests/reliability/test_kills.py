"""SIGKILL at every call that changes the disk, and at random times of whole runs: the same weights in the end.

The long form: `RESNETS_KILLS=300 pytest -m slow tests/reliability/test_kills.py -s`.
"""

import json
import os
import random
import shutil
import subprocess
import sys
import time
from collections import Counter

import numpy as np
import pytest
from faults import attempt, kill_at
from killing import PHASES, Child
from PIL import Image
from small import SPEC, advance, inside, same, small_state

from resnets import cli
from resnets.files import make_folder
from resnets.models import save_weights
from resnets.models.folder import close_run, read_info, write_info
from resnets.training.checkpoint import checkpoints, restore, save, write_weights
from resnets.training.folder import free_folder
from resnets.verification import verify_run


def every_kill(action, fresh, check, log, stride=1):
    """Kill a child at every call of `action` that changes the disk; `fresh` prepares, `check` judges what is left."""
    fresh()
    plain = attempt(action, log)
    assert plain.end == "done", plain.raised
    check("not killed")
    kills = 0
    for number, (name, k) in enumerate(plain.counted()):
        if number % stride and name in ("openat", "close"):
            continue
        fresh()
        ended = attempt(action, log, *kill_at(name, k))
        if name in ("openat", "close") and ended.end == "done" and ended.calls.count(name) < k:
            continue  # the collector of garbage closed a file less than in the first run: there was no such call
        assert ended.end == "killed 9", (name, k, ended)
        check(f"killed at {name} {k}")
        kills += 1
    return {"calls": len(plain.calls), "kills": kills}


def kills_of_a_save(tmp_path, stride):
    template, run = tmp_path / "template", tmp_path / "run"
    state = small_state()
    for _ in range(2):
        save(advance(state), template / "checkpoints")
    write_info(template, {"format": 2, "status": "running"})
    before = advance(small_state(), 2)
    advance(state)

    def fresh():
        shutil.rmtree(run, ignore_errors=True)
        shutil.copytree(template, run)
        state.saved = 2

    def check(about):
        store = run / "checkpoints"
        found = verify_run(run)
        assert found.ok, (about, found.damaged)
        again = small_state()
        assert restore(again, store) == [], about
        assert same(again, state if again.step == 3 else before), about
        save(advance(again), store)  # the next one leaves no litter of the killed one
        assert all(path.startswith("step-") for path in inside(store)), about
        assert len(checkpoints(store)) == 2, about

    return every_kill(lambda: save(state, run / "checkpoints"), fresh, check, tmp_path / "log", stride)


def kills_of_the_end(tmp_path, stride):
    run = tmp_path / "run"
    info = {"format": 2, "status": "running", "weights": None, "spec": SPEC.to_dict()}
    closed = {**info, "status": "finished", "weights": {"file": "weights.safetensors", "sha256": ""}}
    weights = small_state().net.state_dict()

    def fresh():
        shutil.rmtree(run, ignore_errors=True)
        run.mkdir()
        (run / "metrics.jsonl").write_text("{}\n")
        write_info(run, info)

    def end():
        write_weights(run / "weights.safetensors", weights)
        close_run(run, closed)

    def check(about):
        found = verify_run(run)
        assert found.ok, (about, found.damaged)
        states = {file.path: file.state for file in found.files}
        if found.status == "finished":
            named = ("run.json", "metrics.jsonl", "weights.safetensors", "manifest.json")
            assert [states[name] for name in named] == ["sound"] * 4, about
        else:
            assert found.status == "running", about

    return every_kill(end, fresh, check, tmp_path / "log", stride)


def kills_of_the_beginning(tmp_path, stride):
    run = tmp_path / "runs" / "run"

    def begin():
        make_folder(run)
        write_info(run, {"format": 2, "status": "running"})

    def check(about):
        if (run / "run.json").exists():
            assert read_info(run)["status"] == "running", about
        else:  # then a new run may have the folder, whatever the killed one had begun
            assert free_folder(run, "run") == run, about

    return every_kill(begin, lambda: shutil.rmtree(run.parent, ignore_errors=True), check, tmp_path / "log", stride)


def test_killed_at_a_call_of_the_beginning_a_run_is_there_or_its_folder_is_free(tmp_path):
    assert kills_of_the_beginning(tmp_path, stride=1)["kills"] > 5


def test_killed_at_a_call_of_a_save_there_is_a_sound_checkpoint(tmp_path):
    assert kills_of_a_save(tmp_path, stride=5)["kills"] > 20


def test_killed_at_a_call_of_the_end_a_run_is_finished_or_not(tmp_path):
    save_weights(tmp_path / "warm.safetensors", small_state().net)
    assert kills_of_the_end(tmp_path, stride=4)["kills"] > 10


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_killed_at_every_call_of_a_save_and_of_the_end(tmp_path):
    (tmp_path / "end").mkdir()
    print(json.dumps({"save": kills_of_a_save(tmp_path, 1), "end": kills_of_the_end(tmp_path / "end", 1)}))


@pytest.fixture
def photos(tmp_path):
    """Pictures that stream from the disk, so that workers have something to do; small, so that a run takes a second."""
    generator = np.random.default_rng(0)
    for number in range(24):
        folder = tmp_path / "photos" / "train" / ("warm" if number % 2 else "cold")
        folder.mkdir(parents=True, exist_ok=True)
        pixels = generator.integers(0, 120, (70 + number, 72, 3)) + (0, 60, 120)[:: 1 - 2 * (number % 2)]
        Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{number}.png")
    (tmp_path / "small.json").write_text(json.dumps({**SPEC.to_dict(), "in_channels": 3}))
    return tmp_path / "photos"


def words(photos, run, workers):
    """The command: it resumes what is there to be resumed."""
    if (run / "run.json").exists():
        return ["train", "--resume", "--out", run, "--workers", workers]
    return [
        "train", photos, "--arch", photos.parent / "small.json", "--epochs", "3", "--size", "66", "--deterministic",
        "--threads", "1", "--set", "batch_size=6", "crop=resized", "validation=0.25", "--workers", workers,
        "--out", run,
    ]  # fmt: skip


def digest(run):
    return json.loads((run / "run.json").read_text())["weights"]["sha256"]


def real_kill(command, delay):
    """Kill the real command, from its interpreter's first moment on."""
    process = subprocess.Popen(
        [sys.executable, "-m", "resnets", *map(str, command)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    time.sleep(delay)
    process.kill()
    return process.wait() != 0


def random_kills(photos, tmp_path, kills, *, seed, real=0):
    """Kill runs at random, again and again, until so many kills are done; every `real`-th of the real command."""
    generator = random.Random(seed)
    log, whole = tmp_path / "log", tmp_path / "whole"
    # In this process first: what torch and the report load only when they are used, the children then have.
    assert cli.main([str(word) for word in words(photos, whole, 0)]) == 0
    usual = 1.0  # seconds, about
    if real:
        began = time.monotonic()
        assert Child(words(photos, tmp_path / "second", 2), log).wait() == 0, log.read_text()
        usual = time.monotonic() - began
        assert digest(tmp_path / "second") == digest(whole)
    done, figures = Counter(), {"kills": 0, "runs": 0}
    while figures["kills"] < kills:
        run, kept = tmp_path / f"run {figures['runs']}", False
        for _ in range(12):  # kills of one run, at most
            workers = generator.choice((0, 2))
            if real and figures["kills"] % real == real - 1:
                phase = "any, real" if real_kill(words(photos, run, workers), generator.uniform(0, 4 * usual)) else None
            else:
                child = Child(words(photos, run, workers), log)
                target = generator.choice(PHASES)
                longest = {"starting": usual / 8, "training": usual / 2}.get(target, 0.03)
                phase = child.kill_in(target, generator.randint(1, 2), generator.uniform(0, longest))
                phase = phase and f"{phase}, {workers} workers"
            done[phase] += phase is not None
            figures["kills"] += phase is not None
            if (run / "run.json").exists():
                found = verify_run(run)
                assert found.ok, (phase, found.damaged)
                there = bool(checkpoints(run / "checkpoints"))
                assert there or not kept, phase
                kept = there
                if found.status == "finished":
                    break
            if figures["kills"] >= kills:
                break
        if not (run / "run.json").exists() or verify_run(run).status != "finished":
            assert Child(words(photos, run, 2), log).wait() == 0, log.read_text()
        assert digest(run) == digest(whole)
        assert verify_run(run).ok and not [path for path in inside(run) if ".part" in path]
        shutil.rmtree(run)
        figures["runs"] += 1
    return figures | {"phases": dict(sorted((key, value) for key, value in done.items() if key))}


@pytest.mark.usefixtures("no_charts")
def test_killed_at_random_and_resumed_a_run_ends_in_the_same_weights(photos, tmp_path):
    assert random_kills(photos, tmp_path, 6, seed=1)["kills"] == 6


@pytest.mark.slow
@pytest.mark.timeout(6 * 3600)
def test_killed_at_random_many_times(photos, tmp_path):
    kills = int(os.environ.get("RESNETS_KILLS", "300"))
    print(json.dumps(random_kills(photos, tmp_path, kills, seed=2, real=10)))

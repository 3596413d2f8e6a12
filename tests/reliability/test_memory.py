"""Out of memory ends in advice with numbers that hold; a process that decodes may die without the run dying."""

import json
import os
import re
import signal
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import shortage as helper
import torch
from commandline import ENVIRONMENT
from forking import forked
from PIL import Image
from small import SPEC, small_state
from torch.nn import functional

from resnets import cli
from resnets.data import WorkerDiedError, choose_preprocessing, load_split, open_source, train_batches
from resnets.data.packed import free_memory
from resnets.data.workers import in_workers
from resnets.training import Recipe, course, step
from resnets.training.device import Execution
from resnets.training.shortage import advice, out_of_memory

PLAIN = Execution("cpu", "fp32", channels_last=False, compiled=False, deterministic=False)

# Large blocks go back to the system when they are freed: what is tested is not how the C library cuts up its heap.
WHOLE = {**ENVIRONMENT, "MALLOC_MMAP_THRESHOLD_": "262144", "MALLOC_ARENA_MAX": "1"}


def limited(mebibytes, how, *words):
    """Train in a process that may not take more memory."""
    done = subprocess.run(
        [sys.executable, helper.__file__, str(mebibytes), how, "train", *map(str, words)],
        env=WHOLE, capture_output=True, text=True, timeout=200,
    )  # fmt: skip
    assert "Traceback" not in done.stderr, done.stderr
    return done


def asked(tmp_path, how, room, batch, number):
    """The batch size that is advised, or None if the one given fits."""
    words = ["digits", "--arch", "resnet8", "--size", "32", "--epochs", "1", "--json"]
    done = limited(room, how, *words, "--set", f"batch_size={batch}", "--out", tmp_path / str(number))
    if done.returncode == 0:
        assert json.loads(done.stdout)["test"]["n"] > 0
        return None
    (error,) = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    assert done.returncode == 2 and done.stderr.splitlines()[-1] == error
    assert re.search(rf"a batch of {batch} images of 32x32", error), error
    fits = int(re.search(r"batch_size=(\d+)", error)[1])
    assert 1 < fits < batch, error
    if how == "unforeseen":
        assert f"accumulate={-(-batch // fits)}" in error
        assert re.search(r"it asked for [\d,]+ MiB more", error) or "could not be tried" in error, error
    return fits


@pytest.mark.slow
def test_a_batch_that_does_not_fit_ends_in_advice_with_numbers(tmp_path):
    assert asked(tmp_path, "unforeseen", 200, 1024, 0)


@pytest.mark.slow
@pytest.mark.parametrize(("how", "room"), [("foreseen", 500), ("unforeseen", 200)])
def test_following_the_advice_ends_in_a_batch_that_fits(tmp_path, how, room):
    batch, rounds = 1024, 0
    while advised := asked(tmp_path, how, room, batch, rounds):
        batch, rounds = advised, rounds + 1
    assert 1 <= rounds <= 4


KINDS = [
    MemoryError("no"), torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.50 GiB."),
    RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory: you tried to"
                 " allocate 67108864 bytes. Error code 12 (Cannot allocate memory)"),
]  # fmt: skip


def test_every_kind_is_known():
    assert all(out_of_memory(error) for error in KINDS)
    assert not out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))


@pytest.mark.parametrize("error", [KINDS[2], *(pytest.param(kind, marks=pytest.mark.slow) for kind in KINDS[:2])])
def test_every_kind_is_answered_with_what_was_tried(error, monkeypatch):
    state, real = small_state(), type(small_state().net).forward
    state.step = 7

    def forward(self, images):
        if len(images) > 20:
            raise error
        return real(self, images)

    monkeypatch.setattr(type(state.net), "forward", forward)
    before = {key: value.clone() for key, value in state.net.state_dict().items()}
    preprocessing = choose_preprocessing(open_source("digits").splits["train"])
    recipe = Recipe(epochs=1, batch_size=64, accumulate=2)
    said = advice(str(error), state, recipe, PLAIN, preprocessing)
    assert "out of memory in step 8: a batch of 64 images of 8x8" in said
    assert "One of 16 was tried and fits" in said and "--set batch_size=16 accumulate=8" in said
    if "allocate" in str(error):
        assert "(it asked for 2.50 GiB more)" in said or "(it asked for 64 MiB more)" in said
    assert all(torch.equal(value, before[key]) for key, value in state.net.state_dict().items())
    assert all(weight.grad is None for weight in state.net.parameters())

    def never(self, images):
        raise error

    monkeypatch.setattr(type(state.net), "forward", never)
    assert "not even the smallest fits: use smaller images" in advice(str(error), state, recipe, PLAIN, preprocessing)
    assert "before the first step" in advice(str(error), None, recipe, PLAIN, preprocessing)


@pytest.mark.usefixtures("no_charts")
def test_on_the_way_the_steps_before_are_kept_and_gone_on_from(tmp_path, monkeypatch, capsys):
    spec = tmp_path / "small.json"
    spec.write_text(json.dumps(SPEC.to_dict()))
    words = ["train", "digits", "--arch", str(spec), "--epochs", "1", "--deterministic", "--set", "batch_size=128"]
    assert cli.main([*words, "--out", str(tmp_path / "whole"), "--json"]) == 0
    whole = json.loads(capsys.readouterr().out)["weights_sha256"]
    real, steps = functional.cross_entropy, []

    def third(*args, **options):
        steps.append(1)
        if len(steps) == 3:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")
        return real(*args, **options)

    monkeypatch.setattr(functional, "cross_entropy", third)
    assert cli.main([*words, "--out", str(tmp_path / "run")]) == 2
    said = capsys.readouterr().err
    assert "kept as step 2 left it; go on with: resnets train --resume --out" in said
    assert "It fits when tried again" in said.splitlines()[-1]
    monkeypatch.undo()
    assert cli.main(["train", "--resume", "--out", str(tmp_path / "run"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["weights_sha256"] == whole


def test_within_an_update_nothing_is_kept(tmp_path, monkeypatch, capsys):
    spec = tmp_path / "small.json"
    spec.write_text(json.dumps(SPEC.to_dict()))

    def update(state, recipe, norm):
        with torch.no_grad():
            next(state.net.parameters()).add_(1)
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setitem(course.fit.__globals__, "update", update)
    assert cli.main(["train", "digits", "--arch", str(spec), "--epochs", "1", "--out", str(tmp_path / "run")]) == 2
    assert "out of memory after step 0" in capsys.readouterr().err
    assert not list((tmp_path / "run" / "checkpoints").iterdir())


def test_a_limit_of_address_space_is_seen():
    code, out, err = forked(lambda: (helper.limit(700), print(free_memory() / 2**20)))
    assert code == 0, err
    assert 600 < float(out) <= 700 < free_memory() / 2**20


@pytest.fixture
def photos(tmp_path):
    """Pictures that stream from the disk."""
    generator = np.random.default_rng(0)
    for number in range(48):
        folder = tmp_path / "photos" / "train" / ("warm" if number % 2 else "cold")
        folder.mkdir(parents=True, exist_ok=True)
        pixels = generator.integers(0, 256, (70, 72, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    (tmp_path / "small.json").write_text(json.dumps({**SPEC.to_dict(), "in_channels": 3}))
    return tmp_path / "photos"


def workers_of(pid):
    """The processes that were forked from this one."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def words(photos, out, workers):
    return [
        "train", photos, "--arch", photos.parent / "small.json", "--epochs", "4", "--size", "66", "--deterministic",
        "--threads", "1", "--set", "batch_size=6", "crop=resized", "policy=trivialaugment", "validation=0.25",
        "--workers", workers, "--out", out, "--json",
    ]  # fmt: skip


@pytest.mark.usefixtures("no_charts")
def test_a_worker_that_dies_is_named_and_its_batch_is_made_again(photos, tmp_path, monkeypatch, capsys):
    assert cli.main([str(word) for word in words(photos, tmp_path / "whole", 0)]) == 0
    whole = json.loads(capsys.readouterr().out)["weights_sha256"]
    real, killed = step.gradients, []

    def gradients(*args):
        if len(killed) < 2:
            (children := workers_of(os.getpid())) and (os.kill(children[0], signal.SIGKILL), killed.append(children[0]))
            time.sleep(0.2)  # torch's own handler would raise in here, or in the middle of an update
        return real(*args)

    monkeypatch.setitem(course.fit.__globals__, "gradients", gradients)
    assert cli.main([str(word) for word in words(photos, tmp_path / "run", 2)]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["weights_sha256"] == whole
    told = [line for line in err.splitlines() if "which decodes images, was killed" in line]
    assert told and all("beginning again at step" in line for line in told)
    assert any(str(pid) in line for pid in killed for line in told)


def test_workers_that_always_die_end_the_run_in_one_line_with_the_step_kept(photos, tmp_path, monkeypatch, capsys):
    source = open_source(str(photos))
    preprocessing = choose_preprocessing(source.splits["train"], size=66)
    data = load_split(source.splits["train"], preprocessing, training=True, memory_limit=0)
    augmentation = Recipe(epochs=1, crop="resized", policy="trivialaugment").augmentation  # so not in threads
    batches = train_batches(
        data, preprocessing=preprocessing, augmentation=augmentation, batch_size=6,
        seed=0, epoch=0, num_classes=2, workers=1,
    )  # fmt: skip
    before = signal.getsignal(signal.SIGCHLD)
    next(batches)
    assert signal.getsignal(signal.SIGCHLD) == before
    for pid in workers_of(os.getpid()):
        os.kill(pid, signal.SIGKILL)
    with pytest.raises(WorkerDiedError, match=r"process \d+, which decodes images, was killed"):
        list(batches)
    assert threading.active_count() < 20


def test_the_second_death_at_one_step_is_the_end(photos, tmp_path, monkeypatch, capsys):
    def dead(*args, **options):
        raise WorkerDiedError("process 7, which decodes images, was killed")
        yield

    monkeypatch.setitem(course.fit.__globals__, "train_batches", dead)
    assert cli.main([str(word) for word in words(photos, tmp_path / "run", 2)]) == 2
    err = capsys.readouterr().err
    assert err.count("process 7") == 2 and err.splitlines()[-1].startswith("error: process 7")


class Half(torch.utils.data.Dataset):
    """The second batch is cut off in the pipe by the death of the process that sends it."""

    def __getitem__(self, chunk):
        if chunk == [1]:
            time.sleep(0.3)  # until the first is through
            frame = sys._getframe()
            while "data_queue" not in frame.f_locals:
                frame = frame.f_back
            os.write(frame.f_locals["data_queue"]._writer.fileno(), struct.pack("!i", 1000) + b"half")
            os.kill(os.getpid(), signal.SIGKILL)
        return np.zeros(4)


def test_half_a_batch_from_a_dead_process_is_not_waited_for_in_any_epoch():
    for _ in range(2):
        with pytest.raises(WorkerDiedError, match=r"process \d+, which decodes images, was killed"):
            list(in_workers(Half(), [[0], [1], [2]], 1))

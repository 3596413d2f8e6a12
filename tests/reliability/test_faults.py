"""A disk that is full, broken or read-only, at every call that writes: a clear error, and what was kept stays.

The long form, every call with every error: `pytest -m slow tests/reliability/test_faults.py -s`.
"""

import errno
import json
import os
import shutil
import signal
import time
from contextlib import redirect_stderr, redirect_stdout

import pytest
import torch
from faults import ERRORS, FAILING, attempt, fail_at
from small import SPEC, advance, same, small_state

import resnets.training.course as running
from resnets import cli
from resnets.evaluation import Run
from resnets.models.folder import write_info
from resnets.training import keeping, step
from resnets.training.checkpoint import checkpoints, restore, save
from resnets.training.folder import Log
from resnets.verification import verify_run

KEPT = ["step-00000001", "step-00000002"]


@pytest.fixture
def begun(tmp_path):
    """A store with two checkpoints, and the state that the third will be of."""
    state, run = small_state(), tmp_path / "template"
    for _ in range(2):
        save(advance(state), run / "checkpoints")
    write_info(run, {"format": 2, "status": "running"})
    return advance(state), run


def sound(run):
    """Everything that is published is as it was written."""
    found = verify_run(run)
    assert found.ok, found.damaged
    return {step.name.partition(".")[0] for step in checkpoints(run / "checkpoints")}


def trial(state, template, run, *options):
    """Save into a copy of the template, with a fault; then again, without."""
    store = run / "checkpoints"
    shutil.rmtree(run, ignore_errors=True)
    shutil.copytree(template, run)
    state.saved = 2
    ended = attempt(lambda: save(state, store), run.parent / "log", *options, trace=FAILING)
    return store, ended


def every_fault(begun, tmp_path, *, errors_per_call, stride=1):
    state, template = begun
    run = tmp_path / "run"
    _, plain = trial(state, template, run)
    assert plain.end == "done" and {"write", "fsync"} <= set(plain.calls)
    figures = {"calls": len(plain.calls), "faults": 0, "refused": 0, "absorbed": 0}
    for number, (name, k) in enumerate(plain.counted()):
        if name in ("openat", "close", "unlinkat") and k % stride:
            continue
        for turn in range(errors_per_call):
            error = ERRORS[(number + turn) % len(ERRORS)]
            store, ended = trial(state, template, run, *fail_at(name, k, error))
            about = f"{error} at {name} {k}: {ended.raised}"
            kept = sound(run)
            figures["faults"] += 1
            if ended.end == "done":  # the superfluous could not be removed, say: nothing that a user must know
                figures["absorbed"] += 1
                assert "step-00000003" in kept, about
            else:
                figures["refused"] += 1
                assert ended.end == "failed" and ended.raised.startswith(("OSError", "FileNotFoundError")), about
                assert f"[Errno {getattr(errno, error)}]" in ended.raised, about
                assert set(KEPT) <= kept, about
            save(state, store)  # space returned
            assert sound(run) >= {"step-00000002", "step-00000003"}, about
            assert not list(store.glob(".*")), about
            again = small_state()
            assert restore(again, store) == [] and same(again, state), about
    return figures


def test_a_fault_at_every_write_sync_and_rename_of_a_save_loses_nothing(begun, tmp_path):
    figures = every_fault(begun, tmp_path, errors_per_call=1, stride=6)
    assert figures["refused"] > 10 and figures["absorbed"] > 0


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_every_fault_at_every_call_of_a_save_loses_nothing(begun, tmp_path):
    print(json.dumps(every_fault(begun, tmp_path, errors_per_call=len(ERRORS))))


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """A training that nothing befell; in this process, so that the children have what torch loads on the way."""
    place = tmp_path_factory.mktemp("undisturbed")
    (place / "small.json").write_text(json.dumps(SPEC.to_dict()))
    assert cli.main(words(place, place / "run")) == 0
    return place


def words(place, run):
    options = ["--epochs", "4", "--deterministic", "--threads", "1", "--set", "batch_size=256", "--out", str(run)]
    return ["train", "digits", "--arch", str(place / "small.json"), *options]


def digest(run):
    return Run.open(run).info["weights"]["sha256"]


def trained(command, folder, *options, trace):
    """The command in a child that is traced and saves after every epoch: its exit code and what it said."""

    def action():
        keeping.SHARE = 0
        with (folder / "said").open("w", buffering=1) as file, redirect_stdout(file), redirect_stderr(file):
            if code := cli.main(command):
                raise SystemExit(code)

    ended = attempt(action, folder / "log", *options, trace=trace)
    return ended, (folder / "said").read_text()


@pytest.mark.usefixtures("no_charts")
def test_a_disk_that_is_full_for_a_while_pauses_saving_and_not_the_training(undisturbed, tmp_path):
    # Calls 1 to 4 begin the run; the first save and what follows of the second meet a full disk.
    ended, said = trained(
        words(undisturbed, tmp_path / "run"), tmp_path, *fail_at("fsync", "5..8", "ENOSPC"), trace="fsync"
    )
    assert ended.end == "done", said
    paused = "cannot save at step 5: No space left on device; training goes on, and saving is tried again (the newest"
    assert paused in said and "checkpoint: none yet" in said
    assert "saved again, at step" in said
    assert digest(tmp_path / "run") == digest(undisturbed / "run")
    assert verify_run(tmp_path / "run").ok


@pytest.mark.slow
def test_a_disk_that_stays_full_ends_in_one_line_with_what_was_kept(undisturbed, tmp_path, monkeypatch):
    monkeypatch.setattr(running, "PATIENCE", 1.0)
    run = tmp_path / "run"
    kept_at_first = 4 + 9  # the calls that begin the run, and those of the first save
    ended, said = trained(
        words(undisturbed, run), tmp_path, *fail_at("fsync", f"{kept_at_first + 1}+", "ENOSPC"), trace="fsync"
    )
    assert ended.raised == "SystemExit: 2", said
    assert "cannot write the state: No space left on device" in said and "trying again for 1 s" in said
    lines = said.splitlines()
    assert [line for line in lines if line.startswith("error:")] == lines[-1:] and "Traceback" not in said
    assert f"resume it when there is room: resnets train --resume --out {run}" in lines[-1]
    assert [path.name for path in checkpoints(run / "checkpoints")] == ["step-00000005"]
    assert verify_run(run).ok
    assert cli.main(["train", "--resume", "--out", str(run)]) == 0
    assert digest(run) == digest(undisturbed / "run")


@pytest.mark.usefixtures("no_charts")
def test_lines_of_the_log_that_a_full_disk_refused_are_there_in_the_end(undisturbed, tmp_path):
    run = tmp_path / "run"
    only = ("-P", str(run / "metrics.jsonl"))
    ended, said = trained(
        words(undisturbed, run), tmp_path, *only, *fail_at("write", "2..9", "ENOSPC"), trace="write,fsync"
    )
    assert ended.end == "done", said
    assert ended.calls.count("write") > 9
    whole = [(record["kind"], record["step"], record["loss"]) for record in Run.open(undisturbed / "run").records()]
    assert [(record["kind"], record["step"], record["loss"]) for record in Run.open(run).records()] == whole
    assert len((run / "metrics.jsonl").read_text().splitlines()) >= len(whole) > 20


def test_a_line_of_the_log_cut_by_a_kill_or_a_full_disk_costs_no_other(tmp_path):
    from resnets.training.folder import Log

    file = tmp_path / "metrics.jsonl"
    file.write_text('{"step": 1}\n{"st')
    log = Log(tmp_path)
    log.append({"step": 2})
    log.file = tmp_path / "nowhere" / "metrics.jsonl"  # cannot be opened
    log.append({"step": 3})
    with pytest.raises(OSError, match="nowhere"):
        log.flush()
    log.file = file
    log.append({"step": 4})
    log.flush()
    lines = [line for line in file.read_text().splitlines() if line.endswith("}")]
    assert [json.loads(line)["step"] for line in lines] == [1, 2, 3, 4]


def test_the_only_checkpoint_is_there_until_a_new_one_of_its_step_is(tmp_path, monkeypatch):
    # As after a signal during validation: the state of the same step is kept again, with the validation.
    state, store = advance(small_state()), tmp_path / "checkpoints"
    save(state, store)
    state.saved = None
    real, calls = os.rename, []

    def broken(*args):
        calls.append(args)
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(os, "rename", broken)
        with pytest.raises(OSError, match="Input"):
            save(state, store)
    assert [path.name for path in checkpoints(store)] == ["step-00000001"] and len(calls) == 1
    seen = []
    with monkeypatch.context() as patch:
        patch.setattr(os, "rename", lambda *args: (real(*args), seen.append(len(checkpoints(store)))))
        save(state, store)
    assert min(seen) >= 1  # a kill between any two renames finds one
    assert [path.name for path in checkpoints(store)] == ["step-00000001.2"]
    again = small_state()
    assert restore(again, store) == [] and same(again, state)
    save(advance(state), store)
    assert [path.name for path in checkpoints(store)] == ["step-00000001.2", "step-00000002"]


@pytest.mark.parametrize("where", ["write_weights", "save"])
def test_a_signal_ends_the_wait_for_room_with_its_own_code(where, undisturbed, tmp_path, monkeypatch, capsys):
    def full(*args):
        os.kill(os.getpid(), signal.SIGTERM)
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(running.checkpoint, where, full)
    began = time.monotonic()
    assert cli.main([*words(undisturbed, tmp_path / "run"), "--set", "epochs=1"]) == 143
    assert time.monotonic() - began < 60
    said = capsys.readouterr().err
    assert "could not be written: No space left on device" in said and "error:" not in said


def test_no_memory_for_the_copies_pauses_saving_and_hides_no_advice(undisturbed, tmp_path, monkeypatch, capsys):
    def short(*args):
        raise MemoryError("copies of the state")

    saving = keeping.Saving(tmp_path / "checkpoints", Log(tmp_path))
    saving.last -= 10_000
    with monkeypatch.context() as patch:
        patch.setattr(running.checkpoint, "save", short)
        assert "cannot save at step 1: copies of the state" in saving.when_due(advance(small_state()), epoch=True)
    steps = []

    def gradients(*args):
        steps.append(1)
        if len(steps) == 3:
            monkeypatch.setattr(running.checkpoint, "save", short)
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")
        return step.gradients(*args)

    monkeypatch.setitem(running.fit.__globals__, "gradients", gradients)
    assert cli.main(words(undisturbed, tmp_path / "run")) == 2
    said = capsys.readouterr().err
    assert "step 2 is not kept: copies of the state; a resumed run goes on from the beginning" in said
    assert "error: out of memory in step 3" in said


def test_saving_within_an_epoch_never_takes_over_a_fiftieth_either(tmp_path):
    saving = keeping.Saving(tmp_path / "checkpoints", Log(tmp_path))
    saving.cost = 60.0
    saving.last -= keeping.SAVE_SECONDS + 1
    assert saving.when_due(advance(small_state()), epoch=False) is None and not (tmp_path / "checkpoints").exists()
    saving.last -= keeping.SHARE * saving.cost
    saving.when_due(advance(small_state()), epoch=False)
    assert (tmp_path / "checkpoints").exists()

"""Flipped bits and missing ends, in every file: none is loaded in silence; resuming takes the checkpoint before.

The long form, every bit and every length of every file: `pytest -m slow tests/reliability/test_damage.py -s`.
"""

import hashlib
import json
import os
import shutil

import pytest
from small import SPEC, advance, same, small_state

from resnets import manifest
from resnets.errors import InputError
from resnets.evaluation import Run
from resnets.models import pretrained
from resnets.models.folder import close_run, read_info, write_info
from resnets.training.checkpoint import checkpoints, restore, save, write_weights
from resnets.verification import verify_run

PREPROCESSING = {
    "size": 8, "channels": 1, "mean": [0.5], "std": [0.25], "interpolation": "bilinear", "crop_fraction": 1.0,
    "mean_image": None,
}  # fmt: skip


@pytest.fixture
def store(tmp_path):
    """Three checkpoints' worth of training, of which the last two are there."""
    state, folder = small_state(), tmp_path / "run" / "checkpoints"
    for _ in range(3):
        save(advance(state), folder)
    return folder


@pytest.fixture
def finished(tmp_path):
    """A small finished run."""
    folder, state = tmp_path / "finished", advance(small_state())
    folder.mkdir()
    write_weights(folder / "weights.safetensors", state.net.state_dict())
    (folder / "metrics.jsonl").write_text('{"kind": "step", "step": 1, "loss": 2.5}\n')
    (folder / "report.html").write_text("<h1>Report</h1>")
    digest = hashlib.sha256((folder / "weights.safetensors").read_bytes()).hexdigest()
    close_run(folder, {
        "format": 2, "status": "finished", "arch": "small", "spec": SPEC.to_dict(), "recipe": {}, "source": {},
        "classes": ["a", "b"], "preprocessing": PREPROCESSING, "results": {},
        "weights": {"file": "weights.safetensors", "sha256": digest},
    })  # fmt: skip
    return folder


def damaged_versions(file, *, bits=1, lengths=1):
    """Write every `bits`-th single-bit flip of a file, and every `lengths`-th beginning of it, one after the other."""
    whole = file.read_bytes()
    handle = os.open(file, os.O_RDWR)
    try:
        for number in range(0, 8 * len(whole), bits):
            byte, bit = divmod(number, 8)
            os.pwrite(handle, bytes([whole[byte] ^ (1 << bit)]), byte)
            yield f"bit {bit} of byte {byte} of {file.name} flipped"
            os.pwrite(handle, whole[byte : byte + 1], byte)
        for length in range(0, len(whole), lengths):
            os.ftruncate(handle, length)
            yield f"{file.name} cut to {length} bytes"
            os.pwrite(handle, whole, 0)
    finally:
        os.close(handle)
    assert file.read_bytes() == whole


def step_over(file, tried):
    """The step through a file's bits that tries about so many; odd, so that it meets every bit of a byte."""
    return max(1, 8 * file.stat().st_size // tried) | 1


def undetected(folder, tried):
    """Damage to every file of a folder that its manifest did not show; and how much was tried. None tried: all."""
    missed, count = [], 0
    for file in sorted(folder.iterdir()):
        everything = tried is None or file.name == manifest.NAME
        bits = 1 if everything else step_over(file, tried)
        lengths = 1 if everything else max(1, file.stat().st_size // (tried // 8))
        for what in damaged_versions(file, bits=bits, lengths=lengths):
            count += 1
            try:
                manifest.check(folder)
                missed.append(what)
            except InputError as error:
                assert file.name in str(error) and "\n" not in str(error), what
    manifest.check(folder)
    return missed, count


def test_flipped_bits_and_missing_ends_of_a_checkpoint_are_seen(store):
    missed, count = undetected(store / "step-00000003", 200)
    assert missed == [] and count > 5_000


def test_resuming_takes_the_checkpoint_before_and_says_so(store):
    newest, before = store / "step-00000003", advance(small_state(), 2)
    for file in sorted(newest.iterdir()):
        for what in damaged_versions(file, bits=step_over(file, 8), lengths=max(1, file.stat().st_size // 3)):
            again = small_state()
            (message,) = restore(again, store)
            assert str(newest) in message and file.name in message and "\n" not in message, what
            assert again.step == 2 and same(again, before), what


@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.safetensors", "state.json", "manifest.json"])
def test_a_missing_file_is_seen(store, name):
    (store / "step-00000003" / name).unlink()
    again = small_state()
    (message,) = restore(again, store)
    assert f"{name} is missing" in message and again.step == 2


def test_without_a_sound_checkpoint_nothing_is_resumed(store):
    for path in checkpoints(store):
        with (path / "optimizer.safetensors").open("r+b") as file:
            file.seek(-3, os.SEEK_END)
            file.write(b"\x00\xff\x00")
    with pytest.raises(InputError, match=r"no checkpoint can be read: .*step-00000003.*step-00000002") as caught:
        restore(small_state(), store)
    assert "\n" not in str(caught.value)


def test_a_checkpoint_in_the_place_of_a_damaged_one_is_written_anew(store):
    newest = store / "step-00000003"
    (newest / "state.json").write_text("{}")
    state = small_state()
    restore(state, store)
    save(advance(state), store)
    again = small_state()
    assert restore(again, store) == [] and same(again, state) and again.step == 3
    # and one that was passed over goes when the next is kept, however new its name is
    shutil.copytree(store / "step-00000003.2", store / "step-00000099")
    (store / "step-00000099" / "state.json").write_text("{}")
    restore(state, store)
    save(advance(state), store)
    assert [path.name for path in checkpoints(store)] == ["step-00000003.2", "step-00000004"]


def test_a_checkpoint_of_another_step_does_not_pass_for_this(store):
    # Files of two sound checkpoints, mixed: each is whole, but not the one that the manifest lists.
    old, new = checkpoints(store)
    shutil.copy(old / "model.safetensors", new / "model.safetensors")
    (message,) = restore(small_state(), store)
    assert "model.safetensors is damaged" in message


def opened(folder):
    """All that is read of a finished run."""
    run = Run.open(folder)
    run.model()
    run.records()
    pretrained(folder)


def test_damage_to_a_finished_run_is_seen_when_it_is_used(finished):
    opened(finished)
    for file in sorted(finished.iterdir()):
        if file.name == "report.html":  # for people; nothing reads it
            continue
        tried = 8 * file.stat().st_size if file.name == manifest.NAME else 60
        for what in damaged_versions(file, bits=step_over(file, tried), lengths=max(1, file.stat().st_size // 5)):
            with pytest.raises(InputError) as caught:
                opened(finished)
            assert "\n" not in str(caught.value), what
    opened(finished)


def test_flipped_bits_and_missing_ends_of_a_finished_run_are_verified(finished):
    missed, count = undetected(finished, 100)
    assert missed == [] and count > 1_500
    with (finished / "report.html").open("a") as file:
        file.write(" ")
    assert [file.path for file in verify_run(finished).damaged] == ["report.html"]


def test_a_flipped_bit_in_run_json_of_a_run_to_resume_is_seen(tmp_path):
    write_info(tmp_path, {"format": 2, "status": "running", "recipe": {"learning_rate": 0.1}, "seed": 0})
    assert read_info(tmp_path)["recipe"] == {"learning_rate": 0.1}
    for what in damaged_versions(tmp_path / "run.json"):
        with pytest.raises(InputError) as caught:
            read_info(tmp_path)
        assert "\n" not in str(caught.value), what


def test_a_manifest_that_leads_elsewhere_is_refused(store):
    newest = store / "step-00000003"
    for name in ("../x", "/etc/passwd", "..", "a\\b", ""):
        (newest / manifest.NAME).write_bytes(manifest.document({name: manifest.entry(b"")}))
        with pytest.raises(InputError, match="leads elsewhere"):
            manifest.check(newest)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names here")
def test_a_pipe_in_the_place_of_a_file_is_not_waited_for(store):
    file = store / "step-00000003" / "state.json"
    file.unlink()
    os.mkfifo(file)
    again = small_state()
    (message,) = restore(again, store)
    assert "is not a file" in message and again.step == 2


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_every_bit_and_every_length_of_every_file(store, finished):
    figures = {}
    for name, folder in (("checkpoint", store / "step-00000003"), ("finished run", finished)):
        missed, count = undetected(folder, None)
        assert missed == []
        size = sum(file.stat().st_size for file in folder.iterdir())
        figures[name] = {"files": len(list(folder.iterdir())), "bytes": size, "damaged": count, "missed": 0}
    print(json.dumps(figures))


DOCUMENTS = {
    "deep": b'{\n  "format": 1, "files": ' + b"[" * 100_000 + b"]" * 100_000,
    "infinite": b'{\n  "format": 1, "files": {"a": {"bytes": Infinity, "sha256": "x"}}',
    "a name that is no text": b'{\n  "format": 1, "files": {"\\ud800": {"bytes": 1, "sha256": "x"}}',
    "a list": b"[\n  1",
}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_a_sealed_document_that_is_odd_is_damage(name, store):
    newest, body = store / "step-00000003", DOCUMENTS[name]
    (newest / manifest.NAME).write_bytes(body + manifest._seal(body))
    assert len(restore(small_state(), store)) == 1
    write_info(store.parent, {"format": 2, "status": "running\ud800", "weights": {"file": "\0x", "sha256": "x"}})
    found = verify_run(store.parent)
    assert [file.path for file in found.damaged] == [f"{store.name}/step-00000003/manifest.json"]
    assert found.status == "running\\ud800"


def test_a_pipe_in_the_place_of_run_json_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "run.json")
    assert "run.json" in [file.path for file in verify_run(tmp_path).damaged]

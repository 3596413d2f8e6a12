"""Decoded pictures on the disk: what they promise, and that they are believed only while they are sound and true."""

from __future__ import annotations

import errno
import os
import pickle
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_sample_images

from resnets.data import (
    Augmentation,
    Preprocessing,
    hold_out,
    load_split,
    offer,
    offering,
    open_source,
    read_image,
    room,
    train_batches,
)
from resnets.data import cache as caching
from resnets.errors import InputError
from resnets.training.plan import make_plan
from resnets.training.resuming import resumed_plan

PRE = Preprocessing(72, 3, (0.5, 0.4, 0.3), (0.2, 0.25, 0.3))


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    return tmp_path / "xdg" / "resnets" / "pictures"


@pytest.fixture
def folder(tmp_path) -> Path:
    """Twelve photographs, six of them larger than what is kept (a shorter side of 144)."""
    whole = [Image.fromarray(picture) for picture in load_sample_images().images]
    for number in range(12):
        wide, high = (160, 120) if number < 6 else (500, 400)
        target = tmp_path / "photographs" / "train" / "ab"[number % 2]
        target.mkdir(parents=True, exist_ok=True)
        whole[number % 2].crop((number, number, number + wide, number + high)).save(target / f"{number:02}.jpg")
    return tmp_path / "photographs"


def training(folder):
    return hold_out(open_source(folder), 0.25).splits["train"]


def loaded(folder, side=144, **options):
    return load_split(training(folder), PRE, training=True, memory_limit=0, keep_side=side, **options)


def images(data, workers=0, epoch=1):
    made = train_batches(
        data, preprocessing=PRE, augmentation=Augmentation(crop="resized"), batch_size=3, seed=0, epoch=epoch,
        num_classes=2, workers=workers,
    )  # fmt: skip
    return torch.cat([batch.images[batch.indices.argsort()] for batch in made])


def test_what_is_kept_is_the_picture_or_its_reduction(folder):
    kept = loaded(folder)
    for index, row in enumerate(kept.split.indices):
        whole, (found, size) = read_image(kept.name(index)), kept.pictures[int(row)]
        assert size == whole.size
        if min(whole.size) <= 144:
            assert np.array_equal(found, np.asarray(whole))
        else:
            size = tuple(round(side * 144 / min(whole.size)) for side in whole.size)
            expected = np.asarray(whole.resize(size, Image.Resampling.BICUBIC))
            assert found.shape == expected.shape
            assert np.abs(expected.astype(int) - found).mean() < 2


def test_crops_with_and_without_agree_up_to_the_resampling(folder):
    kept, without = loaded(folder), loaded(folder, side=None)
    assert without.side is None and without.pictures is None
    small = [index for index in range(len(kept)) if kept.pictures.sizes[kept.split.indices[index]].min() < 144]
    assert 2 < len(small) < 7
    differences, levels = [], []
    for epoch in range(6):
        order = [
            batch.indices for batch in train_batches(
                kept, preprocessing=PRE, augmentation=Augmentation(crop="resized"), batch_size=3, seed=0, epoch=epoch,
                num_classes=2,
            )
        ]  # fmt: skip
        rows = torch.cat([part.sort().values for part in order]).tolist()
        for row, a, b in zip(rows, images(kept, epoch=epoch), images(without, epoch=epoch), strict=True):
            if row in small:
                assert torch.equal(a, b)
            else:
                scale = 255 * torch.tensor(PRE.std).view(3, 1, 1)
                differences.append(((a - b) * scale).abs().mean().item())
                levels.append((((a - b) * scale).mean()).abs().item())
    # In levels of 255: sharpness, and half a pixel; a crop of another place would differ by tens.
    assert max(differences) < 8 and np.mean(differences) < 4, differences
    assert max(levels) < 1.5 and np.mean(levels) < 0.6, levels


def test_whether_the_file_is_there_changes_no_bit(folder, place, monkeypatch):
    kept = loaded(folder)
    assert kept.pictures is not None and len(list(place.iterdir())) == 1
    assert len(kept) == 9 and len(kept.pictures.sizes) == 12  # one file for the whole split, whatever is held out
    assert kept.pictures.sizes[:, :2].min(1).max() == 144 and kept.pictures.sizes[:, 2:].min(1).max() == 400
    before = images(kept)
    assert torch.equal(images(kept, workers=2), before)
    assert torch.equal(images(loaded(folder)), before)  # found again
    monkeypatch.setattr(caching, "publish", lambda *_: (_ for _ in ()).throw(OSError(errno.ENOSPC, "No space left")))
    for file in place.iterdir():
        file.unlink()
    without = loaded(folder, hold_side=True)  # as a run does that began with it
    assert without.pictures is None and "No space left" in without.notes[0] and "144 pixels" in without.notes[0]
    assert torch.equal(images(without), before)


def test_another_process_decodes_where_the_file_is_another_by_then(folder, place):
    kept = loaded(folder)
    before, sent = images(kept), pickle.dumps(kept)
    assert len(sent) < 10_000
    there = pickle.loads(sent)
    assert there.pictures is not None and torch.equal(images(there), before)
    other = loaded(folder, side=120).pictures.path.read_bytes()
    for content in (other, b"", None):
        kept.pictures.path.unlink()
        if content is not None:
            kept.pictures.path.write_bytes(content)
        there = pickle.loads(sent)
        assert there.pictures is None and torch.equal(images(there), before)
        kept.pictures.path.touch()


def test_a_place_that_cannot_be_written_only_means_no_cache(folder, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    data = loaded(folder)
    assert data.pictures is None and "no cache of decoded pictures" in data.notes[0]
    assert data.side is None and "as without --cache" in data.notes[0]
    assert torch.equal(images(data), images(loaded(folder, side=None)))


def test_changed_sources_are_decoded_again(folder, place):
    target = folder / "train" / "a" / "00.jpg"
    target.write_bytes(target.read_bytes().ljust(30_000, b"\0"))
    before = images(loaded(folder))
    (file,) = place.iterdir()
    stamp = file.stat().st_mtime_ns
    old = target.stat()
    target.write_bytes((folder / "train" / "a" / "02.jpg").read_bytes().ljust(30_000, b"\0"))
    os.utime(target, ns=(old.st_atime_ns, old.st_mtime_ns))  # as rsync, tar and cp -p set it
    assert (target.stat().st_size, target.stat().st_mtime_ns) == (old.st_size, old.st_mtime_ns)
    after = loaded(folder)
    assert [item.name for item in place.iterdir()] == [file.name] and file.stat().st_mtime_ns > stamp
    assert not torch.equal(images(after), before)
    assert torch.equal(images(after), images(loaded(folder, side=144)))


def test_other_decoders_decode_again(folder, place, monkeypatch):
    loaded(folder)
    assert "found" in loaded(folder).notes[0]
    monkeypatch.setattr("PIL.__version__", "0.1")
    assert "kept" in loaded(folder).notes[0]
    monkeypatch.setattr("resnets.data.jpeg.simplejpeg", None)
    assert "kept" in loaded(folder).notes[0]


def test_damage_is_never_believed(folder, place):
    before = images(loaded(folder))
    (file,) = place.iterdir()
    sound = file.read_bytes()
    generator = np.random.default_rng(0)
    places = [*generator.integers(0, len(sound), 12), len(sound) - 1, len(sound) - 9, len(sound) - 40]
    damaged = [sound[:at] + bytes([sound[at] ^ 0x55]) + sound[at + 1 :] for at in map(int, places)]
    for content in (*damaged, b"", sound[:-1], sound[: len(sound) // 2], sound + sound, b"pictures", bytes(200)):
        file.write_bytes(content)
        data = loaded(folder)
        assert data.pictures is not None and "kept" in data.notes[0]  # made again
        assert file.read_bytes() == sound
    assert torch.equal(images(data), before)


def test_unreadable_images_are_named_with_and_without(folder):
    bad = Path(training(folder).name(2))
    bad.write_bytes(bad.read_bytes()[:500])
    for _ in range(2):  # when it is made, and when it is found
        with pytest.raises(InputError, match=rf"1 unreadable image of 9: .*{bad.name}"):
            loaded(folder)
    data = loaded(folder, skip_unreadable=True)
    assert data.pictures is not None and [name for name, _ in data.skipped] == [str(bad)] and len(data) == 8
    for index in range(8):  # each name still goes with its own picture
        with Image.open(data.name(index)) as picture:
            part = min(1, 144 / min(picture.size))
            expected = tuple(round(side * part) for side in reversed(picture.size))
        assert data.pictures[int(data.split.indices[index])][0].shape[:2] == expected
    split = training(folder)
    bad.unlink()
    with pytest.raises(InputError, match=rf"{bad.name} \(No such file"):
        load_split(split, PRE, training=True, memory_limit=0, keep_side=144)


def test_it_is_bounded(folder, place, monkeypatch):
    first = loaded(folder).pictures.path
    os.utime(first, (1, 1))
    second = loaded(folder, side=120).pictures.path
    size = first.stat().st_size
    monkeypatch.setattr(room, "LARGEST", 2 * size)
    third = loaded(folder, side=130).pictures.path
    assert set(place.iterdir()) == {second, third}  # the one not used for longest made room
    monkeypatch.setattr(room, "LARGEST", size // 2)
    data = loaded(folder)
    assert data.pictures is None and "may be used" in data.notes[0] and not list(place.glob(".*"))


def test_it_is_offered_where_it_pays(folder, monkeypatch):
    split = open_source(folder).splits["train"]
    real = offering.shrunk

    def slow(*args):
        time.sleep(0.02)
        return real(*args)

    monkeypatch.setattr(offering, "shrunk", slow)
    told = offer(split, PRE)
    assert told and "--cache" in told and "MB below" in told and "a shorter side of 144 pixels" in told
    monkeypatch.setattr(room, "LARGEST", 1000)
    assert offer(split, PRE) is None
    assert offer(open_source("digits").splits["train"], PRE) is None


def test_a_run_is_resumed_with_the_side_that_it_began_with(folder, place, tmp_path, monkeypatch):
    asked = {
        "arch": "resnet8", "recipe": "fast", "changes": {"crop": "resized", "batch_size": 4}, "seed": 0,
        "out": tmp_path / "run", "workers": 0, "device": "cpu", "precision": "fp32", "deterministic": True,
        "skip_unreadable": False, "size": 72, "weights": None,
    }  # fmt: skip
    plan = make_plan(str(folder), **asked, cache=True)
    assert plan.info["source"]["kept_side"] == 144 and plan.train.pictures is not None
    assert any("decoded pictures kept in" in note for note in plan.notes)
    for file in place.iterdir():
        file.unlink()
    again = resumed_plan(plan.path, plan.info, None)
    assert again.train.side == 144 and torch.equal(images(again.train), images(plan.train))
    without = make_plan(str(folder), **asked)
    assert without.info["source"]["kept_side"] is None and without.train.side is None
    assert resumed_plan(without.path, without.info, None).train.side is None
    monkeypatch.setattr(room, "LARGEST", 1000)
    for file in place.iterdir():
        file.unlink()
    again = resumed_plan(plan.path, plan.info, None)
    assert again.train.side == 144 and any("144 pixels" in note for note in again.notes)
    failed = make_plan(str(folder), **asked, cache=True)
    assert failed.info["source"]["kept_side"] is None and any("as without --cache" in note for note in failed.notes)

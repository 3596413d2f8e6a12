from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resnets.data import Source, find_unreadable, hold_out, open_source, subset
from resnets.data.split import ArraySplit, in_threads
from resnets.errors import InputError


def source_of(labels: list[int]) -> Source:
    values = np.array(labels, dtype=np.int64)
    images = np.arange(len(values), dtype=np.uint8)[:, None, None] * np.ones((1, 2, 2), np.uint8)
    split = ArraySplit(images, values, "made/train")
    return Source("made", tuple(str(k) for k in range(max(labels) + 1)), {"train": split, "test": split})


@given(
    counts=st.lists(st.integers(1, 40), min_size=2, max_size=8),
    fraction=st.floats(0.01, 0.9),
    seed=st.integers(0, 2**63),
)
@settings(max_examples=80, deadline=None)
def test_holding_out_is_exact_stratified_and_disjoint(counts, fraction, seed):
    labels = [label for label, count in enumerate(counts) for _ in range(count)]
    source = source_of(labels)
    wanted = max(1, round(fraction * len(labels)))
    if wanted > len(labels) - len(counts):
        with pytest.raises(InputError, match="too few training images"):
            hold_out(source, fraction, seed)
        return
    cut = hold_out(source, fraction, seed)
    train, validation = cut.splits["train"], cut.splits["validation"]
    assert len(validation) == wanted
    names = [split.name(k) for split in (train, validation) for k in range(len(split))]
    assert sorted(names) == sorted(source.splits["train"].name(k) for k in range(len(labels)))
    left = np.bincount(train.labels, minlength=len(counts))
    assert left.min() >= 1
    taken = np.bincount(validation.labels, minlength=len(counts))
    np.testing.assert_array_equal(left + taken, counts)
    # A class differs from its share by less than one image, except where another had none to spare.
    ideal = np.array(counts) * wanted / len(labels)
    if (ideal <= np.array(counts) - 1).all():
        assert np.abs(taken - ideal).max() < 1
    again = hold_out(source, fraction, seed)
    assert again.splits["validation"].labels.tolist() == validation.labels.tolist()
    assert [again.splits["validation"].name(k) for k in range(wanted)] == [validation.name(k) for k in range(wanted)]


def test_labels_names_and_images_stay_together():
    cut = hold_out(source_of([0, 1] * 20), 0.25, 3)
    for split in (cut.splits["train"], cut.splits["validation"]):
        for index in range(len(split)):
            place = int(split.name(index)[len("made/train[") : -1])
            assert np.asarray(split.image(index))[0, 0] == place
            assert split.labels[index] == place % 2
    assert list(cut.splits) == ["train", "validation", "test"]


def test_seeds_choose_different_images():
    source = source_of([0, 1] * 50)
    chosen = [hold_out(source, 0.2, seed).splits["validation"] for seed in (0, 1)]
    assert [chosen[0].name(k) for k in range(20)] != [chosen[1].name(k) for k in range(20)]


def test_a_validation_split_that_is_there_is_kept(class_folders):
    source = open_source(class_folders({"train/a": 5, "train/b": 5, "val/a": 1, "val/b": 1}))
    assert hold_out(source) is source


def test_what_cannot_be_held_out(class_folders):
    only_test = open_source(class_folders({"test/a": 5, "test/b": 5}))
    with pytest.raises(InputError, match="no training images"):
        hold_out(only_test)
    for fraction in (0.0, 1.0, -0.5):
        with pytest.raises(InputError, match="between 0 and 1"):
            hold_out(source_of([0, 1] * 5), fraction)


def test_subsets_of_subsets():
    train = source_of([0, 1, 2, 0, 1, 2]).splits["train"]
    part = subset(subset(train, [5, 3, 1]), [2, 0])
    assert [part.name(k) for k in range(len(part))] == ["made/train[1]", "made/train[5]"]
    assert part.labels.tolist() == [1, 2]


def test_unreadable_images_are_found_by_name(class_folders):
    root = class_folders({"cat": 70, "dog": 70})
    (root / "cat" / "003.png").write_bytes(b"")
    (root / "dog" / "069.png").write_bytes((root / "dog" / "001.png").read_bytes()[:60])
    train = open_source(root).splits["train"]
    found = find_unreadable(train)
    assert [(index, name) for index, name, _ in found] == [
        (3, str(root / "cat" / "003.png")),
        (139, str(root / "dog" / "069.png")),
    ]
    assert "empty" in found[0][2]


def test_threads_keep_the_order():
    assert [k for part in in_threads(list, 1000, threads=4, chunk=7) for k in part] == list(range(1000))

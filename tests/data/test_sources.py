from __future__ import annotations

import io
import os

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from resnets.data import UnreadableImage, builtin, find_unreadable, open_source
from resnets.errors import InputError
from resnets.files import cache_folder


def test_digits_have_a_fixed_stratified_test_split():
    source = open_source("digits")
    assert source.classes == tuple("0123456789")
    train, test = source.splits["train"], source.splits["test"]
    assert (len(train), len(test)) == (1442, 355)
    assert np.bincount(test.labels).min() >= 34
    assert train.name(17) == "digits/train[17]"
    everything = np.stack([np.asarray(s.image(k)) for s in (train, test) for k in range(len(s))])
    assert everything.shape == (1797, 8, 8)
    assert everything.dtype == np.uint8
    assert (everything.min(), everything.max()) == (0, 255)
    from sklearn.datasets import load_digits

    whole = load_digits()
    zeros = np.flatnonzero(whole.target == 0)
    first = np.asarray(test.image(int(np.flatnonzero(test.labels == 0)[0])))
    np.testing.assert_array_equal(first, np.rint(whole.images[zeros[4]] * 255 / 16))


# Class folders


def test_class_folders_without_splits(class_folders):
    root = class_folders({"dog": 2, "cat": 3, "Ant": 1})
    source = open_source(str(root))
    assert source.name == str(root)
    assert source.classes == ("Ant", "cat", "dog")
    assert list(source.splits) == ["train"]
    train = source.splits["train"]
    assert train.labels.tolist() == [0, 1, 1, 1, 2, 2]
    assert train.labels.dtype == np.int64
    assert train.name(1) == str(root / "cat" / "000.png")
    assert train.image(1).size == (10, 8)


@pytest.mark.parametrize("word", ["val", "valid", "validation", "Val"])
def test_split_folders_are_recognised(class_folders, word):
    root = class_folders({f"{s}/{c}": n for s, n in (("train", 3), (word, 2), ("test", 1)) for c in ("cat", "dog")})
    source = open_source(root)
    assert {name: len(split) for name, split in source.splits.items()} == {"train": 6, "validation": 4, "test": 2}
    assert source.splits["test"].labels.tolist() == [0, 1]


def test_a_class_may_be_called_train(class_folders):
    source = open_source(class_folders({"train": 2, "bus": 2, "test": 1}))
    assert source.classes == ("bus", "test", "train")
    assert list(source.splits) == ["train"]


def test_splits_without_train_can_be_opened(class_folders):
    source = open_source(class_folders({"test/cat": 1, "test/dog": 1}))
    assert list(source.splits) == ["test"]


def test_two_folders_for_one_split(class_folders):
    root = class_folders({f"{s}/{c}": 1 for s in ("train", "val", "valid") for c in "ab"})
    with pytest.raises(InputError, match="both val/ and valid/"):
        open_source(root)


def test_unlabelled_test_images_and_other_folders_are_told_of(class_folders):
    root = class_folders({"train/cat": 1, "train/dog": 1, "test": 3, "extra/stuff": 1})
    source = open_source(root)
    assert list(source.splits) == ["train"]
    assert any("test ignored" in note for note in source.notes)
    assert any("extra ignored" in note for note in source.notes)


def test_hidden_folders_are_never_classes(class_folders):
    root = class_folders({"cat": 1, "dog": 1, ".ipynb_checkpoints": 1, "__MACOSX": 1, "cat/.thumbs": 2})
    source = open_source(root)
    assert source.classes == ("cat", "dog")
    assert len(source.splits["train"]) == 2


def test_suffixes_nested_folders_and_other_files(class_folders, make_picture):
    root = class_folders({"cat": 1, "dog": 1})
    (root / "cat" / "more" / "deep").mkdir(parents=True)
    make_picture(1).save(root / "cat" / "more" / "deep" / "A.JPG", "JPEG")
    make_picture(2).save(root / "cat" / "b.WebP", "WEBP")
    make_picture(3).convert("L").save(root / "cat" / "c.pgm")
    (root / "cat" / "notes.txt").write_text("hello")
    (root / "labels.csv").write_text("hello")
    source = open_source(root)
    assert (source.splits["train"].labels == 0).sum() == 4
    assert any("2 files that are no images" in note for note in source.notes)


def test_empty_class_folders_do_not_shift_labels(class_folders):
    root = class_folders({"ant": 2, "bee": 0, "cat": 2})
    with pytest.raises(InputError, match=r"bee holds no images"):
        open_source(root)


def test_an_empty_class_folder_will_do_in_test(class_folders):
    root = class_folders({"train/ant": 2, "train/bee": 1, "train/cat": 1, "test/ant": 1, "test/bee": 0, "test/cat": 1})
    source = open_source(root)
    assert source.splits["test"].labels.tolist() == [0, 2]
    assert source.notes == ("the test split has no images of bee",)


def test_class_sets_that_differ_are_named(class_folders):
    root = class_folders({"train/ant": 1, "train/bee": 1, "val/ant": 1, "val/cat": 1})
    with pytest.raises(InputError, match=r"validation lacks bee and has cat besides"):
        open_source(root)


def test_one_class_only(class_folders):
    with pytest.raises(InputError, match="only one class, 'cat'"):
        open_source(class_folders({"cat": 3}))


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        ({".": 0}, "is empty"),
        ({".": 3}, "holds 3 images but no class folders"),
        ({"train": 3, "test": 2}, "no class folders"),
        ({"cat": 0, "dog": 0}, "no images below"),
    ],
)
def test_folders_that_are_no_source(class_folders, counts, message):
    with pytest.raises(InputError, match=message) as problem:
        open_source(class_folders(counts))
    assert "\n" not in str(problem.value)


def test_words_that_are_no_source(tmp_path):
    with pytest.raises(InputError, match=r"did you mean 'digits'"):
        open_source("digit")
    with pytest.raises(InputError, match="no file, folder or built-in source"):
        open_source(tmp_path / "nowhere")
    (tmp_path / "file.txt").write_text("x")
    with pytest.raises(InputError, match="is a file"):
        open_source(tmp_path / "file.txt")


def test_symbolic_links_do_not_hang(class_folders):
    root = class_folders({"cat": 2, "dog": 1, "cat/sub": 1})
    os.symlink("..", root / "cat" / "sub" / "up")
    os.symlink(root, root / "cat" / "everything")
    os.symlink("itself", root / "cat" / "itself")
    os.symlink("gone.png", root / "dog" / "broken.png")
    os.symlink(root / "cat" / "000.png", root / "dog" / "linked.png")
    train = open_source(root).splits["train"]
    assert np.bincount(train.labels).tolist() == [3, 3]
    broken = next(k for k in range(len(train)) if train.name(k).endswith("broken.png"))
    with pytest.raises(UnreadableImage, match="No such file"):
        train.image(broken)


def test_special_files_are_listed_and_not_read(class_folders):
    root = class_folders({"cat": 1, "dog": 1})
    os.mkfifo(root / "cat" / "pipe.png")  # reading it would wait for ever
    split = open_source(root).splits["train"]
    assert len(split) == 3
    assert find_unreadable(split) == [(1, str(root / "cat" / "pipe.png"), "a pipe or a device, not a file")]


# Parquet

NAMES = b'{"info": {"features": {"label": {"names": ["cat", "dog", "emu"], "_type": "ClassLabel"}}}}'


def row_of(picture: Image.Image) -> dict[str, object]:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return {"bytes": buffer.getvalue(), "path": None}


def write(path, labels, make_picture, *, image="img", label="label", metadata=NAMES, struct=True, start=0):
    rows = [row_of(make_picture(start + k)) for k in range(len(labels))]
    column = rows if struct else [row["bytes"] for row in rows]
    table = pa.table({image: column, label: pa.array(labels, pa.int64())})
    if metadata:
        table = table.replace_schema_metadata({b"huggingface": metadata})
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, row_group_size=2)


def test_parquet_shards(tmp_path, make_picture):
    write(tmp_path / "train-00000-of-00002.parquet", [0, 1, 2], make_picture)
    write(tmp_path / "train-00001-of-00002.parquet", [2, 1], make_picture, start=3)
    write(tmp_path / "test-00000-of-00001.parquet", [1, 0], make_picture, start=10)
    source = open_source(str(tmp_path))
    assert source.classes == ("cat", "dog", "emu")
    train = source.splits["train"]
    assert train.labels.tolist() == [0, 1, 2, 2, 1]
    assert train.name(4) == f"{tmp_path.name}/train[4]"
    for index in (4, 0, 2, 3, 1):
        np.testing.assert_array_equal(np.asarray(train.image(index)), np.asarray(make_picture(index)))
    np.testing.assert_array_equal(np.asarray(source.splits["test"].image(1)), np.asarray(make_picture(11)))


@pytest.mark.parametrize("place", ["data", "plain_text"])
def test_parquet_columns_and_places(tmp_path, make_picture, place):
    options = {"image": "image", "label": "fine_label", "metadata": None, "struct": False}
    write(tmp_path / place / "train.parquet", [0, 1, 3], make_picture, **options)
    write(tmp_path / place / "val-00000-of-00001.parquet", [1], make_picture, **options)
    source = open_source(tmp_path)
    assert source.classes == ("0", "1", "2", "3")
    assert list(source.splits) == ["train", "validation"]
    assert source.splits["train"].image(2).size == (10, 8)


def test_parquet_classes_are_matched_by_name(tmp_path, make_picture):
    write(tmp_path / "train-0.parquet", [0, 1, 2], make_picture)
    write(
        tmp_path / "test-0.parquet", [0, 1, 2], make_picture, metadata=NAMES.replace(b'"cat", "dog"', b'"dog", "cat"')
    )
    assert open_source(tmp_path).splits["test"].labels.tolist() == [1, 0, 2]
    write(tmp_path / "test-0.parquet", [0, 1, 2], make_picture, metadata=NAMES.replace(b"dog", b"eel"))
    with pytest.raises(InputError, match="dog, eel"):
        open_source(tmp_path)


def test_parquet_without_labels_in_test(tmp_path, make_picture):
    write(tmp_path / "train-0.parquet", [0, 1, 2], make_picture)
    write(tmp_path / "test-0.parquet", [-1, -1], make_picture)
    source = open_source(tmp_path)
    assert list(source.splits) == ["train"]
    assert "no labels" in source.notes[0]


def test_parquet_survives_pickling_for_workers(tmp_path, make_picture):
    import copy

    write(tmp_path / "train-0.parquet", [0, 1, 2], make_picture)
    train = open_source(tmp_path).splits["train"]
    train.image(0)
    again = copy.deepcopy(train)  # goes the way of pickling, without its open files and locks
    assert again.image(2).tobytes() == train.image(2).tobytes()


def test_parquet_rows_without_bytes_are_unreadable(tmp_path, make_picture):
    rows = [row_of(make_picture(0)), {"bytes": None, "path": "a.png"}, {"bytes": b"junk", "path": None}]
    pq.write_table(pa.table({"img": rows, "label": [0, 1, 0]}), tmp_path / "train-0.parquet")
    train = open_source(tmp_path).splits["train"]
    for index, reason in ((1, "no image bytes"), (2, "not an image")):
        with pytest.raises(UnreadableImage, match=reason) as problem:
            train.image(index)
        assert problem.value.name.endswith(f"/train[{index}]")


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"picture": [b"x"], "label": [0]}, "columns picture, label"),
        ({"img": [b"x"], "label": ["cat"]}, "expected whole numbers"),
        ({"img": ["x"], "label": [0]}, "expected the bytes"),
        ({"img": [b"x", b"y"], "label": [0, None]}, "1 rows have no label"),
        ({"img": [b"x"], "label": [0]}, "only one class"),
    ],
)
def test_parquet_that_is_no_source(tmp_path, table, message):
    pq.write_table(pa.table(table), tmp_path / "train-0.parquet")
    with pytest.raises(InputError, match=message):
        open_source(tmp_path)


def test_damaged_and_misnamed_parquet(tmp_path):
    (tmp_path / "train-0.parquet").write_bytes(b"PAR1 but not really")
    with pytest.raises(InputError, match="cannot be read as parquet"):
        open_source(tmp_path)
    (tmp_path / "train-0.parquet").rename(tmp_path / "stuff.parquet")
    with pytest.raises(InputError, match="not named after its split"):
        open_source(tmp_path)


def test_a_label_beyond_the_classes(tmp_path, make_picture):
    write(tmp_path / "train-0.parquet", [0, 1, 3], make_picture)
    with pytest.raises(InputError, match="label 3"):
        open_source(tmp_path)


# Downloads


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "resnets"
    return tmp_path / "resnets"


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_cifar_is_read_in_its_binary_form(cache, name):
    _, _, inside, label_bytes, train, test, names = builtin._CIFAR[name]
    folder = cache / inside
    folder.mkdir(parents=True)
    generator = np.random.default_rng(0)
    rows = generator.integers(0, 256, (2, label_bytes + 3072), dtype=np.uint8)
    rows[:, label_bytes - 1] = [3, 1]
    for file in [*train, *test]:
        rows.tofile(folder / file)
    (folder / names).write_text("\n".join(f"class{k}" for k in range(5)) + "\n\n")
    source = open_source(name)
    assert source.classes[:2] == ("class0", "class1")
    split = source.splits["train"]
    assert len(split) == 2 * len(train)
    assert split.labels[:2].tolist() == [3, 1]
    planes = rows[1, label_bytes:].reshape(3, 32, 32)
    np.testing.assert_array_equal(np.asarray(split.image(1)), planes.transpose(1, 2, 0))


@pytest.mark.parametrize("name", ["cifar10", "mnist", "svhn"])
def test_a_failed_download_says_what_to_do(cache, monkeypatch, name):
    import torchvision.datasets.utils as utils

    def refuse(*_args, **_options):
        raise OSError("no route to host")

    monkeypatch.setattr(utils, "_urlretrieve", refuse)
    with pytest.raises(InputError, match=r"could not be fetched .*check the network") as problem:
        open_source(name)
    assert "\n" not in str(problem.value)


def test_mnist_and_svhn_become_arrays(cache, monkeypatch):
    import torch
    from torchvision import datasets

    class FakeMnist:
        classes = ("T-shirt/top", "Trouser")

        def __init__(self, root, train, download):
            assert root == str(cache)
            self.data = torch.arange(2 * 28 * 28).view(2, 28, 28).to(torch.uint8)
            self.targets = torch.tensor([1, 0])

    class FakeSvhn:
        def __init__(self, root, split, download):
            self.data = np.arange(2 * 3 * 32 * 32, dtype=np.uint8).reshape(2, 3, 32, 32)
            self.labels = np.array([9, 0])

    monkeypatch.setattr(datasets, "MNIST", FakeMnist)
    monkeypatch.setattr(datasets, "FashionMNIST", FakeMnist)
    monkeypatch.setattr(datasets, "SVHN", FakeSvhn)
    assert open_source("mnist").splits["test"].image(0).mode == "L"
    assert open_source("fashion-mnist").classes == ("T-shirt/top", "Trouser")
    svhn = open_source("svhn").splits["train"]
    assert svhn.image(1).size == (32, 32)
    assert svhn.labels.tolist() == [9, 0]

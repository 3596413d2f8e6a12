"""What a report finds: the order of a confusion matrix, suspected labels, near-duplicates."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import multivariate_normal
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

from resnets.evaluation.report.duplicates import Looks, counted, duplicates
from resnets.evaluation.report.ordering import BEST, block_order
from resnets.evaluation.report.suspects import FOLDS, HEAD, discriminant, suspects, write_suspects


@pytest.mark.parametrize("count", [12, 60, BEST + 44])
def test_classes_of_one_block_stand_together_whatever_their_names_order(count: int) -> None:
    generator = np.random.default_rng(count)
    block = np.arange(count) // 4
    confusion = generator.poisson(np.where(block[:, None] == block[None], 3.0, 0.05))
    np.fill_diagonal(confusion, 40)
    shuffled = generator.permutation(count)
    order = block_order(confusion[np.ix_(shuffled, shuffled)])
    assert sorted(order) == list(range(count))
    found = block[shuffled][order]
    assert (np.diff(found) != 0).sum() == count // 4 - 1
    assert order[0] < order[-1]


def test_without_confusions_classes_keep_their_order() -> None:
    assert block_order(np.diag([5, 3, 0, 2])).tolist() == [0, 1, 2, 3]
    assert block_order(np.zeros((3, 3), np.int64)).tolist() == [0, 1, 2]
    assert block_order(np.array([[3, 1], [2, 5]])).tolist() == [0, 1]


def test_the_discriminant_is_bayes_rule_for_normal_classes() -> None:
    generator = np.random.default_rng(1)
    labels = np.arange(150) % 3
    features = (generator.normal(size=(150, 4)) + 2 * np.eye(4)[labels]).astype(np.float32)
    found = discriminant(features, labels, 3)
    fold = np.arange(150) % FOLDS
    for index in (0, 1, 77, 149):
        inside = fold != fold[index]
        rows, known = features[inside].astype(np.float64), labels[inside]
        means = np.stack([rows[known == k].mean(0) for k in range(3)])
        covariance = (rows - means[known]).T @ (rows - means[known]) / len(rows)
        covariance += 0.01 * np.trace(covariance) / 4 * np.eye(4)
        densities = [multivariate_normal(mean, covariance).pdf(features[index]) for mean in means]
        assert np.exp(found[index]) == pytest.approx(densities[labels[index]] / sum(densities), rel=1e-4)
    assert not discriminant(features[:30], labels[:30], 3).any()  # too few images to tell


def planted(labels: NDArray[np.int64], per_class: int, seed: int) -> tuple[NDArray[np.int64], set[int]]:
    """The labels with `per_class` images of every class under another, and which they are."""
    generator, changed = np.random.default_rng(seed), labels.copy()
    which: set[int] = set()
    for name in range(10):
        for index in generator.permutation(np.flatnonzero(labels == name))[:per_class]:
            changed[index] = (name + generator.integers(1, 10)) % 10
            which.add(int(index))
    return changed, which


def test_planted_label_errors_come_first_seen_or_not() -> None:
    digits = load_digits()
    pixels, truth = digits.data.astype(np.float32), digits.target.astype(np.int64)
    first, second = np.arange(0, 1797, 2), np.arange(1, 1797, 2)
    labels, wrong = {}, {}
    for seed, (name, rows) in enumerate((("train", first), ("test", second))):
        labels[name], wrong[name] = planted(truth[rows], 2, seed)
    # What it has seen, it has seen with its wrong labels.
    fitted = LogisticRegression(max_iter=2000, C=0.01).fit(pixels[first], labels["train"])
    parts = {"train": pixels[first], "test": pixels[second]}
    scores = {name: fitted.predict_log_proba(part).astype(np.float32) for name, part in parts.items()}
    names = {name: [f"{name} {index}" for index in range(len(part))] for name, part in parts.items()}
    found = suspects(scores, labels, names, parts)
    assert len(found) == 1797
    for split in parts:
        ranked = [suspect.index for suspect in found if suspect.split == split]
        assert len(wrong[split] & set(ranked[:40])) >= 15  # of 20
    together = {(suspect.split, suspect.index) for suspect in found[: round(0.04 * 1797)]}
    assert sum((name, index) in together for name in parts for index in wrong[name]) >= 28  # of 40
    assert [suspect.score for suspect in found] == sorted((suspect.score for suspect in found), reverse=True)
    worst = found[0]
    assert worst.suggested != worst.label == labels[worst.split][worst.index]
    assert worst.p_label == pytest.approx(np.exp(scores[worst.split][worst.index, worst.label]))


def test_suspects_are_written_for_scripts(tmp_path: Path) -> None:
    scores = {"test": np.log(np.array([[0.9, 0.1], [0.2, 0.8], [0.3, 0.7]], np.float32))}
    found = suspects(scores, {"test": np.array([0, 0, 1])}, {"test": ['a,"b"', "c\nd", "\udcff"]}, {"test": None})
    write_suspects(tmp_path / "suspects.csv", found, ["cat", "=dog"])
    with (tmp_path / "suspects.csv").open(encoding="utf-8", errors="surrogatepass", newline="") as file:
        rows = list(csv.reader(file))
    assert tuple(rows[0]) == HEAD
    assert [row[:4] for row in rows[1:]] == [
        ["test", "c\nd", "cat", "=dog"], ["test", "\udcff", "=dog", "cat"], ["test", 'a,"b"', "cat", "=dog"]
    ]  # fmt: skip
    assert [float(value) for value in rows[1][4:]] == pytest.approx([2 / 3, 0.2, 0.8], rel=1e-5)


def looks(pictures: NDArray[np.float64]) -> Looks:
    """Of colour pictures [n, 3, 32, 32]."""
    coarse = pictures.reshape(-1, 3, 8, 4, 8, 4).mean((3, 5))
    return Looks(np.rint(coarse).astype(np.uint8), np.rint(pictures.mean(1)).astype(np.uint8), None)


def textured(count: int, seed: int) -> NDArray[np.float64]:
    """Pictures of rough patches, each another one."""
    generator = np.random.default_rng(seed)
    rough = sum(
        np.kron(generator.uniform(-60, 60, (count, 3, 32 // side, 32 // side)), np.ones((side, side)))
        for side in (2, 4, 8)
    )
    return np.clip(128 + np.asarray(rough), 0, 255)


def test_planted_copies_are_found_and_nothing_else() -> None:
    train, test = textured(400, 0), textured(60, 1)
    generator = np.random.default_rng(2)
    test[3] = train[17]
    test[8] = train[40][..., ::-1]
    test[12] = np.clip(0.7 * train[200] + 30 + generator.normal(0, 8, train[200].shape), 0, 255)  # paler, noisy
    test[20] = np.roll(train[7], 2, axis=2)
    test[30] = train[31] = 128  # nothing on them
    test[31] = 90
    for framed in (train[60], test[40]):  # alike in their frames alone
        framed[:, [0, -1]] = framed[..., [0, -1]] = 255
    pairs, notes = duplicates({"train": looks(train), "test": looks(test)})
    assert notes == []
    found = {pair.indices[::-1]: (pair.exact, pair.mirrored) for pair in pairs}
    assert found == {
        (3, 17): (True, False), (8, 40): (False, True), (12, 200): (False, False), (20, 7): (False, False),
        (30, 31): (True, False),
    }  # fmt: skip
    assert pairs[0].exact and pairs[0].splits == ("train", "test")
    assert counted(pairs) == {("train", "test"): 5}
    unmirrored, _ = duplicates({"train": looks(train), "test": looks(test)}, mirrors=False)
    assert {pair.indices[1] for pair in unmirrored} == {3, 12, 20, 30}


def test_where_all_pictures_are_alike_only_the_nearest_count() -> None:
    generator = np.random.default_rng(3)
    one = textured(1, 4)
    train, test = (np.clip(one + generator.normal(0, 14, (30, 3, 32, 32)), 0, 255) for _ in range(2))
    test[5] = train[6]
    pairs, notes = duplicates({"train": looks(train), "test": looks(test)})
    assert [pair.indices for pair in pairs] == [(6, 5)]
    assert "much like" in notes[0]

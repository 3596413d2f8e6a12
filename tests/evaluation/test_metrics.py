"""The figures against scikit-learn's, and the promises of `evaluate` about the module it is given."""

from __future__ import annotations

import json
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import confusion_matrix, log_loss, recall_score, top_k_accuracy_score
from torch import Tensor, nn

from resnets.data import Batch
from resnets.errors import InputError
from resnets.evaluation import evaluate


class Table(nn.Module):
    """Answers image i (its first pixel is i) with row i of a table of logits; mirrored, with that of another table."""

    def __init__(self, logits: np.ndarray, mirrored: np.ndarray | None = None) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.from_numpy(logits).float())
        self.mirrored = torch.from_numpy(logits if mirrored is None else mirrored).float()
        self.modes: list[bool] = []
        self.graphs: list[bool] = []

    def forward(self, images: Tensor) -> Tensor:
        self.modes.append(self.training)
        self.graphs.append(torch.is_grad_enabled())
        straight, flipped = images[:, 0, 0, 0].long(), images[:, 0, 0, -1].long()
        return torch.where((straight >= 0)[:, None], self.logits[straight.clamp(0)], self.mirrored[flipped.clamp(0)])


def batches(targets: np.ndarray, size: int = 7) -> Iterator[Batch]:
    for start in range(0, len(targets), size):
        indices = torch.arange(start, min(start + size, len(targets)))
        images = torch.full((len(indices), 1, 1, 2), -1.0)
        images[:, 0, 0, 0] = indices.float()
        yield Batch(images=images, targets=torch.from_numpy(targets)[indices].long(), indices=indices)


def names(count: int) -> list[str]:
    return [f"class {k}" for k in range(count)]


@st.composite
def problems(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    classes, n = draw(st.integers(2, 12)), draw(st.integers(1, 40))
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    logits = generator.normal(0, draw(st.sampled_from([0.1, 3.0, 30.0])), (n, classes)).astype(np.float32)
    return logits, generator.integers(0, classes, n)


@given(problems(), st.integers(1, 50))
@settings(deadline=None, max_examples=60)
def test_the_figures_are_those_of_scikit_learn(problem: tuple[np.ndarray, np.ndarray], size: int) -> None:
    logits, targets = problem
    n, classes = logits.shape
    labels = np.arange(classes)
    result = evaluate(Table(logits), batches(targets, size), names(classes), keep_probabilities=True)
    predicted = logits.argmax(1)
    expected = torch.from_numpy(logits).double().softmax(1).numpy()

    assert result.n == n
    assert result.top1 == pytest.approx(100 * np.mean(predicted == targets))
    if classes > 5:  # scikit-learn warns that top-5 of five classes says nothing
        scores = expected if classes > 2 else expected[:, 1]
        assert result.top5 == pytest.approx(100 * top_k_accuracy_score(targets, scores, k=5, labels=labels))
    else:
        assert result.top5 == 100
    assert result.loss == pytest.approx(
        -np.log(np.maximum(expected[np.arange(n), targets], 1e-300)).mean(), rel=1e-4, abs=1e-5
    )
    assert np.array_equal(result.confusion, confusion_matrix(targets, predicted, labels=labels))
    recall = recall_score(targets, predicted, labels=labels, average=None, zero_division=0)
    for k, accuracy in enumerate(result.per_class.values()):
        assert accuracy == (pytest.approx(100 * recall[k]) if np.any(targets == k) else None)
    assert result.probabilities is not None
    np.testing.assert_allclose(result.probabilities, expected, atol=1e-5)


def test_the_loss_is_scikit_learns_log_loss() -> None:
    generator = np.random.default_rng(0)
    logits, targets = generator.normal(0, 2, (200, 10)).astype(np.float32), generator.integers(0, 10, 200)
    result = evaluate(Table(logits), batches(targets), names(10))
    probabilities = torch.from_numpy(logits).double().softmax(1).numpy()
    assert result.loss == pytest.approx(log_loss(targets, probabilities, labels=range(10)), rel=1e-5)


def test_flips_average_the_probabilities_of_picture_and_mirror_image() -> None:
    generator = np.random.default_rng(1)
    one, two = generator.normal(0, 2, (2, 50, 7)).astype(np.float32)
    targets = generator.integers(0, 7, 50)
    result = evaluate(Table(one, two), batches(targets), names(7), flips=True, keep_probabilities=True)
    mean = (torch.from_numpy(one).double().softmax(1) + torch.from_numpy(two).double().softmax(1)).numpy() / 2
    assert result.top1 == pytest.approx(100 * np.mean(mean.argmax(1) == targets))
    assert result.top5 == pytest.approx(100 * top_k_accuracy_score(targets, mean, k=5, labels=range(7)))
    assert result.loss == pytest.approx(log_loss(targets, mean, labels=range(7)), rel=1e-5)
    assert result.probabilities is not None
    np.testing.assert_allclose(result.probabilities, mean, atol=1e-6)
    assert result.loss < evaluate(Table(one, two), batches(targets), names(7)).loss


def test_equal_logits_go_to_the_class_that_comes_first() -> None:
    result = evaluate(Table(np.zeros((8, 8), np.float32)), batches(np.arange(8)), names(8))
    assert result.top1 == 100 / 8
    assert result.top5 == 100 * 5 / 8
    assert [row[0] for row in result.confusion] == [1] * 8


def test_modes_are_restored_part_by_part_and_no_graph_is_kept() -> None:
    module = nn.Sequential(Table(np.eye(4, dtype=np.float32)), nn.BatchNorm1d(4), nn.Dropout(0.9))
    module.train()
    module[1].eval()  # frozen
    before = module[1].running_mean.clone()
    result = evaluate(module, batches(np.arange(4)), names(4), keep_probabilities=True)
    assert result.top1 == 100
    assert [part.training for part in module] == [True, False, True]
    assert module.training
    assert torch.equal(module[1].running_mean, before)
    assert module[0].modes == [False]
    assert module[0].graphs == [False]
    assert isinstance(result.probabilities, np.ndarray)


def test_modes_are_restored_after_an_error() -> None:
    module = Table(np.eye(4, dtype=np.float32)).train()
    with pytest.raises(InputError):
        evaluate(module, batches(np.arange(4)), names(3))
    assert module.training


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_logits_that_are_not_finite_name_the_first_image(bad: float) -> None:
    logits = np.zeros((20, 3), np.float32)
    logits[[12, 15], 1] = bad
    with pytest.raises(InputError, match=r"not finite for cat12\.png \(2 of 20 images\)") as caught:
        evaluate(Table(logits), batches(np.zeros(20, int)), names(3), name="cat{}.png".format)
    assert "\n" not in str(caught.value)


def test_autocast_reaches_the_forward_pass() -> None:
    seen: list[torch.dtype] = []

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(2, 3)

        def forward(self, images: Tensor) -> Tensor:
            logits = self.fc(images.flatten(1))
            seen.append(logits.dtype)
            return logits

    result = evaluate(Net(), batches(np.arange(3)), names(3), autocast=torch.bfloat16, keep_probabilities=True)
    assert seen == [torch.bfloat16]
    assert result.probabilities is not None
    assert result.probabilities.dtype == np.float32


def test_an_image_that_comes_twice_is_refused() -> None:
    twice = [*batches(np.arange(3)), *batches(np.arange(3))]
    with pytest.raises(ValueError, match="image 0 came 2 times"):
        evaluate(Table(np.eye(3, dtype=np.float32)), twice, names(3))


def test_no_images_and_targets_outside_the_classes_are_refused() -> None:
    with pytest.raises(InputError, match="no image"):
        evaluate(Table(np.eye(3, dtype=np.float32)), [], names(3))
    with pytest.raises(InputError, match="the same name"):
        evaluate(Table(np.eye(3, dtype=np.float32)), batches(np.arange(3)), ["a", "b", "a"])
    with pytest.raises(InputError, match="outside the classes"):
        evaluate(Table(np.eye(3, dtype=np.float32)), batches(np.array([0, 3])), names(3))


def test_mixed_targets_are_refused() -> None:
    mixed = Batch(images=torch.zeros(1, 1, 1, 2), targets=torch.ones(1, 3) / 3, indices=torch.zeros(1).long())
    with pytest.raises(ValueError, match="int64"):
        evaluate(Table(np.eye(3, dtype=np.float32)), [mixed], names(3))


def test_the_dictionary_is_json_and_leaves_probabilities_out() -> None:
    result = evaluate(Table(np.eye(3, dtype=np.float32)), batches(np.array([0, 1])), names(3), keep_probabilities=True)
    document = json.loads(json.dumps(result.to_dict(), allow_nan=False))
    assert document.pop("intervals") == {key: list(ends or ()) for key, ends in result.intervals.items()}
    assert document == {
        "top1": 100.0,
        "top5": 100.0,
        "loss": result.loss,
        "ece": result.ece,
        "n": 2,
        "per_class": {"class 0": 100.0, "class 1": 100.0, "class 2": None},
        "confusion": [[1, 0, 0], [0, 1, 0], [0, 0, 0]],
    }

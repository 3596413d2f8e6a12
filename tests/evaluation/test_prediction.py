"""Predictions of files, folders and patterns."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from resnets.errors import InputError
from resnets.evaluation import Run
from resnets.evaluation.prediction import expand


@pytest.fixture
def pictures(run: Run) -> Path:
    return Path(run.info["source"]["path"]) / "test"


def test_the_probabilities_are_the_networks(run: Run, pictures: Path) -> None:
    file = pictures / "red" / "001.png"
    (prediction,) = run.predict(file)
    with torch.no_grad():
        image = run.preprocessing.normalise(run.preprocessing.image(Image.open(file))[None])
        expected = run.model()(image).softmax(1)[0]
    assert prediction.path == str(file)
    assert prediction.error is None
    assert [value for _, value in prediction.top] == pytest.approx(sorted(expected.tolist(), reverse=True), abs=1e-6)
    assert dict(prediction.top) == pytest.approx(dict(zip(run.classes, expected.tolist(), strict=True)), abs=1e-6)
    assert sum(value for _, value in prediction.top) == pytest.approx(1)
    assert prediction.to_dict()["top"][0] == {"class": prediction.top[0][0], "probability": prediction.top[0][1]}


def test_predictions_agree_with_the_evaluation(run: Run, pictures: Path) -> None:
    predictions = run.predict([pictures], top=1, batch_size=5)
    right = [Path(item.path).parent.name == item.top[0][0] for item in predictions]
    assert 100 * np.mean(right) == pytest.approx(run.evaluate().top1)


def test_order_and_batches_do_not_change_a_prediction(run: Run, pictures: Path) -> None:
    files = sorted(pictures.rglob("*.png"))
    forward, backward = run.predict(files, batch_size=5), run.predict(files[::-1], batch_size=1)
    assert [item.path for item in forward] == [str(file) for file in files]
    for one, two in zip(forward, backward[::-1], strict=True):
        assert one.path == two.path
        assert [name for name, _ in one.top] == [name for name, _ in two.top]


def test_top_is_at_most_the_number_of_classes(run: Run, pictures: Path) -> None:
    file = pictures / "red" / "001.png"
    assert [len(run.predict(file, top=top)[0].top) for top in (1, 2, 3, 5)] == [1, 2, 3, 3]
    with pytest.raises(InputError, match="at least 1"):
        run.predict(file, top=0)


def test_flips_make_a_picture_and_its_mirror_image_equal(run: Run, pictures: Path, tmp_path: Path) -> None:
    file, mirrored = pictures / "red" / "001.png", tmp_path / "mirrored.png"
    with Image.open(file) as picture:
        picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(mirrored)
    one, two = run.predict([file, mirrored], flips=True)
    assert dict(one.top) == pytest.approx(dict(two.top), abs=1e-6)
    plain, other = run.predict([file, mirrored])
    assert dict(plain.top) != pytest.approx(dict(other.top), abs=1e-6)


def test_an_unreadable_picture_is_named_and_the_others_go_on(run: Run, pictures: Path, tmp_path: Path) -> None:
    bad, good = tmp_path / "bad.png", pictures / "red" / "001.png"
    bad.write_bytes(good.read_bytes()[:60])
    results = run.predict([bad, good, tmp_path / "missing.png"], batch_size=2)
    assert [item.path for item in results] == [str(bad), str(good), str(tmp_path / "missing.png")]
    assert [item.error is None for item in results] == [False, True, False]
    assert results[0].top == ()
    assert results[0].to_dict().keys() == {"path", "error"}
    assert "\n" not in str(results[0].error)


def test_weights_that_give_nothing_finite_are_said_to(
    run: Run, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = run.model()
    with torch.no_grad():
        model.fc.bias.fill_(torch.nan)
    monkeypatch.setattr(Run, "model", lambda self, device: model)
    (prediction,) = run.predict(pictures / "red" / "001.png")
    assert prediction.error is not None
    assert "not finite" in prediction.error


def test_folders_and_patterns_are_expanded_in_a_stable_order(tmp_path: Path) -> None:
    for name in ("b.png", "a.JPG", "sub/c.webp", ".hidden.png", ".cache/d.png", "notes.txt", "x[1].png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    here = str(tmp_path)
    assert expand(tmp_path) == [f"{here}/{name}" for name in ("a.JPG", "b.png", "sub/c.webp", "x[1].png")]
    assert expand([f"{here}/*.png"]) == [f"{here}/b.png", f"{here}/x[1].png"]
    assert expand([f"{here}/**/*.webp"]) == [f"{here}/sub/c.webp"]
    assert expand([f"{here}/x[1].png"]) == [f"{here}/x[1].png"], "a file may be called like a pattern"
    assert expand([f"{here}/b.png", here, "gone.png"])[0] == f"{here}/b.png", "each once, where first named"
    assert len(expand([f"{here}/b.png", here, "gone.png"])) == 5


def test_nothing_to_predict_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no images in this folder"):
        expand(tmp_path)
    with pytest.raises(InputError, match="matches this pattern"):
        expand([f"{tmp_path}/*.png"])
    with pytest.raises(InputError, match="no images to predict"):
        expand([])

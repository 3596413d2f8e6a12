"""Class activation maps: the equality that makes them exact, on every published network, and the overlays."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from commandline import fingerprint
from commandline import resnets as command
from hypothesis import given, settings
from hypothesis import strategies as st
from naive import randomise
from PIL import Image
from torch import nn

import resnets
from resnets.architecture import ZOO
from resnets.data import Preprocessing
from resnets.errors import InputError
from resnets.evaluation import Run, class_activation_maps
from resnets.evaluation.overlay import overlay, panels
from resnets.models import build

WITHOUT = ("vgg19", "resmlp10", "speedrun")


def random_network(name: str, images: torch.Tensor) -> nn.Module:
    """In evaluation mode, with random weights, the statistics of these images, and logits of a trained network's size.

    With other statistics, a thousand layers overflow.
    """
    with torch.device("meta"):  # without the time that initialisation takes
        net = build(ZOO[name].spec)
    net = net.to_empty(device="cpu").train()
    randomise(net)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
    with torch.no_grad():
        net(images)
        net.eval().fc.weight.mul_(5 / net(images).std())
    return net


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.slow) if "1001" in name else name for name in ZOO if name not in WITHOUT],
)
def test_the_mean_of_a_map_plus_the_bias_is_the_logit(name: str) -> None:
    # Not square, so that height and width are told apart; the last map has 2 x 3 cells.
    sides = {1000: (40, 72), 10: (8, 12)}
    images = torch.randn((1, 3, *sides[ZOO[name].spec.num_classes]), generator=torch.Generator().manual_seed(0))
    net = random_network(name, images)
    maps, logits = class_activation_maps(net, images)
    assert maps.shape == (1, ZOO[name].spec.num_classes, 2, 3)
    assert maps.std((2, 3)).min() > 1e-3 and logits.std() > 1
    assert (maps.mean((2, 3)) + net.fc.bias.detach() - logits).abs().max() < 1e-4


@pytest.mark.parametrize("name", WITHOUT)
def test_networks_with_another_head_are_refused(name: str) -> None:
    with torch.device("meta"):
        net = build(ZOO[name].spec)
    with pytest.raises(InputError, match=rf"^{name} has no exact class activation maps: .*global average pooling"):
        class_activation_maps(net, torch.zeros(1, 3, 32, 32))


class Small(nn.Module):
    """The image itself as the last feature map."""

    def __init__(self, pool: nn.Module) -> None:
        super().__init__()
        self.avgpool, self.fc = pool, nn.Linear(3, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.avgpool(x).flatten(1))


def test_a_map_is_the_weighted_sum_of_the_last_features() -> None:
    net, images = Small(nn.AdaptiveAvgPool2d(1)).eval(), torch.randn(2, 3, 2, 5)
    maps, logits = class_activation_maps(net, images, torch.tensor([1]))
    net.requires_grad_(False)
    assert torch.equal(logits, net(images))
    assert maps.shape == (2, 1, 2, 5) and not maps.requires_grad
    assert torch.equal(class_activation_maps(net, images)[0][:, [1]], maps)
    for b, y, x in np.ndindex(2, 2, 5):
        expected = sum(float(net.fc.weight[1, c]) * float(images[b, c, y, x]) for c in range(3))
        assert float(maps[b, 0, y, x]) == pytest.approx(expected, abs=1e-6)


def test_a_head_that_only_looks_like_one_is_refused() -> None:
    with pytest.raises(InputError, match="Small has no exact class activation maps"):
        class_activation_maps(Small(nn.AdaptiveMaxPool2d(1)).eval(), torch.randn(2, 3, 4, 4))


@pytest.mark.parametrize("library", ["torchvision", "timm"])
def test_networks_of_other_libraries_have_them_too(library: str) -> None:
    models = pytest.importorskip("torchvision.models" if library == "torchvision" else "timm")
    net = models.resnet18(num_classes=7) if library == "torchvision" else models.create_model("resnet18", num_classes=7)
    maps, logits = class_activation_maps(net.eval(), torch.randn(1, 3, 70, 70))
    assert maps.shape == (1, 7, 3, 3)
    assert (maps.mean((2, 3)) + net.fc.bias - logits).abs().max() < 1e-4


def test_a_module_in_training_is_run_in_evaluation_mode_and_left_as_it_was() -> None:
    net = resnets.create("resnet8", num_classes=4, seed=0)
    net.layer1.eval()
    before = {name: module.training for name, module in net.named_modules()}
    state = {key: value.clone() for key, value in net.state_dict().items()}
    _, logits = class_activation_maps(net, images := torch.randn(2, 3, 16, 16))
    assert {name: module.training for name, module in net.named_modules()} == before and before[""]
    assert all(torch.equal(value, state[key]) for key, value in net.state_dict().items())
    with torch.no_grad():
        assert torch.equal(logits, net.eval()(images))


@pytest.mark.parametrize("classes", [[2], [-1], [0.0], ["cat"], "cat", [True], 1, torch.tensor([0.5]), torch.tensor(1)])
def test_a_class_that_is_not_there_is_refused(classes: object) -> None:
    with pytest.raises(InputError, match="0 to 1") as refused:
        class_activation_maps(Small(nn.AdaptiveAvgPool2d(1)).eval(), torch.randn(1, 3, 4, 4), classes)  # type: ignore[arg-type]
    assert "\n" not in str(refused.value)


@given(width=st.integers(1, 90), height=st.integers(1, 90), size=st.integers(1, 40), crop=st.floats(0.3, 1))
@settings(max_examples=60, deadline=None)
def test_what_is_seen_is_what_the_network_gets(width: int, height: int, size: int, crop: float) -> None:
    preprocessing = Preprocessing(size, 3, (0,) * 3, (1,) * 3, crop_fraction=crop)
    left, top, right, bottom = preprocessing.seen(width, height)
    assert -1e-9 <= left < right <= width + 1e-9 and -1e-9 <= top < bottom <= height + 1e-9
    # A picture whose red and green grow with x and y: the mean colour of the view tells its middle, but for the edges.
    x, y = (np.arange(side) + 0.5 for side in (width, height))
    red, green = np.meshgrid(x * 255 / width, y * 255 / height)
    picture = Image.fromarray(np.stack([red, green, 0 * red], axis=2).round().astype(np.uint8))
    view = preprocessing.pixels(picture).reshape(-1, 3).mean(0)
    middle = (left + right) / 2 * 255 / width, (top + bottom) / 2 * 255 / height
    # One pixel of the picture, and at the edges, where antialiasing is lopsided, a fifth of one of the view.
    assert view[0] == pytest.approx(middle[0], abs=2 + 255 / width * (1 + (right - left) / size / 5))
    assert view[1] == pytest.approx(middle[1], abs=2 + 255 / height * (1 + (bottom - top) / size / 5))


def luminance(picture: Image.Image) -> np.ndarray:
    return np.asarray(picture.convert("L")).astype(int)


def test_the_colours_grow_lighter_with_the_value_and_what_speaks_against_is_dark() -> None:
    grey, cells = Image.new("RGB", (120, 10), (90, 120, 60)), np.array([[-9, 0, 1, 2, 3, 4]], np.float32)
    row = luminance(overlay(grey, cells, (0, 0, 120, 10)))[5]
    assert len({*row[:20]}) == 1
    assert (np.diff(row[30:110]) >= -1).all() and row[115] > row[25] + 100
    assert (luminance(overlay(grey, -abs(cells), (0, 0, 120, 10))) == row[0]).all()
    half = luminance(overlay(grey, cells, (0, 0, 120, 10), scale=8))[5]
    assert half[115] == pytest.approx(row[70], abs=4)


def test_a_map_lies_where_the_network_looked_and_nowhere_else() -> None:
    generator = np.random.default_rng(0)
    picture = Image.fromarray(generator.integers(100, 140, (60, 100, 3)).astype(np.uint8))
    cells = np.zeros((4, 4), np.float32)
    cells[1, 3] = 1
    result = overlay(picture, cells, (20, 0, 80, 60))
    before, after = np.asarray(picture).astype(int), np.asarray(result).astype(int)
    assert result.size == picture.size
    assert (before[:, :20] == after[:, :20]).all() and (before[:, 80:] == after[:, 80:]).all()
    assert (before[:, 20:80] != after[:, 20:80]).any(2).mean() > 0.99
    y, x = np.unravel_index(luminance(result)[:, 20:80].argmax(), (60, 60))
    assert (y // 15, x // 15) == (1, 3)


@given(st.integers(1, 50), st.integers(1, 50), st.integers(1, 9), st.integers(1, 9), st.sampled_from(["L", "RGB"]))
@settings(max_examples=40, deadline=None)
def test_pictures_of_any_size_are_drawn(width: int, height: int, rows: int, columns: int, mode: str) -> None:
    picture = Image.new(mode, (width, height))
    seen = Preprocessing(8, 3, (0,) * 3, (1,) * 3, crop_fraction=0.875).seen(width, height)
    cells = np.linspace(-1, 1, rows * columns, dtype=np.float32).reshape(rows, columns)
    assert overlay(picture, cells, seen).size == (width, height)
    sheet = panels(picture, "a long name\nof a file", [cells, -cells], [("x" * 99, "1 %"), ("", "")], seen)
    assert sheet.width > 3 * width and sheet.height > height


@pytest.fixture
def pictures(run: Run) -> Path:
    return Path(run.info["source"]["path"]) / "test"


def test_the_maps_of_a_run_agree_with_its_predictions(run: Run, pictures: Path) -> None:
    results = resnets.cam(run, pictures, top=3)
    predictions = run.predict(pictures, top=3)
    assert [item.path for item in results] == [item.path for item in predictions]
    for result, prediction in zip(results, predictions, strict=True):
        assert [item.name for item in result.maps] == [name for name, _ in prediction.top]
        assert [item.probability for item in result.maps] == pytest.approx([p for _, p in prediction.top], abs=1e-5)
        assert result.out is None and result.seen == (0, 0, 8, 8)
        for item in result.maps:
            assert item.name == run.classes[item.index] and item.values.shape == (8, 8)
            assert item.values.mean() + item.bias == pytest.approx(item.logit, abs=1e-4)
            assert item.to_dict()["mean"] + item.to_dict()["bias"] == pytest.approx(item.logit, abs=1e-4)


def test_likeliest_and_named_classes_come_together_each_once(run: Run, pictures: Path) -> None:
    file = pictures / "red" / "000.png"
    likeliest = run.predict(file, top=1)[0].top[0][0]
    other = next(name for name in run.classes if name != likeliest)

    def names(**options: object) -> list[str]:
        return [item.name for item in resnets.cam(run, file, **options)[0].maps]

    assert names() == [likeliest]
    assert names(classes=other) == names(classes=[other, other]) == [other]
    assert names(classes=[other, likeliest]) == [other, likeliest]
    assert names(classes=[other, likeliest], top=1) == [likeliest, other]
    assert len(names(top=50)) == len(run.classes)
    for top, classes in ((0, ()), (-1, "red")):
        with pytest.raises(InputError, match="top must be at least 1"):
            names(top=top, classes=classes)


def test_overlays_have_the_size_of_the_upright_picture(run: Run, tmp_path: Path) -> None:
    generator = np.random.default_rng(1)
    picture = Image.fromarray(generator.integers(0, 256, (20, 33, 3)).astype(np.uint8))
    picture.convert("L").save(tmp_path / "grey.png")
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees
    picture.save(tmp_path / "turned.jpg", exif=exif)
    grey, turned = resnets.cam(run, [tmp_path / "grey.png", tmp_path / "turned.jpg"], out=tmp_path / "out")
    assert grey.seen == (pytest.approx(33 / 13 * 2, abs=0.1), 0, pytest.approx(33 / 13 * 10, abs=0.1), 20)
    for result, size in ((grey, (33, 20)), (turned, (20, 33))):
        with Image.open(str(result.out)) as written:
            assert written.size == size and written.mode == "RGB"
            assert np.array_equal(np.asarray(written), np.asarray(result.picture()))
    assert {item.name for item in (tmp_path / "out").iterdir()} == {"grey-cam.png", "turned-cam.png"}


def test_nothing_that_is_there_is_overwritten(run: Run, pictures: Path, tmp_path: Path) -> None:
    files, out = [pictures / "red" / "000.png", pictures / "red" / "001.png"], tmp_path / "out"
    resnets.cam(run, files[1], out=out)
    before = fingerprint(out)
    with pytest.raises(InputError, match=r"001-cam\.png is already there and is not overwritten; choose another --out"):
        resnets.cam(run, files, out=out)
    assert fingerprint(out) == before
    with pytest.raises(InputError, match="is a file; --out names a folder"):
        resnets.cam(run, files, out=files[0])


def test_files_of_one_name_get_overlays_of_their_own(run: Run, pictures: Path, tmp_path: Path) -> None:
    files = [pictures / name / "000.png" for name in ("red", "green", "blue")]
    files[1] = files[1].rename(files[1].with_name("000-2.png"))
    results = resnets.cam(run, [files[0], files[2], files[1]], out=tmp_path / "out")
    written = [str(item.out) for item in results]
    assert [Path(name).name for name in written] == ["000-cam.png", "000-2-cam.png", "000-2-2-cam.png"]
    for result in results:
        with Image.open(str(result.out)) as picture:
            assert np.array_equal(np.asarray(picture), np.asarray(result.picture()))


def test_an_unreadable_picture_is_named_and_the_others_go_on(run: Run, pictures: Path, tmp_path: Path) -> None:
    bad, good = tmp_path / "bad.png", pictures / "red" / "000.png"
    bad.write_bytes(good.read_bytes()[:50])
    first, second, third = resnets.cam(run.path, [bad, good, tmp_path / "missing.png"], out=tmp_path / "out")
    assert first.error and third.error and second.error is None
    assert first.maps == () and first.to_dict() == {"path": str(bad), "error": first.error}
    assert [item.name for item in (tmp_path / "out").iterdir()] == ["000-cam.png"]
    with pytest.raises(InputError, match=r"bad\.png: "):
        first.picture()
    good.unlink()
    with pytest.raises(InputError, match=r"000\.png"):
        second.picture()


def test_unknown_classes_and_weights_that_give_nothing_finite(
    run: Run, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(
        InputError, match=r"has no class 'gren' \(its classes: blue, green, red\); did you mean 'green'"
    ):
        resnets.cam(run, pictures, classes=["red", "gren"])
    net = run.model()
    with torch.no_grad():
        net.fc.weight.fill_(float("nan"))
    monkeypatch.setattr(Run, "model", lambda self, place: net)
    assert "not finite" in str(resnets.cam(run, pictures / "red" / "000.png")[0].error)


def test_the_command(run: Run, pictures: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_text("no picture")
    words = ("bad.png", pictures / "red", "--class", "green", "--top", 1, "--out", "maps/new", "--json")
    done = command("cam", run.path, *words, cwd=tmp_path)
    assert done.code == 2 and done.error.startswith("error: bad.png: ")
    bad, *good = json.loads(done.out)
    assert bad.keys() == {"path", "error"} and len(good) == 4
    for item in good:
        assert item["classes"][-1]["class"] == "green"
        with Image.open(tmp_path / item["out"]) as sheet:
            assert sheet.size == (8, 8) if len(item["classes"]) == 1 else sheet.width > 3 * 192
        for found in item["classes"]:
            assert found["mean"] + found["bias"] == pytest.approx(found["logit"], abs=1e-4)
    plain = command("cam", run.path, pictures / "red" / "000.png", cwd=tmp_path)
    assert plain.code == 0 and plain.err == ""
    assert plain.out.strip().endswith("-> cam/000-cam.png") and (tmp_path / "cam" / "000-cam.png").is_file()

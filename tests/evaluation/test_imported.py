"""Weights from elsewhere as a run: random networks of torchvision and timm in, and out again."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
import torchvision
from naive import randomise
from PIL import Image

import resnets
from resnets.data import Preprocessing
from resnets.errors import InputError
from resnets.evaluation import Run, export_weights, import_weights, loading_line, write_report
from resnets.evaluation.naming import class_names

Edit = Callable[[Path, Callable[[dict[str, Any]], None]], Path]


def foreign(name: str = "resnet18", **options: Any) -> torch.nn.Module:
    net = torchvision.models.get_model(name, **options).eval()
    randomise(net)
    return net


@pytest.fixture(scope="module")
def net() -> torch.nn.Module:
    return foreign()


@pytest.fixture(scope="module")
def file(net: torch.nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("foreign") / "resnet18.pth"
    torch.save(net.state_dict(), path)
    return path


@pytest.fixture(scope="module")
def imported(file: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return import_weights(file, tmp_path_factory.mktemp("imported") / "run")


def photo(folder: Path, width: int = 320, height: int = 241) -> Path:
    pixels = np.random.default_rng(1).integers(0, 256, (height, width, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(folder / "photo.png")
    return folder / "photo.png"


def test_predictions_are_the_librarys_own(imported: Run, net: torch.nn.Module, tmp_path: Path) -> None:
    weights = torchvision.models.ResNet18_Weights.IMAGENET1K_V1
    path = photo(tmp_path)
    with torch.no_grad():
        expected = net(weights.transforms()(Image.open(path))[None])[0].softmax(0)
    (found,) = imported.predict(path, top=1000)
    names = weights.meta["categories"]
    assert imported.classes == tuple(names)
    probabilities = dict(found.top)
    torch.testing.assert_close(torch.tensor([probabilities[name] for name in names]), expected, rtol=1e-3, atol=1e-6)
    assert found.top[0][0] == names[int(expected.argmax())]


def test_run_json_tells_where_the_weights_are_from(imported: Run, file: Path) -> None:
    import hashlib

    facts = imported.imported
    assert facts is not None
    assert facts["sha256"] == hashlib.sha256(file.read_bytes()).hexdigest()
    assert (facts["file"], facts["origin"]) == (str(file), "torchvision")
    assert facts["library"].startswith("torchvision 0.")
    assert facts["parity"] <= 1e-5
    assert any("1000 classes" in note for note in facts["notes"])
    assert (imported.recipe, imported.source, imported.records()) == ({}, {}, [])
    assert imported.info["parameters"] == 11_689_512
    assert imported.preprocessing.crop_fraction == 0.875
    assert sorted(path.name for path in imported.path.iterdir()) == [
        "manifest.json",
        "report.html",
        "run.json",
        "weights.safetensors",
    ]
    report = (imported.path / "report.html").read_text(encoding="utf-8")
    assert "imported from resnet18.pth" in report and facts["sha256"] in report


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_what_goes_out_is_what_came_in(imported: Run, net: torch.nn.Module, tmp_path: Path, suffix: str) -> None:
    out = export_weights(imported, tmp_path / f"new{suffix}", to="torchvision")
    again: torch.nn.Module = eval_line(loading_line(imported.spec, "torchvision", out))
    expected = net.state_dict()
    assert again.state_dict().keys() == expected.keys()
    assert all(torch.equal(value, expected[key]) for key, value in again.state_dict().items())
    with pytest.raises(InputError, match="is not overwritten"):
        export_weights(imported.path, out, to="torchvision")


def eval_line(line: str) -> Any:
    """Run the printed line as a user would paste it, and return its `model`."""
    names: dict[str, Any] = {}
    exec(line, names)
    return names["model"]


@pytest.mark.parametrize(
    "name", ["resnet18d", *(pytest.param(name, marks=pytest.mark.slow) for name in ("resnet50_gn", "resnet26t"))]
)
def test_timms_files_come_in_and_go_out(tmp_path: Path, name: str) -> None:
    timm = pytest.importorskip("timm")
    net = timm.create_model(name, num_classes=7).eval()
    randomise(net)
    (tmp_path / "w.safetensors").write_bytes(safetensors.torch.save(net.state_dict(), {"format": "pt"}))
    run = import_weights(tmp_path / "w.safetensors", tmp_path / "run")
    assert run.imported is not None and run.imported["origin"] == "timm" and run.imported["parity"] <= 1e-5
    assert run.preprocessing.interpolation == "bicubic"
    assert run.classes == tuple(f"class-{index}" for index in range(7))
    images = torch.randn(2, 3, 96, 96)
    with torch.no_grad():
        torch.testing.assert_close(run.model()(images), net(images), rtol=1e-5, atol=1e-5)
    out = export_weights(run, tmp_path / "back.safetensors", to="timm")
    again = safetensors.torch.load_file(out)
    assert again.keys() == net.state_dict().keys()
    assert all(torch.equal(again[key], value) for key, value in net.state_dict().items())
    loaded = eval_line(loading_line(run.spec, "timm", out))
    assert all(torch.equal(value, again[key]) for key, value in loaded.state_dict().items())


def test_a_network_without_a_name_is_loaded_by_its_shape(tmp_path: Path) -> None:
    resnet = torchvision.models.resnet
    net = resnet.ResNet(resnet.Bottleneck, [1, 2, 1, 1], num_classes=3, groups=2, width_per_group=32)
    torch.save(net.state_dict(), tmp_path / "w.pth")
    run = import_weights(tmp_path / "w.pth", tmp_path / "run")
    out = export_weights(run, tmp_path / "back.pth", to="torchvision")
    loaded = eval_line(loading_line(run.spec, "torchvision", out))
    assert all(torch.equal(value, net.state_dict()[key]) for key, value in loaded.state_dict().items())
    assert "has no name there" in loading_line(run.spec, "timm", tmp_path / "back.pth")


@pytest.mark.slow
def test_keras_weights_have_keras_habits(file: Path, tmp_path: Path) -> None:
    torch.save(foreign("resnet50", num_classes=3).state_dict(), tmp_path / "k.pth")
    run = import_weights(tmp_path / "k.pth", tmp_path / "run", origin="keras", classes=["a", "b", "c"])
    assert (run.spec.stride_in, run.spec.norm_eps) == ("1x1", 1.001e-5)
    assert run.preprocessing.channel_order == "BGR"
    assert run.imported is not None and run.imported["parity"] is None
    assert "Not compared" in run.imported["proof"]
    assert run.predict(photo(tmp_path))[0].error is None


def test_our_own_weights_are_taken_where_the_network_is_named(tmp_path: Path) -> None:
    own = resnets.create("resnet20", num_classes=4, seed=1)
    resnets.models.save_weights(tmp_path / "w.safetensors", own)
    words = {"size": 32, "mean": (0.5,) * 3, "std": (0.25,) * 3}
    run = import_weights(tmp_path / "w.safetensors", tmp_path / "run", arch="resnet20", **words)  # type: ignore[arg-type]
    assert run.preprocessing == Preprocessing(32, 3, (0.5,) * 3, (0.25,) * 3)
    assert run.info["arch"] == "resnet20"
    images = torch.randn(2, 3, 32, 32)
    assert torch.equal(run.model()(images), own.eval()(images))
    with pytest.raises(InputError, match="give --size, --mean and --std"):
        import_weights(tmp_path / "w.safetensors", tmp_path / "other", arch="resnet20")
    with pytest.raises(InputError, match="layer1"):
        import_weights(tmp_path / "w.safetensors", tmp_path / "other", arch="resnet32", **words)  # type: ignore[arg-type]
    assert not (tmp_path / "other").exists()


def test_half_precision_is_kept_as_float32(tmp_path: Path) -> None:
    state = {key: v.half() if v.is_floating_point() else v for key, v in foreign(num_classes=5).state_dict().items()}
    torch.save({"state_dict": state, "epoch": 1}, tmp_path / "w.pth")
    run = import_weights(tmp_path / "w.pth", tmp_path / "run")
    assert all(torch.equal(value, state[key].to(value.dtype)) for key, value in run.model().state_dict().items())
    assert run.imported is not None
    notes = " ".join(run.imported["notes"])
    assert "float16 weights are kept as float32" in notes and "'state_dict'" in notes


def renamed(state: dict[str, Any]) -> None:
    state["layer1.0.conv9.weight"] = state.pop("layer1.0.conv1.weight")


def poisoned(state: dict[str, Any]) -> None:
    state["layer2.0.bn1.bias"] = torch.full_like(state["layer2.0.bn1.bias"], float("nan"))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (renamed, r"layer1\.0\.conv"),
        (lambda state: state.pop("fc.bias"), r"fc\.bias"),
        (lambda state: state.update(extra=torch.zeros(1)), "extra"),
        (lambda state: state.update({"bn1.bias": torch.zeros(3)}), r"bn1\.bias"),
        (poisoned, r"layer2\.0\.bn1\.bias.*not finite"),
    ],
)
def test_what_does_not_fit_is_named_and_nothing_is_written(tmp_path: Path, file: Path, change: Any, words: str) -> None:
    state = torch.load(file, weights_only=True)
    change(state)
    torch.save(state, tmp_path / "w.pth")
    with pytest.raises(InputError, match=words) as caught:
        import_weights(tmp_path / "w.pth", tmp_path / "run")
    assert "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["w.pth"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"origin": "tensorvision"}, "unknown origin 'tensorvision'.*did you mean 'torchvision'"),
        ({"classes": ["a", "b"]}, "2 class names for a network of 1000"),
        ({"arch": "resnet34"}, "layer"),
        ({"mean": (1.0, 2.0)}, "within 1"),
    ],
)
def test_options_that_contradict_are_refused(tmp_path: Path, file: Path, options: Any, words: str) -> None:
    with pytest.raises(InputError, match=words):
        import_weights(file, tmp_path / "run", **options)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_taken_is_left_alone(imported: Run, file: Path, tmp_path: Path) -> None:
    before = (imported.path / "run.json").read_bytes()
    with pytest.raises(InputError, match="already there"):
        import_weights(file, imported.path)
    assert (imported.path / "run.json").read_bytes() == before
    with pytest.raises(InputError, match="is a run folder already"):
        import_weights(imported.path, tmp_path / "run")


def test_the_weights_of_a_run_are_not_imported_anew(imported: Run, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"belongs to the run .*use that as it is"):
        import_weights(imported.path / "weights.safetensors", tmp_path / "run")
    with pytest.raises(InputError, match="no weights are named"):
        import_weights("", tmp_path / "run")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_other_channels_are_refused_or_grey(tmp_path: Path) -> None:
    timm = pytest.importorskip("timm")
    for channels in (1, 4):
        net = timm.create_model("resnet18", num_classes=3, in_chans=channels)
        torch.save(net.state_dict(), tmp_path / f"{channels}.pth")
    with pytest.raises(InputError, match=r"4 channels, and a run those of 1 or 3; .*create\(weights=.*in_channels=3\)"):
        import_weights(tmp_path / "4.pth", tmp_path / "run")
    assert resnets.create(weights=tmp_path / "4.pth", in_channels=3).initialised == ("conv1.weight",)
    run = import_weights(tmp_path / "1.pth", tmp_path / "run")
    assert run.imported is not None and any("grey images" in note for note in run.imported["notes"])
    assert run.preprocessing.mean == pytest.approx((0.449,))
    told = import_weights(tmp_path / "1.pth", tmp_path / "told", mean=[0.5], std=[0.2])
    assert told.imported is not None and not any("grey images" in note for note in told.imported["notes"])


def test_what_leaves_no_keys_is_said_of_timms_layout_alone(imported: Run, file: Path, tmp_path: Path) -> None:
    mine = import_weights(file, tmp_path / "run", origin="torchvision")
    for run, said in ((imported, True), (mine, False)):
        assert run.imported is not None
        assert any("blurred or average pooling" in note for note in run.imported["notes"]) is said


@pytest.mark.parametrize(
    "options", [{"norm_eps": 0.0}, {"size": 0}, {"crop_fraction": 0.0}, {"stride_in": ""}], ids=str
)
def test_nothing_is_a_value_out_of_range(file: Path, tmp_path: Path, options: dict[str, Any]) -> None:
    if "stride_in" in options:  # only bottlenecks have one
        file = tmp_path / "w.pth"
        torch.save(foreign("resnet50", num_classes=2).state_dict(), file)
    with pytest.raises(InputError, match=r"norm_eps|--size|--crop|stride_in"):
        import_weights(file, tmp_path / "run", **options)
    with pytest.raises(InputError, match="says itself what network it is"):
        import_weights("torchvision:resnet18", tmp_path / "run", norm_eps=0.0)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("scale", [1.0, 1e12])
def test_large_logits_may_differ_by_what_rounding_explains(
    net: torch.nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scale: float
) -> None:
    from resnets.evaluation import imported as module

    torch.save(net.state_dict(), tmp_path / "w.pth")
    monkeypatch.setattr(module, "compared", lambda *_: (2e-5 * scale, scale))
    run = import_weights(tmp_path / "w.pth", tmp_path / "run")
    assert run.imported is not None and run.imported["parity"] == 2e-5 * scale
    assert ("2e-05 of the largest logit" in run.imported["proof"]) is (scale > 1)
    monkeypatch.setattr(module, "compared", lambda *_: (2e-4 * scale, scale))
    with pytest.raises(InputError, match="another network than was recognised"):
        import_weights(tmp_path / "w.pth", tmp_path / "other")


def test_an_imported_run_says_what_it_lacks(imported: Run) -> None:
    with pytest.raises(InputError, match=r"holds imported weights.*resnets evaluate .* SOURCE"):
        imported.evaluate()
    with pytest.raises(InputError, match=r"no training to resume.*--weights"):
        resnets.train(resume=True, out=str(imported.path))


def test_an_imported_run_is_measured_on_a_source_and_reported(run: Run, edit: Edit) -> None:
    def imported(info: dict[str, Any]) -> None:
        info.update(recipe=None, source=None, results={}, imported={"file": "<b>w.pth", "origin": "torchvision"})

    expected, source = run.evaluate(), run.info["source"]["path"]
    changed = Run.open(edit(run.path, imported))
    assert changed.evaluate(source).confusion == expected.confusion
    page = write_report(changed).read_text(encoding="utf-8")
    assert "imported from &lt;b&gt;w" in page and "resnets report RUN SOURCE" in page
    for key in ("recipe", "source"):  # only imported weights may be without
        info = json.loads((run.path / "run.json").read_text(encoding="utf-8"))
        del info["imported"]
        info |= {"recipe": {}, "source": {}, key: None}
        (run.path / "run.json").write_text(json.dumps(info), encoding="utf-8")
        with pytest.raises(InputError, match=f"lacks {key}"):
            Run.open(run.path)
        (run.path / "run.json").write_text(json.dumps({**info, "imported": {}}), encoding="utf-8")


def test_what_cannot_be_exported_is_refused(imported: Run, run: Run, tmp_path: Path) -> None:
    for options, words in (
        ({"to": "keras"}, "cannot export to 'keras' .known: torchvision, timm"),
        ({"to": "torchvision", "out": "w.onnx"}, "end the name of --out so"),
    ):
        with pytest.raises(InputError, match=words):
            export_weights(imported, tmp_path / options.pop("out", "w.pth"), **options)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="torchvision"):
        export_weights(run, tmp_path / "w.pth", to="torchvision")  # one stage of four channels
    assert not (tmp_path / "w.pth").exists()


def test_class_names_come_from_a_file_or_are_made_distinct(tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("cat\n dog \n\nélan\n", encoding="utf-8")
    assert class_names(tmp_path / "names.txt", None, 3)[0] == ("cat", "dog", "élan")
    assert class_names(None, ["crane", "dog", "crane"], 3)[0] == ("crane (0)", "dog", "crane (2)")
    assert class_names(None, None, 11)[0][::10] == ("class-00", "class-10")
    for given, words in (
        (["a", "a", "b"], "'a' stands twice"),
        (tmp_path / "gone", "No such file"),
        (["a"], "1 class"),
    ):
        with pytest.raises(InputError, match=words):
            class_names(given, None, 3)
    (tmp_path / "names.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match="UTF-8"):
        class_names(tmp_path / "names.txt", None, 3)

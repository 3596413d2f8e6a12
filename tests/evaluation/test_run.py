"""A run folder from the outside: opening it, its weights, and measuring it on its own source and on others."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from resnets.errors import InputError
from resnets.evaluation import Run

Edit = Callable[[Path, Callable[[dict[str, Any]], None]], Path]
Make = Callable[..., Path]


def test_a_run_tells_what_it_is(run: Run) -> None:
    assert run.classes == ("blue", "green", "red")
    assert run.spec.num_classes == 3
    assert run.preprocessing.size == 8
    assert run.recipe["name"] == "fast"
    assert run.info["seed"] == 7
    assert "sha256" not in repr(run)


def test_the_model_has_the_runs_weights_and_leaves_the_random_state_alone(run: Run) -> None:
    from resnets.models import load_weights

    before = torch.get_rng_state()
    model = run.model()
    assert torch.equal(torch.get_rng_state(), before)
    assert not model.training
    saved = load_weights(run.path / "weights.safetensors")
    assert saved.keys() == model.state_dict().keys()
    assert all(torch.equal(value, saved[key]) for key, value in model.state_dict().items())


@pytest.mark.parametrize(
    ("action", "words"),
    [
        (lambda folder: shutil.rmtree(folder), "no such run folder"),
        (lambda folder: (folder / "run.json").unlink(), "is not a run folder"),
        (lambda folder: (folder / "run.json").write_text("{"), "cannot be read"),
        (lambda folder: (folder / "run.json").write_bytes(b"\xff\xfe"), "cannot be read"),
        (lambda folder: (folder / "run.json").write_text("[]"), "format None"),
        (lambda folder: (folder / "weights.safetensors").unlink(), "weights are missing"),
    ],
)
def test_what_is_no_run_is_refused(run: Run, action: Callable[[Path], Any], words: str) -> None:
    action(run.path)
    with pytest.raises(InputError, match=words) as caught:
        Run.open(run.path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"format": 3}, "has the format 3"),
        ({"status": "interrupted"}, r"not finished \(status: interrupted\).*--resume"),
        ({"status": "running"}, "not finished"),
        ({"classes": ["a", "b"]}, "2 class names for a network of 3"),
        ({"classes": ["a", "a", "b"]}, "2 class names for a network of 3"),
        ({"spec": {"units": [1], "widhts": [4]}}, "run.json"),
        ({"preprocessing": {"size": 8}}, "run.json"),
        ({"weights": None}, "lacks weights"),
        ({"weights": "weights.safetensors"}, "lacks weights"),
    ],
)
def test_a_damaged_or_unfinished_run_json_is_refused(run: Run, edit: Edit, change: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words) as caught:
        Run.open(edit(run.path, lambda info: info.update(change)))
    assert "\n" not in str(caught.value)


def test_a_flipped_bit_in_the_weights_is_noticed(run: Run) -> None:
    file = run.path / "weights.safetensors"
    data = bytearray(file.read_bytes())
    data[-5] ^= 1
    file.write_bytes(data)
    with pytest.raises(InputError, match=r"weights\.safetensors is damaged"):
        run.evaluate()
    with pytest.raises(InputError, match="damaged"):
        run.predict(run.path / "x.png")


def test_weights_of_another_network_are_refused(run: Run, edit: Edit) -> None:
    changed = Run.open(edit(run.path, lambda info: info["spec"].update(widths=[8])))
    with pytest.raises(InputError, match="does not fit the network"):
        changed.model()


def test_weights_are_never_read_from_outside_the_folder(run: Run, edit: Edit) -> None:
    other = run.path.parent / "elsewhere.safetensors"
    (run.path / "weights.safetensors").rename(other)
    with pytest.raises(InputError, match="missing"):
        Run.open(edit(run.path, lambda info: info["weights"].update(file="../elsewhere.safetensors")))


def test_its_own_test_split_gives_the_figures_it_ended_with(run: Run) -> None:
    result = run.evaluate()
    assert result.split == "test"
    assert result.source == run.info["source"]["name"]
    recorded = run.info["results"]["test"]
    assert result.confusion == recorded["confusion"]
    assert (result.top1, result.top5, result.per_class) == (recorded["top1"], recorded["top5"], recorded["per_class"])
    assert result.loss == pytest.approx(recorded["loss"], rel=1e-5)
    assert result.n == 12


def test_one_image_at_a_time_gives_the_same_figures(run: Run) -> None:
    one, many = run.evaluate(batch_size=1), run.evaluate()
    assert one.confusion == many.confusion
    assert one.loss == pytest.approx(many.loss, rel=1e-5)


def test_classes_are_matched_by_name_not_by_order(run: Run, make_source: Make, edit: Edit) -> None:
    expected = run.evaluate()
    order = [2, 0, 1]  # the same network, its logits and names in another order
    model = run.model()
    with torch.no_grad():
        model.fc.weight.copy_(model.fc.weight[order])
        model.fc.bias.copy_(model.fc.bias[order])
    folder = run.path.with_name("reordered")
    shutil.copytree(run.path, folder)
    reweight(folder, model)
    found = Run.open(edit(folder, lambda info: info.update(classes=[run.classes[k] for k in order])))
    result = found.evaluate(run.info["source"]["path"])
    assert result.per_class == expected.per_class
    assert result.top1 == expected.top1
    assert result.confusion == [[expected.confusion[a][b] for b in order] for a in order]


def reweight(folder: Path, model: torch.nn.Module) -> None:
    import hashlib

    from resnets.models import save_weights

    save_weights(folder / "weights.safetensors", model)
    info = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    info["weights"]["sha256"] = hashlib.sha256((folder / "weights.safetensors").read_bytes()).hexdigest()
    (folder / "run.json").write_text(json.dumps(info), encoding="utf-8")


def test_other_classes_are_named(run: Run, make_source: Make) -> None:
    colours = {"blue": (0, 0, 255), "grean": (0, 255, 0), "red": (255, 0, 0)}
    other = make_source("other", classes=colours)
    with pytest.raises(InputError, match="has 'grean', which the run does not know; did you mean 'green'") as caught:
        run.evaluate(str(other))
    assert "it lacks 'green'" in str(caught.value)
    few = make_source("few", classes=dict(list(colours.items())[:1] + list(colours.items())[2:]))
    with pytest.raises(InputError, match="it lacks 'green'"):
        run.evaluate(str(few))


def test_a_bare_folder_is_evaluated_whole(run: Run, make_source: Make) -> None:
    bare = make_source("bare", splits={"": 5})
    result = run.evaluate(str(bare))
    assert (result.split, result.n) == ("train", 15)
    assert any("all its images" in note for note in result.notes)


def test_the_runs_own_folder_evaluated_whole_says_that_it_was_trained_on(held_out: Run) -> None:
    result = held_out.evaluate(held_out.info["source"]["path"])
    assert (result.split, result.n) == ("train", 60)
    assert any("trained on these images" in note for note in result.notes)


def test_a_test_split_that_grew_is_noted(run: Run) -> None:
    test = Path(run.info["source"]["path"]) / "test" / "red"
    shutil.copy(test / "000.png", test / "new.png")
    assert any("13 images now; it had 12" in note for note in run.evaluate().notes)


def test_a_source_without_test_split_gives_its_validation_split(run: Run, make_source: Make) -> None:
    result = run.evaluate(str(make_source("other", splits={"train": 3, "validation": 2})))
    assert (result.split, result.n) == ("validation", 6)


def test_a_split_can_be_asked_for(run: Run) -> None:
    result = run.evaluate(split="train")
    assert (result.split, result.n) == ("train", 30)
    assert any("trained on these images" in note for note in result.notes)
    with pytest.raises(InputError, match="has no validation split"):
        run.evaluate(split="validation")


@pytest.fixture
def held_out(make_source: Make, make_run: Make, edit: Edit) -> Run:
    source = make_source(splits={"train": 20})
    folder = make_run(source, held_out={"fraction": 0.1, "seed": 4})
    return Run.open(edit(folder, lambda info: info["source"].update(splits={"train": 54, "validation": 6})))


def test_without_a_test_split_the_held_out_images_are_evaluated(held_out: Run) -> None:
    from resnets.data import hold_out, open_source

    result = held_out.evaluate()
    assert (result.split, result.n) == ("validation", 6)
    text = " ".join(result.notes)
    assert "no test split" in text
    assert "10 %" in text
    assert "chosen on these images" in text
    cut = hold_out(open_source(held_out.info["source"]["path"]), fraction=0.1, seed=4).splits["validation"]
    trained = held_out.evaluate(split="train")
    assert trained.n == 54
    assert [sum(row) for row in result.confusion] == [int((cut.labels == k).sum()) for k in range(3)]


def test_a_source_that_changed_cannot_be_cut_as_before(held_out: Run) -> None:
    source = Path(held_out.info["source"]["path"])
    next((source / "train" / "red").iterdir()).unlink()
    with pytest.raises(InputError, match="has 59 training images, but had 60"):
        held_out.evaluate()


def test_a_source_that_is_gone_is_named(run: Run) -> None:
    shutil.rmtree(run.info["source"]["path"])
    with pytest.raises(InputError, match="is not there any more"):
        run.evaluate()


def test_unreadable_images_are_refused_or_skipped_and_listed(run: Run) -> None:
    bad = Path(run.info["source"]["path"]) / "test" / "red" / "000.png"
    bad.write_bytes(b"no picture")
    with pytest.raises(InputError, match=r"000\.png"):
        run.evaluate()
    result = run.evaluate(skip_unreadable=True)
    assert result.n == 11
    assert [name for name, _ in result.skipped] == [str(bad)]
    assert result.to_dict()["skipped"][0]["path"] == str(bad)


def test_flips_change_the_probabilities_not_the_images_counted(run: Run) -> None:
    plain, flipped = run.evaluate(), run.evaluate(flips=True)
    assert flipped.n == plain.n
    assert flipped.loss != plain.loss


def test_an_unknown_device_is_refused(run: Run) -> None:
    with pytest.raises(InputError, match="no device 'cuda:99'"):
        run.evaluate(device="cuda:99")
    with pytest.raises(InputError, match="no device 'gpu'"):
        run.predict([run.path / "x.png"], device="gpu")


def test_records_survive_a_kill_and_a_resume(run: Run) -> None:
    assert run.records() == []
    lines = [
        {"kind": "step", "step": 1, "loss": 3.0},
        {"kind": "step", "step": 2, "loss": 2.0},
        {"kind": "epoch", "step": 2, "loss": 2.5},
        {"kind": "step", "step": 3, "loss": 9.0},
        {"kind": "step", "step": 3, "loss": 1.0},
    ]
    text = "\n".join(json.dumps(line) for line in lines) + '\nnull\n{"kind": "step", "st'
    (run.path / "metrics.jsonl").write_text(text, encoding="utf-8")
    assert [(record["kind"], record["step"], record["loss"]) for record in run.records()] == [
        ("step", 1, 3.0),
        ("step", 2, 2.0),
        ("epoch", 2, 2.5),
        ("step", 3, 1.0),
    ]

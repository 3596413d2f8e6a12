"""The report of a run with its images: `renew`, `resnets report`, and what every training run ends with."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small import SPEC
from webpage import HOSTILE, Page, browsed

from resnets import files
from resnets.cli import main
from resnets.errors import InputError
from resnets.evaluation import Run, write_report
from resnets.evaluation.report import renewing
from resnets.evaluation.report.examination import Examination, examine
from resnets.evaluation.report.renewing import renew
from resnets.models.folder import close_run
from resnets.training import ending
from resnets.verification import verify_run

Edit = Callable[[Path, Callable[[dict[str, Any]], None]], Path]
Make = Callable[..., Path]
PLANTED = {"train": 10, "val": 6, "test": 6}
PALE = {"blue": (200, 190, 90), "green": (90, 90, 90), "red": (9, 9, 200)}


@pytest.fixture
def planted(make_source: Make, make_run: Make) -> Run:
    """A run of an older format whose test split holds a training picture, under another label."""
    source = make_source(splits=PLANTED)
    shutil.copy(source / "train" / "red" / "003.png", source / "test" / "blue" / "999.png")
    return Run.open(make_run(source))


def test_renewing_closes_an_older_run_and_its_figures_are_those_of_evaluate(planted: Run) -> None:
    found = renew(planted)
    run = Run.open(planted.path)
    for split in ("test", "validation"):
        measured = json.loads(json.dumps(run.evaluate(split=split).to_dict()))
        assert run.info["results"][split] == {key: value for key, value in measured.items() if key != "notes"}
    assert run.info["results"]["calibration"]["split"] == "validation"
    checked = verify_run(run.path)
    assert checked.ok and {file.state for file in checked.files} == {"sound"}
    names = {file.path for file in checked.files}
    assert {"report.html", "suspects.csv", "predictions-test.csv", "predictions-validation.csv"} <= names
    assert len((run.path / "suspects.csv").read_text(encoding="utf-8").splitlines()) == 1 + 30 + 18 + 19
    page = Page((run.path / "report.html").read_text(encoding="utf-8"))
    top1 = run.info["results"]["test"]["top1"]
    assert f"test top-1{top1:.2f} %of 19 images" in page.text
    assert "most confident mistakes" in page.text and "where the logit of" in str(page.attributes)
    assert "labels differ: red and blue" in page.text and "exact" in page.text
    assert found.to_dict()["near_duplicates"] == [{"splits": ["train", "test"], "pictures": 1}]
    before = (run.path / "report.html").read_bytes()
    renew(run)
    assert (run.path / "report.html").read_bytes() == before


def test_images_that_moved_are_named_and_others_are_refused(planted: Run, make_source: Make) -> None:
    source = Path(planted.source["path"])
    moved = source.rename(planted.path.parent / "elsewhere")
    found = renew(planted)
    assert found.seen is None and "not there any more" in found.notes[0]
    moved.rename(source)
    renew(planted)
    kept = contents(planted.path)
    source.rename(moved)
    for given, words in (
        (None, "source is not there any more.*report stays as it was"),
        (make_source("other"), "other images"),
        (make_source("pale", PLANTED, PALE), "other images"),
    ):
        if given is not None and given.name == "pale":  # the same names and labels
            shutil.copy(given / "train" / "red" / "003.png", given / "test" / "blue" / "999.png")
        with pytest.raises(InputError, match=words) as caught:
            renew(Run.open(planted.path), given)
        assert "\n" not in str(caught.value)
        assert given is None or f"resnets evaluate {planted.path} {given}" in str(caught.value)
        assert contents(planted.path) == kept
    (moved / "test" / "blue" / "999.png").rename(moved / "test" / "red" / "999.png")
    with pytest.raises(InputError, match=r"names of 1 of its 19 test images, such as test/blue/999\.png"):
        renew(Run.open(planted.path), moved)
    (moved / "test" / "red" / "999.png").rename(moved / "test" / "blue" / "999.png")
    found = renew(Run.open(planted.path), moved)
    assert found.run.info["results"]["test"]["source"] == str(moved)
    assert f"were read from {moved}" in Page(found.report.read_text(encoding="utf-8")).text
    moved.rename(source)
    assert renew(Run.open(planted.path)).run.info["results"]["test"]["source"] == str(source)


def test_a_run_that_kept_no_predictions_is_told_from_another_by_its_figures(planted: Run, make_source: Make) -> None:
    pale = make_source("pale", PLANTED, PALE)
    before = contents(planted.path)
    with pytest.raises(InputError, match=r"18 test instead of .* 19 test"):
        renew(planted, pale)
    shutil.copy(pale / "train" / "red" / "003.png", pale / "test" / "green" / "999.png")
    with pytest.raises(InputError, match="other numbers of test images a class"):
        renew(planted, pale)
    (pale / "test" / "green" / "999.png").rename(pale / "test" / "blue" / "999.png")
    with pytest.raises(InputError, match="loss is"):
        renew(planted, pale)
    assert contents(planted.path) == before


@pytest.mark.parametrize("first_format", [True, False])
def test_killed_at_any_write_a_report_leaves_a_run_that_can_be_used(
    planted: Run, monkeypatch: pytest.MonkeyPatch, first_format: bool
) -> None:
    if not first_format:
        info = {**planted.info, "format": 2}
        (planted.path / "suspects.csv").write_text("of an older report", encoding="utf-8")
        (planted.path / "report.html").write_text("old", encoding="utf-8")
        close_run(planted.path, info)
    seen = examine(planted)
    monkeypatch.setattr(renewing, "examine", lambda run, source: fill(run, seen))
    monkeypatch.setattr(renewing, "write_report", lambda run, _: files.write_text(run.path / "report.html", "new"))
    plain, done = files.publish, 0
    fresh = planted.path.with_name("fresh")
    shutil.copytree(planted.path, fresh)
    for number in range(20):
        shutil.rmtree(planted.path)
        shutil.copytree(fresh, planted.path)
        writes: list[str] = []

        def publish(path: Path, write: Callable[[Path], object], at: int = number, names: list[str] = writes) -> None:
            if len(names) == at:
                raise KeyboardInterrupt
            names.append(path.name)
            plain(path, write)

        monkeypatch.setattr(files, "publish", publish)
        with suppress(KeyboardInterrupt):
            renew(Run.open(planted.path))
            done = number
        monkeypatch.setattr(files, "publish", plain)
        left = verify_run(planted.path)
        assert left.ok and left.status == "finished", (writes, left.damaged)
        run = Run.open(planted.path)
        assert run.evaluate(split="test").to_dict()["n"] == 19
        if done:
            break
        renew(run)
        assert {file.state for file in verify_run(planted.path).files} == {"sound"}, writes
    assert done == len(writes) == (6 if first_format else 7)


def fill(run: Run, seen: Examination) -> Examination:
    """What `examine` does to the figures of a run."""
    run.info["results"].update({name: seen.splits[name].found.to_dict() for name in ("validation", "test")})
    return seen


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_closing_a_run_again_hides_no_damage(planted: Run) -> None:
    renew(planted)
    records = planted.path / "metrics.jsonl"
    records.write_text("{}\n", encoding="utf-8")
    renewed = renew(Run.open(planted.path))
    records.write_text("{} \n", encoding="utf-8")
    with pytest.raises(InputError, match="damaged"):
        renew(Run.open(planted.path))
    assert renewed.report.exists()
    (planted.path / "weights.safetensors").write_bytes(b"broken")
    records.write_text("{}\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"weights\.safetensors.*is damaged"):
        renew(Run.open(planted.path))


def test_imported_weights_are_reported_on_images_that_are_named(
    make_source: Make, make_run: Make, edit: Edit, capsys: pytest.CaptureFixture[str]
) -> None:
    source = make_source()
    facts = {"imported": {"file": "x.pth", "proof": "equal"}, "recipe": None, "source": None, "results": {}}
    run = edit(make_run(source), lambda info: info.update(facts))
    assert main(["report", str(run), str(source), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["examined"] == {"train": 30, "test": 12}
    assert document["results"]["test"]["n"] == 12
    assert "most confident mistakes" in (run / "report.html").read_text(encoding="utf-8")
    ranked = document["suspects"]
    rows = list(csv.DictReader((run / "suspects.csv").read_text(encoding="utf-8").splitlines()))
    assert (ranked["path"], ranked["images"], list(rows[0])) == (str(run / "suspects.csv"), 42, ranked["columns"])
    assert [row["name"] for row in ranked["first"]] == [row["name"] for row in rows[:20]]
    assert [row["score"] for row in ranked["first"]] == pytest.approx([float(row["score"]) for row in rows[:20]], 1e-5)
    assert main(["report", str(run)]) == 2
    assert "holds imported weights and has no images of its own" in capsys.readouterr().err
    plain = make_source("plain", {"": 4})
    assert main(["report", str(run), str(plain), "--json"]) == 0
    assert list(json.loads(capsys.readouterr().out)["results"]) == ["train"]
    assert not list(run.glob("predictions-*.csv")) and verify_run(run).ok
    assert "test top-1" not in Page((run / "report.html").read_text(encoding="utf-8")).text


@pytest.mark.skipif(not shutil.which("chromium"), reason="no chromium here")
def test_hostile_names_and_a_thousand_classes_in_a_browser(
    make_source: Make, make_run: Make, edit: Edit, tmp_path: Path
) -> None:
    colours = {name.replace("/", "∕").replace("\x00", ""): (40 * k, 200 - 20 * k, 90) for k, name in enumerate(HOSTILE)}
    source = make_source(HOSTILE[3], {"train": 4, "test": 3}, colours)
    hostile = renew(Run.open(make_run(source, name="hostile"))).report.read_text(encoding="utf-8")
    page = Page(hostile)
    assert not {"script", "b"} & set(page.tags)
    assert all(str(value).startswith("data:image/") for key, value in page.attributes if key == "src")
    ids = [value for key, value in page.attributes if key == "id"]
    assert len(ids) == len(set(ids))

    names = [f"species {k:04}" for k in range(1000)]

    def change(info: dict[str, Any]) -> None:
        info["spec"]["num_classes"], info["classes"] = 1000, names
        places = np.arange(1000)
        confusion = 40 * np.eye(1000, dtype=int) + (places[:, None] // 10 == places // 10)
        confusion += np.outer(places, places) % 97 == 1
        info["results"]["test"] |= {
            "confusion": confusion.tolist(),
            "per_class": dict.fromkeys(names, 80.0),
            "n": 60_000,
        }

    many = make_run(make_source("plain"), name="many")
    large = write_report(Run.open(edit(many, change))).read_text(encoding="utf-8")
    assert len(large.encode()) < 2 << 20
    seen = browsed({"hostile": hostile, "many": large}, (1280, 400), tmp_path, str(shutil.which("chromium")))
    for name in ("hostile", "many"):
        for width in (1280, 400):
            found = seen[f"{name} at {width}"]
            assert found["over"] <= 0 and found["outside"] == [] and found["loaded"] == [], found
            assert found["smallest"] >= 12
    assert seen["console"] == []


def test_a_run_survives_what_goes_wrong_with_its_pictures(
    make_source: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise ZeroDivisionError("no luck")

    monkeypatch.setattr(ending, "look_closer", broken)
    monkeypatch.setattr("resnets.evaluation.report.failures.mistakes", broken)
    monkeypatch.setattr("resnets.evaluation.report._SEEN", (broken,))
    (tmp_path / "small.json").write_text(json.dumps(SPEC.to_dict()), encoding="utf-8")
    words = ["--arch", str(tmp_path / "small.json"), "--epochs", "1", "--threads", "1", "--set", "batch_size=8"]
    assert main(["train", str(make_source()), *words, "--out", str(tmp_path / "run")]) == 0
    assert verify_run(tmp_path / "run").ok
    assert Run.open(tmp_path / "run").info["results"]["test"]["n"] == 12
    assert not (tmp_path / "run" / "suspects.csv").exists()

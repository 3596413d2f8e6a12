"""What carries the studies when something goes wrong: damaged files, full disks, other people's folders."""

from __future__ import annotations

import errno
import json
import os
import queue
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

import resnets.studies
from resnets import cli
from resnets.architecture import spec
from resnets.errors import InputError
from resnets.studies import catalogue, diagnosis, document, estimate, figures, grid, planning, running, store, worker
from resnets.studies.study import Analysis, Case, Chart, Line, Settings
from resnets.training import NonFiniteError

SETTINGS = Settings("minutes", "digits", (0,), "paper", {})
CASE = Case("net", spec("resnet20"), {})


def a_run(out: Path, status: str = "finished") -> store.Place:
    place = store.Place(out, "net", 0)
    place.run.mkdir(parents=True)
    (place.run / "run.json").write_text(json.dumps({"status": status}))
    return place


@pytest.fixture
def trains(monkeypatch):
    """The arguments of every training that the worker asked for, none of which is done."""
    asked: list[dict] = []
    monkeypatch.setattr(worker, "train", lambda *_, **words: asked.append(words))
    monkeypatch.setattr(worker, "read_info", lambda path: json.loads((path / "run.json").read_text()))
    return asked


@pytest.mark.parametrize("damage", ["lost", "empty", "cut"])
def test_a_finished_run_whose_watched_values_are_gone_is_trained_again(tmp_path, trains, damage):
    study = replace(catalogue.find("gradients"), watch=lambda *_: lambda record: None)
    place = a_run(tmp_path)
    if damage != "lost":
        store.keep(place, "another key")
    if damage == "cut":
        place.watched.write_text('{"step": 0, "values": {}}\n{"step": 1, "val')
    worker._train(study, SETTINGS, CASE, place, "cpu")
    assert [asked["resume"] for asked in trains] == [False]
    assert not place.run.exists() and not place.watched.exists() and not place.measures.exists()


@pytest.mark.parametrize("kept", ["lines", "document"])
def test_a_finished_run_whose_watched_values_are_there_stays(tmp_path, trains, kept):
    study = replace(catalogue.find("gradients"), watch=lambda *_: pytest.fail("nothing is left to watch"))
    place = a_run(tmp_path)
    store.note(place, 0, {"seen": 1})
    if kept == "document":
        store.keep(place, "another key")
    worker._train(study, SETTINGS, CASE, place, "cpu")
    assert [asked["resume"] for asked in trains] == [True] and store.was_watched(place)


def test_a_run_that_diverged_and_of_which_that_is_not_known_any_more_is_watched_anew(tmp_path, trains, monkeypatch):
    study = replace(catalogue.find("gradients"), watch=lambda *_: lambda record: None)
    place = a_run(tmp_path, "running")
    place.measures.parent.mkdir()
    place.measures.write_text("{")

    def diverges(*_, **words):
        trains.append(words)
        raise NonFiniteError("step 3")

    monkeypatch.setattr(worker, "train", diverges)
    with pytest.raises(NonFiniteError):
        worker._train(study, SETTINGS, CASE, place, "cpu")
    assert [asked["resume"] for asked in trains] == [False] and not place.run.exists()


def test_a_full_disk_in_a_worker_is_told_as_such(monkeypatch):
    said: list[dict] = []

    class Once(queue.Queue):
        def get(self, *_, **__):
            if said:
                raise KeyboardInterrupt
            return {}

    def full(task):
        raise OSError(errno.ENOSPC, "No space left on device", "/out/run.json")

    monkeypatch.setattr(worker.queue, "Queue", Once)
    monkeypatch.setattr(worker, "_listen", lambda tasks: None)
    monkeypatch.setattr(worker, "_do", full)
    monkeypatch.setattr(worker, "_say", lambda **event: said.append(event))
    with pytest.raises(KeyboardInterrupt):
        worker.main()
    assert said == [{
        "kind": "refused",
        "message": "/out/run.json: No space left on device; the same command goes on when that is mended",
    }]  # fmt: skip


def test_a_disk_that_is_full_at_the_end_hides_nothing(monkeypatch, tmp_path):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(store, "write_document", full)
    with pytest.raises(InputError, match="what happened"), running._counting(tmp_path, {"seconds": 0.0}, 0.0):
        raise InputError("what happened")


def test_a_worker_finds_this_package_and_no_module_of_the_users_folder(tmp_path):
    (tmp_path / "queue.py").write_text("raise SystemExit('the wrong one')")
    words = [*grid.COMMAND[:2], "-c", "import queue, resnets; print(resnets.__file__)"]
    asked = {**grid.environment(), "PATH": os.environ["PATH"]}
    told = subprocess.run(words, cwd=tmp_path, env=asked, capture_output=True, text=True, check=False)
    assert told.returncode == 0, told.stderr
    assert Path(told.stdout.strip()) == Path(resnets.__file__).absolute()


def test_an_obituary_speaks_of_memory_only_where_the_system_killed():
    for code, memory in (("import os; os.kill(os.getpid(), 9)", True), ("raise SystemExit(3)", False)):
        dead = object.__new__(grid._Worker)
        dead.task = {"case": "net", "seed": 0}
        dead.process = subprocess.Popen([sys.executable, "-S", "-c", code])
        assert ("memory" in dead.obituary()) == memory


@pytest.mark.parametrize(
    ("files", "free"),
    [
        ([], True),
        ([".lock", ".study.json.7.part"], True),
        (["runs/plain-8-seed0/run.json", "measures/plain-8-seed0.json", "measures/plain-8-seed1.jsonl"], True),
        (["runs/plain-8-seed0/x", "figures/one.svg", "report.html"], True),
        (["thesis.tex"], False),
        (["runs/plain-8-seed0/x", "thesis.tex"], False),
        (["runs/digits/x"], False),
        (["runs"], False),
        (["report.html"], False),
    ],
)
def test_a_study_begins_in_no_folder_of_something_else(tmp_path, files, free):
    out = tmp_path / "out"
    out.mkdir()
    for name in files:
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).write_text("")
    study = catalogue.find("degradation")
    if free:
        planning._check(out, study, SETTINGS)
    else:
        with pytest.raises(InputError, match="no folder of a study"):
            planning._check(out, study, SETTINGS)
    assert all((out / name).exists() for name in files)


def test_a_damaged_document_does_not_cost_the_runs(tmp_path):
    (tmp_path / "study.json").write_text("{")
    with pytest.raises(InputError, match="remove it: the runs beside it are kept"):
        store.read_document(tmp_path)


def chart(name: str) -> Chart:
    return Chart(name, "A title", "A caption.", "x", "y", lines=[Line("a", [0, 1], [1, 2])])


def test_the_results_stay_until_there_are_new_ones_and_old_figures_go(tmp_path, monkeypatch):
    monkeypatch.setattr(estimate, "step_seconds", lambda *_: 0.01)
    monkeypatch.setattr(figures, "files", lambda chart: {".svg": b"", ".png": b""})
    monkeypatch.setattr(document, "write_report", lambda *_: None)
    plan = planning.make_plan("degradation", out=tmp_path / "study", seeds=1, depths=[8, 14])
    one = document.begun(plan, {})
    assert one["findings"] == [] and one["measures"] == {} and one["status"] == "running"
    first = {**one, **document.results(Analysis("A verdict.", [], charts=[chart("old"), chart("both")]))}
    document.finish(plan.out, {**first, "status": "finished"})
    (plan.out / "figures" / "mine.svg").write_text("")
    before = store.read_document(plan.out)
    two = document.begun(plan, before)
    assert two["status"] == "running" and two["verdict"] == "A verdict." and two["charts"] == before["charts"]
    two.update(document.results(Analysis("Another.", [], charts=[chart("both"), chart("new")])))
    document.finish(plan.out, two, earlier=before["charts"])
    names = {path.name for path in (plan.out / "figures").iterdir()}
    assert names == {"both.svg", "both.png", "new.svg", "new.png", "mine.svg"}


def test_the_hours_are_no_less_than_the_longest_run():
    costs = {
        name: estimate.Cost(CASE.spec, 1, 1, 1, 1.0, seconds, 1.0, True) for name, seconds in (("a", 3600), ("b", 360))
    }
    runs = [("a", 0), ("b", 0), ("b", 1)]
    assert estimate.hours(costs, runs, 1) == pytest.approx(1.2)
    assert estimate.hours(costs, runs, 2) == estimate.hours(costs, runs, 8) == pytest.approx(1.0)
    assert estimate.hours(costs, [], 2) == 0


def test_a_slow_network_is_timed_by_one_step(monkeypatch):
    class Clock:
        now, calls = 0.0, 0

        def perf_counter(self):
            self.calls += 1
            self.now += self.pace
            return self.now

    small = spec("resnet8").fit(image_size=(8, 8), in_channels=1, num_classes=10)[0]
    for pace, steps in ((estimate.BUDGET / 2, 2), (0.1, 3)):
        clock = Clock()
        clock.pace = pace
        monkeypatch.setattr(estimate, "time", clock)
        assert estimate.step_seconds(small, 2, "cpu") == pytest.approx(pace)
        assert clock.calls == 2 * steps


def test_what_a_plan_leaves_out_is_said(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(estimate, "step_seconds", lambda *_: 0.01)
    for name, included in (("degradation", True), ("lesions", False)):
        assert cli.main(["study", name, "--seeds", "1", "--plan", "--json", "--out", str(tmp_path / "x")]) == 0
        found = json.loads(capsys.readouterr().out)
        assert found["measuring_included"] is included
        assert found["two_core_hours"] >= max(case["seconds"] for case in found["cases"]) / 3600


def test_a_diagnosis_is_written_where_it_is_asked_for(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(diagnosis, "diagnose", lambda run, data: {"run": run, "orders": float("inf"), "chosen": [1, 2]})
    monkeypatch.setattr(diagnosis, "diagnosis_words", lambda found: ["words"])
    assert cli.main(["study", "gradients", "--diagnose", "x"]) == 0
    assert list(tmp_path.iterdir()) == []
    assert cli.main(["study", "gradients", "--diagnose", "x", "--out", "a/b"]) == 0
    told = capsys.readouterr()
    assert told.out == "words\nwords\n" and "a/b/diagnosis.json" in told.err
    assert json.loads(Path("a/b/diagnosis.json").read_text()) == {"run": "x", "orders": None, "chosen": [1, 2]}
    assert cli.main(["study", "gradients", "--diagnose", "x", "--out", "a/b/diagnosis.json"]) == 2
    assert "is a file" in capsys.readouterr().err


def test_what_trains_nothing_takes_no_settings_of_a_training(tmp_path, capsys):
    for words in (["lesions", "--run", "x"], ["gradients", "--diagnose", "x"]):
        assert cli.main(["study", *words, "--plan", "--out", str(tmp_path / "x")]) == 2
        assert "leave out --plan" in capsys.readouterr().err
    with pytest.raises(InputError, match="leave out scale, seeds"):
        resnets.studies.lesions(runs=["x"], out=tmp_path / "x", scale="minutes", seeds=2)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").write_text("")
    with pytest.raises(InputError, match="new folder for the study"):
        resnets.studies.lesions(runs=["x"], out=tmp_path / "full")

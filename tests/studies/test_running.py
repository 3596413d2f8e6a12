"""A study from plan to report: tiny runs, real processes; stopped, killed, continued, extended."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from resnets.errors import InputError
from resnets.evaluation import Run
from resnets.studies import catalogue, planning, running
from resnets.studies.study import Preset
from resnets.verification import verify_run

TINY = Preset(
    "digits", 2, "paper", {"iterations": 12, "milestones": (6, 9), "padding": 1, "validation": 0.0}, "for the tests",
    depths=(8, 14), options={"width": 2},
)  # fmt: skip
COMMAND = """
import sys
from resnets.studies import catalogue, planning, running
sys.path.insert(0, {here!r})
from test_running import TINY
catalogue.find("degradation").presets["minutes"] = TINY
running.run_study("degradation", out={out!r}, seeds={seeds}, jobs=2)
"""


@pytest.fixture(scope="module", autouse=True)
def tiny():
    presets = catalogue.find("degradation").presets
    before, presets["minutes"] = presets["minutes"], TINY
    yield
    presets["minutes"] = before


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("study") / "whole"
    running.run_study("degradation", out=out, jobs=2)
    return out


def document(out: Path) -> dict:
    return json.loads((out / "study.json").read_text())


def results(out: Path) -> dict:
    """What must not depend on when and how often the study was stopped."""
    found = document(out)
    runs = [{key: value for key, value in run.items() if "seconds" not in key} for run in found["runs"]]
    return {"runs": runs, **{key: found[key] for key in ("findings", "tables", "charts", "measures", "verdict")}}


def stamps(out: Path) -> dict[str, int]:
    return {path.parent.name: path.stat().st_mtime_ns for path in sorted((out / "runs").glob("*/run.json"))}


def start(out: Path, seeds: int) -> subprocess.Popen:
    words = COMMAND.format(here=str(Path(__file__).parent), out=str(out), seeds=seeds)
    return subprocess.Popen([sys.executable, "-c", words], stderr=subprocess.PIPE, text=True)


def wait_for(found, seconds: float = 150.0) -> None:
    end = time.monotonic() + seconds
    while not found():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_study_leaves_ordinary_runs_and_a_document_of_plain_data(whole):
    found = document(whole)
    assert found["status"] == "finished" and found["seeds"] == [0, 1] and len(found["runs"]) == 8
    for entry in found["runs"]:
        run = Run.open(whole / entry["path"])
        assert verify_run(whole / entry["path"]).ok
        assert entry["test_error"] == pytest.approx(100 - run.evaluate().top1)
        last = [record for record in run.records() if record["kind"] == "epoch"][-1]
        assert entry["training_error"] == pytest.approx(100 - last["accuracy"])
        assert run.info["hardware"]["threads"] == 1
        kept = {path.name for path in (whole / entry["path"]).iterdir()}
        assert "predictions-test.csv" in kept and not {"report.html", "suspects.csv"} & kept
    errors = {(run["case"], run["seed"]): run["training_error"] for run in found["runs"]}
    rises = [errors["plain-14", seed] - errors["plain-8", seed] for seed in (0, 1)]
    assert found["findings"][0]["effect"] == pytest.approx(sum(rises) / 2)
    page = (whole / "report.html").read_text()
    assert found["verdict"].split("?")[0] in page and "<script" not in page
    assert {path.suffix for path in (whole / "figures").iterdir()} == {".svg", ".png"}


def test_the_same_command_again_repeats_nothing_and_changes_nothing(whole):
    before, text = stamps(whole), (whole / "study.json").read_text()
    running.run_study("degradation", out=whole, jobs=2)
    assert stamps(whole) == before and (whole / "study.json").read_text() == text


def test_what_is_in_the_folder_is_not_mixed_with_another_study(whole):
    for asked, words in (
        ({"name": "shortcuts"}, "study degradation"), ({"scale": "hours"}, "scale minutes"),
        ({"data": "cifar10"}, "data"),
    ):  # fmt: skip
        with pytest.raises(InputError, match=words):
            planning.make_plan(**{"name": "degradation", **asked}, out=whole)


@pytest.mark.slow
def test_killed_and_continued_a_study_ends_with_the_same_runs(whole, tmp_path):
    out = tmp_path / "killed"
    process = start(out, 1)
    wait_for(lambda: list((out / "measures").glob("*.json")))
    process.kill()
    process.wait()
    process.stderr.close()
    done = {path.stem for path in (out / "measures").glob("*.json")}
    before = stamps(out)
    # The processes that trained have lost their study, and go: their runs can be continued at once.
    running.run_study("degradation", out=out, seeds=1, jobs=2)
    assert results(out)["runs"] == [run for run in results(whole)["runs"] if run["seed"] == 0]
    assert {name: stamps(out)[name] for name in done} == {name: before[name] for name in done}


@pytest.mark.slow
def test_stopped_by_a_signal_it_takes_its_processes_along_and_more_seeds_train_only_what_is_missing(whole, tmp_path):
    out = tmp_path / "stopped"
    process = start(out, 1)
    wait_for(lambda: len(stamps(out)) >= 2)
    children = _children(process.pid)
    assert len(children) == 2
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    wait_for(lambda: not any(_alive(child) for child in children), 5)
    running.run_study("degradation", out=out, seeds=1, jobs=2)
    before = stamps(out)
    assert len(before) == 4 and document(out)["findings"][0]["shown"] == "not shown"
    running.run_study("degradation", out=out, seeds=2, jobs=2)
    assert {name: stamps(out)[name] for name in before} == before
    assert results(out) == results(whole)


def _children(pid: int) -> list[int]:
    found = subprocess.run(["ps", "--ppid", str(pid), "-o", "pid="], capture_output=True, text=True, check=False).stdout
    return [int(word) for word in found.split() if "worker" in Path(f"/proc/{word}/cmdline").read_text()]


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"


def test_bad_words_end_in_one_line(tmp_path):
    for asked, words in (
        ({"name": "degredation"}, "did you mean 'degradation'|nearest|degradation"),
        ({"name": "degradation", "seeds": 0}, "--seeds 0"),
        ({"name": "degradation", "depths": [20]}, "at least two"),
        ({"name": "degradation", "data": str(tmp_path / "nowhere")}, "nowhere"),
        ({"name": "degradation", "scale": "days"}, "minutes, hours, paper"),
    ):  # fmt: skip
        with pytest.raises(InputError, match=words) as caught:
            planning.make_plan(**asked, out=tmp_path / "out")
        assert "\n" not in str(caught.value)
        assert not (tmp_path / "out").exists()

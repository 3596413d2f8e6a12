"""What surrounds the program changes nothing: clock, locale, umask, paths, home, closed and broken streams.

Every setting trains, evaluates, predicts and inspects; the weights and the figures are those of the plain one. The long
form has every setting alone: `pytest -m slow tests/reliability/test_environment.py`.
"""

import contextlib
import io
import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from small import SPEC

from resnets import cli
from resnets.architecture import NetworkSpec
from resnets.verification import verify_run

PLAIN = {key: value for key, value in os.environ.items() if not key.startswith(("LC_", "LANG", "TERM", "COLUMNS"))}
PLAIN |= {"OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "error"}


@dataclass(frozen=True)
class Setting:
    """What is unusual: the environment (None: unset), the shell's words around the command, the folder, the umask."""

    environment: dict = field(default_factory=dict)
    folder: str = "runs"
    around: str = "{}"
    umask: int = 0o022
    cwd: str | None = None


ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
SETTINGS = {
    "plain": Setting(),
    "the C locale, without UTF-8, and a Unicode path": Setting(ASCII, "läufe und  mehr 写真 🌲"),
    "POSIX": Setting({"LC_ALL": "POSIX", "LANG": "tr_TR.UTF-8"}),
    "a locale that is not there": Setting({"LC_ALL": "tr_TR.UTF-8"}),
    "a latin encoding of the streams": Setting({"PYTHONIOENCODING": "latin-1:strict"}, "läufe 写真"),
    "nothing readable by others": Setting(umask=0o077),
    "everything writable by others": Setting(umask=0),
    "no home": Setting({"HOME": None, "USER": None, "LOGNAME": None, "XDG_CACHE_HOME": None}),
    "a home that cannot be written": Setting({"HOME": "/proc/1", "XDG_CACHE_HOME": None}),
    "a home that is not there": Setting({"HOME": "/nowhere/at/all"}),
    "a dumb terminal": Setting({"TERM": "dumb"}),
    "no terminal": Setting({"TERM": None, "COLUMNS": "1", "LINES": "0"}),
    "a current folder that cannot be written": Setting(cwd="/proc"),
    "a closed standard input": Setting(around="{} <&-"),
    "a closed standard error": Setting(around="{} 2>&-"),
    "a full device for standard error": Setting(around="{} 2>/dev/full"),
    "standard error that nobody reads": Setting(around="{} 2> >(exec 0<&-; sleep 0)"),
    "all at once": Setting(
        {**ASCII, "HOME": "/proc/1", "TERM": "dumb", "USER": None}, "läufe und  mehr 写真", "{} <&- 2>/dev/full", 0o077,
        "/proc",
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a picture and the specification of a small network."""
    folder = tmp_path_factory.mktemp("place")
    (folder / "small.json").write_text(json.dumps(SPEC.to_dict()))
    Image.fromarray((np.indices((8, 8)).sum(0) * 16).astype(np.uint8)).save(folder / "ziffer 数.png")
    return folder


SHORT, WHOLE = ("train",), ("train", "evaluate", "predict", "verify")


def results(place, folder, names, command):
    """What `command`, which runs `resnets WORDS --json`, says that speaks of neither time nor place."""
    folder.mkdir(exist_ok=True)
    picture = shutil.copy(place / "ziffer 数.png", folder)
    run = folder / "run 1"
    words = {"train": train(place, run), "evaluate": ["evaluate", str(run)], "verify": ["verify", str(run)]}
    words["predict"] = ["predict", str(run), str(picture)]
    found = {name: command([*words[name], "--json"]) for name in names}
    kept = {"train": ("weights_sha256", "test"), "evaluate": ("top1", "loss", "confusion"), "verify": ("ok",)}
    said = {name: {key: found[name][key] for key in kept[name]} for name in names if name in kept}
    return said | {name: [prediction["top"] for prediction in found[name]] for name in names if name == "predict"}


def here(words):
    """Run a command in this process."""
    with contextlib.redirect_stdout(io.StringIO()) as out:
        assert cli.main(words) == 0
    return json.loads(out.getvalue())


def unusual(setting, place, base, names):
    """The results in a setting, in processes of their own."""
    environment = {key: value for key, value in {**PLAIN, **setting.environment}.items() if value is not None}

    def command(words):
        shell = ["bash", "-c", setting.around.format('"$@"'), "bash", sys.executable, "-m", "resnets", *words]
        done = subprocess.run(
            shell, env=environment, capture_output=True, cwd=setting.cwd or base, umask=setting.umask, timeout=240
        )
        told = done.stderr.decode(errors="replace")
        assert done.returncode == 0 and "Traceback" not in told and "Warning" not in told, (words, told)
        return json.loads(done.stdout)

    found = results(place, base / setting.folder, names, command)
    run = base / setting.folder / "run 1"
    assert not any(path.stat().st_mode & 0o777 & setting.umask for path in (run, *run.rglob("*")))
    return found


@pytest.fixture(scope="module")
def plain(place, tmp_path_factory):
    threads = torch.get_num_threads()
    yield results(place, tmp_path_factory.mktemp("plain") / "runs", WHOLE, here)
    torch.set_num_threads(threads)


@pytest.mark.slow
def test_everything_unusual_at_once_changes_nothing(plain, place, tmp_path):
    assert plain["verify"]["ok"] and plain["train"]["test"]["n"] > 0
    assert unusual(SETTINGS["all at once"], place, tmp_path, SHORT) == {name: plain[name] for name in SHORT}


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("name", SETTINGS)
def test_nothing_unusual_changes_anything(name, plain, place, tmp_path):
    assert unusual(SETTINGS[name], place, tmp_path, WHOLE) == plain


def train(place, out, *more):
    return [
        "train", "digits", "--arch", str(place / "small.json"), "--epochs", "1",
        "--deterministic", "--threads", "1", "--set", "batch_size=128", "--out", str(out), *more,
    ]  # fmt: skip


def digest(run):
    return json.loads((run / "run.json").read_text())["weights"]["sha256"]


@pytest.mark.slow
def test_with_everything_unusual_and_every_stream_closed_the_run_is_the_same(plain, place, tmp_path):
    odd = SETTINGS["all at once"]
    run = tmp_path / odd.folder / "run 1"
    words = [sys.executable, "-m", "resnets", *train(place, run, "--json")]
    environment = {key: value for key, value in {**PLAIN, **odd.environment}.items() if value is not None}
    done = subprocess.run(
        ["bash", "-c", '"$@" <&- >&- 2>&-', "bash", *words], env=environment, cwd=odd.cwd, umask=odd.umask, timeout=240
    )
    assert done.returncode == 0
    assert not any(path.stat().st_mode & 0o777 & odd.umask for path in (run, *run.rglob("*")))
    assert digest(run) == plain["train"]["weights_sha256"]
    # Nothing that was printed went into a file of the run that happened to get the number of a closed stream.
    assert verify_run(run).ok
    assert all(json.loads(line)["kind"] for line in (run / "metrics.jsonl").read_text().splitlines())


@pytest.mark.slow
def test_readers_that_go_away_in_the_middle_do_not_end_the_training(plain, place, tmp_path):
    run = tmp_path / "run"
    words = [sys.executable, "-m", "resnets", *train(place, run)]
    process = subprocess.Popen(words, env=PLAIN, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stderr.readline()
    process.stderr.close()
    process.stdout.close()
    assert process.wait(timeout=240) == 0
    assert digest(run) == plain["train"]["weights_sha256"]


def test_a_clock_that_jumps_changes_nothing(plain, place, tmp_path, monkeypatch):
    real, calls = time.time, []

    def jumping():
        calls.append(1)
        return real() + (-1) ** len(calls) * 1e9

    monkeypatch.setattr(time, "time", jumping)
    assert cli.main(train(place, tmp_path / "run")) == 0
    assert digest(tmp_path / "run") == plain["train"]["weights_sha256"]
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert all(0 <= line["seconds"] < 1000 for line in lines)


def test_no_decision_is_made_by_the_wall_clock():
    package = Path(cli.__file__).parent.parent
    # What can be made again at any time is thrown away by its age, and known by the times of what it was made of.
    caches = {"native.py", "data/cache.py", "data/room.py", "evaluation/quantised.py"}
    found = [
        f"{file.relative_to(package)}: {line.strip()}"
        for file in sorted(package.rglob("*.py"))
        if file.relative_to(package).as_posix() not in caches
        for line in file.read_text(encoding="utf-8").splitlines()
        if ("time.time(" in line or "datetime.now(" in line or "datetime.datetime.now(" in line or "st_mtime" in line)
    ]
    assert len(found) == 1 and found[0].startswith("evaluation/provenance.py"), found  # which only writes it down


def test_names_that_are_no_utf8_are_used_and_written(place, tmp_path):
    generator = np.random.default_rng(0)
    for number, name in enumerate((b"kaf\xe9", b"tee")):  # Latin-1
        folder = os.path.join(os.fsencode(tmp_path), b"photos", name)
        os.makedirs(folder)
        for index in range(12):
            Image.fromarray(generator.integers(0, 120, (8, 8, 3)).astype(np.uint8) + 100 * number).save(
                os.fsdecode(os.path.join(folder, b"%d.png" % index))
            )
    spec = NetworkSpec.from_dict({**SPEC.to_dict(), "in_channels": 3})
    (tmp_path / "colour.json").write_text(json.dumps(spec.to_dict()))
    words = [
        "train", str(tmp_path / "photos"), "--arch", str(tmp_path / "colour.json"), "--epochs", "1",
        "--set", "batch_size=4", "--out", str(tmp_path / "run"), "--json",
    ]  # fmt: skip
    assert "top1" in here(words)["validation"]
    assert set(here(["evaluate", str(tmp_path / "run"), "--json"])["per_class"]) == {"kaf\udce9", "tee"}

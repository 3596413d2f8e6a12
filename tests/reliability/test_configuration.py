"""Configuration is data (promise 10): accepted and the same when read back, or refused in one line; nothing is run.

The long form: `RESNETS_SETTINGS=10000 pytest -m slow tests/reliability/test_configuration.py -s`.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from guard import guarded

import resnets
from resnets.data import Preprocessing
from resnets.errors import InputError
from resnets.models import build
from resnets.training.recipe import Recipe

LINUX = pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux, to watch the memory")


@LINUX
def test_settings_come_back_or_are_refused(tmp_path: Path) -> None:
    _settings(tmp_path, int(os.environ.get("RESNETS_SETTINGS_SHORT", "300")), "short")


@LINUX
@pytest.mark.slow
@pytest.mark.timeout(0)
def test_ten_thousand_settings_come_back_or_are_refused(tmp_path: Path) -> None:
    _settings(tmp_path, int(os.environ.get("RESNETS_SETTINGS", "10000")), os.environ.get("RESNETS_SEED", "long"))


def _settings(folder: Path, cases: int, seed: str) -> None:
    found = guarded("hostile_settings:settings", folder, cases, seed, timeout=120 + cases)
    print(json.dumps({key: value for key, value in found.items() if key != "reasons"}))
    assert found["violations"] == found["faults"] == []
    assert found["counts"]["read"] + found["counts"]["refused"] == cases
    for kind in ("name", "override", "recipe", "specification", "preprocessing"):
        # Both outcomes come: what breaks nothing proves nothing, and neither does what is never read.
        assert found["counts"][f"{kind}: read"] > cases // 500 and found["counts"][f"{kind}: refused"] > cases // 50
    assert list(folder.iterdir()) == []


ABSURD = {
    "99000 units": ["--arch", "resnet20,units=[33000,33000,33000]"],
    "billion weights": ["--arch", "resnet20,widths=[100000,100000,100000]"],
    "70 billion weights": ["--arch", "resmlp10,widths=[100000]"],
    "size must be from 1 to 16384": ["--size", "100000000"],
    "GiB are free": ["--set", "batch_size=10000000", "epochs=1", "--arch", "resnet8", "--size", "16384"],
    "epochs must lie between": ["--set", f"epochs={10**400}"],
    "milestones must be": ["--set", f"milestones=[{-(10**30)}]"],
    "units must be whole numbers": ["--arch", "resnet20,units=9**9**9"],
}


@LINUX
def test_absurd_sizes_are_refused_before_memory_is_asked_for(tmp_path: Path) -> None:
    lines = [["train", "digits", "--out", str(tmp_path / "run"), *words] for words in ABSURD.values()]
    found = guarded("hostile_settings:absurd", tmp_path, json.dumps(lines))
    for named, (code, line) in zip(ABSURD, found, strict=True):
        assert code == 2 and line.startswith("error:") and named in line, (named, line)
    assert list(tmp_path.iterdir()) == []


def test_a_network_may_be_told_of_that_is_too_large_to_be_built() -> None:
    deep = resnets.spec("resnet90002-basic")
    assert deep.depth == 90002
    with pytest.raises(InputError, match="45000 units; networks of up to 10000 are built"):
        build(deep)
    with pytest.raises(InputError, match=r"would have about \d+ billion weights"):
        resnets.create("resnet50", widths=(25_000,) * 4, groups=1)


@pytest.mark.parametrize(
    "changes",
    [
        {"size": 10**9}, {"size": "32"}, {"size": True}, {"std": [float("nan")] * 3}, {"mean": [10**400, 0, 0]},
        {"mean": 0.5},
        {"crop_fraction": float("nan")}, {"interpolation": 3}, {"mean_image": 5}, {"mean_image": "é"},
        {"channels": [3]},
    ],
)  # fmt: skip
def test_preprocessing_of_another_kind_is_refused(changes: dict[str, object]) -> None:
    sound = Preprocessing(32, 3, (0.5,) * 3, (0.1,) * 3).to_dict()
    with pytest.raises(InputError):
        Preprocessing.from_dict({**sound, **changes})


def test_numbers_beyond_every_float_are_refused() -> None:
    with pytest.raises(InputError, match="learning_rate must be a finite number"):
        Recipe.from_dict({"learning_rate": 10**400})

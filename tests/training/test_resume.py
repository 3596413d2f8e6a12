"""The command of a run, given again with `--resume`, is no contradiction of it."""

from pathlib import Path

import pytest

from resnets.errors import InputError
from resnets.training import filters, normalised, winograd
from resnets.training.plan import make_plan
from resnets.training.resume import check_same
from resnets.training.resuming import resumed_plan


@pytest.mark.parametrize("cache", [True, False])
def test_a_cache_that_was_asked_for_may_be_asked_for_again_whatever_came_of_it(tmp_path, cache):
    asked = {
        "arch": "resnet8", "recipe": "fast", "changes": {}, "seed": 0, "device": "cpu", "precision": "fp32",
        "deterministic": True, "skip_unreadable": False, "size": None, "weights": None, "memory": "normal",
    }  # fmt: skip
    info = make_plan("digits", **asked, cache=cache, out=tmp_path / "run", workers=0).info
    assert info["source"]["cache"] is cache and info["source"]["kept_side"] is None  # images in memory need none

    def again(recorded, cache):
        check_same(Path("run"), {**info, "source": recorded}, source="digits", **asked, cache=cache)

    again(info["source"], False)  # says nothing
    if cache:
        again(info["source"], True)
    else:
        with pytest.raises(InputError, match="run has cache False, not True"):
            again(info["source"], True)
    older = {key: value for key, value in info["source"].items() if key != "cache"}  # which say only what came of it
    again({**older, "kept_side": 144}, True)
    with pytest.raises(InputError, match="run has cache False, not True"):
        again(older, True)


@pytest.mark.parametrize("deterministic", [True, False])
def test_a_run_that_used_kernels_is_told_that_the_compiler_is_gone(tmp_path, monkeypatch, deterministic):
    monkeypatch.setattr(winograd, "kernels", object)
    monkeypatch.setattr(normalised, "kernels", object)
    plan = make_plan(
        "digits", arch="resnet8", recipe="fast", changes={}, seed=0, device="cpu", precision="fp32", size=None,
        deterministic=deterministic, skip_unreadable=False, weights=None, workers=0, out=tmp_path / "run",
    )  # fmt: skip
    assert plan.execution.native and plan.info["execution"]["native"]
    monkeypatch.setattr(winograd, "kernels", lambda: None)
    if deterministic:
        with pytest.raises(InputError, match="no C compiler here any more; install gcc or clang"):
            resumed_plan(tmp_path / "run", plan.info, None)
    else:
        again = resumed_plan(tmp_path / "run", plan.info, None)
        assert not again.execution.native and not again.info["execution"]["native"]
        assert any("rounded otherwise" in note for note in again.notes)


def bf16_plan(out: Path, deterministic: bool):
    return make_plan(
        "digits", arch="resnet8", recipe="fast", changes={}, seed=0, device="cpu", precision="bf16", size=None,
        deterministic=deterministic, skip_unreadable=False, weights=None, workers=0, out=out,
    )  # fmt: skip


@pytest.mark.parametrize("deterministic", [True, False])
def test_a_run_that_used_tiles_is_told_that_there_are_none(tmp_path, monkeypatch, deterministic):
    for part in (normalised, filters):
        monkeypatch.setattr(part, "kernels", lambda *given: object())
    plan = bf16_plan(tmp_path / "run", deterministic)
    assert plan.execution.tiles and plan.info["execution"]["tiles"]
    assert resumed_plan(tmp_path / "run", plan.info, None).execution == plan.execution
    monkeypatch.setattr(filters, "kernels", lambda: None)
    if deterministic:
        with pytest.raises(InputError, match=r"began with the tile multiplier \(AMX\)"):
            resumed_plan(tmp_path / "run", plan.info, None)
    else:
        again = resumed_plan(tmp_path / "run", plan.info, None)
        assert again.execution.native and not again.execution.tiles and not again.info["execution"]["tiles"]
        assert any("rounded otherwise" in note for note in again.notes)


def test_a_run_that_began_without_tiles_goes_on_without(tmp_path, monkeypatch):
    monkeypatch.setattr(normalised, "kernels", lambda *given: object())
    monkeypatch.setattr(filters, "kernels", lambda: None)
    plan = bf16_plan(tmp_path / "run", True)
    monkeypatch.setattr(filters, "kernels", object)
    again = resumed_plan(tmp_path / "run", plan.info, None)
    assert again.execution == plan.execution and not again.execution.tiles
    unsaid = {key: value for key, value in plan.info["execution"].items() if key != "tiles"}  # as runs were before
    assert resumed_plan(tmp_path / "run", {**plan.info, "execution": unsaid}, None).execution.tiles

"""The command of a run, given again with `--resume`, is no contradiction of it."""

from pathlib import Path

import pytest

from resnets.errors import InputError
from resnets.training.plan import make_plan
from resnets.training.resume import check_same


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

"""The promise of the demo, over seeds: run with `pytest -m slow` (about a minute a seed on two idle cores)."""

import pytest

import resnets


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_default_recipe_reads_98_percent_of_the_digits(tmp_path, seed):
    run = resnets.train("digits", seed=seed, out=tmp_path / "run", display=list)
    assert run.info["results"]["test"]["top1"] >= 98

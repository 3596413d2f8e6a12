"""Recipes as values: typed overrides, JSON, and the 2015 schedule against the text of the paper."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resnets.architecture import spec
from resnets.errors import InputError
from resnets.files import readable
from resnets.training.recipe import Recipe, image_side, override, rate_factor
from resnets.training.recipes import RECIPES, recipe
from resnets.training.settings import parse_overrides


def test_the_papers_schedule_step_by_step():
    # "We start with a learning rate of 0.1, divide it by 10 at 32k and 48k iterations, and terminate training at
    # 64k iterations, which is determined on a 45k/5k train/val split." (1512.03385, section 4.2)
    paper = recipe("paper", spec("resnet20"))
    total = paper.total_steps(steps_per_epoch=351)
    assert total == 64_000
    rates = {
        step: paper.learning_rate * rate_factor(paper, step, total)
        for step in (0, 1, 31_999, 32_000, 47_999, 48_000, 63_999)
    }
    assert rates == pytest.approx(
        {0: 0.1, 1: 0.1, 31_999: 0.1, 32_000: 0.01, 47_999: 0.01, 48_000: 0.001, 63_999: 0.001}
    )
    assert (paper.batch_size, paper.momentum, paper.nesterov, paper.weight_decay) == (128, 0.9, False, 1e-4)
    assert paper.decay_scales and paper.optimiser == "sgd" and paper.warmup == 0 and paper.label_smoothing == 0
    assert paper.validation == 0.1 and paper.choose == "last" and paper.mean_image
    assert (paper.crop, paper.padding, paper.padding_mode, paper.flip) == ("pad", 4, "zero", "random")
    assert paper.ema == paper.mixup == paper.cutmix == paper.erasing == paper.clip == 0 and paper.shrink == 1


@pytest.mark.parametrize(
    ("name", "cold"), [("resnet20", None), ("resnet56", None), ("resnet110", 0.01), ("resnet1202", 0.01)]
)
def test_only_110_layers_and_more_begin_cold(name, cold):
    assert recipe("paper", spec(name)).cold_rate == cold
    assert recipe("paper", spec(name)).cold_error == 80


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_round_trips_and_ends_at_its_last_step(name):
    found = recipe(name, spec("resnet20"))
    assert found.name == name
    assert Recipe.from_dict(found.to_dict()) == found
    total = found.total_steps(100)
    factors = [rate_factor(found, step, total) for step in range(total)]
    assert max(factors) == pytest.approx(1.0)
    assert all(factor > 0 for factor in factors)
    if found.schedule in ("linear", "cosine"):
        assert factors[-1] < 0.01


@given(total=st.integers(20, 5000), warmup=st.floats(0, 0.5), part=st.floats(0, 1))
def test_linear_and_cosine_follow_their_closed_forms(total, warmup, part):
    step = min(total - 1, int(part * total))
    warm = round(warmup * total)
    for schedule in ("linear", "cosine"):
        factor = rate_factor(Recipe(schedule=schedule, warmup=warmup), step, total)
        if step < warm:
            assert factor == pytest.approx((step + 1) / warm)
        else:
            t = (step - warm) / (total - warm)
            assert factor == pytest.approx(1 - t if schedule == "linear" else (1 + math.cos(math.pi * t)) / 2)


def test_overrides_are_typed():
    base = Recipe()
    changed = override(
        base, parse_overrides(["epochs=3", "learning-rate=1", "nesterov=false", "milestones=[10,20]", "cold_rate=none"])
    )
    assert (changed.epochs, changed.learning_rate, changed.nesterov, changed.milestones) == (3, 1.0, False, (10, 20))
    assert isinstance(changed.learning_rate, float)


@pytest.mark.parametrize(
    ("pair", "words"),
    [
        ("epoch=3", "did you mean 'epochs'"),
        ("epochs=three", "epochs must be a whole number"),
        ("epochs=1.5", "epochs must be a whole number"),
        ("epochs=true", "epochs must be a whole number"),
        ("learning_rate=nan", "learning_rate must be a finite number"),
        ("learning_rate=-1", "learning_rate must lie between"),
        ("nesterov=1", "nesterov must be true or false"),
        ("schedule=cosin", "did you mean 'cosine'"),
        ("milestones=[20,10]", "milestones must be rising"),
        ("scale=[0.5,0.1]", "scale must be two fractions"),
        ("epochs", "expected key=value"),
        ("batch_size=0", "batch_size must lie between"),
        ("padding=__import__('os').abort()", "padding must be a whole number"),
    ],
)
def test_a_bad_override_says_what_was_expected(pair, words):
    with pytest.raises(InputError) as caught:
        override(Recipe(), parse_overrides([pair]))
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_unknown_recipe_offers_the_nearest():
    with pytest.raises(InputError, match="did you mean 'paper'"):
        recipe("papre", spec("resnet20"))


@given(
    st.dictionaries(
        st.sampled_from([*Recipe().to_dict(), "nothing"]),
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats()
        | st.text(max_size=8)
        | st.lists(st.integers(), max_size=3),
        max_size=3,
    )
)
def test_any_json_is_accepted_whole_or_refused_in_one_line(changes):
    try:
        found = override(Recipe(), changes)
    except InputError as error:
        assert "\n" not in str(error).replace(repr(changes), "")
    else:
        assert Recipe.from_dict(found.to_dict()) == found


def test_progressive_resizing_ends_at_the_full_side():
    found = Recipe(shrink=0.75, shrink_until=0.5)
    sides = [image_side(found, step, 100, 32) for step in range(100)]
    assert sides == [24] * 50 + [32] * 50
    assert image_side(found, 0, 100, 8) == 8  # digits are small enough
    assert {image_side(Recipe(), step, 100, 32) for step in range(100)} == {32}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
)


@given(JSON)
def test_run_json_reads_back_as_it_was(value):
    assert json.loads(readable(value)) == value


def test_counting_in_epochs_overrides_the_papers_steps():
    found = recipe("paper", spec("resnet20"), changes={"epochs": 2})
    assert found.total_steps(steps_per_epoch=351) == 702


def test_networks_that_cannot_shrink_are_not_shrunk():
    assert recipe("fast", spec("resmlp10")).shrink == recipe("fast", spec("vgg19")).shrink == 1


@pytest.mark.parametrize("key", ["name", "images", "spec"])
def test_what_is_no_setting_cannot_be_set(key):
    with pytest.raises(InputError, match="unknown recipe setting"):
        recipe("fast", spec("resnet20"), changes={key: "x"})

"""A whole training of twelve steps on noise, small enough to watch every tensor of it."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from resnets.architecture import NetworkSpec
from resnets.data import Packed, Preprocessing
from resnets.models import build
from resnets.training import Recipe, fit
from resnets.training.checkpoint import State
from resnets.training.device import Execution
from resnets.training.optimiser import make_optimisers

PLAIN = Execution("cpu", "fp32", channels_last=False, compiled=False, deterministic=False)
PREPROCESSING = Preprocessing(size=8, channels=3, mean=(0.5,) * 3, std=(0.25,) * 3)
RECIPE = Recipe(
    epochs=4, batch_size=8, learning_rate=0.05, schedule="constant", warmup=0.0, crop="none", flip="none", ema=0.9,
    choose="best",
)  # fmt: skip
SPEC = NetworkSpec(units=(1, 1), widths=(4, 8), stem="small", stem_width=4, num_classes=3, name="small")


def pictures(n=24):
    """Images of noise, with names."""
    generator = torch.Generator().manual_seed(0)
    made = torch.randint(0, 256, (n, 3, 8, 8), generator=generator, dtype=torch.uint8)
    return Packed(images=made, labels=torch.arange(n) % 3, names=tuple(f"picture{k}.png" for k in range(n)))


def begin(recipe=RECIPE, spec=SPEC, scaler=None) -> State:
    """A new state at step 0."""
    net = build(spec, seed=0)
    average = {key: value.clone() for key, value in net.state_dict().items()} if recipe.ema else None
    return State(net, make_optimisers(net, spec, recipe), average, scaler)


def training(state, recipe=RECIPE, validate=None, preprocessing=PREPROCESSING) -> Iterator:
    """Its records."""
    return fit(
        state, data=pictures(), preprocessing=preprocessing, recipe=recipe, execution=PLAIN, seed=0, num_classes=3,
        validate=validate,
    )  # fmt: skip


def copy(state) -> dict[str, torch.Tensor]:
    """Every tensor of it as it is now: weights, running statistics, averages, momenta."""
    return {
        **{key: value.clone() for key, value in state.net.state_dict().items()},
        **{f"average.{key}": value.clone() for key, value in (state.average or {}).items()},
        **{
            f"momentum.{number}.{index}": entry["momentum_buffer"].clone()
            for number, optimiser in enumerate(state.optimisers)
            for index, entry in optimiser.state_dict()["state"].items()
            if "momentum_buffer" in entry
        },
    }

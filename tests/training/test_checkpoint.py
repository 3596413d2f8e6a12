"""Checkpoints: what goes through the disk comes back, in every memory layout; damage is seen and passed over."""

import os
from dataclasses import replace

import pytest
import torch

from resnets.data import Packed, Preprocessing
from resnets.errors import InputError
from resnets.models import create
from resnets.training import fit
from resnets.training.checkpoint import State, keep_best, restore, save
from resnets.training.device import Execution
from resnets.training.optimiser import make_optimisers
from resnets.training.recipe import Recipe

RECIPE = Recipe(epochs=2, batch_size=8, learning_rate=0.05, warmup=0.0, padding=1, momentum=0.9)
EXECUTION = Execution("cpu", "fp32", channels_last=True, compiled=False, deterministic=True)
PREPROCESSING = Preprocessing(size=8, channels=3, mean=(0.5,) * 3, std=(0.25,) * 3)


def begin(recipe):
    net = create("resnet8", num_classes=3, seed=0).to(memory_format=torch.channels_last)
    average = {key: value.clone() for key, value in net.state_dict().items()} if recipe.ema else None
    return State(net, make_optimisers(net, net.spec, recipe), average)


def train(state, recipe, stop=None):
    torch.set_num_threads(1)
    pictures = torch.randint(0, 256, (24, 3, 8, 8), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    data = Packed(images=pictures, labels=torch.arange(24) % 3, names=[str(k) for k in range(24)])
    for record in fit(
        state, data=data, preprocessing=PREPROCESSING, recipe=recipe, execution=EXECUTION, seed=0, num_classes=3
    ):
        if record.kind == "step" and record.step == stop:
            break
    return state


@pytest.mark.parametrize(
    "recipe",
    [RECIPE, replace(RECIPE, optimiser="muon"), replace(RECIPE, ema=0.9, weight_decay=0.0)],
    ids=["sgd", "muon", "averaged"],
)
def test_through_the_disk_and_on_gives_the_same_bits_for_colour_images(tmp_path, recipe):
    # Colour filters in channels_last have another memory layout than the file: momentum must follow the weights'.
    whole = train(begin(recipe), recipe)
    save(train(begin(recipe), recipe, stop=2), tmp_path)
    again = begin(recipe)
    assert restore(again, tmp_path) == []
    assert again.step == 2
    train(again, recipe)
    for key, value in whole.evaluated().items():
        assert torch.equal(again.evaluated()[key], value), key


def test_without_a_checkpoint_there_is_nothing_to_restore(tmp_path):
    assert restore(begin(RECIPE), tmp_path) is None


@pytest.mark.parametrize("file", ["model.safetensors", "optimizer.safetensors", "state.json"])
def test_a_damaged_newest_checkpoint_is_passed_over_aloud(tmp_path, file):
    state = train(begin(RECIPE), RECIPE, stop=1)
    older = save(state, tmp_path)
    newer = save(train(state, RECIPE, stop=2), tmp_path)
    (newer / file).write_bytes((newer / file).read_bytes()[:-40])
    again = begin(RECIPE)
    (message,) = restore(again, tmp_path)
    assert newer.name in message
    assert again.step == 1
    (older / file).write_bytes(b"")
    with pytest.raises(InputError, match="no checkpoint can be read"):
        restore(begin(RECIPE), tmp_path)


def test_only_the_newest_two_are_kept_with_the_best_weights_until_then(tmp_path):
    state = begin(RECIPE)
    for step in range(1, 6):
        train(state, RECIPE, stop=step)
        if step in (1, 3):
            keep_best(state, {"top1": 10.0 * step, "loss": 1.0})
            best = {key: value.clone() for key, value in state.net.state_dict().items()}
        save(state, tmp_path)
    assert sorted(os.listdir(tmp_path)) == ["step-00000004", "step-00000005"]
    again = begin(RECIPE)
    assert restore(again, tmp_path) == []
    assert again.best == {"step": 3, "top1": 30.0, "loss": 1.0}
    assert all(torch.equal(value, best[key]) for key, value in again.best_weights.items())

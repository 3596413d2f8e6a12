"""Three steps of a small network on noise, to hold ways of computing against each other."""

from collections.abc import Iterator

import torch

from resnets.data import Packed, Preprocessing
from resnets.models import create
from resnets.training import Recipe, fit
from resnets.training.checkpoint import State
from resnets.training.optimiser import make_optimisers


def three_steps(execution, name: str = "resnet8", side: int = 8) -> Iterator[tuple[float, torch.nn.Module]]:
    """The loss after each record of `fit`, and the network, which sees 24 images of `side` pixels."""
    pictures = torch.randint(0, 256, (24, 3, side, side), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    data = Packed(images=pictures, labels=torch.arange(24) % 3, names=tuple(map(str, range(24))))
    preprocessing = Preprocessing(size=side, channels=3, mean=(0.5,) * 3, std=(0.25,) * 3)
    recipe = Recipe(epochs=1, batch_size=8, optimiser="sgd", learning_rate=0.05, warmup=0.0, schedule="constant")
    net = create(name, num_classes=3, seed=0).to(memory_format=torch.channels_last)
    state = State(net, make_optimisers(net, net.spec, recipe))
    for record in fit(
        state, data=data, preprocessing=preprocessing, recipe=recipe, seed=0, num_classes=3, execution=execution
    ):
        yield record.loss, net

"""torchvision's networks: its files load as they are, and the logits agree bit for bit."""

from __future__ import annotations

import pytest
import torch
import torchvision
from naive import randomise
from torch import nn

from resnets.architecture import spec
from resnets.models import build, create

NAMES = [
    ("resnet18", 64), ("resnet34", 64), ("resnet50", 64), ("resnet101", 64), ("resnet152", 64),
    ("resnext50_32x4d", 48), ("resnext101_32x8d", 32), ("resnext101_64x4d", 32),
    ("wide_resnet50_2", 48), ("wide_resnet101_2", 32), ("vgg19", 32),
]  # fmt: skip


def theirs_with_random_values(name: str) -> nn.Module:
    with torch.device("meta"):  # without the time that initialisation takes
        theirs = getattr(torchvision.models, name)()
    theirs = theirs.to_empty(device="cpu").eval()
    randomise(theirs)
    return theirs


@pytest.mark.parametrize(("name", "side"), NAMES)
def test_state_and_logits_are_torchvisions(name: str, side: int) -> None:
    theirs = theirs_with_random_values(name)
    with torch.device("meta"):
        ours = build(spec(name)).eval()
    keys = list(theirs.state_dict())
    assert list(ours.state_dict()) == keys
    result = ours.load_state_dict(theirs.state_dict(), strict=True, assign=True)
    assert (result.missing_keys, result.unexpected_keys) == ([], [])
    x = torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        y = ours(x)
        assert torch.equal(y, theirs(x))
    assert y.std() > 1e-3  # they do not agree on nothing


def test_training_agrees_too() -> None:
    theirs = theirs_with_random_values("resnet18").train()
    ours = create("resnet18").train()
    ours.load_state_dict(theirs.state_dict(), strict=True)
    x = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    for net in (ours, theirs):
        net(x).square().mean().backward()
    for (name, mine), other in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        assert torch.equal(mine.grad, other.grad), name
    for (name, mine), other in zip(ours.named_buffers(), theirs.buffers(), strict=True):
        assert torch.equal(mine, other), name


def test_our_weights_load_into_torchvision() -> None:
    theirs = torchvision.models.resnet18(num_classes=7)
    theirs.load_state_dict(create("resnet18", num_classes=7, seed=0).state_dict(), strict=True)


def test_zero_init_is_torchvisions() -> None:
    theirs = torchvision.models.resnet18(zero_init_residual=True)
    ours = create("resnet18", zero_init=True)
    scales = {key for key, value in ours.state_dict().items() if value.dim() == 1 and key.endswith("weight")}
    assert {key for key in scales if not ours.state_dict()[key].any()} == {
        key for key in scales if not theirs.state_dict()[key].any()
    }

"""Pooled units against the same network written by hand; what they refuse."""

import pytest
import torch
from torch.nn import functional

from resnets.architecture import NetworkSpec, spec
from resnets.errors import InputError
from resnets.models import build
from resnets.models.folding import fold

POOLED = NetworkSpec(units=(1, 2), widths=(6, 8), unit="pooled", stem="small", stem_width=4, num_classes=5)


def by_hand(state: dict[str, torch.Tensor], x: torch.Tensor, *, shortcuts: bool, padding: int) -> torch.Tensor:
    def norm(name: str, x: torch.Tensor) -> torch.Tensor:
        mean, var, scale, shift = (state[f"{name}.{k}"] for k in ("running_mean", "running_var", "weight", "bias"))
        return functional.batch_norm(x, mean, var, scale, shift, eps=1e-5)

    x = norm("bn1", functional.conv2d(x, state["conv1.weight"], padding=padding)).relu()
    for unit, pools in (("layer1.0", True), ("layer2.0", True), ("layer2.1", False)):
        x = functional.conv2d(x, state[f"{unit}.conv1.weight"], padding=1)
        x = functional.max_pool2d(x, 2) if pools else x
        x = norm(f"{unit}.bn1", x).relu()
        f = norm(f"{unit}.bn2", functional.conv2d(x, state[f"{unit}.conv2.weight"], padding=1)).relu()
        x = x + f if shortcuts else f
    return functional.linear(x.mean((2, 3)), state["fc.weight"], state["fc.bias"])


@pytest.mark.parametrize(("shortcuts", "stem"), [(True, "small"), (False, "small"), (True, "patches")])
def test_pooled_units_compute_what_is_written_and_fold_to_the_same(shortcuts: bool, stem: str) -> None:
    wanted = POOLED.replace(stem=stem, **({} if shortcuts else {"shortcut": "none"}))
    net = build(wanted, seed=0).double().train()
    x = torch.randn(6, 3, 13, 10, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    with torch.no_grad():
        for _ in range(3):  # statistics of its own in every normalisation
            net(x)
        expected = by_hand(net.state_dict(), x, shortcuts=shortcuts, padding=int(stem == "small"))
        torch.testing.assert_close(net.eval()(x), expected, rtol=1e-10, atol=1e-10)
        torch.testing.assert_close(fold(net)(x), expected, rtol=1e-10, atol=1e-10)
        shapes = [tuple(value.shape[2:]) for value in net.stages(x).values()]
    sizes = {"small": [(13, 10), (6, 5), (3, 2)], "patches": [(12, 9), (6, 4), (3, 2)]}[stem]
    assert shapes == wanted.replace(image_size=(13, 10)).map_sizes() == sizes


def test_the_first_convolution_of_a_pooled_unit_begins_as_the_identity() -> None:
    net, x = build(POOLED, seed=0), torch.randn(2, 4, 5, 5)
    before = net.layer1[0].conv1(x)
    torch.testing.assert_close(before[:, :4], x)
    assert not torch.equal(before[:, 4], torch.zeros_like(before[:, 4]))
    assert not torch.equal(net.layer1[0].conv2.weight, torch.nn.init.dirac_(torch.empty(6, 6, 3, 3)))


@pytest.mark.parametrize(
    "changes", [{"ordering": "full-preactivation"}, {"shortcut": "C"}, {"zero_init": True}, {"shortcut": "dropout:0.5"}]
)
def test_what_pooled_units_would_ignore_is_refused(changes: dict) -> None:
    with pytest.raises(InputError, match="pooled units"):
        spec("speedrun", **changes)


def test_images_that_the_poolings_would_use_up_are_refused() -> None:
    with pytest.raises(InputError, match="stage 3 would shrink"):
        spec("speedrun").fit(image_size=(8, 8))
    with pytest.raises(InputError, match="the stem would shrink"):
        spec("resnet18", stem="patches").fit(image_size=(1, 1))

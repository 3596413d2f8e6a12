"""Each normalisation against its formula."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from resnets.architecture import NetworkSpec
from resnets.models import build
from resnets.models.layers import normalisation

BASE = NetworkSpec(units=(1, 1), widths=(8, 16), stem="small", stem_width=8, num_classes=5)
MLP = NetworkSpec(units=(2,), widths=(8,), unit="linear", stem="linear", stem_width=8, num_classes=5, image_size=(4, 4))
X = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def normalised(norm: str, x: Tensor) -> Tensor:
    return normalisation(BASE.replace(norm=norm), x.shape[1])(x)


def standardised(x: Tensor, axes: tuple[int, ...]) -> Tensor:
    mean = x.mean(axes, keepdim=True)
    variance = ((x - mean) ** 2).mean(axes, keepdim=True)
    return (x - mean) / (variance + 1e-5).sqrt()


def test_batch() -> None:
    x = 3 + 2 * torch.randn(4, 6, 5, 5)
    torch.testing.assert_close(normalised("batch", x), standardised(x, (0, 2, 3)))


@pytest.mark.parametrize("norm", ["batch", "layer", "group"])
@pytest.mark.parametrize("network", [BASE, MLP], ids=["basic", "linear"])
def test_epsilon_is_added_to_the_variance(norm: str, network: NetworkSpec) -> None:
    # Of values ±c alone the variance is c², so that they become ±c / sqrt(c² + eps), whatever they are grouped with.
    c, eps = 0.01, 1e-3
    x = torch.full((2, 8), c) if network is MLP else torch.full((2, 8, 2, 2), c)
    x[:1] *= -1 if norm == "batch" else 1
    x[:, ::2] *= 1 if norm == "batch" else -1
    y = normalisation(network.replace(norm=norm, norm_eps=eps), 8)(x)
    torch.testing.assert_close(y, x / (c * c + eps) ** 0.5)


def test_layer() -> None:
    x = 3 + 2 * torch.randn(4, 6, 5, 5)
    torch.testing.assert_close(normalised("layer", x), standardised(x, (1, 2, 3)))


def test_layer_of_a_linear_unit() -> None:
    x = torch.randn(4, 6)
    torch.testing.assert_close(normalisation(MLP.replace(norm="layer"), 6)(x), nn.functional.layer_norm(x, (6,)))


@pytest.mark.parametrize(
    ("channels", "groups"),
    [(256, 32), (64, 32), (32, 16), (16, 8), (6, 3), (10, 5), (7, 1), (1, 1), (96, 32), (80, 20)],
)
def test_group(channels: int, groups: int) -> None:
    x = 3 + 2 * torch.randn(2, channels, 3, 3)
    parts = x.reshape(2, groups, channels // groups, 3, 3)
    torch.testing.assert_close(normalised("group", x), standardised(parts, (2, 3, 4)).reshape(x.shape))


def test_local_response() -> None:
    # AlexNet, section 3.3: b_i = a_i / (k + alpha · sum of a_j² over 5 channels)^beta; k 2, alpha 1e-4, beta 0.75.
    x = 50 * torch.randn(2, 9, 2, 2)
    y = normalised("local-response", x)
    for i in range(9):
        total = sum(x[:, j] ** 2 for j in range(max(0, i - 2), min(8, i + 2) + 1))
        torch.testing.assert_close(y[:, i], x[:, i] / (2 + 1e-4 * total) ** 0.75)


@pytest.mark.parametrize("network", [BASE, MLP], ids=["basic", "linear"])
def test_weight(network: NetworkSpec) -> None:
    # 1602.07868: w = g v / |v|, one length for each output; at first nothing but a change of coordinates.
    net = build(network.replace(norm="weight"), seed=0)
    same = build(network.replace(norm="none"), seed=0)
    x = X if network is BASE else torch.randn(4, 3, 4, 4)
    torch.testing.assert_close(net(x), same(x), rtol=1e-4, atol=1e-4)
    layers = [m for name, m in net.named_modules() if name != "fc" and isinstance(m, nn.Conv2d | nn.Linear)]
    hidden = [m for name, m in same.named_modules() if name != "fc" and isinstance(m, nn.Conv2d | nn.Linear)]
    assert len(layers) == len(hidden) > 0
    for layer in layers:
        g, v = layer.parametrizations.weight.original0, layer.parametrizations.weight.original1
        length = v.flatten(1).norm(dim=1).reshape(g.shape)
        torch.testing.assert_close(layer.weight, g * v / length)
        before = layer.weight.detach().clone()
        with torch.no_grad():
            v.mul_(7)  # the length of v is nothing to the network
        torch.testing.assert_close(layer.weight, before)
    assert isinstance(net.fc, nn.Linear)
    assert "fc.weight" in dict(net.named_parameters())


@pytest.mark.parametrize("norm", ["batch", "layer", "group", "weight", "local-response", "none"])
def test_weight_layers_have_a_bias_where_no_normalisation_shifts(norm: str) -> None:
    net = build(BASE.replace(norm=norm, shortcut="C"))
    biased = {m.bias is not None for m in net.modules() if isinstance(m, nn.Conv2d)}
    assert biased == {norm in ("weight", "local-response", "none")}
    assert any(isinstance(m, nn.BatchNorm2d) for m in net.modules()) is (norm == "batch")


@pytest.mark.parametrize("norm", ["batch", "layer", "group", "weight", "local-response", "none"])
@pytest.mark.parametrize("ordering", ["original", "full-preactivation"])
def test_only_batch_normalisation_mixes_images(norm: str, ordering: str) -> None:
    net = build(BASE.replace(norm=norm, ordering=ordering), seed=0).train()
    together, alone = net(X)[:2], net(X[:2])
    assert torch.isfinite(together).all()
    assert torch.allclose(together, alone, rtol=1e-4, atol=1e-5) is (norm != "batch")

"""The six views against the peer's formula written out on padded images."""

import torch
from benchmarks.views import logits
from torch import nn
from torch.nn import functional


def test_six_views_are_weighted_as_airbench_does() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(4 * 36, 5)).double()
    images = torch.randn(3, 3, 8, 8, dtype=torch.float64)
    wide = functional.pad(images, (1,) * 4, "reflect")

    def mirrored(x: torch.Tensor) -> torch.Tensor:
        return 0.5 * net(x) + 0.5 * net(x.flip(-1))

    moved = torch.stack([mirrored(wide[:, :, 0:8, 0:8]), mirrored(wide[:, :, 2:10, 2:10])]).mean(0)
    with torch.no_grad():
        torch.testing.assert_close(logits(net, images), 0.5 * mirrored(images) + 0.5 * moved)

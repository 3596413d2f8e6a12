"""VGG-19, the papers' baseline (arXiv 1409.1556, configuration E), taken from torchvision."""

from __future__ import annotations

from torch import Tensor, nn
from torchvision.models import vgg

from resnets.architecture import NetworkSpec


class VGG19(vgg.VGG):
    """VGG-19 of torchvision, with its initialisation, and the `stages` of our networks."""

    initialised: tuple[str, ...] = ()  # as in ResNet

    def __init__(self, spec: NetworkSpec) -> None:
        features = vgg.make_layers(vgg.cfgs["E"])
        if spec.in_channels != 3:
            features[0] = nn.Conv2d(spec.in_channels, 64, 3, padding=1)
        super().__init__(features, num_classes=spec.num_classes)
        for module in self.modules():
            if isinstance(module, nn.ReLU):
                module.inplace = False  # in place, it would change what a hook on the layer before it has seen
        self.spec = spec

    def stages(self, x: Tensor) -> dict[str, Tensor]:
        """The maps after each max-pooling: `stage1` … `stage5`, each [B, channels, height, width]."""
        maps: dict[str, Tensor] = {}
        for layer in self.features:
            x = layer(x)
            if isinstance(layer, nn.MaxPool2d):
                maps[f"stage{len(maps) + 1}"] = x
        return maps

"""The torch modules: layers, shortcuts, units, networks, and their weights on disk."""

from resnets.models.creation import create
from resnets.models.hub import push
from resnets.models.network import ResNet, build
from resnets.models.pretrained import Pretrained, pretrained
from resnets.models.reading import read_state
from resnets.models.units import Unit
from resnets.models.weights import load_weights, save_weights, start_from, told

__all__ = [
    "Pretrained",
    "ResNet",
    "Unit",
    "build",
    "create",
    "load_weights",
    "pretrained",
    "push",
    "read_state",
    "save_weights",
    "start_from",
    "told",
]

"""The torch modules: layers, shortcuts, units, networks, and their weights on disk."""

from resnets.models.network import ResNet, build, create
from resnets.models.units import Unit
from resnets.models.weights import load_weights, save_weights, start_from

__all__ = ["ResNet", "Unit", "build", "create", "load_weights", "save_weights", "start_from"]

"""Residual networks, whole: build one, train it on your images, measure it, use it.

    import resnets

    run = resnets.train("digits", arch="resnet20")   # trains, and leaves a folder that a person can read
    run.evaluate()                                    # on the source's own test split
    run.predict(["some/picture.png"])

The names below are loaded when they are first used, so `import resnets` is instant and imports no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from resnets.architecture import ZOO, NetworkSpec, Shortcut, spec
    from resnets.data import open_source
    from resnets.errors import InputError
    from resnets.evaluation import Run, cam, evaluate, export_weights, import_weights
    from resnets.evaluation.comparison import compare
    from resnets.inspection.drawing import draw
    from resnets.inspection.inspect import Inspection, inspect
    from resnets.models import push
    from resnets.models.creation import create
    from resnets.residuals import residual_analysis
    from resnets.training import Recipe, train
    from resnets.training.recipes import recipe

__version__ = "0.1.0"

__all__ = [
    "ZOO",
    "InputError",
    "Inspection",
    "NetworkSpec",
    "Recipe",
    "Run",
    "Shortcut",
    "cam",
    "compare",
    "create",
    "draw",
    "evaluate",
    "export_weights",
    "import_weights",
    "inspect",
    "open_run",
    "open_source",
    "push",
    "recipe",
    "residual_analysis",
    "spec",
    "train",
]

_ROOM = {
    "ZOO": "architecture",
    "NetworkSpec": "architecture",
    "Shortcut": "architecture",
    "spec": "architecture",
    "create": "models.creation",
    "push": "models",
    "open_source": "data",
    "Run": "evaluation",
    "cam": "evaluation",
    "compare": "evaluation.comparison",
    "evaluate": "evaluation",
    "export_weights": "evaluation",
    "import_weights": "evaluation",
    "Inspection": "inspection.inspect",
    "draw": "inspection.drawing",
    "inspect": "inspection.inspect",
    "residual_analysis": "residuals",
    "Recipe": "training",
    "recipe": "training.recipes",
    "train": "training",
    "InputError": "errors",
}


def open_run(path: str) -> Run:
    """Open a finished run's folder: its network, weights, classes and preprocessing.

    Raises:
        InputError: when the folder is not a run, or holds no finished weights.
    """
    from resnets.evaluation import Run

    return Run.open(path)


def __getattr__(name: str) -> Any:
    """Load an exported name on first use (PEP 562)."""
    if name == "studies":  # a room whose functions are its interface: resnets.studies.degradation(…)
        return import_module("resnets.studies")
    if name not in _ROOM:
        raise AttributeError(f"module 'resnets' has no attribute {name!r}")
    value = getattr(import_module(f"resnets.{_ROOM[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__", "studies"])

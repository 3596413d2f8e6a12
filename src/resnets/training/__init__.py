"""Recipes, optimisers, the loop, checkpoints and the run."""

from resnets.training.device import Execution, choose_execution
from resnets.training.finite import NonFiniteError
from resnets.training.loop import Record, fit
from resnets.training.recipe import Recipe
from resnets.training.recipes import RECIPES, recipe
from resnets.training.run import train
from resnets.training.settings import parse_overrides

__all__ = [
    "RECIPES",
    "Execution",
    "NonFiniteError",
    "Recipe",
    "Record",
    "choose_execution",
    "fit",
    "parse_overrides",
    "recipe",
    "train",
]

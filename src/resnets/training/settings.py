"""The settings of a recipe: read from words, checked for type, range and sense."""

from __future__ import annotations

import ast
import math
import typing
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from resnets.errors import InputError, nearest
from resnets.evaluation.losses import LOSSES

if TYPE_CHECKING:
    from resnets.training.recipe import Recipe

OPTIMISERS = ("sgd", "muon")
SCHEDULES = ("cosine", "linear", "steps", "constant")
CHOOSE = ("best", "last")
_RANGES: dict[str, tuple[float, float]] = {
    "epochs": (1, 1e6), "iterations": (1, 1e9), "batch_size": (1, 1e7), "learning_rate": (0, 1e3),
    "filter_rate": (0, 1),
    "momentum": (0, 0.9999), "weight_decay": (0, 1), "warmup": (0, 1), "step_factor": (0, 1), "cold_rate": (0, 1e3),
    "cold_error": (0, 100), "label_smoothing": (0, 0.99), "ema": (0, 0.999999), "accumulate": (1, 1e6),
    "clip": (0, 1e9),
    "shrink": (0.1, 1), "shrink_until": (0, 1), "padding": (0, 1000), "erasing": (0, 1), "mixup": (0, 100),
    "cutmix": (0, 100), "huber_delta": (1e-6, 1e6), "bias_rate": (0, 1e4), "validation": (0, 0.9),
}  # fmt: skip
_WORDS: dict[str, tuple[str, ...]] = {
    "optimiser": OPTIMISERS, "schedule": SCHEDULES, "choose": CHOOSE, "crop": ("pad", "resized", "none"),
    "loss": ("auto", "cross-entropy", *LOSSES),
    "padding_mode": ("reflect", "zero"), "flip": ("random", "alternate", "none"),
    "policy": ("none", "randaugment", "trivialaugment"),
}  # fmt: skip


def parse_overrides(pairs: Iterable[str]) -> dict[str, Any]:
    """Read `key=value` words into values; types are checked by `override`.

    Raises:
        InputError: a word without an equals sign.
    """
    values = {}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not equals:
            raise InputError(f"--set {pair}: expected key=value, for example --set epochs=30")
        values[key.strip().replace("-", "_")] = _literal(text.strip())
    return values


def _literal(text: str) -> Any:
    words = {"true": True, "false": False, "none": None}
    if text.lower() in words:
        return words[text.lower()]
    try:
        return ast.literal_eval(text)  # reads numbers and lists; runs nothing
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return text


def typed(key: str, value: Any, kind: Any) -> Any:
    """The value of a setting as its field has it: `kind` is the field's type.

    Raises:
        InputError: another type, or a number that is not finite.
    """
    if kind == float | None or kind == int | None:
        if value is None:
            return None
        kind = float if kind == float | None else int
    if kind is str:
        value = "none" if value is None else value
        ok = isinstance(value, str)
    elif kind is bool:
        ok = isinstance(value, bool)
    elif kind is int:
        ok = isinstance(value, int) and not isinstance(value, bool)
    elif kind is float:
        ok = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < math.inf
        ok = ok and abs(value) < 1e300  # a whole number may be larger than any float
        value = float(value) if ok else value
    else:
        item = typing.get_args(kind)[0]
        values = value if isinstance(value, list | tuple) else (value,)
        return tuple(typed(key, part, item) for part in values)
    if not ok:
        names = {str: "a word", bool: "true or false", int: "a whole number", float: "a finite number"}
        raise InputError(f"recipe setting {key} must be {names[kind]}, not {value!r}")
    return value


def check(recipe: Recipe) -> None:
    """Refuse settings that cannot be.

    Raises:
        InputError: names the first, and what it may be.
    """
    for key, (low, high) in _RANGES.items():
        value = getattr(recipe, key)
        if value is not None and not low <= value <= high:
            raise InputError(f"recipe setting {key} must lie between {low:g} and {high:g}, not {value}")
    for key, words in _WORDS.items():
        value = getattr(recipe, key)
        if value not in words:
            raise InputError(f"recipe setting {key}: '{value}' is not one of {', '.join(words)}{nearest(value, words)}")
    if len(recipe.scale) != 2 or not 0 < recipe.scale[0] <= recipe.scale[1] <= 1:
        raise InputError(f"recipe setting scale must be two fractions, smallest first, not {recipe.scale}")
    if any(step < 1 for step in recipe.milestones) or list(recipe.milestones) != sorted(set(recipe.milestones)):
        raise InputError(f"recipe setting milestones must be rising iterations, not {recipe.milestones}")

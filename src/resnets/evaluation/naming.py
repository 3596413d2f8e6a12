"""The names of the classes of imported weights, which hold none themselves."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from resnets.errors import InputError


def class_names(
    given: str | os.PathLike[str] | Sequence[str] | None, known: Sequence[str] | None, count: int
) -> tuple[tuple[str, ...], list[str]]:
    """The names of the logits, and what to say about them.

    Args:
        given: by the user: the names, or a text file with one a line.
        known: what came with the weights.
        count: of the logits.

    Raises:
        InputError: other than `count` names, one that stands twice, or a file that cannot be read.
    """
    if given is not None:
        names = _listed(Path(given)) if isinstance(given, str | os.PathLike) else tuple(given)
        if len(names) != count:
            raise InputError(f"{len(names)} class names for a network of {count} classes; give one for each logit")
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise InputError(f"the class name '{twice}' stands twice; names must differ")
        return names, []
    if known is not None and len(known) == count:
        return _distinct(known), []
    if count == 1000:
        # Imported here: torchvision takes two seconds.
        from torchvision.models import ResNet18_Weights

        names = _distinct(ResNet18_Weights.IMAGENET1K_V1.meta["categories"])
        return names, ["1000 classes: taken for ImageNet's, by torchvision's names (--classes says otherwise)"]
    width = len(str(count - 1))
    names = tuple(f"class-{index:0{width}}" for index in range(count))
    return names, [f"the classes have no names: {names[0]} to {names[-1]} (--classes gives them)"]


def _listed(path: Path) -> tuple[str, ...]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a text file in UTF-8"
        raise InputError(f"{path}: {reason}; --classes names a text file with a class a line") from None
    return tuple(line.strip() for line in lines if line.strip())


def _distinct(names: Sequence[str]) -> tuple[str, ...]:
    """The names, those that stand twice with their place beside them."""
    return tuple(name if names.count(name) == 1 else f"{name} ({place})" for place, name in enumerate(names))

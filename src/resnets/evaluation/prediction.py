"""Classes of image files: files, folders and patterns in, probabilities out."""

from __future__ import annotations

import glob
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from resnets.data import IMAGE_SUFFIXES, Preprocessing, UnreadableImage, read_reduced
from resnets.data.folders import images_below
from resnets.data.split import cores
from resnets.errors import InputError


@dataclass(frozen=True)
class Prediction:
    """What a network says of one image file.

    Attributes:
        path: the file, as named or found.
        top: (class, probability) of the likeliest classes, the likeliest first; empty when there is an error.
        error: why there is no prediction, in one line; None when there is.
        notes: what the user should be told of it.
    """

    path: str
    top: tuple[tuple[str, float], ...] = ()
    error: str | None = None
    notes: tuple[str, ...] = ()

    @property
    def words(self) -> str:
        """`cat 93.1 %, dog 4.0 %`."""
        return ", ".join(f"{name} {100 * probability:.1f} %" for name, probability in self.top)

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON data: `path`, and `top` or `error`."""
        if self.error is not None:
            return {"path": self.path, "error": self.error}
        return {"path": self.path, "top": [{"class": name, "probability": value} for name, value in self.top]}


def predict(
    module: Callable[[Tensor], Tensor],
    files: Sequence[str],
    classes: Sequence[str],
    preprocessing: Preprocessing,
    *,
    top: int = 5,
    flips: bool = False,
    temperature: float = 1.0,
    batch_size: int = 64,
    device: torch.device | str = "cpu",
) -> Iterator[Prediction]:
    """Yield one prediction a file, in their order; `module` gives logits of normalised images on `device`.

    A file that is missing or cannot be decoded yields a prediction with an error.

    Raises:
        InputError: `top` or `batch_size` below 1.
    """
    if top < 1 or batch_size < 1:
        raise InputError(f"top and batch_size must be at least 1, not {min(top, batch_size)}")
    for chunk, pictures in decoded(files, preprocessing, batch_size):
        images = [picture for picture in pictures if isinstance(picture, Tensor)]
        answers: Iterator[Tensor] = iter(())
        if images:
            found = _classify(module, images, preprocessing, flips=flips, temperature=temperature, device=device)
            answers = iter(found)
        for file, picture in zip(chunk, pictures, strict=True):
            if isinstance(picture, str):
                yield Prediction(file, error=picture)
            else:
                yield _prediction(file, next(answers), classes, top)


def decoded(
    files: Sequence[str], preprocessing: Preprocessing, batch_size: int
) -> Iterator[tuple[Sequence[str], list[Tensor | str]]]:
    """Yield files, `batch_size` at a time, with their pictures, uint8 [C, S, S], or why one cannot be read."""

    def decode(file: str) -> Tensor | str:
        if file.lower().endswith((".csv", ".tsv")) and os.path.isfile(file):
            return "it is a table, and this run takes images"
        try:
            return preprocessing.image(read_reduced(file, reduction=preprocessing.reduction))
        except UnreadableImage as error:
            return error.reason

    with ThreadPoolExecutor(cores()) as pool:
        for start in range(0, len(files), batch_size):
            chunk = files[start : start + batch_size]
            yield chunk, list(pool.map(decode, chunk))


def _classify(
    module: Callable[[Tensor], Tensor],
    images: Sequence[Tensor],
    preprocessing: Preprocessing,
    *,
    flips: bool,
    temperature: float,
    device: torch.device | str,
) -> Tensor:
    """Probabilities, float32 [B, classes] on the CPU, of uint8 [C, S, S] images."""
    batch = preprocessing.normalise(torch.stack(list(images))).to(device)
    with torch.no_grad():
        probabilities = module(batch).float().softmax(1)
        if flips:
            probabilities = (probabilities + module(batch.flip(-1)).float().softmax(1)) / 2
        if temperature != 1:  # logarithms of probabilities are logits but for a constant
            probabilities = (probabilities.log() / temperature).softmax(1)
    return probabilities.cpu()


def _prediction(file: str, probabilities: Tensor, classes: Sequence[str], top: int) -> Prediction:
    if not bool(probabilities.isfinite().all()):
        return Prediction(file, error="the network's output is not finite; its weights are damaged")
    values, places = probabilities.sort(descending=True, stable=True)  # equal ones in the order of the classes
    return Prediction(
        file,
        tuple(
            (classes[place], value) for place, value in zip(places[:top].tolist(), values[:top].tolist(), strict=True)
        ),
    )


def expand(paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]]) -> list[str]:
    """Return the files that paths, folders and patterns stand for, each once, in the order of `paths`.

    A folder stands for the images in it and below it, by name, without hidden files and folders. A path that
    is neither there nor a pattern is kept: its prediction will say so.

    Raises:
        InputError: no paths, a folder without images, or a pattern that matches no file.
    """
    found: dict[str, None] = {}
    for path in [paths] if isinstance(paths, str | os.PathLike) else paths:
        word = os.fspath(path)
        if os.path.isdir(word):
            files = sorted(images_below(Path(word))[0])
            if not files:
                raise InputError(f"{word}: no images in this folder (looked for {', '.join(sorted(IMAGE_SUFFIXES))})")
        elif glob.has_magic(word) and not os.path.exists(word):
            files = sorted(match for match in glob.glob(word, recursive=True) if not os.path.isdir(match))
            if not files:
                raise InputError(f"{word}: no file matches this pattern")
        else:
            files = [word]
        found.update(dict.fromkeys(files))
    if not found:
        raise InputError("no images to predict; name files, folders or patterns")
    return list(found)

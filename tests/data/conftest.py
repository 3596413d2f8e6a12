from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from resnets.data import Packed


def picture(seed: int, size: tuple[int, int] = (10, 8), grey: bool = False) -> Image.Image:
    """A smooth random picture, width x height, each seed another."""
    numbers = np.random.default_rng(seed).integers(0, 256, (3, 3) if grey else (3, 3, 3), dtype=np.uint8)
    return Image.fromarray(numbers).resize(size, Image.Resampling.BICUBIC)


@pytest.fixture
def class_folders(tmp_path: Path) -> Callable[..., Path]:
    """Write PNG files: `class_folders({"train/cat": 3, "test/cat": 1})` gives the root."""

    def write(counts: Mapping[str, int], size: tuple[int, int] = (10, 8), root: str = "pets") -> Path:
        seed = 0
        for folder, count in counts.items():
            place = tmp_path / root / folder
            place.mkdir(parents=True, exist_ok=True)
            for number in range(count):
                seed += 1
                picture(seed, size).save(place / f"{number:03}.png")
        return tmp_path / root

    return write


def random_set(n: int = 20, channels: int = 3, side: int = 8, classes: int = 3, seed: int = 0) -> Packed:
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (n, channels, side, side), dtype=torch.uint8, generator=generator)
    return Packed(images, torch.arange(n) % classes, [f"image {k}" for k in range(n)])


@pytest.fixture(scope="session")
def packed() -> Callable[..., Packed]:
    """Make a random packed set: `packed(n=20, channels=3, side=8, classes=3, seed=0)`."""
    return random_set


@pytest.fixture(scope="session")
def make_picture() -> Callable[..., Image.Image]:
    """Make a smooth random picture: `make_picture(seed, (width, height), grey=False)`."""
    return picture

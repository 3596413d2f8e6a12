"""The figures of docs/CAM.md: test images of CIFAR-10 under the maps of a trained run.

    python docs/figures/cam.py RUN CIFAR10 [FOLDER]

RUN is a run on CIFAR-10 (`resnets train CIFAR10 --arch resnet20`), CIFAR10 the data. FOLDER (docs/images)
gets `cam-cifar10.png`, the first twelve images of the test set, none of them chosen, and `cam-classes.png`, one of the
next few that the network is in doubt about, under its three likeliest classes.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

import resnets
from resnets.data import Source
from resnets.evaluation.overlay import overlay

DOUBTFUL = 12  # place in the test set: a dog
COUNT, ACROSS, FACTOR = 12, 3, 5  # images, pairs in a row, screen pixels a pixel
SIDE, GAP, LINE = 32 * FACTOR, 6, 20
INK, FAINT, WRONG = (32, 32, 32), (110, 110, 110), (190, 60, 0)


def main(run: str, source: str, folder: str = "docs/images") -> None:
    data, out = resnets.open_source(source), Path(folder)
    out.mkdir(parents=True, exist_ok=True)
    twelve(run, data).save(out / "cam-cifar10.png", optimize=True)
    with tempfile.TemporaryDirectory() as aside:
        file = Path(aside) / f"test image {DOUBTFUL}"
        data.splits["test"].image(DOUBTFUL).save(file, format="PNG")
        resnets.cam(run, file, top=3)[0].picture().save(out / "cam-classes.png", optimize=True)


def twelve(run: str, data: Source) -> Image.Image:
    """Pairs of an image and its overlay for the likeliest class, with what it is and what the network says."""
    split, names = data.splits["test"], data.classes
    cell = (2 * SIDE + GAP + 4 * GAP, SIDE + 2 * LINE + 3 * GAP)
    sheet = Image.new("RGB", (ACROSS * cell[0] - 2 * GAP, COUNT // ACROSS * cell[1]), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=15)
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder) / f"{index:02}.png" for index in range(COUNT)]
        for index, file in enumerate(files):
            split.image(index).save(file)
        results = resnets.cam(run, files)
    for index, result in enumerate(results):
        left, top = GAP + index % ACROSS * cell[0], GAP + index // ACROSS * cell[1]
        picture = split.image(index).convert("RGB").resize((SIDE, SIDE), Image.Resampling.NEAREST)
        (found,), true = result.maps, names[split.labels[index]]
        sheet.paste(picture, (left, top))
        shown = overlay(picture, found.values, (0, 0, SIDE, SIDE))
        sheet.paste(shown, (left + SIDE + GAP, top))
        draw.text((left, top + SIDE + 4), true, INK, font)
        said = f"{found.name} {100 * found.probability:.1f} %"
        draw.text((left + SIDE + GAP, top + SIDE + 4), said, INK if found.name == true else WRONG, font)
        draw.text((left + SIDE + GAP, top + SIDE + 4 + LINE), f"logit {found.logit:.2f}", FAINT, font)
    return sheet


if __name__ == "__main__":
    main(*sys.argv[1:])

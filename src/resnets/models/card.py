"""The model card: what a network on the hub is, what it reached, how to load it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

_HEAD = """\
---
library_name: resnets
pipeline_tag: image-classification
tags:
- resnet
- image-classification
---
"""


def text(info: Mapping[str, Any], repository: str) -> str:
    """The card, in Markdown, of a finished run.

    Args:
        info: its run.json. What names places on the disk of who made it, the command and the source's path, is left
            out.
        repository: `OWNER/NAME`.
    """
    view = info["preprocessing"]
    colours = "grey" if view["channels"] == 1 else view.get("channel_order", "RGB")
    facts = [
        ("network", f"{label(info)}, {info['parameters']:,} parameters"),
        ("input", f"{view['size']}x{view['size']} pixels, {colours}"),
        ("classes", f"{len(info['classes']):,}, named in config.json"),
        *_training(info),
    ]
    parts = [
        _HEAD,
        f"# {repository}\n",
        "A residual network that classifies images, with its weights, classes and preprocessing.\n",
        "\n".join(["| | |", "| --- | --- |", *(f"| {name} | {_cell(value)} |" for name, value in facts)]) + "\n",
        _figures(info.get("results") or {}),
        _use(repository),
    ]
    return "\n".join(parts)


def label(info: Mapping[str, Any]) -> str:
    """The network's name in words that hold no folder, should it be that of a file."""
    return Path(str(info.get("arch") or "network")).name


def _training(info: Mapping[str, Any]) -> list[tuple[str, str]]:
    imported = info.get("imported")
    if imported:
        return [
            ("weights", f"imported from {Path(str(imported.get('file'))).name} ({imported.get('origin') or 'ours'})")
        ]
    source, recipe = info.get("source") or {}, info.get("recipe") or {}
    sizes = ", ".join(f"{count:,} {split}" for split, count in source.get("splits", {}).items())
    epochs = f", {recipe['epochs']} epochs" if "epochs" in recipe else ""
    found = [
        ("images", f"{Path(str(source.get('name'))).name} ({sizes})"),
        ("recipe", f"{recipe.get('name')}{epochs}, seed {info.get('seed')}"),
    ]
    begun = str(info.get("started_from") or "")
    if begun.startswith(("hf:", "torchvision:")):
        found.append(("started from", begun))
    return found


def _figures(results: Mapping[str, Any]) -> str:
    rows = [
        f"| {split} | {found['top1']:.2f} | {found['loss']:.4f} | {found['n']:,} |"
        for split in ("validation", "test")
        if (found := results.get(split))
    ]
    if not rows:
        return "It has not been measured by who put it here.\n"
    chosen = (results.get("chosen") or {}).get("by")
    note = f"\nThe weights were chosen by {chosen}.\n" if chosen else ""
    return "\n".join(["| images | top-1 in percent | loss | n |", "| --- | --- | --- | --- |", *rows]) + f"\n{note}"


def _use(repository: str) -> str:
    name = repository.partition("/")[2]
    return f"""\
With the package `resnets` and its extra `hub`:

```sh
resnets import hf:{repository} --out runs/{name}
resnets predict runs/{name} some/picture.png
```

To train it further on other images: `resnets train SOURCE --recipe finetune --weights hf:{repository}`. In Python:

```python
net = resnets.create(weights="hf:{repository}")   # a torch.nn.Module
```
"""


def _cell(value: str) -> str:
    return " ".join(value.replace("|", "\\|").split())

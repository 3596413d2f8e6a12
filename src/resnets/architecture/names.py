"""The grammar of names: `[preact-]resnetDEPTH[xK][-MODIFIER…][,field=value…]`, and what each word means.

`resnet50`, `resnet50-v1`, `plain34`, `resnet44`, `preact-resnet164`, `resnet20x4`, `resnet110-C-group`,
`wrn-28-10`, `resmlp10`, `resnet18-small`, `resnet50-d`, `resnet110,shortcut=scaling:0.5,ordering=relu-before-addition`.
"""

from __future__ import annotations

import ast
import json
import os
import re
from pathlib import Path
from typing import Any

from resnets.architecture import zoo
from resnets.architecture.shortcut import Shortcut
from resnets.architecture.spec import NetworkSpec
from resnets.errors import InputError, nearest

GRAMMAR = (
    "[preact-]resnetDEPTH or plainDEPTH, with xK to widen and any of -v1 -v1.5 -A -B -C -d -t -small -imagenet -basic"
    " -bottleneck -layer -group -weight -nonorm; DEPTH is 18, 34, 50, 101 or 152 (ImageNet family), 6n+2 or, with"
    " bottlenecks, 9n+2 (CIFAR family; resnet50-basic where both have the depth); -d (deep stem, pooled shortcuts:"
    " ResNet-50-D) and -t (deep-tiered stem, likewise) are of the ImageNet family and have 10, 14, 26 and 200 too,"
    " without them resnet26-bottleneck; wrn-DEPTH-K; resmlpDEPTH; NAME,field=value sets any field"
)
_MODIFIERS: dict[str, dict[str, Any]] = {
    "v1": {"stride_in": "1x1"},
    "v1.5": {"stride_in": "3x3"},
    "a": {"shortcut": "A"},
    "b": {"shortcut": "B"},
    "c": {"shortcut": "C"},
    "d": {"stem": "deep", "shortcut": "D"},
    "t": {"stem": "deep-tiered", "shortcut": "D"},
    "small": {"stem": "small"},
    "imagenet": {"stem": "imagenet"},
    "layer": {"norm": "layer"},
    "group": {"norm": "group"},
    "weight": {"norm": "weight"},
    "nonorm": {"norm": "none"},
}
_ALIASES = {"resmlp": "resmlp10", "plainmlp": "plainmlp10"}


def spec(name: str | os.PathLike[str] | NetworkSpec, **overrides: Any) -> NetworkSpec:
    """Return a network as a value.

    Args:
        name: a name of the zoo or of `GRAMMAR`, or the path of a JSON file (a specification, or a run folder's
            run.json), optionally followed by `,field=value…`; or a spec.
        **overrides: fields of `NetworkSpec` to change, as in
            `resnets.spec("resnet110", shortcut="B", norm="group")`.

    Raises:
        InputError: nothing of that name (the nearest is offered), or a field or value that does not exist.
    """
    if isinstance(name, NetworkSpec):
        return name.replace(**overrides)
    text = os.fspath(name) if isinstance(name, str | os.PathLike) else name
    if not isinstance(text, str):
        raise InputError(f"a network is a name, the path of a JSON file or a NetworkSpec, not {name!r}")
    base, _, settings = (text, "", "") if text.endswith(".json") else text.partition(",")
    base = base.strip()
    found = _from_file(Path(base)) if base.endswith(".json") else _named(base)
    changes = {**_settings(settings, text), **overrides}
    return found.replace(**{"name": text, **changes}) if changes else found


def _from_file(path: Path) -> NetworkSpec:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: cannot read the network specification: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not JSON ({error})") from None
    if isinstance(data, dict) and isinstance(data.get("spec"), dict):
        data = data["spec"]  # the run.json of a run folder
    try:
        return NetworkSpec.from_dict(data)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def _settings(text: str, whole: str) -> dict[str, Any]:
    # Values may hold commas (units=[2,2], scaling:0.5,0.5), so a piece without "=" continues the one before.
    pieces: list[str] = []
    for piece in text.split(",") if text.strip() else []:
        if re.match(r"\s*[A-Za-z_]+\s*=", piece) or not pieces:
            pieces.append(piece)
        else:
            pieces[-1] += "," + piece
    changes = {}
    for piece in pieces:
        key, equals, value = piece.partition("=")
        if not equals:
            raise InputError(f"network {whole!r}: expected field=value after the comma, not {piece!r}")
        changes[key.strip()] = _value(value.strip())
    return changes


def _value(text: str) -> Any:
    # literal_eval reads numbers and lists and runs nothing; every other text is a word such as "group".
    words = {"true": True, "false": False, "none": "none", "null": None}
    if text.lower() in words:
        return words[text.lower()]
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return text


def _named(name: str) -> NetworkSpec:
    exact = {known.lower(): known for known in zoo.ZOO}
    key = name.lower().replace("_", "-")
    key = _ALIASES.get(key, key)
    if key in exact:
        return zoo.ZOO[exact[key]].spec
    wide = re.fullmatch(r"wrn-(\d{1,5})-(\d{1,3})((?:-[a-z0-9.]+)*)", key)
    if wide:
        depth, factor = int(wide[1]), int(wide[2])
        if depth < 10 or (depth - 4) % 6 or factor < 1:
            raise InputError(
                f"{name}: a wide residual network has 6n+4 layers and a factor from 1, as wrn-16-4 and wrn-28-10 have"
            )
        return _modified(zoo.wide(depth, factor), _words(wide[3]), name)
    mlp = re.fullmatch(r"(res|plain)mlp(\d{1,5})((?:-[a-z0-9.]+)*)", key)
    if mlp:
        depth = int(mlp[2])
        if depth < 4 or depth % 2:
            raise InputError(f"{name}: a residual MLP has 2n+2 layers, such as resmlp4 or resmlp10")
        base = zoo.residual_mlp(depth)
        return _modified(_plain(base, name, mlp[3]) if mlp[1] == "plain" else base, _words(mlp[3]), name)
    family = re.fullmatch(r"(preact-)?(resnet|plain)(\d{1,6})(?:x(\d{1,3}))?((?:-[a-z0-9.]+)*)", key)
    if not family:
        raise InputError(f"unknown network {name!r}{nearest(key, zoo.ZOO) or ';'} see 'resnets list'")
    words = _words(family[5])
    units = {"basic", "bottleneck"} & set(words)
    deep = bool({"d", "t"} & set(words))
    found = _of_depth(int(family[3]), units, name, imagenet=deep)
    if family[4]:
        factor = int(family[4])
        if factor < 1:
            raise InputError(f"{name}: a network is widened by a factor from 1, as in resnet20x4")
        found = found.replace(widths=tuple(width * factor for width in found.widths))
    if family[1]:
        found = found.replace(ordering="full-preactivation")
    if family[2] == "plain":
        found = _plain(found, name, family[5])
    return _modified(found, [word for word in words if word not in units], name)


def _words(text: str) -> list[str]:
    return [word for word in text.split("-") if word]


def _plain(found: NetworkSpec, name: str, modifiers: str) -> NetworkSpec:
    if {"a", "b", "c", "d", "t"} & set(_words(modifiers)):
        raise InputError(f"{name}: a plain network has no shortcuts; the residual one is called resnet or resmlp")
    return found.replace(shortcut=Shortcut("none", "A"))


def _of_depth(depth: int, asked: set[str], name: str, *, imagenet: bool) -> NetworkSpec:
    """The published network of this depth if its units are those `asked` for, or else the CIFAR family's.

    timm's further depths of the ImageNet family are found where it is asked for, or where no other network has them.
    """
    published = zoo.ZOO.get(f"resnet{depth}")
    further = zoo.TIMM_UNITS.get(depth)
    if imagenet and (published is None or len(published.spec.units) != 4):
        if further is None or not asked <= {further[0]}:
            raise InputError(
                f"unknown network {name!r}: -d and -t have the depths 10, 14, 18, 26, 34, 50, 101, 152 and 200"
            )
        return zoo.imagenet(depth)
    if published and asked <= {published.spec.unit}:
        return published.spec
    if depth >= 8 and (depth - 2) % 6 == 0 and "bottleneck" not in asked:
        return zoo.cifar(depth)
    if depth >= 11 and (depth - 2) % 9 == 0 and "basic" not in asked:
        return zoo.cifar_bottleneck(depth)
    if further and asked <= {further[0]}:
        return zoo.imagenet(depth)
    n = max(1, round((depth - 2) / 6))
    raise InputError(
        f"unknown network {name!r}: the depth is 18 or 34 (basic units), 50, 101 or 152 (bottlenecks) in the ImageNet"
        f" family, else 6n+2 with basic units (the nearest is resnet{6 * n + 2}) or 9n+2 with bottlenecks"
    )


def _modified(found: NetworkSpec, words: list[str], name: str) -> NetworkSpec:
    for word in words:
        if word not in _MODIFIERS:
            raise InputError(f"unknown network {name!r}: no modifier {word!r}{nearest(word, _MODIFIERS)} ({GRAMMAR})")
        found = found.replace(**_MODIFIERS[word])
    return found.replace(name=name)

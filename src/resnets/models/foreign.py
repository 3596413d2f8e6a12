"""Weights in other libraries' layouts: which network they are of, and their tensors under our keys and back.

Our keys are those of torchvision, and of timm's networks with deep stems and pooled shortcuts. timm's ResNetV2 has
others (`foreign_keys`). What keys and shapes say is read in `foreign_shapes`; that the network is the right one is
proved against the library itself (`foreign_libraries.parity`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields

from torch import Tensor

from resnets.architecture import ZOO, NetworkSpec, spec
from resnets.architecture.validation import NORM_EPS
from resnets.errors import InputError
from resnets.models.foreign_keys import from_timm_v2, is_timm_v2, strictly, timm_v2_key, to_timm_v2
from resnets.models.foreign_libraries import LIBRARIES, NAMES, bare, library_name, library_network, parity, why_not
from resnets.models.foreign_shapes import describe

__all__ = [
    "LIBRARIES",
    "Recognised",
    "library_name",
    "library_network",
    "parity",
    "recognise",
    "to_library",
    "to_ours",
    "why_not",
]


@dataclass(frozen=True)
class Recognised:
    """A network, and whose keys its weights had.

    Attributes:
        spec: the network; its name is one that `resnets.spec` takes, and gives the same network but for classes and
            channels.
        layout: `torchvision` (timm has the same keys), `timm` (networks that torchvision has not), `timm-v2` (its
            ResNetV2), or `resnets` (networks that neither has).
    """

    spec: NetworkSpec
    layout: str


def recognise(state: Mapping[str, Tensor], *, stride_in: str | None = None, norm_eps: float = NORM_EPS) -> Recognised:
    """Tell from keys and shapes alone which network weights are of.

    Some things no key says; they are taken to be what torchvision and timm have under these keys: max-pooling that is
    not blurred, ReLU, 32 groups where nothing but scales and shifts is stored (`resnet50_gn`), pooled shortcuts where a
    ResNetV2 has a deep stem. `parity` cannot find these out either.

    Args:
        state: the weights, in any layout (`Recognised.layout`).
        stride_in: see `NetworkSpec`; None: `3x3`, as torchvision and timm have it.
        norm_eps: see `NetworkSpec`.

    Raises:
        InputError: not weights of a network that can be built here, or of one that keys leave open; names the keys.
    """
    ours, called = _renamed(state)
    empty = [key for key, value in state.items() if not value.numel()]
    if empty:
        raise InputError(f"'{empty[0]}' has shape {list(state[empty[0]].shape)}: there is nothing in it")
    v2 = called is timm_v2_key
    if v2 and not any(key.endswith(".running_mean") for key in ours):
        raise InputError(
            "the keys are of timm's ResNetV2 without batch normalisation, such as BiT with its standardised weights:"
            " those networks are not built here"
        )
    found = describe({key: tuple(value.shape) for key, value in ours.items()}, stride_in=stride_in, called=called)
    found = found.replace(norm_eps=norm_eps)
    found = found.replace(name=_name(found))
    plain = bare(found.replace(stride_in="3x3"))
    layout = "timm-v2" if v2 else _layout(plain)
    if found.norm == "group" and library_name(plain, "timm") is None:
        raise InputError(
            "the keys and shapes do not tell group from layer normalisation; name the network (--arch), or give its run"
            " folder"
        )
    strictly(found, ours, called)
    return Recognised(found, layout)


def to_ours(found: Recognised, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same tensors under our keys.

    Raises:
        InputError: a key is missing (`num_batches_tracked` may be), not known, of another shape or not floating-point;
            names the first three.
    """
    ours, called = _renamed(state) if found.layout == "timm-v2" else (dict(state), str)
    return strictly(found.spec, ours, called)


def to_library(found: NetworkSpec, state: Mapping[str, Tensor], library: str) -> dict[str, Tensor]:
    """The same tensors under the keys of `torchvision` or `timm`.

    Args:
        found: the network.
        state: its weights, under our keys.
        library: whose.

    Raises:
        InputError: the library has no such network, and why; or the weights are not whole.
    """
    reason = why_not(found, library)
    if reason is None and found.norm_eps != NORM_EPS:
        reason = f"has norm_eps {NORM_EPS:g}, not {found.norm_eps:g}"
    if reason:
        raise InputError(f"{library} {reason}: {found.name or 'this network'} cannot be exported to it")
    whole = strictly(found, state)
    return to_timm_v2(whole) if found.ordering == "full-preactivation" else whole


def _renamed(state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], Callable[[str], str]]:
    """The weights under our keys, and what each of these was called."""
    if not is_timm_v2(state):
        return dict(state), str
    deep = "stem.conv2.weight" in state or "stem.conv3.weight" in state
    ours = {from_timm_v2(key, deep=deep): value for key, value in state.items()}
    if len(ours) < len(state):
        raise InputError("the keys are of timm's ResNetV2 and of another network at once")
    weight = ours.get("fc.weight")
    if weight is not None and weight.dim() == 4 and weight.shape[2:] == (1, 1):
        ours["fc.weight"] = weight.flatten(1)
    return ours, timm_v2_key


def _layout(plain: NetworkSpec) -> str:
    for library in ("torchvision", "timm"):
        if library_name(plain, library):
            return library
    return next((library for library in ("torchvision", "timm") if not why_not(plain, library)), "resnets")


def _name(found: NetworkSpec) -> str:
    """A name of the zoo or of a library's network, with what it has otherwise: `resnet50,units=[2,2,2,2]`."""
    known = [*ZOO, *NAMES["timm"].values(), "preact-resnet50", "preact-resnet18"]
    wanted = bare(found.replace(norm_eps=NORM_EPS))
    best: list[str] | None = None
    for name in known:
        have = bare(spec(name))
        pooled = [network.shortcut.matching == "D" for network in (wanted, have)]
        if wanted.shortcut.kind == "projection" and pooled[0] != pooled[1]:
            continue  # C pools where the base does
        differing = [
            item.name
            for item in fields(wanted)
            if item.compare and getattr(wanted, item.name) != getattr(have, item.name)
        ]
        if any(f",{key}=" in name for key in differing):
            continue  # no field twice
        changes = [f"{key}={_value(getattr(wanted, key))}" for key in differing]
        if best is None or len(changes) < len(best) - 1:
            best = [name, *changes]
    assert best is not None
    if found.norm_eps != NORM_EPS:
        best.append(f"norm_eps={found.norm_eps!r}")
    return ",".join(best)


def _value(value: object) -> str:
    if isinstance(value, tuple):
        return f"[{','.join(map(str, value))}]"
    word = getattr(value, "kind", None)
    if word is not None:
        matching = value.matching  # type: ignore[attr-defined]
        return {"identity": matching, "projection": "C"}.get(word, word)
    return re.sub(r"^(True|False)$", lambda found: found[0].lower(), str(value))

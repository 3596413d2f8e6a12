"""Weights in other libraries' layouts: which network they are of, and their tensors under our keys and back.

Our keys are those of torchvision, and of timm's networks with deep stems and pooled shortcuts. timm's ResNetV2 has
others (`foreign_keys`). What keys and shapes say is read in `foreign_shapes`; that the network is the right one is
proved against the library itself (`foreign_libraries.parity`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace

from torch import Tensor

from resnets.architecture import ZOO, NetworkSpec, spec
from resnets.architecture.validation import NORM_EPS
from resnets.errors import InputError
from resnets.models.foreign_keys import faults, from_timm_v2, is_timm_v2, strictly, timm_v2_key, to_timm_v2
from resnets.models.foreign_libraries import (
    LIBRARIES,
    NAMES,
    bare,
    compared,
    library_name,
    library_network,
    parity,
    why_not,
)
from resnets.models.foreign_shapes import UntoldError, describe

__all__ = [
    "LIBRARIES",
    "Recognised",
    "compared",
    "library_name",
    "library_network",
    "parity",
    "recognise",
    "to_library",
    "to_ours",
    "why_not",
]


_MOST_KEYS = 2_000  # of a file that is searched for a wrong one: a ResNet-152 has 932


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
    empty = [key for key, value in state.items() if not value.numel()]
    if empty:
        raise InputError(f"'{empty[0]}' has shape {list(state[empty[0]].shape)}: there is nothing in it")
    named = False
    try:
        found, ours, called = _read(state, stride_in, norm_eps)
        wrong = [key for keys in faults(found.spec, ours).values() for key in keys]
        named = len(wrong) == 1 and not wrong[0].startswith("fc.")
        strictly(found.spec.replace(name=_name(found.spec)), ours, called)
    except UntoldError:
        raise
    except InputError as error:
        raise (None if named else _misleading(state, stride_in, norm_eps)) or error from None
    return replace(found, spec=found.spec.replace(name=_name(found.spec)))


def _read(
    state: Mapping[str, Tensor], stride_in: str | None, norm_eps: float
) -> tuple[Recognised, dict[str, Tensor], Callable[[str], str]]:
    """The network that most of the keys and shapes tell, the weights under our keys, and what these were called."""
    ours, called = _renamed(state)
    v2 = is_timm_v2(state)
    if v2 and not any(key.endswith(".running_mean") for key in ours):
        raise InputError(
            "the keys are of timm's ResNetV2 without batch normalisation, such as BiT with its standardised weights:"
            " those networks are not built here"
        )
    found = describe({key: tuple(value.shape) for key, value in ours.items()}, stride_in=stride_in, called=called)
    found = found.replace(norm_eps=norm_eps)
    plain = bare(found.replace(stride_in="3x3"))
    if found.norm == "group" and library_name(plain, "timm") is None:
        raise InputError(
            "the keys and shapes do not tell group from layer normalisation; name the network (--arch), or give its run"
            " folder"
        )
    return Recognised(found, "timm-v2" if v2 else _layout(plain)), ours, called


def _misleading(state: Mapping[str, Tensor], stride_in: str | None, norm_eps: float) -> InputError | None:
    """The refusal of weights that are a network's but for one key, where that key misled recognition.

    Found by leaving out each key in turn. Two may be at odds, such as weight and bias of the classifier: then either
    may be the wrong one, and both are named.
    """
    refusals: list[str] = []
    for key in state if len(state) <= _MOST_KEYS else ():
        try:
            found, ours, called = _read({k: v for k, v in state.items() if k != key}, stride_in, norm_eps)
        except InputError:
            continue
        place = from_timm_v2(key, deep=_deep(state)) if found.layout == "timm-v2" else key
        if place in ours:  # a key of another layout for a weight that is there already
            place = f"{key} "
        ours[place] = _flat(state[key]) if place == "fc.weight" and found.layout == "timm-v2" else state[key]
        wrong = faults(found.spec, ours)
        if [place] != [name for names in wrong.values() for name in names]:
            continue
        network = found.spec.replace(name=_name(found.spec))
        try:
            strictly(network, ours, lambda name: key if name == place else called(name))  # noqa: B023
        except InputError as error:
            refusals.append(str(error) if not refusals else str(error).partition("; ")[2])
    return InputError("; or ".join(refusals[:3])) if refusals else None


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
    names = {key: from_timm_v2(key, deep=_deep(state)) for key in state}
    if len(set(names.values())) < len(names):
        raise InputError("the keys are of timm's ResNetV2 and of another network at once")
    theirs = {ours: key for key, ours in names.items()}
    renamed = {names[key]: value for key, value in state.items()}
    if "fc.weight" in renamed:
        renamed["fc.weight"] = _flat(renamed["fc.weight"])
    return renamed, lambda key: theirs.get(key) or timm_v2_key(key)


def _deep(state: Mapping[str, Tensor]) -> bool:
    return "stem.conv2.weight" in state or "stem.conv3.weight" in state


def _flat(weight: Tensor) -> Tensor:
    """The classifier of timm's ResNetV2, a 1x1 convolution, as the matrix that it is."""
    return weight.flatten(1) if weight.dim() == 4 and weight.shape[2:] == (1, 1) else weight


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

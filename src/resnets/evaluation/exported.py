"""A run's weights under the keys of another library, for that library to load."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from resnets.architecture import NetworkSpec
from resnets.errors import InputError, nearest
from resnets.evaluation.imported import TOLERANCE
from resnets.evaluation.numbers import require_classes
from resnets.evaluation.run import Run
from resnets.files import publish
from resnets.models import save_weights
from resnets.models.foreign import LIBRARIES, compared, library_name, to_library

SUFFIXES = (".safetensors", ".pth", ".pt")


def export_weights(run: Run | str | os.PathLike[str], out: str | os.PathLike[str], *, to: str) -> Path:
    """Write a run's weights under the keys of `torchvision` or `timm`, as `.safetensors` or, for `.pth`, as torch's.

    Where the library is installed, its own network is given the weights first, and its logits are compared.

    Args:
        run: a run, or its folder.
        out: the file to write, which must not be there.
        to: the library.

    Returns:
        The file.

    Raises:
        InputError: the library has no such network (why is said), other logits there, or an `out` that is taken or of
            another kind.
    """
    path = Path(out)
    if to not in LIBRARIES:
        raise InputError(f"cannot export to '{to}' (known: {', '.join(LIBRARIES)}){nearest(to, LIBRARIES)}")
    if path.suffix not in SUFFIXES:
        raise InputError(f"{path}: weights are written as .safetensors or .pth; end the name of --out so")
    if path.exists():
        raise InputError(f"{path} is already there and is not overwritten; choose another --out")
    run = run if isinstance(run, Run) else Run.open(run)
    require_classes(run, f"a network of {to}")
    own = run.model().state_dict()
    state = to_library(run.spec, own, to)
    difference, largest = compared(run.spec, own, to) or (0.0, 1.0)
    if not difference <= TOLERANCE * max(1.0, largest):
        raise InputError(f"{to}'s network would give logits that differ by up to {difference:.2g}; nothing was written")
    path.parent.mkdir(parents=True, exist_ok=True)
    publish(path, lambda aside: (save_weights if path.suffix == ".safetensors" else _save_torch)(aside, state))
    return path


def _save_torch(path: Path, state: Mapping[str, Tensor]) -> None:
    with path.open("wb") as file:  # given a path, torch would write its name, which is a passing one, into the file
        torch.save({key: value.detach().contiguous().clone() for key, value in state.items()}, file)


def loading_line(spec: NetworkSpec, to: str, file: str | os.PathLike[str]) -> str:
    """The line of Python that makes the library's network and loads an exported file into it."""
    name = library_name(spec, to)
    arguments = f"num_classes={spec.num_classes}" + (f", in_chans={spec.in_channels}" if spec.in_channels != 3 else "")
    if to == "torchvision":
        block = "Bottleneck" if spec.unit == "bottleneck" else "BasicBlock"
        shape = f"{list(spec.units)}, groups={spec.groups}, width_per_group={spec.group_width}, {arguments}"
        network = f"torchvision.models.{name}({arguments})" if name else f"resnet.ResNet(resnet.{block}, {shape})"
        modules = "torchvision" if name else "from torchvision.models import resnet"
    else:
        network = f"timm.create_model({name!r}, {arguments})" if name else ""
        modules = "timm"
    reader, read = (
        ("safetensors.torch", f"safetensors.torch.load_file({os.fspath(file)!r})")
        if Path(file).suffix == ".safetensors"
        else ("torch", f"torch.load({os.fspath(file)!r}, weights_only=True)")
    )
    load = f"model.load_state_dict({read})"
    if not network:
        return f"import {reader}; {load}  # model: a {to} network of this shape; it has no name there"
    imports = f"{modules}; import {reader}" if modules.startswith("from ") else f"import {reader}, {modules}"
    return f"{imports}; model = {network}; {load}"

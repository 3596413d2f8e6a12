"""The Hugging Face hub: networks taken from it and put on it, as `model.safetensors` beside `config.json`."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import Any

from resnets.architecture import NetworkSpec
from resnets.architecture import spec as make_spec
from resnets.errors import InputError
from resnets.files import readable
from resnets.models import card, folder, timm_config

CONFIG, WEIGHTS = "config.json", "model.safetensors"
FORMAT = 1  # of our config.json
_NAME = r"([\w-][\w.-]*/[\w-][\w.-]*)"


@dataclass(frozen=True)
class Config:
    """What config.json says; `foreign` where the weights may have keys of timm's."""

    spec: NetworkSpec
    foreign: bool
    preprocessing: Mapping[str, Any] | None
    classes: tuple[str, ...] | None


def is_repository(path: Path) -> bool:
    """Whether a folder is laid out as a network on the hub, and no run."""
    return (path / CONFIG).is_file() and not (path / "run.json").is_file()


def pull(repository: str) -> tuple[Path, str]:
    """Download `OWNER/NAME` or `OWNER/NAME@REVISION` into the hub's cache, unless it lies there.

    Returns:
        The folder, and `hf:OWNER/NAME@COMMIT`.

    Raises:
        InputError: no such repository, no config.json or safetensors weights in it, or no connection.
    """
    parts = re.fullmatch(rf"{_NAME}(?:@([\w./-]+))?", repository)
    if not parts:
        raise InputError(f"hf:{repository}: networks of the hub are called hf:OWNER/NAME, or hf:OWNER/NAME@REVISION")
    name, revision = parts[1], parts[2]
    library = _library()
    with _one_line(f"hf:{repository}", library):
        place = Path(library.hf_hub_download(name, CONFIG, revision=revision)).parent
        # Both files of one commit, though another be pushed in between: the folder is called after it.
        commit = place.name if place.parent.name == "snapshots" else revision
        place = Path(library.hf_hub_download(name, WEIGHTS, revision=commit)).parent
    return place, f"hf:{name}@{commit}" if commit else f"hf:{name}"


def read_config(place: Path, origin: str) -> Config:
    """Read config.json, in our form or timm's.

    Raises:
        InputError: it cannot be read, or is of a network that is not of this family.
    """
    try:
        data = json.loads((place / CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{origin}: {CONFIG} cannot be read ({error})") from None
    if isinstance(data, dict) and isinstance(data.get("spec"), dict):
        return _ours(data, origin)
    if isinstance(data, dict) and isinstance(data.get("architecture"), str):
        theirs = timm_config.read(data, origin)
        return Config(make_spec(theirs.name), True, theirs.preprocessing, theirs.classes)
    raise InputError(f"{origin}: its {CONFIG} is neither of resnets nor of timm, so nothing says what its weights are")


def _ours(data: Mapping[str, Any], origin: str) -> Config:
    if data.get("format") != FORMAT:
        raise InputError(
            f"{origin}: its {CONFIG} has the format {data.get('format')}, this version of resnets reads {FORMAT}"
        )
    try:
        spec = NetworkSpec.from_dict(data["spec"])
    except InputError as error:
        raise InputError(f"{origin}: {CONFIG}: {error}") from None
    preprocessing, classes = data.get("preprocessing"), data.get("classes")
    return Config(
        spec.replace(name=str(data.get("name") or spec.name)),
        False,
        preprocessing if isinstance(preprocessing, dict) else None,
        tuple(map(str, classes)) if isinstance(classes, list) and len(classes) == spec.num_classes else None,
    )


def write_repository(run: Path, out: Path, name: str) -> None:
    """Write a finished run as the hub has networks: weights, config.json and a model card, into the folder `out`.

    Args:
        run: the run folder.
        out: an empty folder.
        name: `OWNER/NAME`, for the card.

    Raises:
        InputError: not a finished run, a run of a regression, or its weights are damaged.
    """
    info = folder.read_run(run)
    if info.get("targets"):
        raise InputError(
            f"{run} predicts numbers, which the hub's form of a network does not hold; share the run folder"
        )
    folder.verify(run, info)
    shutil.copyfile(folder.weights_file(run, info), out / WEIGHTS)
    config = {
        "library_name": "resnets", "format": FORMAT, "version": version("resnets"), "name": card.label(info),
        "spec": info["spec"], "classes": info["classes"], "preprocessing": info["preprocessing"],
    }  # fmt: skip
    (out / CONFIG).write_text(readable(config) + "\n", encoding="utf-8")
    (out / "README.md").write_text(card.text(info, name), encoding="utf-8")


def push(run: str | os.PathLike[str] | Any, repository: str) -> str:
    """Put a finished run on the hub as a network: `resnets.push(run, "OWNER/NAME")`.

    What is there under this name gets one new commit, and keeps its history. The token is that of `hf auth login` or
    of the environment's HF_TOKEN.

    Args:
        run: a run, or its folder.
        repository: `OWNER/NAME`, with or without `hf:`; made, public, if it is not there.

    Returns:
        The repository's address.

    Raises:
        InputError: not a finished run, a name that cannot be, no connection, or no permission.
    """
    name = repository.removeprefix("hf:")
    if not re.fullmatch(_NAME, name):
        raise InputError(f"{repository}: networks of the hub are called OWNER/NAME")
    path = Path(run if isinstance(run, str | os.PathLike) else run.path)
    library = _library()
    with tempfile.TemporaryDirectory(prefix="resnets-") as place:
        write_repository(path, Path(place), name)
        with _one_line(f"hf:{name}", library):
            hub = library.HfApi()
            address = str(hub.create_repo(name, exist_ok=True))
            hub.upload_folder(repo_id=name, folder_path=place, commit_message="Add a network made by resnets")
    return address


def _library() -> ModuleType:
    try:
        import huggingface_hub
        import huggingface_hub.errors
    except ImportError:
        raise InputError("the hub needs the package huggingface_hub: pip install 'resnets[hub]'") from None
    return huggingface_hub


@contextlib.contextmanager
def _one_line(what: str, library: ModuleType) -> Iterator[None]:
    """Say what the hub refuses in one line."""
    errors = library.errors
    try:
        yield
    except errors.GatedRepoError:
        raise InputError(f"{what}: its owner lets only some in; ask on its page, and log in: hf auth login") from None
    except errors.RepositoryNotFoundError:
        raise InputError(f"{what}: no such repository, or a private one (then log in: hf auth login)") from None
    except errors.RevisionNotFoundError:
        raise InputError(f"{what}: the repository has no such revision") from None
    except errors.LocalEntryNotFoundError:
        raise InputError(
            f"{what}: the hub cannot be reached, and it is not in the cache; connect and try again"
        ) from None
    except errors.EntryNotFoundError as error:
        missing = WEIGHTS if WEIGHTS in str(error) else CONFIG
        raise InputError(f"{what}: has no {missing}; {WEIGHTS} and {CONFIG} are what is read, and no pickles") from None
    except (errors.LocalTokenNotFoundError, errors.HfHubHTTPError) as error:
        status = getattr(getattr(error, "response", None), "status_code", 401)
        if status in (401, 403):
            raise InputError(
                f"{what}: not permitted; log in with `hf auth login` or set HF_TOKEN to a token that may write"
            ) from None
        raise InputError(f"{what}: the hub answers {status}; try again later") from None
    except (errors.HTTPError, errors.HFValidationError, ConnectionError) as error:
        # HTTPError is that of the HTTP library beneath, whose failures come through as they are.
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(f"{what}: {reason}") from None

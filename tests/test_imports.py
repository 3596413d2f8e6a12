"""Imports flow down the list of rooms only, and what must stay light imports no torch."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import resnets

PACKAGE = Path(resnets.__file__).parent
# From the bottom up, as in docs/DESIGN.md: a room may import the rooms before it and itself.
ROOMS = [
    "errors",
    "files",
    "native",
    "manifest",
    "verification",
    "sheet",
    "architecture",
    "pages",
    "residuals",
    "models",
    "inspection",
    "data",
    "evaluation",
    "training",
    "studies",
    "export",
    "serving",
    "cli",
]
# Arrows that point down and still must not be: each with its reason.
FORBIDDEN = {
    ("data", "models"): "data knows images, not networks",
    ("models", "data"): "a network knows nothing of where its images come from",
    ("export", "training"): "a finished run is enough",
    ("serving", "training"): "a finished run is enough",
    ("serving", "studies"): "a finished run is enough",
    ("export", "studies"): "a finished run is enough",
}
# Outside the rooms: the package itself, which exports lazily, and its entry point, which calls `cli`.
OUTSIDE = {"__init__", "__main__"}


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def room_of(path: Path) -> str:
    inside = path.relative_to(PACKAGE)
    return inside.parts[0].removesuffix(".py")


def imported(path: Path) -> list[tuple[int, str]]:
    """Line and absolute name of every import in the file, lazy ones and those for type checkers too."""
    package = ["resnets", *path.relative_to(PACKAGE).parts[:-1]]
    found: list[tuple[int, str]] = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package[: len(package) - node.level + 1]) if node.level else ""
            module = ".".join(filter(None, [base, node.module or ""]))
            found.append((node.lineno, module))
            found += [(node.lineno, f"{module}.{alias.name}") for alias in node.names]
    return found


def upward_arrows(path: Path) -> list[str]:
    here = room_of(path)
    complaints = []
    for lineno, name in imported(path):
        parts = name.split(".")
        if parts[0] != "resnets" or len(parts) < 2 or parts[1] not in ROOMS:
            continue
        there = parts[1]
        if ROOMS.index(there) > ROOMS.index(here):
            complaints.append(f"{path}:{lineno}: {here} imports {there}, which stands above it")
        elif reason := FORBIDDEN.get((here, there)):
            complaints.append(f"{path}:{lineno}: {here} imports {there}, but {reason}")
    return complaints


def test_every_module_lies_in_a_known_room():
    assert {room_of(path) for path in modules()} - OUTSIDE <= set(ROOMS)


@pytest.mark.parametrize(
    "path", [p for p in modules() if room_of(p) not in OUTSIDE], ids=lambda p: str(p.relative_to(PACKAGE))
)
def test_imports_flow_down(path):
    assert upward_arrows(path) == []


def test_an_upward_arrow_is_seen(tmp_path, monkeypatch):
    (tmp_path / "data").mkdir()
    wrong = tmp_path / "data" / "wrong.py"
    wrong.write_text("def f():\n    from resnets.models import build\n    from ..training import fit\n")
    monkeypatch.setitem(globals(), "PACKAGE", tmp_path)
    assert len(set(upward_arrows(wrong))) == 2


@pytest.mark.parametrize(
    "path",
    [p for p in modules() if room_of(p) in {"architecture", "errors", "files", "native", "manifest", "verification"}],
    ids=lambda p: p.name,
)
def test_architecture_imports_no_torch(path):
    assert not [name for _, name in imported(path) if name.split(".")[0] in {"torch", "torchvision"}]


def loaded_by(*arguments: str) -> tuple[set[str], float]:
    """The packages that a fresh interpreter has loaded after `arguments`, and the seconds that took."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", *arguments],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    rows = [
        line.split("|") for line in done.stderr.splitlines() if line.startswith("import time:") and "[us]" not in line
    ]
    own = [int(row[0].split(":")[1]) for row in rows]
    return {row[2].strip().split(".")[0] for row in rows}, sum(own) / 1e6


@pytest.mark.parametrize(
    "arguments",
    [
        ("-c", "import resnets"),
        ("-m", "resnets", "--help"),
        ("-m", "resnets", "train", "--help"),
        ("-m", "resnets", "list"),
    ],
    ids=" ".join,
)
def test_light_starts_import_no_torch(arguments):
    loaded, seconds = loaded_by(*arguments)
    assert "resnets" in loaded
    assert not loaded & {"torch", "torchvision", "numpy", "sklearn", "pyarrow", "matplotlib", "PIL"}
    assert seconds < 3.0  # about 0.2 s on an idle machine; the room above it is for a busy one


def test_exported_names():
    words = "InputError Inspection NetworkSpec Recipe Run Shortcut ZOO cam compare create draw evaluate export_weights"
    words += " import_weights inspect open_run open_source push recipe residual_analysis spec train"
    assert sorted(resnets.__all__) == sorted(words.split())
    for name in resnets.__all__:
        assert getattr(resnets, name) is not None
    assert set(resnets.__all__) <= set(dir(resnets))
    with pytest.raises(AttributeError, match="no attribute 'resnet50'"):
        _ = resnets.resnet50


def test_lazy_names_match_those_that_type_checkers_see():
    tree = ast.parse((PACKAGE / "__init__.py").read_text(encoding="utf-8"))
    block = next(n for n in tree.body if isinstance(n, ast.If) and ast.unparse(n.test) == "TYPE_CHECKING")
    seen = {alias.name: node.module for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert {name: module.removeprefix("resnets.") for name, module in seen.items()} == resnets._ROOM
    assert set(seen) | {"open_run"} == set(resnets.__all__)


def test_version_is_that_of_the_distribution():
    metadata = importlib.import_module("importlib.metadata")
    assert metadata.version("resnets") == resnets.__version__

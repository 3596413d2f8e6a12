"""The benchmarks stand beside the package, not in it."""

import importlib
import sys
from pathlib import Path

import pytest


@pytest.fixture
def benchmark_module(monkeypatch):
    """Imports one of the project's benchmarks by name, anew."""
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2]))
    for name in [name for name in sys.modules if name.split(".")[0] == "benchmarks"]:
        monkeypatch.delitem(sys.modules, name)
    return lambda name: importlib.import_module(f"benchmarks.{name}")

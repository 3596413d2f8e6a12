"""Importing without the garbage collector."""

import gc
import sys

from resnets.cli.loading import importing


def test_what_is_imported_is_not_looked_through_again(monkeypatch):
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    try:
        with importing():
            assert not gc.isenabled()
        assert gc.isenabled() and gc.get_freeze_count() > 1000
    finally:
        gc.unfreeze()


def test_the_collector_is_left_alone_where_torch_is_there_or_it_was_off(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", sys)
    with importing():
        assert gc.isenabled()
    monkeypatch.delitem(sys.modules, "torch")
    gc.disable()
    try:
        with importing():
            pass
        assert not gc.isenabled() and gc.get_freeze_count() == 0
    finally:
        gc.enable()

"""Kernels in C: compiled once, never needed, and run only where nobody else could have written them."""

import logging
import os
import shutil
import subprocess
import sys

import pytest

from resnets import native

pytestmark = pytest.mark.skipif(
    sys.platform not in ("linux", "darwin") or not any(map(shutil.which, ("cc", "gcc", "clang"))),
    reason="no C compiler",
)


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("CC", raising=False)
    native._library.cache_clear()
    yield
    native._library.cache_clear()


@pytest.fixture
def source(tmp_path):
    file = tmp_path / "twice.c"
    file.write_text("int twice(int x) { return 2 * x; }\n")
    return file


@pytest.fixture
def no_compiling(monkeypatch):
    def fail(*arguments, **keywords):
        raise AssertionError("compiled")

    return lambda: monkeypatch.setattr(subprocess, "run", fail)


def kept():
    return native.cache_folder() / "native"


def test_a_kernel_is_compiled_once_and_found_by_the_next_process(source, no_compiling):
    before = os.umask(0o002)  # as where every user has a group: what a compiler writes, the group may write to
    try:
        first = native.library(source)
    finally:
        os.umask(before)
    assert first is not None and first.twice(21) == 42
    assert native.library(source) is first
    assert kept().stat().st_mode & 0o777 == 0o700
    assert [path.suffix for path in kept().iterdir()] == [".so"]  # nothing beside it
    native._library.cache_clear()
    no_compiling()
    again = native.library(source)
    assert again is not None and again.twice(4) == 8


def test_a_changed_source_or_compiler_is_compiled_anew(source, monkeypatch):
    assert native.library(source).twice(1) == 2
    native._library.cache_clear()
    source.write_text("int twice(int x) { return 2 * x + 100; }\n")
    assert native.library(source).twice(1) == 102
    native._library.cache_clear()
    monkeypatch.setenv("CC", "cc -DOTHER")
    assert native.library(source).twice(1) == 102
    assert len(list(kept().iterdir())) == 3


def test_another_processor_gets_a_library_of_its_own(source, monkeypatch):
    here = native._place(source)
    monkeypatch.setattr(native, "_processor", lambda: "another")
    assert native._place(source) != here


@pytest.mark.parametrize("why", ["no compiler", "broken", "slow", "nowhere to keep it", "no home"])
def test_what_cannot_be_compiled_is_left_to_plain_code(why, source, monkeypatch, caplog, tmp_path):
    said = {"no compiler": "no C compiler", "broken": "expected", "slow": "timed out", "no home": "home"}
    if why == "no compiler":
        monkeypatch.setenv("PATH", str(tmp_path))
    elif why == "broken":
        source.write_text("int twice(int x) { return\n")
    elif why == "slow":
        monkeypatch.setattr(native, "_LONGEST", 0.0)
    elif why == "nowhere to keep it":
        monkeypatch.setenv("XDG_CACHE_HOME", str(source))
    else:
        monkeypatch.delenv("XDG_CACHE_HOME")
        monkeypatch.delenv("HOME", raising=False)
        monkeypatch.setattr("pwd.getpwuid", dict[int, object]().__getitem__)
    with caplog.at_level(logging.INFO, logger="resnets"):
        assert native.library(source) is None
    assert "twice.c is not used" in caplog.text and said.get(why, "") in caplog.text
    assert len(caplog.records) == 1 and caplog.records[0].levelno <= logging.INFO
    assert not list(tmp_path.rglob("*.so")) and not list(tmp_path.rglob("*.part"))


@pytest.mark.parametrize("what", ["file", "folder", "link"])
def test_what_others_could_have_written_is_not_loaded(what, source, tmp_path, caplog):
    assert native.library(source) is not None
    native._library.cache_clear()
    place = native._place(source)
    if what == "link":
        place.rename(tmp_path / "elsewhere.so")
        place.symlink_to(tmp_path / "elsewhere.so")
    else:
        (place if what == "file" else place.parent).chmod(0o777)
    with caplog.at_level(logging.INFO, logger="resnets"):
        assert native.library(source) is None
    assert "not yours alone to write" in caplog.text


def test_what_another_user_made_is_not_loaded(source, monkeypatch):
    assert native.library(source) is not None
    native._library.cache_clear()
    mine = os.getuid()
    monkeypatch.setattr(os, "getuid", lambda: mine + 1)
    assert native.library(source) is None


def test_not_on_windows(source, monkeypatch):
    monkeypatch.setattr(sys, "platform", "win32")
    assert native.library(source) is None

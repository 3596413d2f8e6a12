"""No code is ever run from a file (promise 4): gadgets, bombs, lying headers, and broken copies by the thousand.

The long form: `RESNETS_CASES=100000 pytest -m slow tests/reliability/test_foreign_files.py -s`.
"""

from __future__ import annotations

import json
import os
import pickle
import struct
import time
import zipfile
from pathlib import Path
from typing import Any

import gadgets
import pytest
import torch
from finished import finished_run
from guard import guarded

from resnets.errors import InputError
from resnets.evaluation import Run
from resnets.models import read_state
from resnets.models.allocator import keeping_freed

pytestmark = pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux, to watch the memory")


def test_the_watch_sees_what_it_is_there_for(tmp_path: Path) -> None:
    found = guarded("misbehaviour:misbehave", tmp_path)
    seen = {entry.split(": ")[1].split(" ")[0] for entry in found["violations"]}
    assert {"os.system", "subprocess.Popen", "socket.__new__", "open", "import", "exec", "os.mkdir"} <= seen
    words = " ".join(found["faults"])
    assert all(word in words for word in ("not one short line", "KeyError", "MemoryError", "MiB more", "Late"))


def test_memory_that_the_tests_have_freed_does_not_hide_what_is_taken(tmp_path: Path) -> None:
    with keeping_freed(True):
        blocks = [torch.ones(5 << 20) for _ in range(10)]
        last = torch.ones(1000)  # above them: the heap cannot end below it
        del blocks
        found = guarded("misbehaviour:grow", tmp_path)
    assert "MiB more" in " ".join(found["faults"]) and last[0] == 1


def test_every_gadget_bomb_and_lie_is_refused_in_one_line(tmp_path: Path) -> None:
    found = guarded("hostile:read_gadgets", tmp_path)
    assert found["violations"] == found["faults"] == found["taken"] == []
    assert found["counts"]["refused"] == len(gadgets.CALLS) * 6 + found["counts"]["others"] > 250
    assert found["left"] == ["own"]  # nothing was made beside the files themselves


def test_broken_files_are_read_or_refused(tmp_path: Path) -> None:
    _mutants(tmp_path, int(os.environ.get("RESNETS_CASES_SHORT", "800")), "short")


@pytest.mark.slow
@pytest.mark.timeout(0)
def test_a_hundred_thousand_broken_files_are_read_or_refused(tmp_path: Path) -> None:
    _mutants(tmp_path, int(os.environ.get("RESNETS_CASES", "100000")), os.environ.get("RESNETS_SEED", "long"))


def _mutants(folder: Path, cases: int, seed: str) -> None:
    found = guarded("hostile:read_mutants", folder, cases, seed, timeout=60 + cases)
    print(json.dumps({key: value for key, value in found.items() if key != "reasons"}))
    assert found["violations"] == found["faults"] == []
    assert found["counts"]["read"] + found["counts"]["refused"] == cases
    assert found["left"] == ["own"]
    for kind in ("safetensors", "zip", "legacy", "specification", "run.json"):
        # Both outcomes come: what breaks nothing proves nothing, and neither does what is never read.
        assert found["counts"][f"{kind}: refused"] > cases // 20 and found["counts"][f"{kind}: read"] > 0


def test_the_harmless_siblings_of_the_gadgets_are_read(tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    old = {"a": gadgets.legacy_tensor(4)}
    numbers = struct.pack("<q4f", 4, 1, 2, 3, 4)
    python2 = pickle.dumps(["0"], 2).replace(b"X\x01\0\0\0" + b"0", b"U\x010")
    spelt = gadgets.pickled(old).replace(b"X\x01\0\0\0" + b"0", b"U\x010")
    for content in (
        gadgets.archive(gadgets.pickled({"a": gadgets.tensor()}), {"0": numbers[8:]}),
        gadgets.archive(gadgets.pickled({"model": {"a": gadgets.tensor()}, "b": [({"c": 3},)]}), {"0": numbers[8:]}),
        gadgets.legacy(gadgets.pickled(old), ["0"], numbers),
        gadgets.legacy(spelt, [], b"")[: -len(pickle.dumps([], 2))] + python2 + numbers,
    ):
        path.write_bytes(content)
        assert read_state(path)[0]["a"].tolist() == [1, 2, 3, 4]
    path.write_bytes(
        gadgets.safetensors_file({"a": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}}, numbers[8:])
    )
    assert read_state(path)[0]["a"].tolist() == [1, 2, 3, 4]


def test_a_checkpoint_that_holds_itself_is_refused(tmp_path: Path) -> None:
    whole: dict[str, Any] = {"epoch": 3}
    whole["model"] = whole
    torch.save(whole, tmp_path / "w.pth")
    with pytest.raises(InputError, match="'epoch' is of type int, not a tensor"):
        read_state(tmp_path / "w.pth")


def test_a_mapping_with_methods_of_its_own_is_read_by_ours(tmp_path: Path) -> None:
    # What torch's reader lets a pickle do: set the attributes of an OrderedDict, which then hide its methods.
    shadows = gadgets.spelt({"items": 1, "get": 2, "keys": 3, "values": 4}) + b"b"
    named = gadgets.spelt({"a": gadgets.tensor()})[1:]  # without the empty dict
    data = b"\x80\x02" + gadgets.spelt(gadgets.Call("collections", "OrderedDict")) + named + shadows + b"."
    (tmp_path / "w.pth").write_bytes(gadgets.archive(data))
    found, _ = read_state(tmp_path / "w.pth")
    assert {key: value.tolist() for key, value in found.items()} == {"a": [0.0] * 4}


@pytest.mark.parametrize("checksums", [True, False])
def test_files_with_and_without_checksums_are_read(tmp_path: Path, checksums: bool) -> None:
    try:
        torch.serialization.set_crc32_options(checksums)
        torch.save(gadgets.STATE, tmp_path / "w.pth")
    finally:
        torch.serialization.set_crc32_options(True)
    found, _ = read_state(tmp_path / "w.pth")
    assert all(torch.equal(found[key], value) for key, value in gadgets.STATE.items())


def test_every_flipped_bit_of_the_weights_is_seen(tmp_path: Path) -> None:
    torch.save(gadgets.STATE, tmp_path / "w.pth")
    whole = (tmp_path / "w.pth").read_bytes()
    place = whole.index(gadgets.STATE["fc.bias"].numpy().tobytes())
    for bit in range(8 * 10):
        broken = bytearray(whole)
        broken[place + bit // 8] ^= 1 << bit % 8
        (tmp_path / "w.pth").write_bytes(broken)
        with pytest.raises(InputError, match="the checksum of its record"):
            read_state(tmp_path / "w.pth")


def test_a_message_is_one_line_whatever_it_quotes() -> None:
    text = str(InputError("a\nb\u2028c\u202e\ud800" + "x" * 10_000 + "the advice"))
    assert text.startswith(r"a\nb\u2028c\u202e\ud800xx") and text.endswith("the advice") and len(text) < 2000


@pytest.mark.parametrize("changes", [{"weights": {"file": "w" * 5000, "sha256": "0"}}, {"classes": [["a"], "b", "c"]}])
def test_a_run_whose_record_is_odd_is_refused(tmp_path: Path, changes: dict[str, Any]) -> None:
    file = finished_run(tmp_path / "run") / "run.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))
    with pytest.raises(InputError, match=r"weights are missing|lacks classes that are words"):
        Run.open(tmp_path / "run")


@pytest.mark.slow
def test_a_directory_without_end_is_refused_before_it_is_read(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "many.pth", "w") as whole:
        for number in range(200_000):
            whole.writestr(zipfile.ZipInfo(f"w/{number}"), b"")
    began = time.process_time()
    with pytest.raises(InputError, match="damaged"):
        read_state(tmp_path / "many.pth")
    assert time.process_time() - began < 1

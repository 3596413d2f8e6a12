"""`resnets verify`: every file of a run, what it is, and whether it is as it was written."""

import json
import shutil
from pathlib import Path

import charts
import pytest
from commandline import fingerprint, resnets
from finished import finished_run
from small import SPEC, advance, small_state

from resnets import cli
from resnets.errors import InputError
from resnets.models.folder import write_info
from resnets.training.checkpoint import save
from resnets.verification import verify_run


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A finished run. Tests work on copies."""
    place = tmp_path_factory.mktemp("verify")
    (place / "small.json").write_text(json.dumps(SPEC.to_dict()))
    words = ["--arch", place / "small.json", "--epochs", "2", "--threads", "1", "--set", "batch_size=256"]
    with charts.left_out():
        assert cli.main([str(word) for word in ("train", "digits", *words, "--out", place / "run")]) == 0
    return place / "run"


@pytest.fixture
def run(trained, tmp_path):
    return Path(shutil.copytree(trained, tmp_path / "run"))


def states(run):
    return {file.path: file.state for file in verify_run(run).files}


def verified(capfd, run, *options):
    capfd.readouterr()
    code = cli.main(["verify", str(run), *options])
    return code, *capfd.readouterr()


def test_a_finished_run_is_sound_in_every_file(run):
    found = verify_run(run)
    assert found.ok and found.status == "finished"
    assert {file.state for file in found.files} == {"sound"}
    there = {str(path.relative_to(run)) for path in run.rglob("*") if path.is_file()}
    assert {file.path for file in found.files} == there
    assert all(file.bytes == (run / file.path).stat().st_size for file in found.files)
    assert not [file for file in found.files if file.what == "no file of a run"]


def test_the_command_says_what_each_file_is_and_changes_nothing(trained):
    before = fingerprint(trained)
    done = resnets("verify", trained)
    assert done.code == 0 and "the chosen weights" in done.out and "the optimiser's state" in done.out
    assert "finished; 17 of 17 files checked and sound" in done.err
    assert fingerprint(trained) == before


@pytest.mark.parametrize(
    "name", ["run.json", "weights.safetensors", "metrics.jsonl", "report.html", "manifest.json", "checkpoints"]
)
@pytest.mark.parametrize("harm", ["a bit", "the end", "all"])
def test_damage_to_any_file_is_named_and_ends_with_2(run, capfd, name, harm):
    file = next((run / "checkpoints").glob("step-*/model.safetensors")) if name == "checkpoints" else run / name
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 16
    if harm == "all":
        file.unlink()
    else:
        file.write_bytes(data if harm == "a bit" else data[:-1])
    code, out, err = verified(capfd, run, "--json")
    document = json.loads(out)
    path = str(file.relative_to(run))
    assert code == 2 and not document["ok"] and path in document["damaged"]
    assert len(document["damaged"]) == 1 or name == "manifest.json"
    assert err.count("\n") == 1 and err.startswith("error: ") and path in err
    listed = {entry["path"]: entry["state"] for entry in document["files"]}
    assert listed[path] == ("missing" if harm == "all" else "damaged")


def test_a_run_that_is_not_finished_is_checked_as_far_as_it_got(tmp_path):
    state = advance(small_state())
    save(state, tmp_path / "checkpoints")
    write_info(tmp_path, {"format": 2, "status": "interrupted"})
    (tmp_path / "metrics.jsonl").write_text("")
    (tmp_path / "checkpoints" / ".step-00000002.77.part").mkdir()
    (tmp_path / "checkpoints" / ".step-00000002.77.part" / "state.json").write_text("{")
    (tmp_path / "notes.txt").write_text("mine")
    found = verify_run(tmp_path)
    assert found.ok and found.status == "interrupted"
    assert states(tmp_path) == {
        "run.json": "sound",
        "metrics.jsonl": "unchecked",
        "notes.txt": "foreign",
        "checkpoints/.step-00000002.77.part/state.json": "left over",
        **{
            f"checkpoints/step-00000001/{name}": "sound"
            for name in ("manifest.json", "model.safetensors", "optimizer.safetensors", "state.json")
        },
    }


def test_a_run_of_the_first_format_is_checked_by_what_it_has(tmp_path):
    run = finished_run(tmp_path / "old")
    assert states(run) == {"run.json": "unchecked", "weights.safetensors": "sound"}
    with (run / "weights.safetensors").open("r+b") as file:
        file.seek(-1, 2)
        file.write(b"\x7f")
    assert [file.path for file in verify_run(run).damaged] == ["weights.safetensors"]


def test_without_its_seal_a_new_run_does_not_pass_for_an_old_one(run):
    info = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps({**info, "format": 1, "seed": 5}))
    assert [file.path for file in verify_run(run).damaged] == ["run.json"]
    from resnets.evaluation import Run

    with pytest.raises(InputError, match=r"run\.json is damaged or was edited"):
        Run.open(run)


def test_a_checkpoint_without_its_manifest_is_not_believed(run):
    step = next((run / "checkpoints").glob("step-*"))
    (step / "manifest.json").unlink()
    found = verify_run(run)
    assert [file.path for file in found.damaged] == [f"checkpoints/{step.name}/manifest.json"]


def test_what_is_no_run_is_refused(tmp_path, capfd):
    assert verified(capfd, tmp_path / "nothing")[0] == 2
    code, out, err = verified(capfd, tmp_path, "--json")
    assert (code, out) == (2, "") and "is not a run folder" in err

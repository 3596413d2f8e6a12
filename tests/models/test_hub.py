"""The hub, without it: a small server here answers as it does, to huggingface_hub's own client."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import huggingface_hub
import numpy as np
import pytest
import timm
import torch
import yaml
from finished import PREPROCESSING, finished_run
from huggingface_hub import constants
from naive import randomise
from PIL import Image
from timm.models._hub import save_for_hf

import resnets
from resnets import cli
from resnets.architecture import spec
from resnets.data import Preprocessing
from resnets.errors import InputError
from resnets.models import create, hub, load_weights, pretrained

COMMIT = "1234567890abcdef1234567890abcdef12345678"


class _Hub(BaseHTTPRequestHandler):
    """Serves `root/OWNER/NAME/FILE` under the hub's addresses, all of one commit."""

    root: Path

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, *, body: bool) -> None:
        parts = self.path.strip("/").split("/")
        file = self.root.joinpath(*parts[:2], *parts[4:]) if parts[2:3] == ["resolve"] else self.root / "nothing"
        code = None
        if not file.parent.is_dir() or file.parent == self.root:
            code = "RepoNotFound"
        elif parts[3] not in ("main", "v2", COMMIT):
            code = "RevisionNotFound"
        elif file.name.startswith("closed"):
            code = "GatedRepo"
        elif not file.is_file():
            code = "EntryNotFound"
        content = b"" if code else file.read_bytes()
        self.send_response(404 if code else 200)
        if code:
            self.send_header("X-Error-Code", code)
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if body:
            self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder that the hub serves; the client's cache is empty."""
    root = tmp_path / "hub"
    root.mkdir()
    handler = type("Here", (_Hub,), {"root": root})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as listening:
        threading.Thread(target=listening.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{listening.server_port}"
        monkeypatch.setattr(constants, "ENDPOINT", address)
        monkeypatch.setattr(
            constants, "HUGGINGFACE_CO_URL_TEMPLATE", address + "/{repo_id}/resolve/{revision}/{filename}"
        )
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        yield root
        listening.shutdown()


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return finished_run(tmp_path / "run")


@pytest.fixture
def pushed(server: Path, run: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The run on the served hub, put there by `push`; only the upload itself is stood in for."""

    def create_repo(self: Any, repo_id: str, *, exist_ok: bool) -> str:
        (server / repo_id).mkdir(parents=True, exist_ok=exist_ok)
        return f"https://huggingface.co/{repo_id}"

    def upload_folder(self: Any, *, repo_id: str, folder_path: str, commit_message: str) -> None:
        for file in Path(folder_path).iterdir():
            (server / repo_id / file.name).write_bytes(file.read_bytes())

    monkeypatch.setattr(huggingface_hub.HfApi, "create_repo", create_repo)
    monkeypatch.setattr(huggingface_hub.HfApi, "upload_folder", upload_folder)
    assert resnets.push(run, "somebody/net") == "https://huggingface.co/somebody/net"
    return server / "somebody" / "net"


def test_what_is_pushed_can_be_pulled(pushed: Path, run: Path) -> None:
    found = pretrained("hf:somebody/net")
    before = pretrained(run)
    assert (found.spec, found.classes, found.preprocessing) == (before.spec, before.classes, before.preprocessing)
    assert found.spec.name == "resnet8" and found.preprocessing == PREPROCESSING
    assert all(torch.equal(found.state[key], value) for key, value in before.state.items())
    assert found.origin == f"hf:somebody/net@{COMMIT}"
    assert create(weights="hf:somebody/net@v2").initialised == ()
    assert pretrained(pushed).classes == before.classes  # a clone of the repository


def test_the_commands_push_and_pull(
    pushed: Path, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["export", str(run), "--to", "hf:somebody/net"]) == 0
    told = capsys.readouterr()
    assert told.out == "https://huggingface.co/somebody/net\n" and 'weights="hf:somebody/net"' in told.err
    assert cli.main(["import", "hf:somebody/net", "--out", str(tmp_path / "again"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["classes"] == 3
    again, before = resnets.open_run(str(tmp_path / "again")), resnets.open_run(str(run))
    assert (again.spec, again.classes, again.preprocessing) == (before.spec, before.classes, before.preprocessing)
    assert all(
        torch.equal(value, before.model().state_dict()[key]) for key, value in again.model().state_dict().items()
    )


def test_what_was_pulled_is_there_without_the_hub(pushed: Path, server: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pretrained("hf:somebody/net")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert pretrained("hf:somebody/net").classes is not None
    with pytest.raises(InputError, match="cannot be reached, and it is not in the cache"):
        pretrained("hf:somebody/other")


def test_the_card_says_what_it_is_and_no_place_on_the_disk(pushed: Path) -> None:
    card = (pushed / "README.md").read_text()
    _, head, body = card.split("---\n", 2)
    assert yaml.safe_load(head)["pipeline_tag"] == "image-classification"
    for words in ("resnet8", "87.65", "| test |", "photos", "hf:somebody/net", "16x16 pixels, BGR", "validation top-1"):
        assert words in body, words
    everything = card + (pushed / "config.json").read_text()
    assert "/home" not in everything and "somebody/photos" not in everything
    assert sorted(file.name for file in pushed.iterdir()) == ["README.md", "config.json", "model.safetensors"]


def test_the_card_of_imported_weights_claims_nothing(tmp_path: Path) -> None:
    imported = {"file": "/home/somebody/x.pth", "origin": "timm"}
    run = finished_run(tmp_path / "run", recipe=None, source=None, results={}, imported=imported)
    (tmp_path / "out").mkdir()
    hub.write_repository(run, tmp_path / "out", "somebody/net")
    card = (tmp_path / "out" / "README.md").read_text()
    assert "imported from x.pth (timm)" in card and "not been measured" in card and "/home" not in card


def test_every_refusal_of_the_hub_is_one_line(server: Path, pushed: Path) -> None:
    (server / "somebody" / "empty").mkdir()
    pickled = server / "somebody" / "pickled"
    pickled.mkdir()
    (pickled / "config.json").write_text((pushed / "config.json").read_text())
    (pickled / "pytorch_model.bin").write_bytes(b"code")
    for name, words in (
        ("somebody/nothing", "no such repository, or a private one"),
        ("somebody/net@v9", "no such revision"),
        ("somebody/empty", "has no config.json"),
        ("somebody/pickled", "has no model.safetensors.*no pickles"),
        ("net", "are called hf:OWNER/NAME"),
        ("../net", "are called hf:OWNER/NAME"),
        ("a/b/c", "are called hf:OWNER/NAME"),
        ("x--y/net", "x--y/net"),
    ):
        with pytest.raises(InputError, match=words) as refusal:
            pretrained(f"hf:{name}")
        assert "\n" not in str(refusal.value)


def test_an_unreachable_hub_is_one_line(server: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", "http://127.0.0.1:9/{repo_id}/{revision}/{filename}")
    monkeypatch.setattr("time.sleep", lambda _: None)  # the client waits between its attempts
    with pytest.raises(InputError, match="cannot be reached"):
        pretrained("hf:somebody/net")


def test_without_permission_nothing_is_pushed(server: Path, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(server / "no-token"))
    monkeypatch.delenv("HF_TOKEN", raising=False)
    with pytest.raises(InputError) as refusal:
        resnets.push(run, "somebody/net")
    assert "\n" not in str(refusal.value) and "hf:somebody/net" in str(refusal.value)
    assert not (server / "somebody").exists()


def test_what_cannot_be_pushed_is_refused_before_anything_is_sent(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub, "HfApi", None)
    with pytest.raises(InputError, match="are called OWNER/NAME"):
        resnets.push(run, "net")
    (run / "weights.safetensors").write_bytes(b"other")
    with pytest.raises(InputError, match="SHA-256"):
        resnets.push(run, "somebody/net")


def test_without_the_extra_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "huggingface_hub", None)
    with pytest.raises(InputError, match=r"pip install 'resnets\[hub\]'"):
        pretrained("hf:somebody/net")


@pytest.fixture
def timms(tmp_path: Path) -> Path:
    """A network as timm itself lays it out for the hub."""
    net = timm.create_model("resnet26d", num_classes=3)
    randomise(net)
    place = tmp_path / "timms"
    save_for_hf(net.eval(), place, model_config={"label_names": ["cat", "dog", "elk"]}, safe_serialization=True)
    return place


def test_networks_of_timm_are_taken_with_their_preprocessing(timms: Path) -> None:
    found = pretrained(timms)
    assert found.spec == spec(found.spec.name, num_classes=3) and found.classes == ("cat", "dog", "elk")
    theirs = timm.create_model("resnet26d", num_classes=3)
    theirs.load_state_dict(load_weights(timms / "model.safetensors"))
    images = torch.randn(2, 3, 64, 64)
    difference = create(weights=timms).eval()(images) - theirs.eval()(images)
    assert difference.abs().max() < 1e-5
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (300, 401, 3), dtype=np.uint8))
    assert found.preprocessing is not None
    preprocessing = Preprocessing.from_dict(found.preprocessing)
    view = timm.data.create_transform(**timm.data.resolve_model_data_config(theirs))
    ours = preprocessing.normalise(preprocessing.image(picture)[None])[0]
    torch.testing.assert_close(ours, view(picture), rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"architecture": "resnetaa50d"}, "timm's resnetaa50d is not among the networks built here"),
        ({"architecture": "vit_tiny_patch16_224"}, "is not among the networks built here"),
        ({"model_args": {"act_layer": "silu"}}, "made with another act_layer, which no key of the weights shows"),
        ({"model_args": {"global_pool": "max"}}, "made with another global_pool"),
        ({"pretrained_cfg": {"crop_mode": "squash"}}, "crop_mode squash; only centre squares"),
        ({"pretrained_cfg": {"input_size": [3, 224, 160]}}, "images of 160x224"),
    ],
)
def test_what_no_key_of_timms_shows_is_refused(timms: Path, change: dict[str, Any], words: str) -> None:
    file = timms / "config.json"
    config = json.loads(file.read_text())
    inner = {**config["pretrained_cfg"], **change.get("pretrained_cfg", {})}
    file.write_text(json.dumps({**config, **change, "pretrained_cfg": inner}))
    with pytest.raises(InputError, match=words) as refusal:
        pretrained(timms)
    assert "\n" not in str(refusal.value)


def test_a_config_that_lies_is_refused(server: Path, pushed: Path) -> None:
    config = json.loads((pushed / "config.json").read_text())
    for change, words in (
        ({"format": 2}, "has the format 2"),
        ({"spec": {**config["spec"], "units": [2, 2, 2]}}, "'layer1.1.conv1.weight' is missing"),
        ({"spec": {**config["spec"], "unit": "spiral"}}, "unknown unit 'spiral'"),
        ({"spec": None}, "neither of resnets nor of timm"),
    ):
        (pushed / "config.json").write_text(json.dumps({**config, **change}))
        with pytest.raises(InputError, match=words):
            pretrained(pushed)
    (pushed / "config.json").write_text("[")
    with pytest.raises(InputError, match="cannot be read"):
        pretrained(pushed)
    assert load_weights(pushed / "model.safetensors")

"""What is written is whole or not there."""

import os

import pytest

from resnets.files import publish, publish_folder, sha256, write_text


def test_a_failed_write_leaves_the_old_file_and_nothing_beside_it(tmp_path):
    file = tmp_path / "run.json"
    write_text(file, "old")

    def failing(aside):
        aside.write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        publish(file, failing)
    assert file.read_text() == "old"
    assert os.listdir(tmp_path) == ["run.json"]


def test_a_folder_appears_whole_or_not_at_all(tmp_path):
    def fill(folder):
        (folder / "a").write_text("1")
        assert not (tmp_path / "deep" / "run").exists()

    def failing(folder):
        (folder / "a").write_text("1")
        raise KeyError("full")

    with pytest.raises(KeyError, match="full"):
        publish_folder(tmp_path / "other", failing)
    assert os.listdir(tmp_path) == []
    publish_folder(tmp_path / "deep" / "run", fill)
    assert (tmp_path / "deep" / "run" / "a").read_text() == "1"
    assert os.listdir(tmp_path / "deep") == ["run"]
    (tmp_path / "empty").mkdir()
    publish_folder(tmp_path / "empty", lambda folder: (folder / "b").write_text("2"))
    with pytest.raises(OSError, match="not empty"):  # somebody else's files are not replaced
        publish_folder(tmp_path / "empty", lambda folder: (folder / "c").write_text("3"))
    assert sorted(os.listdir(tmp_path)) == ["deep", "empty"]
    assert os.listdir(tmp_path / "empty") == ["b"]


def test_sha256_of_the_standard(tmp_path):
    (tmp_path / "abc").write_bytes(b"abc")  # FIPS 180-2, appendix B.1
    assert sha256(tmp_path / "abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"

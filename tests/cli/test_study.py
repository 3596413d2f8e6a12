"""`resnets study` at the keyboard: the list, the plan, what is refused."""

from __future__ import annotations

import json

import pytest


def tell(outcome):
    return outcome.code, outcome.out, outcome.err


def test_the_list_names_every_study(command):
    code, out, _ = tell(command("study", "--list"))
    assert code == 0 and out.count("?") == 10 and "degradation" in out and "1605.06431" in out
    code, out, _ = tell(command("study", "--list", "--json"))
    assert code == 0 and len(json.loads(out)) == 10


def test_a_plan_says_what_it_would_do_and_writes_nothing(command, tmp_path):
    out = tmp_path / "study"
    code, text, _ = tell(command("study", "degradation", "--seeds", "2", "--plan", "--json", "--out", str(out)))
    found = json.loads(text)
    assert code == 0 and found["runs"] == found["runs_left"] == 8 and found["hours"] > 0
    assert {case["steps"] for case in found["cases"]} == {400} and not out.exists()
    code, text, err = tell(command("study", "degradation", "--plan", "--out", str(out)))
    assert code == 0 and text == "" and "20 runs" in err and "?" in err and not out.exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "no study named"),
        (["degredation"], "degradation"),
        (["degradation", "--seeds", "0"], "--seeds 0"),
        (["degradation", "--jobs", "0"], "--jobs"),
        (["degradation", "--depths", "7", "20"], "depth"),
        (["degradation", "--depths", "20"], "at least two"),
        (["degradation", "--data", "nowhere"], "nowhere"),
        (["degradation", "--device", "abacus"], "abacus"),
        (["degradation", "--run", "runs/x"], "trains its own networks"),
        (["lesions", "--run", "nothing"], "nothing"),
        (["lesions", "--run", "x", "--seeds", "3"], "leave out --seeds"),
        (["lesions", "--diagnose", "x"], "--diagnose belongs"),
        (["gradients", "--diagnose", "nothing"], "nothing"),
        (["gradients", "--diagnose", "x", "--retrofit", "y"], "exclude each other"),
        (["gradients", "--units", "3"], "--retrofit"),
    ],
)
def test_bad_words_end_in_one_line(command, tmp_path, monkeypatch, words, said):
    monkeypatch.chdir(tmp_path)
    code, out, err = tell(command("study", *words))
    assert code == 2 and out == "" and err.startswith("error: ") and err.count("\n") == 1 and said in err
    assert list(tmp_path.iterdir()) == []

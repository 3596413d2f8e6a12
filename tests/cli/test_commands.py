"""The commands that answer without a model: help, list, version; and what the parser makes of slips."""

from __future__ import annotations

import json
import shlex

import cyclopts
import pytest
from commandline import resnets

import resnets as package
from resnets import cli
from resnets.architecture import ZOO

COMMANDS = list(cli._COMMANDS)


def run(capsys, *words):
    code = cli.main(list(words))
    captured = capsys.readouterr()
    return code, captured.out, captured.err


@pytest.mark.parametrize("words", [["--help"], ["-h"], [], *([name, "--help"] for name in COMMANDS)], ids=" ".join)
def test_help_answers_with_an_example(capsys, words):
    code, out, err = run(capsys, *words)
    assert (code, err) == (0, "")
    assert "Usage: resnets" in out
    assert "Examples:" in out


@pytest.mark.parametrize(
    "example",
    [text for _, _, examples in cli._COMMANDS.values() for text in examples.splitlines()] + cli._EXAMPLES.splitlines(),
)
def test_every_example_of_the_help_parses(example):
    words = shlex.split(example)
    words = words[words.index("resnets") + 1 :]
    command, bound, _ = cli.application().parse_args(words, print_error=False, exit_on_error=False)
    assert command is cli._COMMANDS[words[0]][0]
    assert bound.arguments or words == ["list"]


@pytest.mark.parametrize("example", cli._COMMANDS["list"][2].splitlines())
def test_the_examples_of_list_work(capsys, example):
    code, out, _ = run(capsys, *shlex.split(example)[1:])
    assert code == 0
    assert "resnet110" in out


def test_version(capsys):
    assert run(capsys, "--version")[:2] == (0, f"{package.__version__}\n")


def test_list_json_has_the_whole_zoo(capsys):
    code, out, err = run(capsys, "list", "--json")
    rows = json.loads(out)
    assert (code, err) == (0, "")
    assert [row["name"] for row in rows] == list(ZOO)
    assert all(row["parameters"] > 0 and row["multiply_adds"] > 0 and row["depth"] > 0 for row in rows)
    assert all("arXiv" in row["source"] and "[" not in row["source"] for row in rows)
    assert next(row for row in rows if row["name"] == "resnet50")["parameters"] == 25_557_032


def test_list_as_a_table_tells_the_grammar_on_standard_error(capsys):
    code, out, err = run(capsys, "list", "plain")
    assert code == 0
    assert {words[0] for line in out.splitlines() if (words := line.split())} > {n for n in ZOO if "plain" in n}
    assert "resnet18" not in out
    assert "wrn-DEPTH-K" in err
    assert "1512.03385" in err


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["lst"], 'Did you mean "list"?'),
        (["train", "digits", "--epoch", "3"], "Did you mean --epochs?"),
        (["train", "digits", "--precision", "fp8"], "auto"),
        (["train", "digits", "--epochs", "0"], "--epochs"),
        (["train", "digits", "--epochs", "many"], "--epochs"),
        (["train", "digits", "--workers", "-1"], "--workers"),
        (["train", "digits", "more"], "more"),
        (["train"], "resnets train digits"),
        (["train", "--resume"], "--resume --out RUN"),
        (["train", "--resume", "runs/x"], "--resume --out"),
        (["evaluate"], "RUN"),
        (["evaluate", "run", "--split", "tset"], 'Did you mean "test"?'),
        (["predict", "run"], "no images to predict"),
        (["predict", "run", "x.png", "--top", "0"], "--top"),
        (["predict", "run", "--tpo", "3"], "Did you mean --top?"),
        (["list", "resent110"], "did you mean 'resnet110'?"),
        (["list", "resnet26"], "26 layers"),
        (["data"], "SOURCE"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_slips_get_one_error_line_that_helps(capsys, words, expected):
    code, out, err = run(capsys, *words)
    assert (code, out) == (2, "")
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert expected in err


def test_a_line_break_in_a_word_stays_in_one_line(capsys):
    code, _, err = run(capsys, "list", "a\nerror: b\x1b[31m")
    assert code == 2
    assert err.count("\n") == 1
    assert "\x1b" not in err


def raising(monkeypatch, error):
    def failing():
        raise error

    parser = cyclopts.App(default_command=failing, result_action="return_value")
    monkeypatch.setattr(cli, "application", lambda: parser)


@pytest.mark.parametrize(
    ("error", "code", "expected"),
    [
        (
            FileNotFoundError(2, "No such file or directory", "x.png"),
            2,
            "error: x.png: No such file or directory",
        ),
        (OSError(28, "No space left on device"), 2, "error: No space left on device"),
        (MemoryError(), 2, "error: out of memory: "),
        (RuntimeError("two\nlines"), 1, "error: unexpected RuntimeError: two\\nlines (a fault of resnets"),
        (KeyboardInterrupt(), 130, "interrupted"),
        (SystemExit(143), 143, ""),
        (BrokenPipeError(), 0, ""),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else "",
)
def test_failures_become_codes(monkeypatch, capfd, error, code, expected):
    raising(monkeypatch, error)
    if isinstance(error, BrokenPipeError):
        monkeypatch.setattr(cli.os, "dup2", lambda *_: None)  # must not close pytest's own output
    assert cli.main([]) == code
    out, err = capfd.readouterr()
    assert out == ""
    assert err.startswith(expected)
    assert err.count("\n") == (1 if expected else 0)


def test_a_traceback_on_request(monkeypatch):
    raising(monkeypatch, ValueError("here"))
    monkeypatch.setenv("RESNETS_TRACEBACK", "1")
    with pytest.raises(ValueError, match="here"):
        cli.main([])


def test_the_real_command_and_a_reader_that_goes_away():
    outcome = resnets("list", "resnet18", "--json", fresh=True)
    assert outcome.code == 0
    assert json.loads(outcome.out)[0]["name"] == "resnet18"
    assert "\x1b" not in resnets("list").out

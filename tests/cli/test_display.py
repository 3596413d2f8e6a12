"""The live view: what it says of each record, on a terminal and off one."""

from __future__ import annotations

import io
import itertools

import pytest
from rich.console import Console

from resnets.cli.display import display, duration, line
from resnets.training import Record


def step(number: int, **changes: object) -> Record:
    values = {
        "kind": "step", "step": number, "total_steps": 40, "epoch": 2, "epochs": 20, "loss": 0.8125,
        "accuracy": 71.26, "images_per_second": 1204.4, "seconds_left": 160.2,
    }  # fmt: skip
    return Record(**(values | changes))


EPOCH = step(10, kind="epoch", validation={"top1": 80.125, "loss": 0.5})


def shown(records: list[Record], *, terminal: bool, seconds_each: float = 1.0) -> str:
    file = io.StringIO()
    console = Console(file=file, force_terminal=terminal, width=120, no_color=True, highlight=False)
    display(iter(records), console=console, clock=map(float, itertools.count(0, seconds_each)).__next__)
    return file.getvalue()


def test_a_step_in_words():
    assert line(step(3)) == "epoch 3/20  loss 0.812  accuracy 71.3 %  1,204 images/s  2 min 40 s left"
    assert "1,204 rows/s" in line(step(3, cases="rows"))


def test_an_epoch_tells_its_validation():
    assert "validation 80.12 %" in line(EPOCH)


def test_a_note_stays_one_line():
    assert line(Record("note", message="images of 8x8\nare small")) == "images of 8x8\\nare small"


def test_durations():
    assert [duration(s) for s in (0.2, 59.4, 60, 160, 3600, 7380)] == [
        "0 s", "59 s", "1 min 00 s", "2 min 40 s", "1 h 00 min", "2 h 03 min",
    ]  # fmt: skip


def test_plain_lines_are_one_an_epoch_and_one_every_half_minute():
    records = [Record("note", message="[hello]"), *map(step, range(1, 101)), EPOCH]
    lines = shown(records, terminal=False).splitlines()
    assert lines[0] == "[hello]"
    assert lines[-1].startswith("epoch 3/20")
    assert "validation" in lines[-1]
    assert len(lines) == 2 + 3  # a hundred steps of one second each


def test_short_epochs_print_no_steps():
    assert len(shown([step(1), step(2), EPOCH], terminal=False).splitlines()) == 1


def test_no_control_codes_off_a_terminal():
    assert "\x1b" not in shown([step(1), EPOCH], terminal=False)


def test_on_a_terminal_a_bar_moves_above_which_epochs_stay():
    text = shown([step(1), step(20), EPOCH], terminal=True)
    assert "\x1b[" in text
    assert "validation 80.12 %" in text
    assert "50 %" in text or "accuracy 71.3 %" in text


@pytest.mark.parametrize("terminal", [True, False])
def test_an_error_within_the_records_passes_through(terminal):
    def failing():
        yield step(1)
        raise ValueError("from the loop")

    with pytest.raises(ValueError, match="from the loop"):
        shown(failing(), terminal=terminal)

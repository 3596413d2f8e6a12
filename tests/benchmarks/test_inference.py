"""The result file of inference tells how it was made, and its ratios are those of its own rounds."""

import json
import statistics
from pathlib import Path

import pytest

FILE = Path(__file__).parents[2] / "benchmarks" / "results" / "inference.json"
ENTRIES = json.loads(FILE.read_text(encoding="utf-8"))["results"] if FILE.exists() else []


def named(entry):
    return f"{entry['network']}-{entry['batch']}-{entry['precision']}-{entry['threads']}"


@pytest.mark.parametrize("entry", ENTRIES, ids=named)
def test_the_ratios_are_those_of_the_rounds(entry):
    for key in ("commit", "command", "versions", "hardware", "backend"):
        assert entry[key], key
    for kind, name in (("wall", "images_per_second"), ("cpu", "images_per_cpu_second")):
        rounds, said = entry[name], entry[kind]
        assert len({len(values) for values in rounds.values()}) == 1
        medians = {peer: statistics.median(values) for peer, values in rounds.items()}
        assert said["medians"] == pytest.approx(medians)
        ours = medians.pop("ours")
        assert said["fastest_peer"] == max(medians, key=medians.get)
        assert said["of_fastest_peer"]["ratio"] == pytest.approx(ours / max(medians.values()))
        assert said["of_eager_fp32"]["ratio"] == pytest.approx(ours / medians["eager"])

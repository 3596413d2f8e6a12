"""The result files of inference tell how they were made, and their ratios are those of their own rounds."""

import argparse
import json
import statistics
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILE, INT8 = (ROOT / "benchmarks" / "results" / f"{name}.json" for name in ("inference", "int8"))
ENTRIES = json.loads(FILE.read_text(encoding="utf-8"))["results"] if FILE.exists() else []


@pytest.fixture
def inference(benchmark_module):
    return benchmark_module("inference")


def named(entry):
    return f"{entry['network']}-{entry['batch']}-{entry['precision']}-{entry['threads']}"


@pytest.mark.parametrize("entry", ENTRIES, ids=named)
def test_the_ratios_are_those_of_the_rounds(entry):
    for key in ("commit", "command", "versions", "hardware", "backend", "seeds"):
        assert entry[key], key
    for kind, name in (("wall", "images_per_second"), ("cpu", "images_per_cpu_second")):
        rounds, said = entry[name], entry[kind]
        assert len({len(values) for values in rounds.values()}) == 1
        medians = {peer: statistics.median(v for v in values if v is not None) for peer, values in rounds.items()}
        assert said["medians"] == pytest.approx(medians)
        ours = medians.pop("ours")
        assert said["fastest_peer"] == max(medians, key=medians.get)
        assert said["of_fastest_peer"]["ratio"] == pytest.approx(ours / max(medians.values()))
        assert said["of_eager_fp32"]["ratio"] == pytest.approx(ours / medians["eager"])


@pytest.mark.skipif(not INT8.exists(), reason="int8 has not been measured")
def test_what_int8_costs_is_the_difference_of_its_figures():
    result = json.loads(INT8.read_text(encoding="utf-8"))
    for key in ("commit", "command", "versions", "hardware", "weights_sha256"):
        assert result[key], key
    for split in ("validation", "test"):
        assert result[split]["loss"] == pytest.approx(result[split]["fp32"] - result[split]["int8"])


def test_far_slower_ones_come_every_third_round_and_are_compared_where_both_ran(inference, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(inference.time, "perf_counter", lambda: now[0])
    monkeypatch.setattr(inference.time, "process_time", lambda: now[0] / 2)

    def taking(seconds):
        def run():
            now[0] += seconds

        return run

    wall, cpu = inference.alternate({"ours": taking(1.0), "peer": taking(1.25), "eager": taking(4.0)}, 8, 0.0, 5)
    assert wall == {"ours": [8.0] * 5, "peer": [6.4] * 5, "eager": [2.0, None, None, 2.0, None]}
    assert cpu["peer"] == [12.8] * 5
    said = inference.summary(wall, cpu)["wall"]
    assert said["fastest_peer"] == "peer"
    assert said["of_fastest_peer"] == {"ratio": 1.25, "least": 1.25, "most": 1.25}
    assert said["of_eager_fp32"] == {"ratio": 4.0, "least": 4.0, "most": 4.0}


def test_a_peer_that_is_not_there_is_named_and_the_others_run_on(inference, monkeypatch, capsys):
    made = argparse.Namespace(backend="eager", logits=lambda images: None)
    monkeypatch.setattr(inference.predictor, "ready", lambda *given, **how: made)

    def absent(*given):
        raise ImportError("no such library")

    setups = dict.fromkeys(inference.SETUPS, lambda *given: lambda: None)
    monkeypatch.setattr(inference, "SETUPS", setups | {"openvino": absent})
    given = argparse.Namespace(without=["inductor"], compile_seconds=5.0, seconds=0.0, rounds=2)
    result = inference.compare(argparse.Namespace(name="n", net=None), 1, "fp32", 1, given)
    assert set(result["absent"]) == {"openvino", "inductor"}
    assert result["absent"]["openvino"] == "ImportError: no such library"
    assert set(result["images_per_second"]) == {"ours", "eager", "channels_last", "onnxruntime"}
    assert "absent: ImportError: no such library" in capsys.readouterr().err


def test_what_takes_too_long_is_stopped(inference):
    with pytest.raises(TimeoutError, match="not ready within 0"), inference.within(0.05):
        time.sleep(0.5)

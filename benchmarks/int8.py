"""`python -m benchmarks.int8 RUN`: what int8 costs on the test images of a run's own source, and what it gains.

int8 is calibrated on the run's training images; all test images go through the plain network in fp32 and through the
int8 one. benchmarks/results/int8.json has both figures, of the validation and of the test split.
"""

from __future__ import annotations

import argparse
import json
import shlex
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

import resnets
from benchmarks.results import RESULTS, commit
from resnets.data import eval_batches, load_split, open_source
from resnets.evaluation import backends, quantisation, quantised, selection
from resnets.evaluation.predictor import Predictor
from resnets.training.folder import hardware

FILE = RESULTS / "int8.json"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.int8", description=__doc__.split("\n\n")[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--source", default=None, help="where the run's source is now, if not where it was")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    with tempfile.TemporaryDirectory() as folder:  # nothing that an earlier time kept is taken, or left behind
        place = Path(folder) / "run"
        shutil.copytree(given.run, place, ignore=shutil.ignore_patterns("checkpoints"))
        quantised.shelf = lambda: Path(folder) / "int8"
        run = resnets.open_run(place)
        began = time.perf_counter()
        fast = run.predictor(precision="int8", batch=given.batch)
        first = time.perf_counter() - began
        began = time.perf_counter()
        run.predictor(precision="int8", batch=given.batch)
        again = time.perf_counter() - began
        source = given.source or run.source.get("path") or run.source["name"]
        plain = run.evaluate(str(source), split="test", device="cpu")
    result: dict[str, Any] = {
        "claim": "int8", "run": given.run.name, "arch": run.info["arch"], "seed": run.info["seed"],
        "weights_sha256": run.info["weights"]["sha256"], "backend": fast.backend, "batch": given.batch,
        "threads": given.threads, "calibration_images": quantisation.CALIBRATION,
        "ready_seconds": {"first": first, "again": again}, "validation": fast.accuracy,
        "test": tested(fast, str(source), run.classes) | {"fp32": plain.top1},
        "command": shlex.join(["python", "-m", "benchmarks.int8", *sys.argv[1:]]), "commit": commit(),
        "versions": {"python": sys.version.split()[0], **backends.versions()}, "hardware": hardware("cpu"),
    }  # fmt: skip
    result["test"]["loss"] = result["test"]["fp32"] - result["test"]["int8"]
    RESULTS.mkdir(parents=True, exist_ok=True)
    FILE.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(json.dumps({key: result[key] for key in ("ready_seconds", "validation", "test")}))


def tested(fast: Predictor, source: str, classes: tuple[str, ...]) -> dict[str, Any]:
    """Top-1 of what the predictor answers on the test split, in percent."""
    found = open_source(source)
    order = selection.match_classes(found, classes)
    assert fast.preprocessing is not None
    data = load_split(found.splits["test"], fast.preprocessing, training=False)
    right = total = 0
    for batch in eval_batches(data, preprocessing=fast.preprocessing, batch_size=fast.batch):
        labels = batch.targets if order is None else torch.from_numpy(order)[batch.targets]
        right += int((fast.logits(batch.images).argmax(1) == labels).sum())
        total += len(labels)
    return {"n": total, "int8": 100 * right / total}


if __name__ == "__main__":
    main()

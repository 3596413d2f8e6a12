"""`python -m benchmarks.suspects CIFAR10 --run RUN --clean RUN`: how many planted label errors a run's suspects hold.

Ten labels a class are exchanged at random, and counted among the first 2 % of the suspects of their split:

--run    a run of the default recipe on 1,000 training images a class with such labels, and on the whole test split
         with such labels; where there is none yet, images are written beside it and it is trained (17 CPU minutes)
--clean  a run on CIFAR-10 as it is; the labels of its test split are exchanged afterwards, ten times

CIFAR10 is a folder of parquet shards in the Hugging Face layout. Writes benchmarks/results/suspects.json.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

import resnets
from benchmarks.results import RESULTS, commit, read
from resnets.data.parquet import shards
from resnets.evaluation.provenance import versions
from resnets.evaluation.report.examination import images_of, measure
from resnets.evaluation.report.renewing import renew
from resnets.evaluation.report.suspects import suspects
from resnets.training.folder import hardware

NAME, A_CLASS, FIRST, SEEDS = "suspects", 10, 0.02, 10
BEGIN, END = "<!-- suspects:begin -->", "<!-- suspects:end -->"


def exchanged(labels: NDArray[np.int64], generator: np.random.Generator) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Labels of which ten a class are another class's, uniformly; and the places of those."""
    found, classes = labels.copy(), int(labels.max()) + 1
    places = np.concatenate([generator.permutation(np.flatnonzero(labels == one))[:A_CLASS] for one in range(classes)])
    found[places] = (labels[places] + generator.integers(1, classes, len(places))) % classes
    return found, places


def plant(source: Path, out: Path, seed: int = 7) -> None:
    """Write 1,000 training images a class and all test images of CIFAR-10, ten labels a class wrong in each split."""
    generator = np.random.default_rng(seed)
    out.mkdir(parents=True)
    truth: dict[str, list[int]] = {}
    for split, files in shards(source).items():
        table = pa.concat_tables([pq.read_table(file) for file in files])
        labels = table["label"].to_numpy().astype(np.int64)
        if split == "train":
            taken = [generator.permutation(np.flatnonzero(labels == one))[:1000] for one in range(10)]
            table = table.take(np.sort(np.concatenate(taken)))
            labels = table["label"].to_numpy().astype(np.int64)
        wrong, places = exchanged(labels, generator)
        truth |= {f"{split}[{place}]": [int(labels[place]), int(wrong[place])] for place in places}
        field = table.schema.field("label")
        table = table.set_column(table.schema.get_field_index("label"), field, pa.array(wrong, type=field.type))
        table = table.replace_schema_metadata(pq.read_schema(files[0]).metadata)
        pq.write_table(table, out / f"{split}-00000-of-00001.parquet", row_group_size=1000)
    (out / "truth.json").write_text(json.dumps(truth), encoding="utf-8")


def of_planted(path: Path) -> dict[str, Any]:
    """Planted labels among the first 2 % of the suspects of each split of a run that was trained on them."""
    run = resnets.open_run(str(path))
    truth = set(json.loads((Path(run.source["path"]) / "truth.json").read_text(encoding="utf-8")))
    renew(run)
    with (path / "suspects.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    found = {}
    for split in run.info["source"]["splits"]:
        hits = [row["name"].rpartition("/")[2] in truth for row in rows if row["split"] == split]
        found[split] = {"n": len(hits), "planted": sum(hits), "found": sum(hits[: round(FIRST * len(hits))])}
    return {"splits": found, "test_top1": run.info["results"]["test"]["top1"], "seed": run.info["seed"]}


def of_clean(path: Path) -> dict[str, Any]:
    """The same of the test split of a run trained on right labels, exchanged with several seeds."""
    run = resnets.open_run(str(path))
    run = replace(run, info={**run.info, "results": dict(run.info["results"])})
    measured = measure(run, images_of(run, None), "test")
    kept = measured.found.log_probabilities
    names = {"test": measured.found.cases.names}
    features = {"test": measured.looks.features if measured.looks else None}
    counts = []
    for seed in range(SEEDS):
        wrong, places = exchanged(measured.found.cases.labels, np.random.default_rng(seed))
        ranked = suspects({"test": kept}, {"test": wrong}, names, features)
        counts.append(len({one.index for one in ranked[: round(FIRST * len(wrong))]} & set(places.tolist())))
    return {"n": len(kept), "planted": len(places), "found": counts, "test_top1": measured.found.top1}


def table() -> str:
    """The table in Markdown."""
    result = read(NAME)
    if result is None:
        return "Nothing is recorded yet."
    rows = ["| network | images | wrong labels | among the first 2 % |", "| --- | --- | --- | --- |"]
    clean, planted = result["clean"], result["planted"]
    shares = [100 * count / clean["planted"] for count in clean["found"]]
    rows.append(
        f"| ResNet-20, default recipe, {clean['test_top1']:.1f} % | {clean['n']:,} test images | {clean['planted']} |"
        f" {np.mean(shares):.0f} % ({min(shares):.0f} to {max(shares):.0f}, n = {len(shares)} exchanges) |"
    )
    kinds = {"train": "trained on", "validation": "held out", "test": "test images"}
    for split, words in kinds.items():
        part = planted["splits"][split]
        rows.append(
            f"| ResNet-20 of 9,000 images with wrong labels, {planted['test_top1']:.1f} % | {part['n']:,}, {words} |"
            f" {part['planted']} | {100 * part['found'] / part['planted']:.0f} % (n = 1) |"
        )
    return "\n".join([*rows, "", "Made by:", "", f"    {result['command']}"])


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and write the result."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.suspects", description=__doc__.split("\n\n")[0])
    parser.add_argument("source", type=Path)
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--clean", type=Path, required=True)
    given = parser.parse_args(arguments)
    if not given.run.exists():
        images = given.run.with_name(f"{given.run.name}-images")
        plant(given.source, images)
        resnets.train(str(images), out=given.run)
    found = {
        "claim": "of labels exchanged at random, most stand among the first 2 % of a run's suspects",
        "a_class": A_CLASS, "first": FIRST, "planted": of_planted(given.run), "clean": of_clean(given.clean),
        "command": "python -m benchmarks.suspects CIFAR10 --run runs/planted --clean runs/resnet20",
        "commit": commit(), "versions": versions(), "hardware": hardware("cpu"),
    }  # fmt: skip
    path = RESULTS / f"{NAME}.json"
    path.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    print(path, found["planted"], found["clean"], file=sys.stderr)


if __name__ == "__main__":
    main()

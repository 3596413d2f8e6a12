"""`python -m benchmarks`: what can be measured; `accuracy NAME`, `record NAME RUN…`, `tables`.

accuracy NAME --source CIFAR10 [--seeds 0 1 …]   trains one claim of `claims.py` and writes its result
record NAME RUN…                                 writes the result of runs that the same command made earlier
studies FOLDER…                                  records finished studies for docs/STUDIES.md
tables                                           writes the tables of README.md and docs/, and plots, anew

Speed and reliability are measured by commands of their own, `python -m benchmarks.NAME`: training, inference, int8,
profile, photographs, limits, airbench, gpu, saving, reliability; what reports say: residuals, regression, suspects.
Each file begins with what it does and needs.
"""

from __future__ import annotations

import argparse
import shlex
import subprocess
import sys
from pathlib import Path

from benchmarks.claims import CLAIMS
from benchmarks.results import write_result
from benchmarks.studies import record
from benchmarks.tables import write_tables


def main() -> int:
    """Run one of the commands above."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    commands = parser.add_subparsers(dest="command")
    accuracy = commands.add_parser("accuracy", help="train one claim and write its result")
    accuracy.add_argument("name", choices=CLAIMS)
    accuracy.add_argument(
        "--source", default="cifar10", help="CIFAR-10: a folder of parquet shards, or the built-in name"
    )
    accuracy.add_argument("--seeds", type=int, nargs="+", default=[0])
    accuracy.add_argument("--out", type=Path, default=Path("runs/benchmarks"))
    keep = commands.add_parser("record", help="write the result of runs that are there already")
    keep.add_argument("name", choices=CLAIMS)
    keep.add_argument("runs", type=Path, nargs="+")
    studies = commands.add_parser("studies", help="record finished studies for docs/STUDIES.md")
    studies.add_argument("folders", type=Path, nargs="+")
    commands.add_parser("tables", help="write README.md's tables anew")
    options = parser.parse_args()
    if options.command == "accuracy":
        runs = []
        for seed in options.seeds:
            run = options.out / f"{options.name}-seed{seed}"
            words = CLAIMS[options.name].command
            command = ["resnets", "train", options.source, *words, "--seed", str(seed), "--out", str(run)]
            print("$", shlex.join(command), flush=True)
            subprocess.run([sys.executable, "-m", *command], check=True)
            runs.append(run)
        print(write_result(options.name, runs))
    elif options.command == "record":
        print(write_result(options.name, options.runs))
    elif options.command == "studies":
        record(options.folders)
    elif options.command == "tables":
        write_tables()
    else:
        print(__doc__)
        for name, claim in CLAIMS.items():
            print(f"  {name:<17} {claim.title}: resnets train cifar10 {shlex.join(claim.command)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

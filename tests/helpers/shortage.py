"""Run in a process of its own: trains with less address space than the batch needs, foreseen or not."""

from __future__ import annotations

import importlib
import resource
import sys

import torch

from resnets import cli
from resnets.training import course, plan


def limit(mebibytes: int) -> None:
    """Allow this process so much more address space than it has."""
    with open("/proc/self/statm", encoding="ascii") as line:
        now = int(line.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (now + mebibytes * 2**20,) * 2)


def main() -> int:
    """`shortage.py MEBIBYTES foreseen|unforeseen WORDS`: set the limit at the first step, or before anything."""
    mebibytes, how, *words = sys.argv[1:]
    torch.set_num_threads(1)
    for name in ("matplotlib.backends.backend_svg", "sklearn.datasets", "torch._refs", "torch._dynamo"):
        importlib.import_module(name)  # libraries take address space too, and it is not theirs that is tested
    if how == "foreseen":
        limit(int(mebibytes))
    else:
        plan.require_memory = lambda *args, **options: None
        real = course.fit

        def fit(*args, **options):
            limit(int(mebibytes))
            yield from real(*args, **options)

        course.fit = fit
    return cli.main(words)


if __name__ == "__main__":
    sys.exit(main())

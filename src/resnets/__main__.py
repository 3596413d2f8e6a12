"""`python -m resnets`: the same program as the command `resnets`."""

from __future__ import annotations

import sys


def run() -> None:
    """Run the command line on `sys.argv` and exit with its code."""
    from resnets.cli import main

    sys.exit(main(sys.argv[1:]))


if __name__ == "__main__":
    run()

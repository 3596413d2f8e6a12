"""The command line: reads the words, calls one command, turns every failure into one line and a code.

Exit codes: 0 success, 2 bad input (`error: …`), 130 and 143 after SIGINT and SIGTERM, 1 a fault of our own.
The commands' modules import no torch at their top, so that `--help` and `list` answer at once.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from inspect import getdoc

import cyclopts

from resnets import __version__
from resnets.cli import (
    bench,
    cam,
    compare,
    data,
    draw,
    evaluate,
    export,
    imports,
    inspect,
    listing,
    output,
    predict,
    report,
    residuals,
    streams,
    study,
    train,
    verify,
)  # fmt: skip
from resnets.errors import InputError

_INTERRUPTED = 130  # 128 + SIGINT, as shells report it

# Each command's function, what follows its name in the usage line, and its examples.
_COMMANDS: dict[str, tuple[Callable[..., None], str, str]] = {
    "train": (train.train, "SOURCE [OPTIONS]", train.EXAMPLES),
    "evaluate": (evaluate.evaluate, "RUN [SOURCE] [OPTIONS]", evaluate.EXAMPLES),
    "report": (report.report, "RUN [SOURCE] [OPTIONS]", report.EXAMPLES),
    "predict": (predict.predict, "RUN IMAGE… [OPTIONS]", predict.EXAMPLES),
    "compare": (compare.compare, "RUN RUN… [OPTIONS]", compare.EXAMPLES),
    "cam": (cam.cam, "RUN IMAGE… [OPTIONS]", cam.EXAMPLES),
    "list": (listing.list_networks, "[PATTERN] [OPTIONS]", listing.EXAMPLES),
    "inspect": (inspect.inspect, "NAME… [OPTIONS]", inspect.EXAMPLES),
    "draw": (draw.draw, "NAME… [OPTIONS]", draw.EXAMPLES),
    "import": (imports.import_file, "FILE --out RUN [OPTIONS]", imports.EXAMPLES),
    "export": (export.export, "RUN --to LIBRARY --out FILE [OPTIONS]", export.EXAMPLES),
    "bench": (bench.bench, "NAME [OPTIONS]", bench.EXAMPLES),
    "study": (study.study, "NAME [OPTIONS]", study.EXAMPLES),
    "residuals": (
        residuals.residuals,
        "FILE --observed COLUMN --fitted COLUMN [OPTIONS]",
        residuals.EXAMPLES,
    ),
    "data": (data.data, "SOURCE [OPTIONS]", data.EXAMPLES),
    "verify": (verify.verify, "RUN [OPTIONS]", verify.EXAMPLES),
}
_EXAMPLES = """\
resnets train digits --out runs/digits
resnets evaluate runs/digits
resnets predict runs/digits some/picture.png"""


def application() -> cyclopts.App:
    """The parser of the whole command line."""
    app = cyclopts.App(
        name="resnets",
        version=__version__,
        help="Residual networks: train one on your images, measure it, use it.",
        help_epilogue=_epilogue(_EXAMPLES),
        help_format="plaintext",
        usage="Usage: resnets COMMAND …",
        group_parameters="Options",
    )
    app["--help"].group = app["--version"].group = "Options"
    for order, (name, (function, usage, examples)) in enumerate(_COMMANDS.items()):
        app.command(
            function,
            name=name,
            help=_paragraphs(function),
            help_epilogue=_epilogue(examples),
            usage=f"Usage: resnets {name} {usage}",
            sort_key=order,
        )
    return app


def main(argv: Sequence[str], *, ended: Callable[[], bool] = lambda: False) -> int:
    """Run one command line, without the program's name, and return its exit code.

    `ended` tells that a signal has come, after which a failure is not reported.
    """
    streams.prepare()
    try:
        return _run(argv)
    except Exception as error:
        if os.environ.get("RESNETS_TRACEBACK") == "1":
            raise
        return 1 if ended() else _report(error)


def _run(argv: Sequence[str]) -> int:
    try:
        command, bound, _ = application().parse_args(list(argv), print_error=False, exit_on_error=False)
        command(*bound.args, **bound.kwargs)
        sys.stdout.flush()
    except cyclopts.CycloptsError as error:
        error.verbose = False
        output.error(f"{_sentence(str(error))} See `{_help_command(argv)}`.")
        return 2
    except KeyboardInterrupt:
        output.say("interrupted")
        return _INTERRUPTED
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else 0 if stop.code is None else 1
    except BrokenPipeError:
        # The reader (`head`, a pager) went away, no error; Python would complain at its last flush.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return 0


def _report(error: Exception) -> int:
    """Say in one line what stopped the command, and return the exit code that belongs to it."""
    if isinstance(error, InputError):
        output.error(str(error))
        return 2
    if shortage := _shortage(error):
        output.error(shortage)
        return 2
    if isinstance(error, OSError) and error.strerror:
        where = f"{error.filename}: " if error.filename is not None else ""
        output.error(f"{where}{error.strerror}")
        return 2
    output.error(
        f"unexpected {type(error).__name__}: {error} (a fault of resnets, not of your input; "
        "RESNETS_TRACEBACK=1 shows where, for a report)"
    )
    return 1


def _shortage(error: Exception) -> str | None:
    """What to say if memory ran out where no batch is to blame; None if it did not."""
    if "torch" not in sys.modules:
        known = isinstance(error, MemoryError)
    else:
        from resnets.training.shortage import out_of_memory

        known = out_of_memory(error)
    if not known:
        return None
    from resnets.data import free_memory

    return (
        f"out of memory: {free_memory() / 2**20:,.0f} MiB are free now; free some, or use smaller images (--size), a"
        " smaller network (--arch) or fewer processes (--workers)"
    )


def _paragraphs(function: Callable[..., None]) -> str:
    """A command's docstring with the line breaks of the source taken out, for a terminal of any width."""
    text = getdoc(function) or ""
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in text.split("\n\n"))


def _epilogue(examples: str) -> str:
    return "Examples:\n" + "\n".join(f"  {line}" for line in examples.splitlines())


def _sentence(text: str) -> str:
    text = text.strip()
    return text[:1].lower() + text[1:] if text[1:2].islower() else text


def _help_command(argv: Sequence[str]) -> str:
    named = argv[0] if argv and argv[0] in _COMMANDS else None
    return f"resnets {named} --help" if named else "resnets --help"

"""`resnets bench`: how fast a network runs on this machine."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter
from cyclopts.validators import Number

from resnets.cli import output
from resnets.errors import InputError

if TYPE_CHECKING:
    from resnets.evaluation.predictor import Predictor
    from resnets.evaluation.speed import Speed
    from resnets.inspection.inspect import Inspection

EXAMPLES = """\
resnets bench resnet50
resnets bench runs/photos --batch 1 32 --precision int8
resnets bench resnet18 --backend openvino --size 160 --json
resnets bench resnet20 --train --batch 128"""
_SECONDS = 3.0  # that one figure is measured for


def bench(
    name: Annotated[str, Parameter(help="a network, a specification's file, a run folder or a weights file")],
    /,
    *,
    batch: Annotated[
        tuple[int, ...],
        Parameter(
            validator=Number(gte=1),
            negative=(),
            consume_multiple=True,
            help="images at a time; several are measured in turn",
        ),
    ] = (1, 8),
    backend: Annotated[
        Literal["auto", "eager", "inductor", "onnxruntime", "openvino"],
        Parameter(help="what runs it; auto: the fastest that is installed, at int8 openvino or else onnxruntime"),
    ] = "auto",
    precision: Annotated[
        Literal["auto", "fp32", "bf16", "int8"],
        Parameter(help="auto: bf16 where the processor multiplies it, else fp32"),
    ] = "auto",
    size: Annotated[
        int | None, Parameter(validator=Number(gte=1), help="side of the images in pixels, if not the network's own")
    ] = None,
    train: Annotated[
        bool, Parameter(negative=(), show_default=False, help="measure a training step: forward, backward, optimiser")
    ] = False,
    threads: Annotated[
        int | None, Parameter(validator=Number(gte=1), help="processor threads [default: torch's choice]")
    ] = None,
    json: Annotated[bool, Parameter(negative=(), show_default=False, help="print one JSON document")] = False,
) -> None:
    """Measure a network: images a second, latency, memory, and how much of the machine it uses.

    The peak is that of a large matrix product at the same precision, measured here and now. What stands behind a name
    has random weights, which are as fast as any. Every backend must give the plain network's logits before it is timed;
    int8 of a run, at the run's own size, is calibrated on its own images, and its accuracy printed beside that of fp32.
    Any other size is measured with random weights, and int8 then calibrated on noise; a note says so.

    For several batch sizes the document that --json prints is that of the first, with all of them under `batches`.
    """
    import torch

    from resnets.inspection.inspect import inspect_target
    from resnets.inspection.targets import resolve

    if train and (backend != "auto" or precision == "int8"):
        raise InputError("--train measures a step of training: it takes no --backend, and no --precision int8")
    if threads is not None:
        torch.set_num_threads(threads)
    _refuse_table(name)
    seen = inspect_target(resolve(name, size=size))
    _require_memory(seen, max(batch), train=train, precision=precision)
    documents = []
    for each in batch:
        found = _training(seen, each, precision) if train else _inference(name, seen, each, backend, precision, size)
        documents.append({"network": name, "batch": each, **found})
    if json:
        output.document(documents[0] | ({"batches": documents} if len(documents) > 1 else {}))
    else:
        _show(documents)


def _refuse_table(name: str) -> None:
    from resnets.evaluation import Run

    if (Path(name) / "run.json").is_file() and Run.open(name).encoding is not None:
        raise InputError(
            f"{name} takes rows of a table, and what is measured here are networks of images; for how long its rows"
            f" take, time `resnets predict {name} TABLE.csv`"
        )


def _require_memory(seen: Inspection, batch: int, *, train: bool, precision: str) -> None:
    """Refuse a batch that cannot fit, before anything is allocated."""
    import torch

    from resnets.data import free_memory
    from resnets.training.device import choose_execution

    needed, kind = batch * seen.memory["training" if train else "inference"], "cpu"
    if train:
        assert seen.spec is not None
        how = choose_execution(precision=precision, spatial=seen.spec.unit != "linear")
        kind = torch.device(how.device).type
        needed //= 1 if how.precision == "fp32" else 2  # most of what is kept then has 16 bits
    free = torch.cuda.mem_get_info()[0] if kind == "cuda" else free_memory()
    if needed > free and kind != "mps":
        raise InputError(
            f"a batch of {batch:,} images needs about {needed >> 30:,} GiB and {free / 2**30:,.1f} GiB are free;"
            " use a smaller --batch"
        )


def _inference(
    name: str, seen: Inspection, batch: int, backend: str, precision: str, size: int | None
) -> dict[str, Any]:
    import torch

    from resnets.evaluation import Run, speed
    from resnets.evaluation.predictor import ready
    from resnets.models import build

    channels, height, width = seen.trace.input_shape
    shape = (channels, height, width)
    run = Run.open(name) if (Path(name) / "run.json").is_file() else None
    notes = []
    own = run.preprocessing.size if run is not None else None
    if run is not None and size in (None, own):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a loss is among its notes
            made = run.predictor(backend=backend, precision=precision, batch=batch)
    else:
        if run is not None:
            notes = [
                f"at {width}x{height}, not the {own}x{own} of the run, its network is measured with random weights"
            ]
        assert seen.spec is not None
        made = ready(build(seen.spec, seed=0), shape, backend=backend, precision=precision, batch=batch)
    images = torch.randn(batch, *shape, generator=torch.Generator().manual_seed(0))
    measured = speed.measure(lambda: made.logits(images), batch, seconds=_SECONDS)
    return {
        "mode": "inference", "backend": made.backend, "precision": made.precision, "device": "cpu",
        **_figures(seen, measured, made.precision, "cpu", 2), **_choice(made, notes),
    }  # fmt: skip


def _choice(made: Predictor, notes: list[str]) -> dict[str, Any]:
    return {
        "largest_error": made.error, "tried": dict(made.images_per_second), "refused": dict(made.refused),
        "accuracy": made.accuracy, "notes": [*notes, *made.notes],
    }  # fmt: skip


def _training(seen: Inspection, batch: int, precision: str) -> dict[str, Any]:
    from resnets.evaluation import speed
    from resnets.models import build
    from resnets.models.allocator import keeping_freed
    from resnets.training.convolutions import any_products, faster_convolutions
    from resnets.training.device import choose_execution
    from resnets.training.fusing import any_native, fused_normalisation
    from resnets.training.normalised import forking

    assert seen.spec is not None
    channels, height, width = seen.trace.input_shape
    net = build(seen.spec, seed=0)
    how = choose_execution(
        precision=precision, spatial=seen.spec.unit != "linear", products=any_products(net),
        native=any_native(net),
    )  # fmt: skip
    step = speed.training_step(
        net, (channels, height, width), batch, classes=seen.spec.num_classes, precision=how.precision,
        device=how.device,
    )  # fmt: skip
    with faster_convolutions(net, how), fused_normalisation(net, how), forking(), keeping_freed(True):  # as training
        measured = speed.measure(step, batch, seconds=_SECONDS)
    return {
        "mode": "training", "backend": "torch", "native": how.native, "precision": how.precision, "device": how.device,
        # The backward pass multiplies twice as much: for the gradients of the weights, and for those of the inputs.
        **_figures(seen, measured, how.precision, how.device, 6),
    }  # fmt: skip


def _figures(seen: Inspection, measured: Speed, precision: str, device: str, factor: int) -> dict[str, Any]:
    """What was measured, with the machine's peak beside it; `factor` operations are counted for each multiply-add."""
    import torch

    from resnets.evaluation import speed

    peak = speed.matrix_peak(precision, device)
    operations = factor * seen.multiply_adds
    return {
        "size": list(seen.trace.input_shape[1:]), "threads": torch.get_num_threads(), "runs": measured.runs,
        "images_per_second": measured.images_per_second,
        "latency_ms": {"p50": 1000 * measured.p50, "p99": 1000 * measured.p99},
        "peak_fraction": measured.images_per_second * operations / peak,
        "matrix_product_gflops": peak / 1e9, "gflop_per_image": operations / 1e9, "memory_bytes": measured.memory,
    }  # fmt: skip


def _show(documents: list[dict[str, Any]]) -> None:
    first = documents[0]
    height, width = first["size"]
    threads = "1 thread" if first["threads"] == 1 else f"{first['threads']} threads"
    title = f"{first['network']}, {first['mode']}, {width}x{height}, {threads}"
    table = output.table(
        title,
        {"batch": True, "backend": False, "precision": False, "images/s": True, "p50 ms": True, "p99 ms": True,
         "of the peak": True, "memory MB": True},
    )  # fmt: skip
    for row in documents:
        memory = row["memory_bytes"]
        table.add_row(
            str(row["batch"]), row["backend"], row["precision"], f"{row['images_per_second']:,.1f}",
            f"{row['latency_ms']['p50']:.1f}", f"{row['latency_ms']['p99']:.1f}", f"{100 * row['peak_fraction']:.0f} %",
            "–" if memory is None else f"{memory / 1e6:,.0f}",
        )  # fmt: skip
    output.show(table)
    peak = max(row["matrix_product_gflops"] for row in documents)
    output.show(
        f"The peak: {peak:,.0f} billion operations a second, a matrix product of 1024x1024 at {first['precision']}."
    )
    for row in documents:
        for note in row.get("notes", ()):
            output.say(f"note: batch {row['batch']}: {note}")
        accuracy = row.get("accuracy")
        if accuracy:
            output.show(
                f"Batch {row['batch']}, top-1 on the {accuracy['n']:,} images of the {accuracy['split']} split:"
                f" int8 {accuracy['int8']:.2f} %, fp32 {accuracy['fp32']:.2f} %,"
                f" {accuracy['loss']:.2f} points lost."
            )

"""What can run a folded network on a processor: torch itself, its compiler, ONNX Runtime and OpenVINO.

Every backend becomes one function from normalised images, float32 [B, C, H, W], to logits, float32 [B, classes].
"""

from __future__ import annotations

import copy
import functools
import importlib.metadata
import importlib.util
import shutil
import sys
import threading
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, fx

from resnets.errors import InputError
from resnets.evaluation.device import multiplies_bf16
from resnets.models.onnx_graph import INPUT, onnx_graph

if TYPE_CHECKING:
    import onnx

Runner = Callable[[Tensor], Tensor]
# The last was the fastest wherever it was measured at length.
BACKENDS = ("eager", "inductor", "onnxruntime", "openvino")
PRECISIONS = ("auto", "fp32", "bf16", "int8")
_CAN = {
    "eager": ("fp32", "bf16"),
    "inductor": ("fp32", "bf16"),
    "onnxruntime": ("fp32", "int8"),
    "openvino": ("fp32", "bf16", "int8"),
}
_PACKAGES = {"onnxruntime": ("onnx", "onnxruntime"), "openvino": ("onnx", "openvino")}
_EXTRA = {"onnxruntime": "onnx", "openvino": "openvino"}
_COMPILERS = ("g++", "clang++", "c++")


@dataclass(frozen=True)
class Task:
    """What a backend has to run.

    Attributes:
        folded: the network, as `fold` gives it, in float32.
        image_shape: (channels, height, width).
        batch: images at a time; fewer or more are taken too, perhaps more slowly.
        threads: of the processor.
        quantised: the network in int8, as ONNX with its scales, where that is the precision.
    """

    folded: fx.GraphModule
    image_shape: tuple[int, int, int]
    batch: int
    threads: int
    quantised: Any = None

    def graph(self) -> onnx.ModelProto:
        """The network as ONNX, for any number of images."""
        return onnx_graph(self.folded, self.image_shape)


def missing(backend: str, precision: str) -> str | None:
    """Why a backend cannot be had here at a precision, in words that say what to do; None if it can."""
    if precision not in _CAN[backend]:
        able = [name for name in BACKENDS if precision in _CAN[name]]
        return f"{backend} has no {precision}; use {' or '.join(able)}"
    packages = _PACKAGES.get(backend, ()) + (("nncf",) if (backend, precision) == ("openvino", "int8") else ())
    absent = [name for name in packages if importlib.util.find_spec(name) is None]
    if absent:
        names = " and ".join(absent)
        return f"{backend} at {precision} needs {names}: pip install 'resnets[{_EXTRA[backend]}]'"
    if backend == "inductor" and not any(shutil.which(command) for command in _COMPILERS):
        return f"inductor needs a C++ compiler ({', '.join(_COMPILERS)}); install one, or use another backend"
    return None


def resolve_precision(precision: str) -> str:
    """The precision that `auto` stands for; others as they are.

    Raises:
        InputError: no such precision, or bf16 on a processor that does not multiply it.
    """
    if precision not in PRECISIONS:
        raise InputError(f"unknown precision '{precision}' (one of: {', '.join(PRECISIONS)})")
    native = multiplies_bf16("cpu")
    if precision == "bf16" and not native:
        raise InputError(
            "precision bf16: this processor does not multiply bf16 itself, so that fp32 is faster; use fp32"
        )
    return ("bf16" if native else "fp32") if precision == "auto" else precision


def candidates(backend: str, precision: str) -> list[str]:
    """The backends that may be tried: the one asked for, or under `auto` all that are here and soon ready.

    Those of int8 are to be tried in turn until one can.

    Raises:
        InputError: no such backend, or it is not here; says what to install.
    """
    if backend == "auto":
        # Inductor takes a minute to compile a network, which no short measurement may: only who asks for it gets it.
        able = [name for name in BACKENDS if name != "inductor" and missing(name, precision) is None]
        if not able:
            raise InputError(
                f"precision {precision} needs a backend: pip install 'resnets[openvino]' or 'resnets[onnx]'"
            )
        # Calibrating takes longer than any measurement, so that the first one that can does it: the one that was always
        # the faster comes first.
        return able[::-1] if precision == "int8" else able
    if backend not in BACKENDS:
        raise InputError(f"unknown backend '{backend}' (one of: auto, {', '.join(BACKENDS)})")
    reason = missing(backend, precision)
    if reason:
        raise InputError(reason)
    return [backend]


def make(backend: str, precision: str, task: Task) -> Runner:
    """Make a backend ready to run a network."""
    return {"eager": _eager, "inductor": _inductor, "onnxruntime": _onnxruntime, "openvino": _openvino}[backend](
        task, precision
    )


def reason(problem: Exception) -> str:
    """What went wrong in a library, short enough for a line; what we say ourselves as it is."""
    if isinstance(problem, InputError):
        return str(problem)
    return f"{type(problem).__name__}: {' '.join(str(problem).split())[:200]}"


def versions() -> dict[str, str]:
    """Of everything that a backend's speed depends on and that is installed."""
    found = {}
    for name in ("torch", "onnx", "onnxruntime", "openvino", "nncf"):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def openvino() -> ModuleType:
    """OpenVINO, without the package with which it and NNCF tell Intel of every import and quantisation."""
    sys.modules.setdefault("openvino_telemetry", cast(ModuleType, None))  # importing it then fails, and both go without
    import openvino

    return openvino


@functools.cache
def core() -> Any:
    """OpenVINO's core, one for the whole process and for ever.

    Every core gives the thread that makes it a signal stack of its own, and, when it goes, the one from before. Of two
    cores that go in the order in which they came, the second gives back what the first has freed: the next signal that
    Python handles (Ctrl-C) then ends the process with a segmentation fault. Seen in OpenVINO 2026.4.
    """
    return openvino().Core()


def _eager(task: Task, precision: str) -> Runner:
    net = task.folded.to(memory_format=torch.channels_last)
    autocast = precision == "bf16"

    @torch.inference_mode()
    def run(images: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            return net(_channels_last(images)).float()

    return run


def _inductor(task: Task, precision: str) -> Runner:
    import torch._inductor.config as settings

    kind = torch.bfloat16 if precision == "bf16" else torch.float32
    other = _eager(task, precision)
    net = copy.deepcopy(task.folded).to(kind).to(memory_format=torch.channels_last)
    compiled = torch.compile(net, dynamic=False)

    def run(images: Tensor) -> Tensor:
        if len(images) != task.batch:
            return other(images)
        with torch.inference_mode(False), torch.no_grad():  # freezing wants no_grad, not inference_mode
            return cast(Tensor, compiled(_channels_last(images).to(kind))).float()

    with settings.patch(freezing=True), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        run(torch.zeros(task.batch, *task.image_shape))
    return run


def _onnxruntime(task: Task, precision: str) -> Runner:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = task.threads
    options.log_severity_level = 3
    model = task.quantised if precision == "int8" else task.graph()
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])

    def run(images: Tensor) -> Tensor:
        return torch.from_numpy(session.run(None, {INPUT: images.contiguous().numpy()})[0])

    return run


def _openvino(task: Task, precision: str) -> Runner:
    model = task.quantised if precision == "int8" else core().read_model(task.graph().SerializeToString())
    settings = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": task.threads,
        "INFERENCE_PRECISION_HINT": "bf16" if precision == "bf16" else "f32",
    }
    requests: dict[int, Any] = {}
    alone = threading.Lock()  # a request holds one answer, and other threads run while it is being made

    def request(size: int) -> Any:
        # A graph of fixed size is the faster one; all other sizes share one that takes any.
        key = size if size == task.batch else -1
        if key not in requests:
            shaped = model.clone()
            shaped.reshape([key, *task.image_shape])
            requests[key] = core().compile_model(shaped, "CPU", settings).create_infer_request()
        return requests[key]

    def run(images: Tensor) -> Tensor:
        with alone:
            found = request(len(images))
            found.infer({0: images.contiguous().numpy()}, share_inputs=True)
            return torch.from_numpy(found.get_output_tensor(0).data.copy())

    request(task.batch)
    return run


def _channels_last(images: Tensor) -> Tensor:
    return images.contiguous(memory_format=torch.channels_last)

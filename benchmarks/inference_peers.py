"""The contestants of `benchmarks.inference`, each set up as its own documentation says."""

from __future__ import annotations

import contextlib
import copy
import io
import tempfile
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

import resnets
from resnets.evaluation import backends, quantisation
from resnets.evaluation.quantised import Quantised

SIDE = 224
SEEDS = {"weights": 0, "images": 0, "calibration": 1, "order": 0}
CALIBRATION = 8  # images of noise, which say nothing of accuracy: that is measured by `python -m benchmarks.int8`
Run = Callable[[], object]


class Shared:
    """What all cells of one network have in common, so that it is made once: exports and quantised models."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.net = resnets.create(name, seed=SEEDS["weights"]).eval()
        self.calibration = noise(CALIBRATION, SEEDS["calibration"])
        self.int8: dict[str, Quantised] = {}

    # Ours, in int8: what `Maker` is for a run, with the calibration images that the peers get.
    def make(self, backend: str, task: backends.Task) -> Quantised:
        if backend not in self.int8:
            self.int8[backend] = Quantised(quantisation.quantise(backend, task, self.calibration), self.calibration)
        return self.int8[backend]

    def judge(self, *given: object) -> None:
        return None

    @cached_property
    def onnx(self) -> bytes:
        """Torch's own ONNX export, of any number of images."""
        with quiet(), tempfile.TemporaryDirectory() as folder:
            place = Path(folder) / "net.onnx"
            sizes = ({0: torch.export.Dim("batch", min=1, max=64)},)
            images = self.calibration[:2]
            torch.onnx.export(self.net, (images,), str(place), dynamo=True, external_data=False, dynamic_shapes=sizes)
            return place.read_bytes()

    @cached_property
    def onnx_int8(self) -> bytes:
        from onnxruntime import quantization

        rows = iter([{"x": image.numpy()} for image in self.calibration.split(1)])

        class Reader(quantization.CalibrationDataReader):
            def get_next(self) -> Any:
                return next(rows, None)

        with quiet(), tempfile.TemporaryDirectory() as folder:
            plain, scaled = Path(folder) / "fp32.onnx", Path(folder) / "int8.onnx"
            plain.write_bytes(self.onnx)
            quantization.shape_inference.quant_pre_process(str(plain), str(plain))
            # Unsigned activations and signed weights: what its documentation advises for x86.
            quantization.quantize_static(
                str(plain), str(scaled), Reader(), per_channel=True, activation_type=quantization.QuantType.QUInt8
            )
            return scaled.read_bytes()

    @cached_property
    def openvino(self) -> Any:
        with quiet():
            return backends.openvino().convert_model(
                self.net, example_input=self.calibration[:1], input=[[-1, 3, SIDE, SIDE]]
            )

    @cached_property
    def openvino_int8(self) -> Any:
        model = self.openvino.clone()
        with quiet():
            import nncf

            rows = [image.numpy() for image in self.calibration.split(1)]
            return nncf.quantize(model, nncf.Dataset(rows), subset_size=len(rows))


def noise(count: int, seed: int) -> torch.Tensor:
    return torch.randn(count, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(seed))


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        yield


def eager(shared: Shared, images: torch.Tensor, precision: str) -> Run:
    net = copy.deepcopy(shared.net)

    @torch.inference_mode()
    def run() -> object:
        return net(images)

    return run


def channels_last(shared: Shared, images: torch.Tensor, precision: str) -> Run:
    net = copy.deepcopy(shared.net).to(memory_format=torch.channels_last)
    images = images.contiguous(memory_format=torch.channels_last)

    @torch.inference_mode()
    def run() -> object:
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            return net(images)

    return run


def inductor(shared: Shared, images: torch.Tensor, precision: str) -> Run:
    import torch._inductor.config as settings

    kind = torch.bfloat16 if precision == "bf16" else torch.float32
    net = copy.deepcopy(shared.net).to(kind).to(memory_format=torch.channels_last)
    images = images.to(kind).contiguous(memory_format=torch.channels_last)
    torch.compiler.reset()
    compiled = torch.compile(net)

    @torch.no_grad()
    def run() -> object:
        return compiled(images)

    with settings.patch(freezing=True):
        run()
    return run


def onnxruntime(shared: Shared, images: torch.Tensor, precision: str) -> Run:
    import onnxruntime as runtime

    options = runtime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    options.add_free_dimension_override_by_name("batch", len(images))
    model = shared.onnx_int8 if precision == "int8" else shared.onnx
    session = runtime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    feed = {session.get_inputs()[0].name: images.numpy()}
    return lambda: session.run(None, feed)


def openvino(shared: Shared, images: torch.Tensor, precision: str) -> Run:
    model = (shared.openvino_int8 if precision == "int8" else shared.openvino).clone()
    model.reshape(list(images.shape))
    settings = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        "INFERENCE_PRECISION_HINT": "bf16" if precision == "bf16" else "f32",
    }
    request = backends.core().compile_model(model, "CPU", settings).create_infer_request()
    feed = {0: images.numpy()}
    return lambda: request.infer(feed)


SETUPS: dict[str, Callable[[Shared, torch.Tensor, str], Run]] = {
    "eager": eager, "channels_last": channels_last, "inductor": inductor, "onnxruntime": onnxruntime,
    "openvino": openvino,
}  # fmt: skip

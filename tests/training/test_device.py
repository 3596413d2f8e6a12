"""What the machine is asked to do: device, precision, compilation, memory."""

import pytest
import torch

from resnets.errors import InputError
from resnets.models import create
from resnets.training import device as room
from resnets.training.device import (
    ADVISED,
    COMPILE_STEPS,
    activation_bytes,
    choose_execution,
    determinism,
    require_memory,
)


def test_bf16_only_where_the_processor_multiplies_it(monkeypatch):
    for native, expected in ((True, "bf16"), (False, "fp32")):
        monkeypatch.setattr(room, "multiplies_bf16", lambda kind, native=native: native)
        assert choose_execution(device="cpu").precision == expected
        assert choose_execution(device="cpu", precision="fp32").precision == "fp32"
        assert choose_execution(device="cpu", spatial=False).precision == "fp32"  # tables: numbers to all their digits


def test_compilation_needs_a_long_run_a_compiler_and_no_promise_of_equal_bits(monkeypatch):
    monkeypatch.setattr(room, "multiplies_bf16", lambda kind: False)
    monkeypatch.setattr(room.shutil, "which", lambda name: f"/usr/bin/{name}")
    assert choose_execution(device="cpu", steps=9 * COMPILE_STEPS).compiled
    assert not choose_execution(device="cpu", steps=9 * COMPILE_STEPS - 1).compiled
    assert not choose_execution(device="cpu", steps=9 * COMPILE_STEPS, deterministic=True).compiled
    assert not choose_execution(device="cpu", steps=9 * COMPILE_STEPS, spatial=False).compiled
    assert not choose_execution(device="cpu", steps=9 * COMPILE_STEPS, products=True).compiled
    monkeypatch.setattr(room.shutil, "which", lambda name: None)
    assert not choose_execution(device="cpu", steps=9 * COMPILE_STEPS).compiled


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"device": "gpu"}, "no device 'gpu'"),
        ({"device": "cuda:99"}, "no device 'cuda:99'"),
        ({"device": "cpu", "precision": "fp16"}, "fp16 needs a GPU"),
        ({"device": "cpu", "precision": "fp8"}, "unknown precision"),
    ],
)
def test_what_is_not_there_is_refused(words, message):
    with pytest.raises(InputError, match=message):
        choose_execution(**words)


def test_determinism_is_given_back():
    before = torch.are_deterministic_algorithms_enabled()
    with determinism(True):
        assert torch.are_deterministic_algorithms_enabled()
    assert torch.are_deterministic_algorithms_enabled() == before


@pytest.mark.parametrize("name", ["resnet20", "resnet18-small"])
def test_foreseen_activations_are_what_autograd_keeps(name):
    net = create(name, num_classes=10)
    fixed = 4 * sum(4 * weight.numel() for weight in net.parameters())
    foreseen = activation_bytes(net, (3, 32, 32), 4) - fixed
    kept: dict[int, int] = {}
    alive = []

    def pack(tensor):
        alive.append(tensor)
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    weights = {weight.untyped_storage().data_ptr() for weight in net.parameters()}
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        net(torch.zeros(4, 3, 32, 32))
    measured = sum(size for pointer, size in kept.items() if pointer not in weights)
    assert foreseen == pytest.approx(measured, rel=0.05)


def test_a_batch_that_cannot_fit_is_refused_with_one_that_would(monkeypatch):
    monkeypatch.setattr(room, "free_memory", lambda: 64 * 2**20)
    net = create("resnet20")
    with pytest.raises(InputError) as caught:
        require_memory(net, (3, 32, 32), 4096, "cpu")
    fits = int(str(caught.value).rsplit("batch_size=", 1)[1])
    assert 1 <= fits < 4096
    require_memory(net, (3, 32, 32), fits, "cpu")
    with pytest.raises(InputError):
        require_memory(net, (3, 32, 32), int(fits / ADVISED) + 3, "cpu")

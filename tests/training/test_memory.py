"""`--memory low`: the same weights to the bit, in far less memory; what is foreseen, advised, recorded and followed."""

import gc
import re
import subprocess
import sys

import numpy as np
import pytest
import torch
from commandline import ENVIRONMENT
from PIL import Image
from torch.nn import functional

import resnets
from resnets.errors import InputError
from resnets.models import create
from resnets.models.allocator import _glibc
from resnets.models.segments import _Twice, partition, pieces
from resnets.training import device as room
from resnets.training.device import activation_bytes, choose_execution, require_memory

NAMES = [
    "resnet14", "preact-resnet14", "wrn-10-2,shortcut=dropout", "resnet14,shortcut=exclusive-gating",
    "resnet14,norm=weight", "resnet26-bottleneck", "resnet14,unit=pooled",
]  # fmt: skip


def trained(name, low):
    net = create(name, num_classes=5, seed=0).train()
    net.recompute = low
    images = torch.randn(6, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    torch.manual_seed(2)
    for _ in range(2):
        net.zero_grad()
        functional.cross_entropy(net(images), torch.arange(6) % 5).backward()
        with torch.no_grad():
            for weight in net.parameters():
                weight -= 0.05 * weight.grad
    return net.state_dict()


@pytest.mark.parametrize("name", NAMES)
def test_weights_statistics_and_dropout_are_those_of_normal_memory_to_the_bit(name):
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)
    try:
        normal, low = trained(name, False), trained(name, True)
    finally:
        torch.use_deterministic_algorithms(before)
    assert all(torch.equal(value, low[key]) for key, value in normal.items())
    assert all(int(value) == 2 for key, value in low.items() if key.endswith("num_batches_tracked"))


def test_under_autocast_what_is_computed_again_has_the_same_bits():
    found = []
    for low in (False, True):
        net = create("resnet14", num_classes=5, seed=0).train()
        net.recompute = low
        with torch.autocast("cpu", torch.bfloat16):
            logits = net(torch.ones(4, 3, 8, 8))
        logits.float().square().sum().backward()
        found.append([weight.grad for weight in net.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


def live_bytes(net, images):
    """Bytes of the tensors that autograd holds, or that a segment remembers, after the forward pass."""
    held = {}

    def pack(tensor):
        held[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        logits = net(images)  # and the graph behind it
    for segment in (found for found in gc.get_objects() if type(found) is _Twice):
        held[segment.x.untyped_storage().data_ptr()] = segment.x.untyped_storage().nbytes()
    assert logits.requires_grad
    return sum(held.values())


def test_what_the_forward_pass_leaves_grows_like_the_root_of_the_depth():
    images, shape = torch.zeros(4, 3, 32, 32), (3, 32, 32)
    normal, low = [], []
    for name in ("resnet56", "resnet218"):  # four times the units
        net = create(name).train()
        weights = 4 * 4 * sum(weight.numel() for weight in net.parameters())
        for kind, found in (("normal", normal), ("low", low)):
            found.append(activation_bytes(net, shape, 4, kind) - weights)
    assert 3.6 < normal[1] / normal[0] < 4.4
    assert 1.6 < low[1] / low[0] < 2.4
    assert low[1] < normal[1] / 7
    net.recompute = True
    assert live_bytes(net, images) < normal[1] / 7


def test_the_cuts_are_the_best_of_all():
    from itertools import combinations

    inputs, kept = [1.0, 1.0, 2.0, 0.5, 0.5, 0.25, 0.25], [4.0, 5.0, 3.0, 2.0, 2.0, 1.0, 1.0]

    def cost(starts):
        ends = [*starts[1:], len(kept)]
        return sum(inputs[s] for s in starts) + max(sum(kept[s:e]) for s, e in zip(starts, ends, strict=True))

    every = [(0, *cuts) for count in range(7) for cuts in combinations(range(1, 7), count)]
    found = tuple(part.start for part in partition(inputs, kept))
    assert cost(found) <= 1.1 * min(map(cost, every))
    with torch.device("meta"):
        net = create("resnet164")
    parts = pieces(net)
    assert [unit for part in parts for unit in part] == net.each_unit()
    assert len(net.each_unit()) ** 0.5 / 2 < len(parts) < 3 * len(net.each_unit()) ** 0.5


def test_a_batch_too_large_is_answered_with_low_memory_where_that_fits(monkeypatch):
    monkeypatch.setattr(room, "free_memory", lambda: 2**28)
    net = create("resnet56")
    with pytest.raises(
        InputError, match=r"use --memory low \(about 0\.\d GiB, half to three quarters more time\) or --set batch"
    ):
        require_memory(net, (3, 32, 32), 100, "cpu")
    require_memory(net, (3, 32, 32), 100, "cpu", "low")
    with pytest.raises(InputError) as caught:
        require_memory(net, (3, 32, 32), 10_000, "cpu")
    assert "--memory" not in str(caught.value)


def test_low_memory_is_not_compiled_and_nothing_else_is_called_memory(monkeypatch):
    monkeypatch.setattr(room.shutil, "which", lambda name: f"/usr/bin/{name}")
    assert not choose_execution(device="cpu", precision="fp32", steps=10**6, memory="low").compiled
    with pytest.raises(InputError, match="unknown memory 'tiny'"):
        choose_execution(device="cpu", memory="tiny")


@pytest.mark.slow
def test_a_run_records_it_follows_it_when_resumed_and_ends_in_the_same_weights(tmp_path, monkeypatch):
    generator = np.random.default_rng(0)
    for number in range(24):
        folder = tmp_path / "pictures" / "ab"[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        pixels = generator.integers(0, 256, (12, 12, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{number:02}.png")
    told, runs = [], {}

    def display(records):
        told.extend(record.message for record in records if record.kind == "note")

    for memory in ("normal", "low"):
        runs[memory] = resnets.train(
            tmp_path / "pictures", arch="resnet8", epochs=2, out=tmp_path / memory, deterministic=True, memory=memory,
            overrides={"batch_size": 6}, threads=1, display=display, device="cpu",
        )  # fmt: skip
    assert runs["low"].info["execution"]["memory"] == "low"
    assert runs["low"].info["weights"]["sha256"] == runs["normal"].info["weights"]["sha256"]
    assert any("little memory (takes half to three quarters more time)" in message for message in told)
    with pytest.raises(InputError, match="has memory low, not normal"):
        resnets.train(out=tmp_path / "low", resume=True, memory="normal")
    with pytest.raises(InputError, match="leave out --memory low"):
        resnets.train(tmp_path / "pictures", arch="vgg19", size=32, memory="low", out=tmp_path / "vgg")


STEP = """
import re, sys, torch
from torch.nn import functional
from resnets.models import create
from resnets.models.allocator import _glibc
torch.set_num_threads(1)
name, batch, memory = sys.argv[1], int(sys.argv[2]), sys.argv[3]
net = create(name, seed=0).to(memory_format=torch.channels_last).train()
net.recompute = memory == "low"
images = torch.zeros(batch, 3, 32, 32).contiguous(memory_format=torch.channels_last)
functional.cross_entropy(net(images), torch.zeros(batch, dtype=torch.long)).backward()
print(re.search(r"VmHWM:\\s+(\\d+) kB", open("/proc/self/status").read())[1])
"""


@pytest.mark.slow
def test_resnet_1202_trains_at_batch_128_in_under_three_gibibytes():
    words = [sys.executable, "-c", STEP, "resnet1202", "128", "low"]
    done = subprocess.run(words, env=ENVIRONMENT, capture_output=True, text=True, check=True, timeout=1200)
    assert int(re.search(r"\d+", done.stdout)[0]) * 1024 < 3 * 2**30


@pytest.mark.slow
def test_the_process_takes_as_much_less_as_foreseen():
    peak = {}
    for memory in ("normal", "low"):
        words = [sys.executable, "-c", STEP, "resnet56", "64", memory]
        done = subprocess.run(words, env=ENVIRONMENT, capture_output=True, text=True, check=True, timeout=200)
        peak[memory] = int(done.stdout) * 1024
    net = create("resnet56")
    foreseen = {memory: activation_bytes(net, (3, 32, 32), 64, memory) for memory in peak}
    saved = peak["normal"] - peak["low"]
    assert saved > 0.7 * (foreseen["normal"] - foreseen["low"])


FAULTS = """
import resource, sys, torch
from resnets.models.allocator import keeping_freed
torch.set_num_threads(1)

def step():
    held = [torch.ones(2**20 * size) for size in (3, 5, 11, 3)]  # 12 to 44 MiB
    return sum(float(block[-1]) for block in held)

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    step()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize()

step()
usual, before = faults(), resident()
with keeping_freed(True):
    step(), step(), step(), step()  # which block lies where settles
    print(usual, faults(), resident() - before)
print(resident() - before)
"""


@pytest.mark.skipif(not _glibc(), reason="a matter of glibc's malloc")
def test_blocks_of_the_step_before_are_used_again_and_given_back_in_the_end():
    words = [sys.executable, "-c", FAULTS]
    done = subprocess.run(words, env=ENVIRONMENT, capture_output=True, text=True, check=True, timeout=200)
    usual, faults, held, afterwards = map(int, done.stdout.split())
    assert usual > 10_000 and faults < usual / 10
    assert held > 40 * 2**20 > 4 * afterwards

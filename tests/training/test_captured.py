"""Recorded steps, without a GPU: the same training as the plain path, no wait in a step, nothing infinite kept.

`Recording` stands for a CUDA graph: it remembers every operation of a step with the memory it works on, and does them
again without any Python of ours. What was a number when a step was recorded stays that number, and asking a tensor for
its value is refused, as on a GPU. The last tests are the same with a GPU's own graphs.
"""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from resnets.architecture import NetworkSpec
from resnets.data import Augmentation, Packed, Preprocessing, train_batches, with_mean_image
from resnets.models import build
from resnets.training import NonFiniteError, Recipe, captured, fit
from resnets.training import device as room
from resnets.training.checkpoint import State
from resnets.training.device import Execution, choose_execution
from resnets.training.optimiser import make_optimisers, orthogonalised

PLAIN = Execution("cpu", "fp32", channels_last=True, compiled=False, deterministic=False)
RECORDED = replace(PLAIN, captured=True)
SPEC = NetworkSpec(units=(1, 1), widths=(4, 8), stem="small", stem_width=4, num_classes=3, name="small")
PREPROCESSING = Preprocessing(size=16, channels=3, mean=(0.5,) * 3, std=(0.25,) * 3)
RECIPES = {
    "sgd": Recipe(epochs=2, batch_size=8, ema=0.9, clip=0.5, warmup=0.3, shrink=0.75, shrink_until=0.5),
    "muon": Recipe(epochs=2, batch_size=4, accumulate=2, optimiser="muon", schedule="linear", cutmix=1.0, bias_rate=8),
}


def pictures(n=48):
    generator = torch.Generator().manual_seed(0)
    made = torch.randint(0, 256, (n, 3, 16, 16), generator=generator, dtype=torch.uint8)
    return Packed(images=made, labels=torch.arange(n) % 3, names=tuple(f"picture{k}.png" for k in range(n)))


class Recording(TorchDispatchMode):
    def __init__(self):
        super().__init__()
        self.done = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func is torch.ops.aten._local_scalar_dense.default:
            raise RuntimeError("a recorded step cannot wait for a value")
        result = func(*args, **(kwargs or {}))
        self.done.append((func, args, kwargs or {}, result))
        return result

    @torch.no_grad()
    def replay(self):
        for func, args, kwargs, result in self.done:
            again = func(*args, **kwargs)
            given = {leaf.untyped_storage().data_ptr() for leaf in tree_leaves((args, kwargs)) if tensor(leaf)}
            for old, new in zip(tree_leaves(result), tree_leaves(again), strict=True):
                if tensor(old) and old.untyped_storage().data_ptr() not in given:  # neither a view nor done in place
                    old.detach().copy_(new)


def tensor(leaf):
    return isinstance(leaf, Tensor) and leaf.numel() > 0


@pytest.fixture
def replays(monkeypatch):
    """How often a recorded step was done again; recording itself changes nothing, as on a GPU."""
    count = []

    def recorded(work, stream):
        with Recording() as recording:
            sizes = work()
        work.func.__self__.before.put_back()
        return lambda: (count.append(1), recording.replay()), sizes

    monkeypatch.setattr(captured, "_recorded", recorded)
    return count


def begin(recipe, device="cpu"):
    net = build(SPEC, seed=0).to(device).to(memory_format=torch.channels_last)
    average = {key: value.clone() for key, value in net.state_dict().items()} if recipe.ema else None
    return State(net, make_optimisers(net, SPEC, recipe), average)


def training(state, recipe, execution):
    data = pictures().to(execution.device)
    return fit(state, data=data, preprocessing=PREPROCESSING, recipe=recipe, execution=execution, seed=0,
               num_classes=3)  # fmt: skip


def tensors(state):
    found = {**state.net.state_dict(), **{f"average {key}": value for key, value in (state.average or {}).items()}}
    for number, optimiser in enumerate(state.optimisers):
        for index, entry in enumerate(optimiser.state.values()):
            found |= {f"{number} {index} {key}": value for key, value in entry.items()}
    return {key: value.clone() for key, value in found.items()}


@pytest.mark.parametrize("name", RECIPES)
def test_recorded_steps_train_as_plain_ones_do(replays, name):
    recipe = RECIPES[name]
    plain, recorded = begin(recipe), begin(recipe)
    expected = list(training(plain, recipe, PLAIN))
    found = list(training(recorded, recipe, RECORDED))
    shapes = 2 if recipe.shrink < 1 else 1
    assert len(replays) == 12 - shapes * captured.WARM_UP + shapes  # one of each shape is the proof
    assert [record.step for record in found] == [record.step for record in expected]
    for one, other in zip(found, expected, strict=True):
        assert (one.loss, one.accuracy) == pytest.approx((other.loss, other.accuracy), rel=1e-5)
    mine = tensors(recorded)
    for key, value in tensors(plain).items():
        torch.testing.assert_close(mine[key], value, rtol=1e-4, atol=1e-6, msg=lambda text, key=key: f"{key}: {text}")


def test_a_recording_that_does_something_else_is_not_used(monkeypatch):
    def recorded(work, stream):
        sizes = work()
        step = work.func.__self__
        step.before.put_back()

        def replay():
            for weight in step.weights:
                weight.data.mul_(0.9)

        return replay, sizes

    monkeypatch.setattr(captured, "_recorded", recorded)
    plain, other = begin(RECIPES["sgd"]), begin(RECIPES["sgd"])
    expected = list(training(plain, RECIPES["sgd"], PLAIN))
    with pytest.warns(RuntimeWarning, match="changed the weights otherwise"):
        found = list(training(other, RECIPES["sgd"], RECORDED))
    assert [record.loss for record in found] == pytest.approx([record.loss for record in expected], rel=1e-5)
    mine = tensors(other)
    assert all(torch.allclose(mine[key], value, atol=1e-6) for key, value in tensors(plain).items())


@pytest.mark.parametrize(("what", "words"), [("weight", "the loss of step 9"), ("momentum", "beyond 1e[+]15")])
def test_a_step_that_is_not_finite_is_taken_back_whole(replays, what, words):
    recipe = RECIPES["sgd"].replace(shrink=1.0)
    state = begin(recipe)
    with pytest.raises(NonFiniteError, match=words) as caught:  # noqa: PT012
        for record in training(state, recipe, RECORDED):
            if record.step == 8:
                if what == "weight":
                    state.net.fc.weight.data.fill_(3e38)
                else:
                    state.optimisers[0].state[state.net.conv1.weight]["momentum_buffer"].fill_(1e20)
                before = tensors(state)
    assert replays
    assert "picture" in str(caught.value)
    assert (state.step, state.whole) == (8, True)
    for key, value in tensors(state).items():
        assert torch.equal(value, before[key]), key


def test_where_recording_fails_the_training_goes_on(monkeypatch):
    def refused(work, stream):
        raise RuntimeError("operation not permitted when stream is capturing")

    monkeypatch.setattr(captured, "_recorded", refused)
    recipe = RECIPES["muon"]
    plain, other = begin(recipe), begin(recipe)
    list(training(plain, recipe, PLAIN))
    with pytest.warns(RuntimeWarning, match="could not be recorded"):
        list(training(other, recipe, RECORDED))
    torch.testing.assert_close(other.net.state_dict(), plain.net.state_dict(), rtol=1e-4, atol=1e-6)


class Copies(TorchDispatchMode):
    """Refuses what makes a GPU's host wait: asking for a value, and copies to it that block, or from it."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result, kwargs = func(*args, **(kwargs or {})), kwargs or {}
        if func is torch.ops.aten._to_copy.default and args[0].device != result.device:
            assert result.device.type == "cuda" and kwargs.get("non_blocking"), "this copy waits"
            self.count += 1
        return result


AUGMENTATIONS = {
    "padded": Augmentation(padding_mode="reflect", erasing=0.5),
    "zeros": Augmentation(padding_mode="zero", mixup=0.5),
    "resized": Augmentation(crop="resized", cutmix=1.0),
}


@pytest.mark.parametrize("name", AUGMENTATIONS)
@pytest.mark.parametrize("whole", [False, True], ids=["mean colour", "mean image"])
def test_batches_are_made_on_a_gpu_without_waiting_for_it(monkeypatch, name, whole):
    from torch._subclasses.fake_tensor import FakeTensorMode

    data = pictures()
    preprocessing = with_mean_image(PREPROCESSING, data.images) if whole else PREPROCESSING
    monkeypatch.setattr(Tensor, "pin_memory", lambda self: self)  # there is no GPU that would pin it
    # A fake tensor has a device and a shape, but no values: asking for one raises.
    with FakeTensorMode(allow_non_fake_inputs=True), Copies() as copies:
        there = Packed(torch.empty_like(data.images, device="cuda"), torch.empty_like(data.labels, device="cuda"),
                       data.names)  # fmt: skip
        batches = train_batches(
            there, preprocessing=preprocessing, augmentation=AUGMENTATIONS[name], batch_size=8, seed=0, epoch=0,
            num_classes=3, size=12, memory_format=torch.channels_last,
        )  # fmt: skip
        batch = next(batches)
    assert copies.count
    assert (batch.images.device.type, batch.targets.device.type, batch.images.shape) == ("cuda", "cuda", (8, 3, 12, 12))


def test_only_gpus_record_and_not_where_it_would_change_anything(monkeypatch):
    monkeypatch.setattr(room, "pick_device", torch.device)
    monkeypatch.setattr(room, "multiplies_bf16", lambda kind: True)
    assert not choose_execution(device="cpu").captured
    gpu = choose_execution(device="cuda")
    assert (gpu.captured, gpu.precision, gpu.channels_last) == (True, "bf16", True)
    for words in ({"precision": "fp16"}, {"deterministic": True}, {"memory": "low"}, {"draws": True}):
        assert not choose_execution(device="cuda", **words).captured


def test_data_that_takes_too_much_of_a_gpu_stays_where_it_is(monkeypatch):
    data, moved = pictures(), []
    monkeypatch.setattr(Packed, "to", lambda self, device: moved.append(device))
    for free, expected in ((2 * data.images.nbytes, []), (3 * data.images.nbytes, ["cuda"])):
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device, free=free: (free, 0))
        assert (room.placed(data, "cuda") is data) == (not expected)
        assert moved == expected


def test_bf16_is_enough_to_orthogonalise():
    matrix = torch.randn(64, 576, generator=torch.Generator().manual_seed(0)) * torch.logspace(0, -2, 576)
    exact, rounded = orthogonalised(matrix), orthogonalised(matrix.bfloat16()).float()
    assert torch.nn.functional.cosine_similarity(exact.flatten(), rounded.flatten(), dim=0) > 0.999
    assert np.ptp(torch.linalg.svdvals(rounded).numpy()) < 1.2 * np.ptp(torch.linalg.svdvals(exact).numpy())


def on_a_gpu(test):
    absent = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no GPU")
    advised = pytest.mark.filterwarnings("ignore::UserWarning")  # torch's advice; a step not recorded is another's
    return pytest.mark.gpu(absent(advised(test)))


GPU = replace(PLAIN, device="cuda")


@on_a_gpu
@pytest.mark.parametrize(
    "form", [GPU, replace(GPU, compiled=True), replace(GPU, precision="bf16")], ids=["fp32", "compiled", "bf16"]
)
@pytest.mark.parametrize("name", RECIPES)
def test_a_gpus_graphs_train_as_plain_steps_do(monkeypatch, name, form):
    recipe, recorded, count = RECIPES[name], captured._recorded, []
    monkeypatch.setattr(captured, "_recorded", lambda *given: (count.append(1), recorded(*given))[1])
    plain, graphs = begin(recipe, "cuda"), begin(recipe, "cuda")
    expected = [record.loss for record in training(plain, recipe, form)]
    found = [record.loss for record in training(graphs, recipe, replace(form, captured=True))]
    assert len(count) == (2 if recipe.shrink < 1 else 1)
    assert found == pytest.approx(expected, rel=0.05)
    mine = tensors(graphs)
    for key, value in tensors(plain).items():
        difference = (mine[key].float() - value.float()).norm()
        assert difference <= 0.05 * value.float().norm() + 1e-3, key


@on_a_gpu
@pytest.mark.parametrize("name", RECIPES)
def test_a_step_on_a_gpu_waits_only_for_its_own_figures(name):
    recipe = RECIPES[name].replace(shrink=1.0)
    records = training(begin(recipe, "cuda"), recipe, replace(GPU, captured=True))
    try:
        for record in records:
            # Torch then refuses every implicit wait; the one that is left is for an event.
            torch.cuda.set_sync_debug_mode("error" if record.kind == "step" and record.step in (4, 5) else 0)
    finally:
        torch.cuda.set_sync_debug_mode(0)


@on_a_gpu
def test_a_graphs_step_that_is_not_finite_is_taken_back_whole():
    recipe = RECIPES["sgd"].replace(shrink=1.0)
    state = begin(recipe, "cuda")
    with pytest.raises(NonFiniteError, match="the loss of step 9"):  # noqa: PT012
        for record in training(state, recipe, replace(GPU, captured=True)):
            if record.step == 8:
                state.net.fc.weight.data.fill_(3e38)
                before = tensors(state)
    for key, value in tensors(state).items():
        assert torch.equal(value, before[key]), key

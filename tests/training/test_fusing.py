"""Which normalisations of a network are fused in training, and that training stays what it was."""

from dataclasses import replace

import pytest
import torch
from steps import three_steps
from torch import nn

from resnets.models import create
from resnets.models.segments import pieces
from resnets.training import choose_execution, normalised, pooled
from resnets.training.fusing import fused_normalisation

PLAIN = choose_execution(device="cpu", precision="fp32")
FUSED = replace(PLAIN, native=True)
pytestmark = pytest.mark.skipif(normalised.kernels() is None, reason="no C compiler, or a processor without AVX2")


@pytest.fixture
def calls(monkeypatch):
    """What is computed by the kernels: a letter each: alone, with its ReLU, with an addition."""
    made = []
    real = normalised.normalised

    def count(norm, x, shortcut=None, *, relu=False, forks=False):
        made.append("a" if shortcut is not None else "r" if relu else "n")
        return real(norm, x, shortcut, relu=relu, forks=forks)

    monkeypatch.setattr(normalised, "normalised", count)
    return made


def overridden(net):
    ways = ("forward", "run", "entry", "ending")
    return [name for name, module in net.named_modules() if any(way in module.__dict__ for way in ways)]


def images(side=16, count=4):
    return torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(1))


def gradients(net, x, execution):
    net.zero_grad(set_to_none=True)
    with fused_normalisation(net, execution):
        with normalised.forking():
            logits = net(x)
        logits.square().sum().backward()
    assert overridden(net) == []
    return [
        logits.detach(),
        *(weight.grad for weight in net.parameters()),
        *(buffer.double() for buffer in net.buffers()),
    ]


def compared(name, calls, **changes):
    """The same values, gradients and statistics, in one step; returns what was fused."""
    nets = [create(name, num_classes=3, seed=0, **changes).train() for _ in range(2)]
    for net in nets:
        net.to(memory_format=torch.channels_last)
    wanted = gradients(nets[0].double(), images(64 if "stem" in changes else 16).double(), PLAIN)
    assert calls == []
    found = gradients(nets[1], images(64 if "stem" in changes else 16), FUSED)
    for mine, right in zip(found, wanted, strict=True):
        assert float((mine - right).norm()) <= 2e-3 * (1e-3 + float(right.norm()))
    return "".join(calls)


@pytest.mark.parametrize(
    ("name", "changes", "fused"),
    [
        ("resnet8", {}, "r" + 3 * "ra"),
        ("resnet8", {"ordering": "full-preactivation"}, "rr" + 2 * "rr" + "r"),
        ("resnet8", {"ordering": "bn-after-addition"}, "r" + 3 * "rr"),
        ("resnet8", {"ordering": "relu-before-addition"}, "r" + 3 * "rr"),
        ("resnet8", {"shortcut": "scaling"}, "r" + 3 * "rn"),
        ("resnet8", {"shortcut": "exclusive-gating"}, "r" + 3 * "rn"),
        ("resnet8", {"ordering": "full-preactivation", "shortcut": "B"}, "rr" + 2 * "rr" + "r"),
        ("resnet14", {}, "r" + 6 * "ra"),
        ("resnet8", {"norm": "group"}, ""),
        ("resnet8", {"widths": (16, 20, 32)}, "r" + 2 * "ra"),
        ("resnet8", {"widths": (16, 24, 32)}, "r" + 3 * "ra"),
        ("plain8", {}, "r" + 3 * "rr"),
        ("resnet8", {"stem": "deep", "stem_width": 32, "shortcut": "B"}, "rrr" + 3 * "rna"),
    ],
)
def test_what_is_fused_and_that_nothing_else_changes(name, changes, fused, calls):
    found = compared(name, calls, **changes)
    assert found == fused


@pytest.mark.parametrize("name", ["resnet8", "speedrun"])
def test_the_two_gradients_of_a_unit_and_its_shortcut_meet_in_the_normalisation_before(name):
    net = create(name, num_classes=3, seed=0).to(memory_format=torch.channels_last).train()
    with fused_normalisation(net, FUSED), normalised.forking():
        made = net(images()).sum()
        with torch.profiler.profile(record_shapes=True) as profile:
            made.backward()
    summed = [
        event.name
        for event in profile.events()
        if event.name in ("aten::add_", "aten::add") and len(event.input_shapes[0]) == 4
    ]
    assert not summed


def test_whoever_asks_for_the_gradients_of_maps_between_two_steps_has_them_whole():
    def found(fused):
        net = create("resnet14", num_classes=3, seed=0).to(memory_format=torch.channels_last).train()
        with fused_normalisation(net, FUSED if fused else PLAIN):
            maps = net.stages(images())
            logits = net.classify(maps["stage3"], images())
            return torch.autograd.grad(logits.square().sum(), [maps[name] for name in ("stem", "stage1", "stage2")])

    for mine, right in zip(found(True), found(False), strict=True):
        assert float((mine - right).norm()) <= 1e-3 * float(right.norm())


def test_a_shortcut_that_changes_its_input_is_refused():
    class InPlace(nn.Module):
        def forward(self, x):
            return x.mul_(2)

    net = create("resnet14").train()
    net.layer1[1].downsample = InPlace()
    with (
        fused_normalisation(net, FUSED),
        normalised.forking(),
        pytest.raises(RuntimeError, match="changed its input in place"),
    ):
        net(images())


def trained(execution, **kind):
    *_, (_, net) = made = [*three_steps(execution, **kind)]
    assert overridden(net) == []
    return [*(torch.tensor(loss) for loss, _ in made), *net.parameters(), *net.buffers()]


@pytest.mark.parametrize("memory", ["normal", "low"])
def test_training_takes_the_same_steps(memory, calls):
    wanted = trained(replace(PLAIN, memory=memory))
    assert calls == []
    found = trained(replace(FUSED, memory=memory))
    again = sum(2 * len(part) for part in pieces(create("resnet8"))[:-1]) + 1 if memory == "low" else 0
    assert len(calls) == 3 * (7 + again)  # each step, what is recomputed twice
    for mine, theirs in zip(found, wanted, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=2e-3, atol=2e-4)


def test_in_bf16_the_same_layers_are_fused_and_nothing_but_rounding_changes(calls):
    def step(execution):
        net = create("resnet8", num_classes=3, seed=0).to(memory_format=torch.channels_last).train()
        with torch.autocast("cpu", torch.bfloat16, enabled=execution.precision == "bf16"):
            return gradients(net, images(), execution)

    exact, plain = step(PLAIN), step(replace(PLAIN, precision="bf16"))
    assert calls == []
    fused = step(replace(FUSED, precision="bf16"))
    assert "".join(calls) == "r" + 3 * "ra"
    for right, mine in zip(exact, fused, strict=True):
        assert float((mine - right).norm()) <= 0.25 * float(right.norm()) + 1e-3
    off = [sum(float((a - b).norm() / (b.norm() + 1e-3)) for a, b in zip(found, exact, strict=True))
           for found in (fused, plain)]  # fmt: skip
    assert off[0] <= 1.3 * off[1]  # rounded less often


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_max_pooling_in_training_is_the_kernels_and_nothing_changes(precision, monkeypatch):
    shapes, real, execution = [], pooled.pooled, replace(FUSED, precision=precision)
    monkeypatch.setattr(pooled, "pooled", lambda x: shapes.append(tuple(x.shape[1:])) or real(x))
    found = trained(execution, name="speedrun", side=14)
    assert shapes == 3 * [(64, 13, 13), (256, 6, 6), (256, 3, 3)]
    monkeypatch.setattr(pooled, "suits", lambda pool, x: False)
    wanted = trained(execution, name="speedrun", side=14)
    assert len(shapes) == 9
    assert all(torch.equal(mine, theirs) for mine, theirs in zip(found, wanted, strict=True))


def test_max_pooling_without_gradients_and_hooks_on_it_stay_torchs():
    net, seen = nn.Sequential(nn.Conv2d(3, 16, 1), nn.MaxPool2d(2)), []
    net[1].register_forward_hook(lambda module, inputs, output: seen.append(output))
    with fused_normalisation(net, FUSED):
        assert "Pooled" in type(net(images()).grad_fn).__name__
        with torch.no_grad():
            assert net(images()).grad_fn is None
    assert len(seen) == 2 and torch.equal(*seen)
    assert overridden(net) == [] and "MaxPool" in type(net(images()).grad_fn).__name__


@pytest.mark.parametrize(
    "changes", [{"device": "cuda"}, {"precision": "fp16"}, {"compiled": True}, {"native": False}], ids=str
)
def test_other_ways_of_computing_change_nothing(changes):
    net = create("resnet8")
    with fused_normalisation(net, replace(FUSED, **changes)):
        assert overridden(net) == []


def test_without_a_compiler_nothing_changes(monkeypatch):
    monkeypatch.setattr(normalised, "kernels", lambda dtype: None)
    net = create("resnet8")
    with fused_normalisation(net, FUSED):
        assert overridden(net) == []


def test_without_gradients_or_training_it_is_torchs(calls):
    net = create("resnet8")
    with fused_normalisation(net, FUSED):
        with torch.no_grad():
            net.train()(images())
        net.eval()(images())
        net.train()
        for norm in (part for part in net.modules() if isinstance(part, nn.BatchNorm2d)):
            norm.eval()  # frozen statistics
        net(images())
    assert calls == []


@pytest.mark.parametrize(
    ("part", "fused"),
    [("bn1", "nrarara"), ("relu", "nrarara"), ("layer1.0.bn1", "rnarara"), ("layer1.0.relu", "rnnrara"),
     ("layer1.0.bn2", "rrnrara"), ("layer1.0.join", "rrnrara"), ("layer1.0", "rrarara")],
)  # fmt: skip
def test_a_hook_sees_what_it_always_saw(part, fused, calls):
    net = create("resnet8", num_classes=3, seed=0)
    seen = []
    net.get_submodule(part).register_forward_hook(lambda module, inputs, output: seen.append(output.detach().clone()))
    x = images()
    net(x)
    wanted, seen[:] = list(seen), []
    with fused_normalisation(net, FUSED):
        net(x)
    assert len(seen) == len(wanted) > 0
    for mine, theirs in zip(seen, wanted, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-4)
    assert "".join(calls) == fused
    del calls[:]
    with fused_normalisation(net, FUSED), nn.modules.module.register_module_forward_hook(lambda *_: None):
        net(x)
    assert set(calls) == {"n"}


def test_what_a_caller_put_there_stays(calls):
    net = create("resnet8")
    own = net.layer1[0].forward = lambda x: x
    seen = []
    net.layer2[0].residual = lambda x: seen.append(x) or type(net.layer2[0]).residual(net.layer2[0], x)
    with fused_normalisation(net, FUSED):
        net(images())
    assert net.layer1[0].forward is own and len(seen) == 1
    assert "".join(calls) == "rnnra"

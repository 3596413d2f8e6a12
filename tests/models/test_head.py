"""The flat head, against torch's own layers, and the one of max-pooling; everything that looks at a head."""

from itertools import pairwise

import pytest
import torch
from torch import nn

from resnets.architecture import NetworkSpec, spec
from resnets.errors import InputError
from resnets.evaluation.activation import class_activation_maps
from resnets.inspection.inspect import inspect
from resnets.inspection.words import built_of
from resnets.models import build, start_from
from resnets.models.folding import fold
from resnets.models.foreign import to_library
from resnets.models.onnx_graph import onnx_graph
from resnets.models.segments import recomputed
from resnets.training.plan import _check_shapes
from resnets.training.recipes import recipe

# Maps of 5 x 4 after two stages on images of 9 x 7: odd sides round up.
FLAT = NetworkSpec(
    units=(1, 1), widths=(4, 6), stem="small", stem_width=4, num_classes=5, image_size=(9, 7), head="flat",
    head_widths=(11, 7), name="flat",
)  # fmt: skip
AVERAGE = FLAT.replace(head="average", head_widths=())


def in_use(found: NetworkSpec = FLAT) -> nn.Module:
    """The network in evaluation mode, with statistics of its own."""
    net = build(found, seed=0).train()
    with torch.no_grad():
        net(images(8))
    return net.eval()


def images(count: int = 3) -> torch.Tensor:
    return torch.randn(count, 3, 9, 7, generator=torch.Generator().manual_seed(1))


def test_logits_are_those_of_torchs_own_layers_on_the_flattened_map() -> None:
    net = in_use()
    by_hand = nn.Sequential(
        nn.Flatten(), nn.Linear(6 * 5 * 4, 11), nn.ReLU(), nn.Linear(11, 7), nn.ReLU(), nn.Linear(7, 5)
    )
    weights = [value for key, value in net.state_dict().items() if key.startswith(("hidden.", "fc."))]
    by_hand.load_state_dict(dict(zip(by_hand.state_dict(), weights, strict=True)))
    with torch.no_grad():
        torch.testing.assert_close(net(images()), by_hand(net.stages(images())["stage2"]))


@pytest.mark.parametrize("widths", [(), (11,), (11, 7)])
def test_parameters_and_multiply_adds_are_those_of_the_chain(widths: tuple[int, ...]) -> None:
    pooled, flat = inspect(AVERAGE), inspect(FLAT.replace(head_widths=widths))
    chain = [6 * 5 * 4, *widths, 5]
    weights = sum(a * b for a, b in pairwise(chain))
    assert flat.parameters - pooled.parameters == weights + sum(chain[1:]) - (6 * 5 + 5)
    assert flat.multiply_adds - pooled.multiply_adds == weights - 6 * 5
    assert flat.depth == flat.spec.depth == pooled.depth + len(widths)
    assert flat.depth_sum == f"1 + 2x(1+1) + {1 + len(widths)} = {6 + len(widths)}"
    assert flat.receptive_field == pooled.receptive_field  # that of the last map
    assert [layer.kind for layer in flat.layers].count("avg-pool") == 0
    assert f"flat head of fully connected layers ({', '.join(map(str, chain[1:]))})" in built_of(flat.spec)


def test_dropout_after_every_hidden_layer_and_only_in_training() -> None:
    net = in_use()
    assert [(part.p, key) for key, part in net.named_modules() if isinstance(part, nn.Dropout)] == [
        (0.5, "hidden.2"),
        (0.5, "hidden.5"),
    ]
    with torch.no_grad():
        assert torch.equal(net(images()), net(images()))
        net.train()
        assert not torch.equal(net(images()), net(images()))


def test_the_default_head_has_the_keys_that_it_had() -> None:
    keys = set(build(AVERAGE).state_dict())
    assert not any(key.startswith("hidden") for key in keys)
    assert set(build(FLAT).state_dict()) - keys == {f"hidden.{k}.{part}" for k in (0, 3) for part in ("weight", "bias")}


def test_json_and_names_say_it_and_a_specification_from_before_reads_as_average() -> None:
    assert NetworkSpec.from_dict(FLAT.to_dict()) == FLAT
    named = spec("resnet20,head=flat,head_widths=[64,32]")
    assert (named.head, named.head_widths, named.depth) == ("flat", (64, 32), 22)
    assert named.replace(head_widths=[64, 32]) == named
    before = {key: value for key, value in AVERAGE.to_dict().items() if not key.startswith("head")}
    assert NetworkSpec.from_dict(before) == AVERAGE


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"head": "flatt"}, "did you mean 'flat'"),
        ({"head": "average"}, "head_widths are those of a flat head"),
        ({"head_widths": (0,)}, "head_widths must be"),
        ({"head_widths": 64}, "head_widths must be"),
        ({"unit": "linear", "stem": "linear"}, "linear units have not"),
        ({"unit": "linear", "stem": "linear", "head": "max", "head_widths": ()}, "linear units have not"),
    ],
)
def test_what_a_head_cannot_be_is_refused(changes: dict, words: str) -> None:
    with pytest.raises(InputError, match=words):
        FLAT.replace(**changes)


def test_without_the_size_of_the_images_it_cannot_be_built() -> None:
    for found in (spec("resnet20,head=flat"), spec("resnet20,head=flat,head_widths=[8]")):
        with pytest.raises(InputError, match=r"^resnet20,head=flat.*: head=flat needs image_size"):
            build(found)
    with pytest.raises(InputError, match="vgg19 does of its own"):
        spec("vgg19,head=flat")
    with pytest.raises(InputError, match="billion weights"):
        build(spec("resnet20,head=flat,head_widths=[100000,100000]").replace(image_size=(32, 32)))


def test_weights_for_other_images_are_refused_instead_of_a_new_classifier() -> None:
    larger = FLAT.replace(image_size=(16, 16), head_widths=())
    with pytest.raises(InputError, match=r"'fc.weight' has shape \[5, 384\] in the weights and \[5, 120\]"):
        start_from(build(FLAT.replace(head_widths=())), build(larger).state_dict())


def test_no_map_of_classes_and_no_export_to_other_libraries() -> None:
    with pytest.raises(InputError, match=r"^flat has no exact class activation maps: .*head=flat"):
        class_activation_maps(in_use(), images())
    found = spec("resnet18,head=flat").replace(image_size=(64, 64))
    for library in ("torchvision", "timm"):
        with pytest.raises(InputError, match=f"^{library} has no network with a flat head"):
            to_library(found, {}, library)


def test_folded_and_as_onnx_the_logits_are_the_same() -> None:
    runtime = pytest.importorskip("onnxruntime")
    net = in_use()
    folded = fold(net)
    assert not any(
        isinstance(part, nn.Dropout)
        for part in (folded.get_submodule(str(n.target)) for n in folded.graph.nodes if n.op == "call_module")
    )
    session = runtime.InferenceSession(onnx_graph(folded, (3, 9, 7)).SerializeToString())
    with torch.no_grad():
        expected = net(images())
        torch.testing.assert_close(folded(images()), expected, rtol=1e-4, atol=1e-5)
    (found,) = session.run(None, {"images": images().numpy()})
    torch.testing.assert_close(torch.from_numpy(found), expected, rtol=1e-4, atol=1e-5)


def test_recomputed_gradients_are_the_plain_ones() -> None:
    plain, again = build(FLAT, seed=0).train(), build(FLAT, seed=0).train()
    for run in (plain, lambda x: recomputed(again, x)):
        torch.manual_seed(3)  # of the dropout
        run(images()).square().sum().backward()
    for one, other in zip(plain.parameters(), again.parameters(), strict=True):
        assert torch.equal(one.grad, other.grad)


def test_images_are_not_shrunk_in_training() -> None:
    assert recipe("fast", AVERAGE).shrink < 1 == recipe("fast", FLAT).shrink
    with pytest.raises(InputError, match="fully connected layers have one image size"):
        _check_shapes(
            FLAT.replace(image_size=(16, 16)), recipe("fast", FLAT, changes={"shrink": 0.5, "shrink_until": 0.5}), 100
        )


def test_a_head_of_max_pooling_takes_the_largest_of_each_channel_and_has_no_class_maps() -> None:
    net = in_use(AVERAGE.replace(head="max", name="largest"))
    with torch.no_grad():
        largest = net.stages(images())["stage2"].amax((2, 3))
        torch.testing.assert_close(net(images()), largest @ net.fc.weight.T + net.fc.bias)
    found = inspect(net.spec)
    assert found.parameters == inspect(AVERAGE).parameters and found.multiply_adds == inspect(AVERAGE).multiply_adds
    assert "global max-pooling" in built_of(net.spec) and [layer.kind for layer in found.layers].count("max-pool") == 1
    with pytest.raises(InputError, match=r"^largest has no exact class activation maps: .*or max"):
        class_activation_maps(net, images())
    with pytest.raises(InputError, match="timm has no network with a max head"):
        to_library(spec("resnet18,head=max"), {}, "timm")

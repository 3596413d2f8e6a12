"""`--diagnose RUN`: where a network's gradient dies, by unit, and which units to give a shortcut."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from resnets.evaluation import Run
from resnets.models import build
from resnets.studies import subjects
from resnets.studies.flow import flow, worst_units
from resnets.studies.gradient_charts import unit_name
from resnets.studies.looking import IMAGES
from resnets.studies.signals import measure_signals


def diagnose(run: str, data: str | None = None, *, count: int | None = None) -> dict[str, Any]:
    """Measure the gradients of a run's network, on its initial weights and on the trained ones.

    The initial weights are built again from the run's seed; of imported weights, and of a run that started from
    weights, only the trained ones are measured. The images are a batch of the run's training images, not augmented.

    Args:
        run: a run folder; or weights from anywhere (see `resnets.models.pretrained`), which need `data`.
        data: images of another source.
        count: how many units to choose; None leaves that to the gradient (`flow.worst_units`).

    Returns:
        Plain data: `run`, `network`, `images`, `notes`, `norm`; `with_shortcut`: the numbers of the units that have
        one, `units`: of all; `initial` and `trained`: None, or {"finite", "kind", "orders", "units", "named", "where",
        "signals"} as of `flow.Flow` and `signals.Signals.to_dict` (None where not finite); `basis`: which of the two
        the choice goes by; `chosen`: the units to give a shortcut, in the network's order.

    Raises:
        InputError: no such run or weights, no images for them, or a network without units.
    """
    folder = Run.open(run) if subjects.is_run(run) else None
    if folder is not None:
        subject = subjects.of_run(folder, data=data, split="train", limit=IMAGES)
    else:
        subject = subjects.of_weights(run, data, limit=IMAGES)
    spec = subject.net.spec
    images, labels = subject.batches[0]
    initial = None
    # That the network was trained on these images is as it should be here.
    notes = [note for note in subject.notes if not note.startswith("the network was trained")]
    if folder is not None and folder.imported is None and not folder.info.get("started_from"):
        initial = _found(build(spec, seed=int(folder.info["seed"])), images, labels)
        if folder.recipe.get("whiten"):
            notes.append("the stem's initial weights are as built here; the run whitened them")
    trained = _found(subject.net, images, labels)
    shortcuts = [unit for unit in range(spec.total_units) if spec.has_shortcut(unit)]
    basis = "initial" if initial is not None else "trained"
    judged = initial or trained
    chosen = worst_units(flow(judged["signals"]), count, shortcuts) if judged["finite"] else ()
    return {
        "run": run, "network": subject.name, "images": subject.images, "notes": notes, "norm": spec.norm,
        "units": spec.total_units, "with_shortcut": shortcuts, "initial": initial, "trained": trained, "basis": basis,
        "chosen": list(chosen),
    }  # fmt: skip


def _found(net: nn.Module, images: Tensor, labels: Tensor) -> dict[str, Any]:
    found = measure_signals(net, images, labels)
    if not found.finite:
        return dict.fromkeys(("kind", "orders", "units", "named", "where", "signals")) | {"finite": False}
    seen = found.to_dict()
    judged = flow(seen)
    return {
        "finite": True, "kind": judged.kind, "orders": judged.orders, "units": list(judged.units),
        "named": list(judged.named), "where": judged.where, "signals": seen,
    }  # fmt: skip


def diagnosis_words(found: Mapping[str, Any]) -> list[str]:
    """What `diagnose` found, as lines."""
    lines = [f"{found['network']} ({found['run']}), {found['units']} units, on {found['images']}:"]
    for key, name in (("initial", "initial weights"), ("trained", "trained weights")):
        lines.append(f"  {name}: {_state(found[key])}")
    lines += [f"  {line}" for line in (*_advice(found), *found["notes"])]
    return lines


def _state(state: Mapping[str, Any] | None) -> str:
    if state is None:
        return "not known (the network began with weights that were given)"
    if not state["finite"]:
        return "the gradient is not finite: it has overflowed"
    size = f"at the first unit it is 10^{round(state['orders'], 1) + 0.0:+.1f} times what it is at the last"
    if state["kind"] == "healthy":
        return f"the gradient is healthy: {size}"
    loses = state["kind"] == "vanishes"
    where = unit_name(state["signals"], state["where"])
    return (
        f"the gradient {state['kind']}: {size}, {'under a hundredth' if loses else 'over a hundred times'} of it from"
        f" unit {where} back; {len(state['named'])} units {'lose' if loses else 'add'} more than their share, from the"
        f" loss back: {_listed(state['signals'], state['named'])}"
    )


def _advice(found: Mapping[str, Any]) -> list[str]:
    judged, chosen = found[found["basis"]], found["chosen"]
    every = len(found["with_shortcut"]) == found["units"]
    if every:
        return ["every unit has a shortcut already: there is none to give one to"]
    if not judged["finite"]:
        return ["which units to give a shortcut cannot be told from a gradient that is not finite"]
    if not chosen:
        return ["nothing is lost that a shortcut would have to carry: none is advised for the gradient's sake"]
    lines = [
        f"give a shortcut to {len(chosen)} of {found['units']} units, those over which it"
        f" {'loses' if judged['orders'] < 0 else 'grows'} most on the {found['basis']} weights:"
        f" shortcut_units={','.join(map(str, chosen))}"
    ]
    if found["basis"] == "initial":
        lines.append(f"what that gains: resnets study gradients --retrofit {shlex.quote(found['run'])}")
    if judged["orders"] > 0 and found["norm"] == "none":
        lines.append("without normalisation a shortcut adds to the gradient, and does not stop it from exploding")
    return lines


def _listed(seen: Mapping[str, Any], units: Sequence[int], most: int = 4) -> str:
    words = ", ".join(unit_name(seen, unit) for unit in units[:most])
    return words + (f" and {len(units) - most} more" if len(units) > most else "")

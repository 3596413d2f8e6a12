"""The images on which a network is looked at: one batch of its training images, the same at every look."""

from __future__ import annotations

from typing import TYPE_CHECKING

from resnets.data import Augmentation, train_batches
from resnets.studies.signals import measure_signals
from resnets.training.plan import make_plan

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import nn

    from resnets.data import Batch
    from resnets.studies.study import Case, Settings

IMAGES = 128  # of a look: the papers' batch


def training_batch(case: Case, seed: int, settings: Settings) -> Batch:
    """A batch of the images that the run of this case and seed is trained on, prepared as for it, not augmented.

    Raises:
        InputError: what a training would refuse.
    """
    plan = make_plan(
        settings.data, arch=case.spec, recipe=settings.recipe, changes={**settings.overrides, **case.overrides},
        seed=seed, out=None, workers=0, device="cpu", precision="fp32", deterministic=False, skip_unreadable=False,
        size=settings.size, weights=None,
    )  # fmt: skip
    plain = Augmentation(crop="none", flip="none")
    batches = train_batches(
        plan.train, preprocessing=plan.preprocessing, augmentation=plain, batch_size=IMAGES, seed=seed, epoch=0,
        num_classes=len(plan.source.classes),
    )  # fmt: skip
    return next(batches)


def looker(case: Case, seed: int, settings: Settings) -> Callable[[nn.Module], dict[str, object]]:
    """Measures the signals of a network on the run's batch: `Signals.to_dict`, or {"finite": False}."""
    batch = training_batch(case, seed, settings)

    def look(net: nn.Module) -> dict[str, object]:
        found = measure_signals(net, batch.images, batch.targets)
        return {"finite": True, **found.to_dict()} if found.finite else {"finite": False}

    return look

"""Shortcuts: options A, B, C and none ([R] section 4.1), and what hampers an identity ([I] section 3, table 1)."""

from __future__ import annotations

from collections.abc import Sequence

from resnets.studies import compared, curves, papers
from resnets.studies.compared import Claim
from resnets.studies.depths import check_basic
from resnets.studies.study import Analysis, Case, Preset, Settings, Study, Trained

# Variant → (the shortcut's word, what the reader sees).
FORMS = {
    "A": ("A", "A: identity"),
    "B": ("B", "B: projections at new shapes"),
    "C": ("C", "C: 1x1 convolution everywhere"),
    "none": ("none", "no shortcut (plain)"),
    "scaling": ("scaling:0.5,0.5", "constant scaling (0.5 and 0.5)"),
    "exclusive-gating": ("exclusive-gating:-6", "exclusive gating (bias -6)"),
    "shortcut-only-gating": ("shortcut-only-gating:-6", "shortcut-only gating (bias -6)"),
    "dropout": ("dropout:0.5", "dropout 0.5 on the shortcut"),
}
LABELS = {form: label for form, (_, label) in FORMS.items()}
WORSE = ("none", "scaling", "exclusive-gating", "C", "dropout")  # than A, by a wide margin in [I]


def cases(settings: Settings) -> list[Case]:
    """One network with every form of shortcut; where shapes change the identity is option A, as in [I]."""
    check_basic(settings.depths)
    found = []
    for depth in settings.depths:
        base = compared.network(f"resnet{depth}", settings).replace(shortcut="A")
        for form, (word, _) in FORMS.items():
            facts = {"variant": form, "depth": depth, "group": f"{depth} layers"}
            found.append(Case(f"{form}-{depth}", base.replace(shortcut=word), facts))
    return found


def analyse(settings: Settings, trained: Sequence[Trained]) -> Analysis:
    """Every form against the identity, seed by seed, at the greatest depth."""
    group = f"{max(settings.depths)} layers"
    claims = [Claim(form, paper=_beside(form)) for form in (*WORSE, "shortcut-only-gating")]
    found = compared.findings(settings, trained, claims, baseline="A", labels=LABELS, group=group)
    shown = [LABELS[claim.variant] for claim, item in zip(claims, found, strict=True) if item.shown == "shown"]
    what = settings.criterion
    better = [LABELS[claim.variant] for claim, item in zip(claims, found, strict=True) if item.shown == "opposite"]
    verdict = (
        f"Does hampering the identity hurt? A higher {what} than with the plain identity is shown for"
        f" {compared.listed(shown)}." + (f" Lower than the identity: {compared.listed(better)}." if better else "")
    )
    beside = {form: _figure(form) for form in FORMS}
    return Analysis(
        verdict, found,
        tables=[compared.table(trained, title="Every form of the shortcut", labels=LABELS, papers=beside,
                               paper_column="[I] table 1, ResNet-110")],
        charts=[
            compared.bars(settings, trained, labels=LABELS, caption="[I] table 1 has the test errors at 110 layers."),
            *curves.training_curves(settings, trained, by="variant"),
        ],
    )  # fmt: skip


def _figure(form: str) -> str:
    found = papers.shortcut(FORMS[form][0])
    return "–" if found is None else "fails" if found.error is None else f"{found.error:.2f}"


def _beside(form: str) -> str:
    found, identity = papers.shortcut(FORMS[form][0]), papers.shortcut("A")
    return f"{found}; the identity {identity}" if found else ""


STUDY = Study(
    name="shortcuts",
    title="Shortcuts",
    question="Does anything carry x past a residual function better than leaving it alone?",
    source="[I] He et al., Identity Mappings, arXiv 1603.05027, section 3, table 1; [R] section 4.1",
    effect="Scaling, gates, dropout or a convolution on the shortcut, or none at all, make a deep network train worse.",
    departs=(
        "[I] reports test errors of ResNet-110 after 64,000 iterations; the small versions compare the training error"
        " over the last epoch of shallower networks, as figure 3 of [I] compares curves: the forms are said to hamper"
        " optimisation, and a test set this small would not tell them apart. The criterion was the training loss at"
        " first; with dropout on the shortcut it overflows, so that its mean says nothing, and errors took its place"
        " after three seeds had been seen. The table has both."
    ),
    presets={
        "minutes": Preset(
            "digits", 4, "paper", compared.SHORT, compared.WHY, depths=(44,),
            options={"width": 8}, criterion="training error",
        ),
        "hours": Preset(
            "cifar10", 3, "paper", compared.SHORTENED, compared.WHY_HOURS, depths=(56,), size=16,
            criterion="training error",
        ),
        "paper": Preset("cifar10", 5, "paper", {}, "The paper's network, recipe and images.", depths=(110,)),
    },
    cases=cases,
    analyse=analyse,
)  # fmt: skip

"""Sections of a report with pictures: mistakes and hits, suspected labels, near-duplicates between splits."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from resnets.evaluation.figures import Evaluation
from resnets.evaluation.report.classes import headline
from resnets.evaluation.report.duplicates import Pair, counted
from resnets.evaluation.report.examination import Examination, Measured
from resnets.evaluation.report.pictures import cards, mapped, opened, shown
from resnets.evaluation.report.suspects import Suspect
from resnets.evaluation.run import Run
from resnets.models.folder import SUSPECTS
from resnets.pages import page
from resnets.pages.page import Section

MISTAKES, HITS, SUSPICIOUS, COPIES = 16, 8, 24, 24  # shown at most
_NAME = 34  # letters of an image's name


def mistakes(run: Run, seen: Examination) -> Section | None:
    """The most confident mistakes and the least confident hits, each beside its class activation map."""
    found = headline(run)
    if found is None or found[0] not in seen.splits:
        return None
    split, part = found[0], seen.splits[found[0]]
    assert isinstance(part.found, Evaluation)
    cases = part.found.cases
    right = cases.predicted == cases.labels
    sure = np.argsort(-cases.confidence, kind="stable")
    wrong = [int(index) for index in sure if not right[index]][:MISTAKES]
    unsure = [int(index) for index in sure[::-1] if right[index]][:HITS]
    body = f"<p>{(~right).sum():,} of the {len(right):,} images of the {split} split are taken for another class.</p>"
    body += page.paragraph(
        "Beside each picture the class activation map of the class that the network names: bright where its logit comes"
        " from."
    )
    if wrong:
        body += f"<h3>The {len(wrong)} most confident mistakes</h3>" + _explained(run, part, wrong)
    if unsure:
        body += f"<h3>The {len(unsure)} least confident hits</h3>" + _explained(run, part, unsure)
    return Section("mistakes", "Mistakes and hits", body)


def suspected(run: Run, seen: Examination) -> Section | None:
    """Images whose label may be wrong."""
    doubted = [suspect for suspect in seen.suspects if suspect.p_suggested > suspect.p_label]
    if not seen.suspects:
        return None
    body = page.paragraph(
        f"All {len(seen.suspects):,} images examined are ranked in {SUSPECTS}, by the probability that the network"
        " gives to their label, times that of a linear discriminant on its features that has not seen the label. The"
        " ranking is within each split, since what was trained on is known better; look at the first one or two"
        " percent. What is hard or unusual stands here too: a suspicion is no proof."
    )
    items = []
    for suspect in doubted[:SUSPICIOUS]:
        picture = opened(seen.splits[suspect.split].split, suspect.index)
        if picture is not None:
            items.append(([shown(picture, suspect.name)], _doubt(run, suspect)))
    if items:
        body += f"<h3>The {len(items)} most suspicious labels with which the network disagrees</h3>" + cards(items)
    else:
        body += page.paragraph("The network disagrees with no label.")
    return Section("suspects", "Suspected label errors", body)


def copies(run: Run, seen: Examination) -> Section | None:
    """Pictures that stand in two splits, side by side."""
    if seen.pairs is None or len(seen.splits) < 2:
        return None
    body = ""
    for (known, new), count in sorted(counted(seen.pairs).items()):
        images = seen.splits[new].found.n
        of_pair = [pair for pair in seen.pairs if pair.splits == (known, new)]
        exact = sum(pair.exact for pair in of_pair)
        other = sum(_labels(pair, seen)[0] != _labels(pair, seen)[1] for pair in of_pair)
        body += page.paragraph(
            f"Of the {images:,} images of {new}, {count:,} ({100 * count / images:.2g} %) seem to stand in {known} too,"
            f" exactly ({exact:,}) or nearly; with another label: {other:,}."
        )
    if not seen.pairs:
        body += page.paragraph("No picture was found in two splits.")
    elif any(pair.splits[1] == "test" for pair in seen.pairs):
        body += page.paragraph("Figures of a test split are a little too good where the network has seen its pictures.")
    body += page.paragraph(
        "Neighbours in small colour copies, mirrored ones and the network's features are compared in their fine detail"
        " (correlation at 32 pixels from 0.7, the edge left out): a few are only alike, so look at them. Other crops,"
        " turned and heavily edited copies are not found. Exact means: the copies that are compared are equal, of 32"
        " pixels in grey and 8 in colour; larger pictures may still differ in what these do not show."
    )
    body += "".join(map(page.paragraph, seen.notes))
    # First the pairs of which one label must be wrong.
    order = sorted(seen.pairs, key=lambda pair: _labels(pair, seen)[0] == _labels(pair, seen)[1])
    items = []
    for pair in order[:COPIES]:
        pictures = [
            opened(seen.splits[name].split, index) for name, index in zip(pair.splits, pair.indices, strict=True)
        ]
        if pictures[0] is not None and pictures[1] is not None:
            names = [_named(seen.splits[name], index) for name, index in zip(pair.splits, pair.indices, strict=True)]
            images_ = [shown(picture, name) for picture, name in zip(pictures, names, strict=True) if picture]
            items.append((images_, [*_alike(run, pair, seen), *names]))
    if items:
        more = f" (of {len(seen.pairs):,})" if len(seen.pairs) > len(items) else ""
        body += f"<h3>Shown: {len(items)}{more}, other labels first, then the most alike</h3>" + cards(items)
    return Section("duplicates", "Near-duplicates between splits", body)


def _explained(run: Run, part: Measured, indices: Sequence[int]) -> str:
    assert isinstance(part.found, Evaluation)
    cases = part.found.cases
    maps = mapped(run, part.split, indices, [int(cases.predicted[index]) for index in indices])
    items = []
    for index in indices:
        picture = opened(part.split, index)
        if picture is None:
            continue
        said, true = run.classes[cases.predicted[index]], run.classes[cases.labels[index]]
        lines = [f"{said}, {100 * cases.confidence[index]:.1f} %"]
        if cases.predicted[index] != cases.labels[index]:
            lines.append(f"label: {true}, {100 * cases.p_true[index]:.2g} %")
        images = [shown(picture, cases.names[index])]
        if index in maps:
            images.append(shown(maps[index], f"where the logit of {said} comes from"))
        items.append((images, [*lines, _short(cases.names[index])]))
    return cards(items)


def _doubt(run: Run, suspect: Suspect) -> list[str]:
    return [
        f"label: {run.classes[suspect.label]}, {100 * suspect.p_label:.2g} %",
        f"rather {run.classes[suspect.suggested]}, {100 * suspect.p_suggested:.1f} %",
        f"{suspect.split}: {_short(suspect.name)}",
    ]


def _alike(run: Run, pair: Pair, seen: Examination) -> list[str]:
    first, second = (run.classes[label] for label in _labels(pair, seen))
    what = "exact" if pair.exact else f"{'mirrored, ' if pair.mirrored else ''}alike to {100 * pair.likeness:.0f} %"
    labels = f"both {first}" if first == second else f"labels differ: {first} and {second}"
    return [labels, what]


def _labels(pair: Pair, seen: Examination) -> tuple[int, int]:
    found = [seen.splits[name].found for name in pair.splits]
    assert isinstance(found[0], Evaluation)
    assert isinstance(found[1], Evaluation)
    return int(found[0].cases.labels[pair.indices[0]]), int(found[1].cases.labels[pair.indices[1]])


def _named(part: Measured, index: int) -> str:
    assert isinstance(part.found, Evaluation)
    return _short(part.found.cases.names[index])


def _short(name: str) -> str:
    """The end of a name, which tells images apart."""
    return name if len(name) <= _NAME else f"…{name[1 - _NAME :]}"

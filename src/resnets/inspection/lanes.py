"""Where the steps of a unit stand: the main way in one lane, every way beside it in a lane of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise

from resnets.inspection.units import Node

ELBOW = 11.0  # least drop of a line that leaves one lane for a step of another


def with_passes(nodes: Sequence[Node]) -> list[Node]:
    """The steps, with a `pass` on every line that carries a signal unchanged past other steps of the main way."""
    found = list(nodes)
    main = [k for k, node in enumerate(nodes) if node.main]
    for before, k in pairwise(main):
        inputs = list(nodes[k].inputs)
        for place, source in enumerate(inputs):
            if source != before and nodes[source].main:
                inputs[place] = len(found)
                found.append(Node(f"{nodes[k].name}.identity", "pass", (), (source,), nodes[source].shape, False))
        found[k] = replace(found[k], inputs=tuple(inputs))
    return found


def lanes_of(nodes: Sequence[Node]) -> list[list[int]]:
    """The steps of each lane from top to bottom, the main way first.

    What feeds a way beside stands between it and the main one (a gate between F(x) and x), so that no lines cross.
    """
    lanes = [[k for k, node in enumerate(nodes) if node.main]]
    gates = _gates(nodes)

    def carrier(k: int) -> int | None:
        inputs = nodes[k].inputs
        return next((source for source in inputs if source not in gates), inputs[0]) if inputs else None

    def beside(lane: list[int]) -> None:
        for k in tuple(lane):
            for source in nodes[k].inputs:
                if any(source in known for known in lanes):
                    continue
                way, before = [source], carrier(source)
                while before is not None and not any(before in known for known in lanes):
                    way.insert(0, before)
                    before = carrier(before)
                host = next((known for known in lanes[1:] if known[-1] == before), None)
                if host is not None:
                    host += way
                    beside(host)
                else:
                    lanes.insert(len(lanes) if lane is lanes[0] else lanes.index(lane), way)
                    beside(way)

    beside(lanes[0])
    return lanes


def forks(lanes: Sequence[Sequence[int]], source: int, k: int) -> bool:
    """Whether the line from `source` begins the lane of `k`, from above; else it comes from the side."""
    begins = any(lane[0] == k for lane in lanes[1:])
    return begins and all(lane[-1] != source for lane in lanes)


def _gates(nodes: Sequence[Node]) -> set[int]:
    """What has gone through a sigmoid and nothing else."""
    gates: set[int] = set()
    for k, node in enumerate(nodes):
        if node.kind == "sigmoid" or (node.inputs and gates.issuperset(node.inputs)):
            gates.add(k)
    return gates


def heights(
    nodes: Sequence[Node], lanes: Sequence[Sequence[int]], tall: Sequence[float], gap: Callable[[int], float]
) -> list[float]:
    """The top of every step, y downwards from 0.

    Args:
        nodes: the steps.
        lanes: as `lanes_of` gives them.
        tall: height of each step's box.
        gap: room below a step.
    """
    lane_of = {k: n for n, lane in enumerate(lanes) for k in lane}
    users: list[list[int]] = [[] for _ in nodes]
    for k, node in enumerate(nodes):
        for source in node.inputs:
            users[source].append(k)
    order: list[int] = []

    def visit(k: int) -> None:
        if k not in order:
            for source in nodes[k].inputs:
                visit(source)
            order.append(k)

    for k in lane_of:
        visit(k)

    def turns(source: int, k: int) -> bool:
        return lane_of[source] != lane_of[k] and not forks(lanes, source, k)

    tops = [0.0] * len(nodes)
    for k in order:
        tops[k] = max(
            (
                tops[s] + tall[s] + (ELBOW - tall[k] / 2 if turns(s, k) else gap(s))
                for s in nodes[k].inputs
            ),
            default=0.0,
        )  # fmt: skip
    latest = list(tops)
    for k in reversed(order):
        if lane_of[k]:
            limits = [
                latest[user] + (tall[user] / 2 - ELBOW if turns(k, user) else -gap(k)) - tall[k]
                for user in users[k] if user in lane_of
            ]  # fmt: skip
            latest[k] = min(limits, default=tops[k])
    for lane in lanes[1:]:
        # A way that only carries a signal past the main one is set half way; what works together with others, late.
        alone = all(lane_of[s] in (0, lane_of[k]) for k in lane for s in nodes[k].inputs)
        alone = alone and all(lane_of[user] == lane_of[k] for k in lane[:-1] for user in users[k])
        alone = alone and all(lane_of[user] == 0 for user in users[lane[-1]])
        for k in lane:
            tops[k] = (tops[k] + latest[k]) / 2 if alone else latest[k]
    return tops

"""Whole training steps (forward, backward, update), and the share of the update in them."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fastlr.benchmarks.models import TrainingCase
from fastlr.benchmarks.peers import OURS, Side, label, make_side
from fastlr.benchmarks.results import CaseResult, Row
from fastlr.benchmarks.rules import Rule
from fastlr.benchmarks.steps import CHECKED_UPDATES, compare
from fastlr.benchmarks.timing import Effort, alternate, ratios, spread


@dataclass(frozen=True)
class StepTimes:
    """Of one training step, in seconds."""

    whole: float
    update: float


def make_training(rule: Rule, case: TrainingCase, name: str) -> tuple[Side, Callable[[], StepTimes]]:
    """A side and its training step, from the same start on the same batch."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = case.network()
    inputs, labels = case.batch()
    side = make_side(rule, name, network.parameters(), rule.training_rate)

    def train_step() -> StepTimes:
        start = time.perf_counter()
        side.optimizer.zero_grad()
        loss: Tensor = nn.functional.cross_entropy(network(inputs), labels)
        loss.backward()  # type: ignore[no-untyped-call]
        before_update = time.perf_counter()
        side.update()
        end = time.perf_counter()
        return StepTimes(end - start, end - before_update)

    return side, train_step


def time_training(rule: Rule, case: TrainingCase, peers: Sequence[str], effort: Effort) -> CaseResult:
    """Check and then time one model."""
    # Where the loop is not bit-equal only the first update has the same gradients: then one rounding may put a ReLU's
    # input on the other side of 0.
    checked = 1 if rule.loop_ulps else CHECKED_UPDATES
    sides, actions = [], {}
    for name in [OURS, *peers]:
        side, actions[name] = make_training(rule, case, name)
        sides.append(side)
        for _ in range(checked):
            actions[name]()
    checks = {side.name: compare(side, sides[0], checked) for side in sides[1:]}
    measured = alternate(actions, effort)
    whole = {name: [times.whole for times in measured[name]] for name in actions}
    rows = []
    for name, samples in measured.items():
        times = {
            "training step": spread([1e6 * sample.whole for sample in samples]),
            "its update": spread([1e6 * sample.update for sample in samples]),
        }
        share = spread([sample.update / sample.whole for sample in samples])
        check, correct = checks.get(name, ("", True))
        ratio = None if name == OURS else spread(ratios(whole[name], whole[OURS]))
        rows.append(Row(label(name, rule), times, ratio, check, correct, share))
    parameters = sum(p.numel() for group in sides[0].optimizer.param_groups for p in group["params"])
    return CaseResult(case.name, rule.name, f"{case.description} ({parameters} parameters)", rows)

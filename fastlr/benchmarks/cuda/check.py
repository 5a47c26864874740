"""Whether the sides compute the same: each against torch's loop, over a schedule that is short and steep."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from fastlr.benchmarks.cuda.device import Device
from fastlr.benchmarks.cuda.sides import OURS_GRAPH, CudaSide, Tensors, make_cuda_side
from fastlr.benchmarks.peers import OURS
from fastlr.benchmarks.rules import Rule
from fastlr.benchmarks.steps import largest_difference, worst

# Of a whole schedule: a graph that keeps its first rate, or is one update late, is 20 % and more away.
CHECKED_UPDATES = 8
# Sides round in different orders, and in 16 bits at different places.
TOLERANCES = {torch.float32: 1e-5, torch.bfloat16: 5e-2}


@dataclass(frozen=True)
class Verdict:
    """``right`` sides are timed; ``failed`` ones are mistakes of somebody's."""

    text: str
    right: bool
    failed: bool


class Checks:
    """Compares the tensors that a side has updated with those that torch's loop has updated from the same start.

    The copies take as much memory as parameters and state together.
    """

    def __init__(self, rule: Rule, tensors: Tensors, device: Device) -> None:
        self._rule, self._tensors, self._device = rule, tensors, device
        self._run("loop")
        self._expected = [[tensor.detach().clone() for tensor in kind] for kind in tensors.updated()]

    def _run(self, name: str) -> CudaSide:
        self._tensors.reset()
        side = make_cuda_side(self._rule, name, self._tensors, CHECKED_UPDATES, self._device)
        for _ in range(CHECKED_UPDATES - side.done):
            side.update()
        return side

    def verdict(self, name: str) -> Verdict:
        """Whether the side computes the same. One of torch's may be unable to run here; fastlr's may not."""
        try:
            return self._compare(name)
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            reason = f"did not run: {(str(error).strip() or repr(error)).splitlines()[0]}"
            return Verdict(reason, right=False, failed=name in (OURS, OURS_GRAPH))

    @torch.no_grad()
    def _compare(self, name: str) -> Verdict:
        side = self._run(name)
        apart = worst(*map(largest_difference, self._tensors.updated(), self._expected))
        del side  # not before: what is asked for may still have to be done
        right = apart <= TOLERANCES[self._tensors.parameters[0].dtype]
        text = "bit-equal" if apart == 0 else f"{'within' if right else 'WRONG by'} {apart:.0e}"
        return Verdict(text, right=right, failed=not right)

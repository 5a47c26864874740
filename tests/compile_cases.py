"""Two optimizers side by side, one of them under torch.compile; shared by the tests of compiled steps."""

import copy
import shutil
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from sgd_cases import assert_same_bits, gradient_like, same_bits
from torch import Tensor
from torch.fx import GraphModule, Node

import fastlr

SCHEDULE = fastlr.warmup_cosine(0.1, 40, warmup=3)
RULES: dict[str, Callable[[Any], Any]] = {
    "sgd": lambda params: fastlr.SGD(params, lr=SCHEDULE),
    "momentum": lambda params: fastlr.SGD(params, lr=SCHEDULE, momentum=0.9, dampening=0.5, weight_decay=0.01),
    "adamw": lambda params: fastlr.AdamW(params, lr=SCHEDULE, weight_decay=SCHEDULE),
    "amsgrad": lambda params: fastlr.Adam(params, lr=SCHEDULE, amsgrad=True),
    "lion": lambda params: fastlr.Lion(params, lr=SCHEDULE),
}
BACKENDS = [
    "eager",
    "aot_eager",  # the operator works on copies
    pytest.param("inductor", marks=pytest.mark.skipif(shutil.which("g++") is None, reason="needs a C++ compiler")),
]


class Backend:
    """Hands graphs on to one of torch's backends, and keeps them."""

    def __init__(self, name: str = "eager") -> None:
        self.name = name
        self.graphs: list[GraphModule] = []

    def __call__(self, graph: GraphModule, inputs: list[Tensor]) -> Callable[..., Any]:
        self.graphs.append(graph)
        compiled: Callable[..., Any] = torch._dynamo.lookup_backend(self.name)(graph, inputs)
        return compiled

    def calls(self) -> list[Node]:
        """Calls of fastlr's operator, in all graphs."""
        nodes = [node for graph in self.graphs for node in graph.graph.nodes]
        return [node for node in nodes if node.target is torch.ops.fastlr.step.default]


class Sides:
    """Two copies of the same parameters, each with an optimizer of the same rule; the step of the first is compiled.

    A second compilation raises, unless ``anew`` allows it.
    """

    def __init__(
        self,
        make: Callable[[Any], Any],
        params: Sequence[Tensor] = (torch.linspace(-1, 1, 35).reshape(7, 5), torch.linspace(1, 2, 7)),
        *,
        backend: str = "eager",
        fullgraph: bool = True,
        anew: bool = False,
        call: Callable[[Any, list[Tensor]], Any] = lambda optimizer, _: optimizer.step(),
    ) -> None:
        self.backend, self.anew, self.call = Backend(backend), anew, call
        self.params = [copy.deepcopy([*params]) for _ in range(2)]  # what they share, the copies share as well
        self.optimizers = [make(side) for side in self.params]
        first = self.optimizers[0], self.params[0]
        self.compiled = torch.compile(lambda: call(*first), fullgraph=fullgraph, backend=self.backend)

    def each(self, change: Callable[[Any, list[Tensor]], Any]) -> None:
        """The same change to the optimizer and the parameters of both sides."""
        for optimizer, params in zip(self.optimizers, self.params, strict=True):
            change(optimizer, params)

    def step(self, seed: int, *, absent: Sequence[int] = ()) -> None:
        """One update of both sides, which must be left alike."""
        for params in self.params:
            for index, param in enumerate(params):
                param.grad = None if index in absent else gradient_like(param, 100 * index + seed)
        self.run()

    def run(self) -> None:
        with torch._dynamo.config.patch(error_on_recompile=not self.anew):
            result = self.compiled()
        assert result == self.call(self.optimizers[1], self.params[1])
        self.compare()

    def compare(self) -> None:
        first, second = self.optimizers
        assert_same_bits(*self.params)
        for a, b in zip(*self.params, strict=True):
            assert_same_entries(first.state.get(a, {}), second.state.get(b, {}))
        for a, b in zip(first.param_groups, second.param_groups, strict=True):
            assert {**a, "params": None} == {**b, "params": None}


def assert_same_entries(actual: dict[str, Any], expected: dict[str, Any]) -> None:
    assert actual.keys() == expected.keys()
    for name, value in expected.items():
        assert same_bits(actual[name], value), name

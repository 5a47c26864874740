"""The replicas' parameters: one stacked tensor for each of the model's, in slices of which each replica is trained."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from fastlr.sweeping.subject import Subject


class Chunk(NamedTuple):
    """Neighbouring replicas, as autograd sees them. `of` finds a stack by the id of a tensor of the template."""

    params: list[Tensor]
    grads: list[Tensor]
    buffers: list[Tensor]
    of: dict[int, Tensor]
    size: int


class Replicas:
    """R copies of what the model trains, and of its buffers, as stacked tensors.

    With `held`, gradients have their place for good: `engines` add to it, and the optimizer, whose parameters are
    `leaves`, reads and zeroes it. A step so has no Python for each replica. Else each leaf gets its own in every pass.

    Attributes:
        at_once: How many may run through the model together.
        live: The places among the entries of the replicas that are still here.
        leaves: Of each of all replicas, its parameters; without elements once it has been dropped.
    """

    def __init__(
        self, subject: Subject, trained: Sequence[nn.Parameter], count: int, at_once: int, *, held: bool = True
    ) -> None:
        self._subject, self.at_once = subject, min(count, at_once)
        self.live = list(range(count))
        self.trained = list(trained)
        self.model_buffers = list(subject.model.buffers())
        places = {id(param) for param in trained}
        self._fixed = [param for param in subject.model.parameters() if id(param) not in places]
        with torch.no_grad():
            self._held = [param.detach().clone() for param in self._fixed]  # the same for all replicas
            self.params = [_stacked(param, count) for param in self.trained]
            self.grads = [torch.zeros_like(param) for param in self.params] if held else []
            self.buffers = [_stacked(buffer, count) for buffer in self.model_buffers]
        self.leaves = [self._leaves_of(place) for place in range(count)]
        self._modules: list[nn.Module] | None = None
        self.chunks = self._chunks() if held else []

    def _leaves_of(self, place: int) -> list[Tensor]:
        return [nn.Parameter(_part(param, place)) for param in self.params]

    def hold_gradients(self) -> None:
        """Have the optimizer read the gradients where the engines add to them."""
        for position, place in enumerate(self.live):
            for leaf, grad in zip(self.leaves[place], self.grads, strict=True):
                leaf.grad = grad[position]

    def forget_modules(self) -> None:
        """Make other models at the next use, without what these have kept outside of parameters and buffers."""
        self._modules = None
        self._subject.reset()

    def modules(self) -> list[nn.Module]:
        """A model for each live replica, its parameters and buffers slices of the stacks. Made at the first use."""
        if self._modules is None:
            self._modules = [self._module(position) for position in range(len(self.live))]
        return self._modules

    def _module(self, position: int) -> nn.Module:
        stand_ins: dict[int, Tensor] = {}
        own = self.leaves[self.live[position]]
        stand_ins.update((id(param), leaf) for param, leaf in zip(self.trained, own, strict=True))
        stand_ins.update((id(param), nn.Parameter(held, False)) for param, held in self._shared())
        stand_ins.update(
            (id(buffer), _part(stack, position)) for buffer, stack in zip(self.model_buffers, self.buffers, strict=True)
        )
        module = self._subject.copied(stand_ins)
        for one, model in zip(module.modules(), self._subject.template.modules(), strict=True):
            one.training = model.training
        return module

    def _shared(self) -> list[tuple[nn.Parameter, Tensor]]:
        return list(zip(self._fixed, self._held, strict=True))

    def _chunks(self) -> list[Chunk]:
        """The chunks that cover the stacks: as even as they can be."""
        count = len(self.live)
        pieces = -(-count // self.at_once)
        ends = [count * piece // pieces for piece in range(pieces + 1)]
        return [self._chunk_of(first, last) for first, last in itertools.pairwise(ends)]

    def _chunk_of(self, first: int, last: int) -> Chunk:
        params = []
        for param, grad in zip(self.params, self.grads, strict=True):
            leaf = param.detach()[first:last].requires_grad_()
            leaf.grad = grad[first:last]
            params.append(leaf)
        buffers = [buffer[first:last] for buffer in self.buffers]
        of = {}
        users = [*self.trained, *self._fixed, *self.model_buffers]
        held = [tensor.expand(last - first, *tensor.shape) for tensor in self._held]
        for tensor, stack in zip(users, [*params, *held, *buffers], strict=True):
            of[id(tensor)] = stack
        model, template = self._subject.model, self._subject.template
        for user, own in zip(
            [*model.parameters(), *model.buffers()], [*template.parameters(), *template.buffers()], strict=True
        ):
            of[id(own)] = of[id(user)]
        return Chunk(params, [grad[first:last] for grad in self.grads], buffers, of, last - first)

    def drop(self, positions: Sequence[int]) -> None:
        """Take replicas, by place among the live ones, out of the stacks, so that nothing works on them any more."""
        kept = [position for position in range(len(self.live)) if position not in set(positions)]
        former = self.buffers
        with torch.no_grad():
            self.params = [_picked(param, kept) for param in self.params]
            self.grads = [_picked(grad, kept) for grad in self.grads]
            self.buffers = [_picked(buffer, kept) for buffer in self.buffers]
        for position in positions:
            for leaf in self.leaves[self.live[position]]:
                leaf.grad = None
                leaf.data = leaf.data.new_empty(0)
        self.live = [self.live[position] for position in kept]
        for position, place in enumerate(self.live):
            for leaf, param in zip(self.leaves[place], self.params, strict=True):
                leaf.data = param[position]
        if self._modules is not None:
            self._modules = [self._modules[position] for position in kept]
            for position, module in enumerate(self._modules):
                for own, old, stack in zip(module.buffers(), former, self.buffers, strict=False):
                    if own.data_ptr() == old[kept[position]].data_ptr():  # else the model has put another there
                        own.data = _part(stack, position)
        if self.grads:
            self.hold_gradients()
            self.chunks = self._chunks() if self.live else []

    def restart(self, spread: float = 0.0) -> None:
        """All parameters and buffers as in the model, each replica's off by another factor; gradients 0."""
        with torch.no_grad():
            for stack, param in zip([*self.params, *self.buffers], [*self.trained, *self.model_buffers], strict=True):
                stack.copy_(param.detach().expand_as(stack))
            if spread:
                for stack in self.params:
                    factors = 1.0 + spread * torch.linspace(0.0, 1.0, len(self.live), device=stack.device)
                    stack.mul_(factors.to(stack.dtype).view(-1, *[1] * (stack.dim() - 1)))
        self.zero_gradients()

    def zero_gradients(self) -> None:
        """Those of all replicas, where they are held."""
        if self.grads:
            torch._foreach_zero_(self.grads)


def _stacked(tensor: Tensor, count: int) -> Tensor:
    return tensor.detach().unsqueeze(0).repeat(count, *[1] * tensor.dim())


def _part(stack: Tensor, position: int) -> Tensor:
    """That of one replica, with a count of its changes of its own: replicas may run at the same time."""
    return stack[position].data


def _picked(stack: Tensor, kept: list[int]) -> Tensor:
    return stack.index_select(0, torch.tensor(kept, dtype=torch.long, device=stack.device))

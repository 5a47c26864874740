"""Running averages of the weights put to use: in the weights' place, and as torch's AveragedModel."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any, cast

import torch

from fastlr.optim import recipe
from fastlr.optim.stepping import SteppingOptimizer

if TYPE_CHECKING:
    from torch.optim.swa_utils import AveragedModel

    from fastlr.optim.scheduled import ScheduledOptimizer

# Each tensor that is overwritten for a while, and what it is restored from.
Saved = list[tuple[torch.Tensor, torch.Tensor]]


class Averages(SteppingOptimizer):
    """An optimizer that averages the weights of groups with ``ema_decay``, into ``state["ema"]``.

    Only parameters are averaged. Buffers, such as BatchNorm's running statistics, belong to the model and to no
    optimizer, so what others do with them has to be known: torch's AveragedModel copies buffers from the model at each
    update (``use_buffers=True`` averages them), timm's ModelEmaV3 averages those of floating point and copies the
    others (``exclude_buffers=True`` copies all), Ultralytics' ModelEMA averages those of floating point and leaves the
    others as they were at its construction. Here the averaged weights meet the model's own buffers, as in torch's
    default; `torch.optim.swa_utils.update_bn` inside of `averaged(model)` computes BatchNorm's for them.
    """

    def averaged(self, model: torch.nn.Module | None = None) -> AbstractContextManager[None]:
        """A context in which the parameters hold their averages, rounded to their dtypes, to evaluate or to save.

        At its end, also by an exception, the parameters hold again what they held before, bit for bit. They are written
        in place: views of them and captured graphs see the averages, and autograd takes it for a change as any other.
        Parameters that have no average, in groups without ``ema_decay`` or without an update so far, stay as they are.
        Needs as much memory as the parameters that have one. Inside, ``state_dict()`` is what it is outside.

        Args:
            model: Its buffers are restored as well, so that `torch.optim.swa_utils.update_bn(loader, model)` and what
                else changes buffers can run inside.

        Raises:
            RuntimeError: No group has ``ema_decay``; the parameters hold their averages already. From ``step()``,
                ``load_state_dict()`` and `from_averaged_model` inside.

        >>> import fastlr
        >>> weight = torch.nn.Parameter(torch.ones(1))
        >>> optimizer = fastlr.SGD([weight], lr=1.0, ema_decay=0.75)
        >>> weight.grad = torch.ones(1)
        >>> optimizer.step()
        >>> with optimizer.averaged():
        ...     weight.item()
        0.75
        >>> weight.item()
        0.0
        """
        return _averaged(self, model)

    def to_averaged_model(self, model: torch.nn.Module) -> AveragedModel:
        """A `torch.optim.swa_utils.AveragedModel` of the model, which goes on averaging as this optimizer does.

        Its parameters are the averages, rounded to their dtypes, its buffers copies of the model's, and its count
        ``n_averaged`` is ``step_count``. Its decay is the present one of the first group that has one, and constant.

        Args:
            model: The model whose parameters this optimizer updates; others are copied as they are.

        Raises:
            RuntimeError: No group has ``ema_decay``.
            ValueError: None of the model's parameters are in such a group.

        >>> import fastlr
        >>> model = torch.nn.Linear(1, 1, bias=False)
        >>> _ = torch.nn.init.ones_(model.weight)
        >>> optimizer = fastlr.SGD(model.parameters(), lr=1.0, ema_decay=0.75)
        >>> model.weight.grad = torch.ones(1, 1)
        >>> optimizer.step()
        >>> averaged_model = optimizer.to_averaged_model(model)
        >>> averaged_model.module.weight.item(), averaged_model.n_averaged.item()
        (0.75, 1)
        """
        return _to_averaged_model(cast("ScheduledOptimizer", self), model)

    def from_averaged_model(self, averaged_model: AveragedModel, model: torch.nn.Module) -> None:
        """Take the averages from a `torch.optim.swa_utils.AveragedModel`, or another copy of the model in ``module``.

        The counts and the parameters themselves stay as they are. Averages of parameters that the model has not stay.

        Args:
            averaged_model: Of any device and floating dtypes.
            model: The model whose parameters this optimizer updates. Parameters are matched by their order in both.

        Raises:
            RuntimeError: No group has ``ema_decay``; inside of `averaged`.
            ValueError: The models have not the same parameters; none of them are in a group with ``ema_decay``.
                Nothing has been changed.

        >>> import fastlr
        >>> model = torch.nn.Linear(2, 1)
        >>> averaged_model = torch.optim.swa_utils.AveragedModel(model)
        >>> optimizer = fastlr.SGD(model.parameters(), lr=1.0, ema_decay=0.75)
        >>> optimizer.from_averaged_model(averaged_model, model)
        >>> torch.equal(optimizer.state[model.weight]["ema"], model.weight)
        True
        """
        _from_averaged_model(cast("ScheduledOptimizer", self), averaged_model, model)


def _averaging(optimizer: Averages) -> dict[torch.Tensor, None]:
    """The parameters whose groups ask for an average, in order. Raises RuntimeError where no group does."""
    groups = [group for group in optimizer.param_groups if group["ema_decay"] is not None]
    if not groups:
        raise RuntimeError("No group has an average: ema_decay=None. Construct the optimizer with ema_decay=.")
    return {param: None for group in groups for param in group["params"]}


def _averages(optimizer: Averages) -> dict[torch.Tensor, torch.Tensor]:
    """The average of each parameter that has one."""
    entries = {param: optimizer.state.get(param, {}).get("ema") for param in _averaging(optimizer)}
    return {param: average for param, average in entries.items() if average is not None}


def _require_weights(optimizer: Averages, what: str) -> None:
    if optimizer._averaged_now:
        raise RuntimeError(f"{what} while the parameters hold their averages: averaged(). Leave the block first.")


@contextmanager
def _averaged(optimizer: Averages, model: torch.nn.Module | None) -> Iterator[None]:
    averages = _averages(optimizer)
    _require_weights(optimizer, "averaged()")
    with torch.no_grad():  # everything is kept before anything is written
        weights: Saved = [(param, param.detach().clone()) for param in averages]
        buffers = _Buffers(model)
    optimizer._averaged_now = True
    try:
        _copy(averages.items())
        yield
    finally:
        optimizer._averaged_now = False
        _copy(weights)
        buffers.restore()


def _copy(pairs: Any) -> None:
    with torch.no_grad():
        for target, source in pairs:
            target.copy_(source)


class _Buffers:
    """A model's buffers as they are now: the tensors themselves, and what they hold."""

    def __init__(self, model: torch.nn.Module | None) -> None:
        modules = () if model is None else model.modules()
        self._entries = [(module._buffers, dict(module._buffers)) for module in modules]
        tensors = [buffer for _, entries in self._entries for buffer in entries.values() if buffer is not None]
        self._values: Saved = [(buffer, buffer.clone()) for buffer in tensors]

    def restore(self) -> None:
        for present, entries in self._entries:
            present.update(entries)
        _copy(self._values)


def _to_averaged_model(optimizer: ScheduledOptimizer, model: torch.nn.Module) -> AveragedModel:
    from torch.optim import swa_utils

    _require_common(optimizer, list(model.parameters()))
    averages = _averages(optimizer)
    decay = next(group["ema_decay"] for group in optimizer.param_groups if group["ema_decay"] is not None)
    result = swa_utils.AveragedModel(model, multi_avg_fn=swa_utils.get_ema_multi_avg_fn(decay))  # type: ignore[no-untyped-call]
    pairs = zip(result.module.parameters(), model.parameters(), strict=True)
    _copy([(copied, averages[param]) for copied, param in pairs if param in averages])
    result.n_averaged.fill_(optimizer.step_count)
    return result


def _from_averaged_model(optimizer: ScheduledOptimizer, source: AveragedModel, model: torch.nn.Module) -> None:
    averaging = _averaging(optimizer)
    _require_weights(optimizer, "from_averaged_model()")
    named, given = list(model.named_parameters()), list(source.module.parameters())
    if len(named) != len(given):
        raise ValueError(
            f"The averaged model has {len(given)} parameters, the model {len(named)}. Give those of one architecture."
        )
    for (name, param), average in zip(named, given, strict=True):
        if param.shape != average.shape:
            raise ValueError(
                f"An average has another shape than its parameter {name}: {list(average.shape)} for "
                f"{list(param.shape)}. Give the averaged model of the same architecture."
            )
    _require_common(optimizer, [param for _, param in named])
    taken = [(param, value) for (_, param), value in zip(named, given, strict=True) if param in averaging]
    made = {param: recipe.new_average(param) for param, _ in taken if "ema" not in optimizer.state.get(param, {})}
    for param in made:
        optimizer.state[param]["ema"] = made[param]
    _copy([(optimizer.state[param]["ema"], value) for param, value in taken])
    optimizer._forget_plan()


def _require_common(optimizer: ScheduledOptimizer, params: list[torch.nn.Parameter]) -> None:
    averaging = _averaging(optimizer)
    if not any(param in averaging for param in params):
        raise ValueError(
            f"None of the model's {len(params)} parameters are in a group with ema_decay. "
            "Give the model whose parameters the optimizer updates."
        )

"""Trainings that torch.distributed.checkpoint saves and goes on with, on as many ranks as call these."""

import copy
from typing import Any

import torch.distributed as dist
import torch.distributed.checkpoint as checkpoint
from distributed_runs import STEPS, Run
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
    set_state_dict,
)


def _states(run: Run, options: StateDictOptions) -> dict[str, Any]:
    model, optimizer = get_state_dict(run.model, run.optimizer, options=options)
    return {"model": model, "optimizer": optimizer}


def save(folder: str, at: int, flat: bool, **options: Any) -> dict[str, Any]:
    """Save after so many steps, and go on: the training that is never interrupted."""
    run = Run(**options).train(at)
    checkpoint.save(_states(run, StateDictOptions(flatten_optimizer_state_dict=flat)), checkpoint_id=folder)
    return run.train(STEPS).record()


def resume(folder: str, before: int, flat: bool, **options: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Load into a training that has done `before` steps already: how it stands then, and at its end."""
    run = Run(**options).train(before)
    how = StateDictOptions(flatten_optimizer_state_dict=flat)
    states = _states(run, how)
    checkpoint.load(states, checkpoint_id=folder)
    model, optimizer = states["model"], states["optimizer"]
    set_state_dict(run.model, run.optimizer, model_state_dict=model, optim_state_dict=optimizer, options=how)
    loaded = run.record()
    run.done = run.optimizer.step_count  # type: ignore[attr-defined]
    return loaded, run.train(STEPS).record()


def hand_over(how: str, at: int, **options: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Give the state to a second training, in memory; both go on to the end."""
    first, second = Run(**options).train(at), Run(**options)
    if how == "state dicts":
        second.model.load_state_dict(copy.deepcopy(first.model.state_dict()))
        second.optimizer.load_state_dict(copy.deepcopy(first.optimizer.state_dict()))
    else:
        # Copied because torch hands the first rank's counts of updates on as they are.
        states = copy.deepcopy(_states(first, StateDictOptions(full_state_dict=True, cpu_offload=True)))
        if dist.get_rank() > 0:
            states = {"model": {}, "optimizer": {}}
        how_set = StateDictOptions(full_state_dict=True, broadcast_from_rank0=True)
        set_model_state_dict(second.model, states["model"], options=how_set)
        set_optimizer_state_dict(second.model, second.optimizer, states["optimizer"], options=how_set)
    second.done = at
    return first.train(STEPS).record(), second.train(STEPS).record()

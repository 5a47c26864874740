"""Copies of fastlr.LRScheduler, and what one that is gone leaves behind."""

import copy
import pickle
import weakref
from typing import Any

import pytest
from driven_cases import BOTH, single
from sgd_spy import Spy, applied_rates

import fastlr

WARM = fastlr.warmup_cosine(0.1, 20, warmup=5)


def through_pickle(value: Any) -> Any:
    return pickle.loads(pickle.dumps(value))


@BOTH
@pytest.mark.parametrize("copied", [copy.deepcopy, through_pickle])
def test_copies_count_their_own_optimizer_s_updates(make: Any, copied: Any) -> None:
    optimizer, spy, scheduler = single(make, lr=WARM)
    for _ in range(3):
        applied_rates(optimizer, spy)
        scheduler.step()
    applied_rates(optimizer, spy)
    other = copied(scheduler)
    twin = Spy()
    (twin.param,) = other.optimizer.param_groups[0]["params"]
    for one, own, at in ((scheduler, spy, optimizer), (other, twin, other.optimizer)):
        one.step()
        assert one.last_epoch == 4
        for t in range(4, 9):
            assert applied_rates(at, own) == [WARM(t)]
            one.step()


def test_an_optimizer_and_its_scheduler_copied_together_stay_together() -> None:
    optimizer, spy, scheduler = single(lr=WARM)
    applied_rates(optimizer, spy)
    scheduler.step()
    twin, other = copy.deepcopy((optimizer, scheduler))
    assert other.optimizer is twin
    twin.step()
    other.step()
    assert (scheduler.last_epoch, other.last_epoch) == (1, 2)


def test_a_shallow_copy_shares_the_optimizer_and_counts_for_itself() -> None:
    optimizer, spy, scheduler = single(lr=WARM)
    other = copy.copy(scheduler)
    for t in range(3):
        assert applied_rates(optimizer, spy) == [WARM(t)]
        scheduler.step()
        other.step()
        assert scheduler.last_epoch == other.last_epoch == t + 1


def test_a_scheduler_that_is_gone_leaves_nothing_behind() -> None:
    optimizer, spy, scheduler = single(lr=WARM)
    for _ in range(3):
        fastlr.LRScheduler(optimizer, lr=WARM)
    assert len(optimizer._optimizer_step_post_hooks) == 1
    gone = weakref.ref(scheduler)
    del scheduler
    assert gone() is None
    assert not optimizer._optimizer_step_post_hooks
    assert applied_rates(optimizer, spy) == [WARM(0)]

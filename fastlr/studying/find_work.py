"""Range tests that are kept."""

from __future__ import annotations

from typing import Any

from fastlr.finder import arguments, find_lr
from fastlr.finder.result import RangeTest
from fastlr.studying import finds, questions, starts
from fastlr.studying.claims import Ledger, seed_of
from fastlr.studying.store import Store
from fastlr.studying.work import Group, Planned, Record, Work


def kept_find(store: Store, given: dict[str, Any], label: str | None, *, other_start: bool) -> RangeTest:
    """What `Study.find_lr` does; `given` are all arguments of `fastlr.find_lr`."""
    seed = given["seed"]
    rates = arguments.rates_between(given["low"], given["high"], given["steps"])
    arguments.check_numbers(given["accumulate"], given["repeats"], given["smoothing"], given["stop"], seed)
    names = ("model", "loss_fn", "loader", "optimizer", "forward", "accumulate", "autocast", "scaler", "device")
    modules, training = arguments.training(**{name: given[name] for name in names})
    numbers = {name: given[name] for name in ("smoothing", "stop", "repeats")}
    question = questions.find_question(training, rates, numbers, seed, label)
    if seed is None:
        seed = seed_of(store, question.key, starts.find_parameters(training, modules))
    seed = starts.seed_here() if seed is None else seed
    start = starts.find_start(training, modules, seed)
    group = Group(question.key, [Planned(None, questions.about(question, seed))])

    def result(found: dict[str, Record]) -> RangeTest:
        return finds.range_test_of(found[group.key])

    work = Work(
        store=store,
        ledger=Ledger(store, question.key, start, other_start=other_start),
        groups=[group],
        train=lambda group, engine, chosen: finds.record_of(find_lr(**{**given, "seed": seed})),
        ends=lambda record: [finds.end_of(finds.range_test_of(record))],
        result=result,
    )
    return result(work.done())

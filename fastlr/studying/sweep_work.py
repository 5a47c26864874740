"""Sweeps that are kept."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

from fastlr.schedules import checks
from fastlr.studying import questions, starts, sweeps
from fastlr.studying.claims import Ledger, seed_of
from fastlr.studying.questions import key_of, plain
from fastlr.studying.store import Store
from fastlr.studying.work import Group, Planned, Record, Work
from fastlr.sweeping import Sweep, swept
from fastlr.sweeping.settings import Entry, Settings, settings
from fastlr.sweeping.text import name


class SweepWork:
    """What `Study.sweep` does.

    Args:
        given: All arguments of `fastlr.sweep`.
        at_once: How many rates are trained together; None: all.
    """

    def __init__(
        self, store: Store, given: dict[str, Any], label: str | None, at_once: int | None, *, other_start: bool
    ) -> None:
        self._given = given
        model, loss_fn, self._loader = given["model"], given["loss_fn"], given["loader"]
        forward, seed = given["forward"], given["seed"]
        self._asked = _settings(given)
        self._at_once = _checked(at_once, self._asked)
        question = questions.sweep_question(model, forward or loss_fn, self._asked, given["shape"], seed, label)
        self._question = question
        if seed is None:
            seed = seed_of(store, question.key, starts.sweep_parameters(model, loss_fn))
        self._seed = starts.seed_here() if seed is None else seed
        validation = given["validation"]
        self._start = starts.sweep_start(model, loss_fn, forward, self._loader, validation, self._seed)
        ledger = Ledger(store, question.key, self._start, other_start=other_start)
        self._known = self._trained_before(ledger)
        self._parts = self._missing_parts()
        self._work = Work(
            store=store,
            ledger=ledger,
            groups=[self._group(key, part) for key, part in self._parts.items()],
            train=self._train,
            ends=lambda record: sweeps.ends_of(sweeps.sweep_of(record)),
            result=self._joined,
            shares_engine=self._asked.engine == "auto",
        )

    def result(self) -> Sweep:
        if self._parts and (len(self._parts) > 1 or self._known) and not starts.begins_again(self._loader, self._start):
            raise ValueError(
                f"The loader does not begin with the same batch again: {type(self._loader).__name__}. All rates have "
                "to see the same: train them at once, or give a loader that repeats itself after seeding."
            )
        return self._joined(self._work.done())

    def _trained_before(self, ledger: Ledger) -> dict[str, Sweep]:
        """The sweeps of one rate each that are kept, whatever they were trained with; with halving that counts."""
        if self._asked.halving is not None:
            return {}
        found: dict[str, Sweep] = {}
        for claim in ledger.claims():
            if claim.is_over:
                whole = sweeps.sweep_of(claim.record())
                for place, entry in enumerate(whole.entries):
                    found.setdefault(key_of(plain(entry)), sweeps.one_of(whole, place))
        return found

    def _missing_parts(self) -> dict[str, list[Entry]]:
        """The entries to train, those together that are, by the keys of these groups."""
        entries = self._asked.entries
        parts = [entries[first : first + self._at_once] for first in range(0, len(entries), self._at_once)]
        missing = [[entry for entry in part if _key(entry) not in self._known] for part in parts]
        return {self._question.group_key(part): part for part in missing if part}

    def _group(self, key: str, part: Sequence[Entry]) -> Group:
        about = questions.about(self._question, self._seed)
        texts = [name(entry.given) for entry in part]
        together = {"fastlr_together": ", ".join(texts)[: questions.LONGEST]} if len(texts) > 1 else {}
        return Group(
            key,
            [
                Planned(entry.peak, {**about, **together, "fastlr_entry": text})
                for entry, text in zip(part, texts, strict=True)
            ],
        )

    def _train(self, group: Group, engine: str | None, chosen: Callable[[str], None]) -> Record:
        given, progress = self._given, self._asked.progress
        before = self._asked.steps * len(self._work.found)
        tell = progress and (lambda done, entry, loss: progress(before + done, entry, loss))
        part = dataclasses.replace(
            self._asked, entries=self._parts[group.key], engine=engine or self._asked.engine, progress=tell
        )
        searched = (given["model"], given["loss_fn"], given["forward"], self._loader)
        return sweeps.record_of(swept(*searched, part, given["shape"], self._seed, chosen))

    def _joined(self, found: dict[str, Record]) -> Sweep:
        """The sweep of all rates that there are, in the order in which they were given."""
        there = dict(self._known)
        for record in found.values():
            whole = sweeps.sweep_of(record)
            there.update((key_of(plain(one)), sweeps.one_of(whole, place)) for place, one in enumerate(whole.entries))
        entries = [entry for entry in self._asked.entries if _key(entry) in there]
        given = [entry.given for entry in entries]
        return sweeps.joined([there[_key(entry)] for entry in entries], given, self._asked.confidence)


def _key(entry: Entry) -> str:
    return key_of(plain(entry.given))


def _settings(given: dict[str, Any]) -> Settings:
    """As `fastlr.sweep` checks them."""
    own = {one.name for one in dataclasses.fields(Settings)} - {"entries", "rule", "options"}
    values = {key: value for key, value in given.items() if key in own}
    return settings(given["loader"], given["rates"], given["shape"], given["optimizer"], given["options"], **values)


def _checked(at_once: int | None, asked: Settings) -> int:
    count = len(asked.entries)
    if at_once is None:
        return count
    if checks.integer("at_once", at_once) < count and asked.halving is not None:
        raise ValueError(f"halving compares all rates, so they are trained at once: at_once={at_once}. Leave one away.")
    return at_once

"""Schedules from text. What reads the text is imported at the first use: it is seldom needed."""

from __future__ import annotations

from fastlr.schedules.base import Schedule

MAX_TEXT = 100_000


def parse(text: str) -> Schedule:
    """The schedule that an expression describes: what `repr` of a schedule gives, and what one types in its place.

    It may hold the classes and functions of `fastlr.schedules`, the operators and methods of a schedule, numbers and
    their arithmetic, and the schedulers of `fastlr.compat` as ``torch.StepLR(...)``. Nothing else has a meaning, and no
    code is run. ``parse(repr(s)) == s``.

    Raises TypeError for anything but a str; `ExpressionError`, a ValueError that names the column, for text that is no
    expression, above 100 000 characters or nested above 50 levels, and for what a schedule refuses.

    >>> parse("Warmup(.1, 500) >> Cosine(.1, 0, 9500)")
    Warmup(peak=0.1, length=500) >> Cosine(start=0.1, end=0.0, length=9500)
    >>> parse("Constant(1.0).shft(3)")
    Traceback (most recent call last):
    fastlr.schedules.vocabulary.ExpressionError: Unknown method: 'shft' at column 15. Did you mean shift?
    """
    from fastlr.schedules.parser import Parser
    from fastlr.schedules.vocabulary import ExpressionError

    if not isinstance(text, str):
        raise TypeError(f"expression is no str: {text!r}. Pass the text of a schedule.")
    if len(text) > MAX_TEXT:
        raise ExpressionError(f"The expression is too long: {len(text)} characters", f"Use {MAX_TEXT}.", MAX_TEXT)
    return Parser(text).schedule()

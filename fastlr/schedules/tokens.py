"""The text of an expression, cut into names, numbers, strings and signs."""

from __future__ import annotations

import re
from typing import NamedTuple

from fastlr.schedules.vocabulary import ExpressionError

TOKEN = re.compile(
    r"""\s*(?:(?P<number>(?:\d[\d_]*\.?[\d_]*|\.\d[\d_]*)(?:[eE][+-]?\d+)?)
    |(?P<name>[A-Za-z_][A-Za-z_0-9]*)
    |(?P<string>'[^'\\\n]*'|"[^"\\\n]*")
    |(?P<sign>>>|\*\*|[-+*/().,:=\[\]{}])
    |(?P<end>\Z)
    |(?P<unknown>.))""",
    re.VERBOSE | re.ASCII | re.DOTALL,
)


class Token(NamedTuple):
    """A piece of the text, and where it begins."""

    kind: str
    text: str
    position: int


def tokens(text: str) -> list[Token]:
    """The text's pieces, with one of kind ``end`` as the last."""
    found: list[Token] = []
    position = 0
    while not found or found[-1].kind != "end":
        match = TOKEN.match(text, position)
        assert match is not None
        kind = str(match.lastgroup)
        token = Token(kind, match.group(kind), match.start(kind))
        if kind == "unknown":
            advice = "Write calls, numbers and operators."
            raise ExpressionError(f"Unreadable character: {token.text!r}", advice, token.position)
        found.append(token)
        position = match.end()
    return found

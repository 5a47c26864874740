"""The parser behind `parse`: reads the expressions that `repr` writes and people type, and runs no code.

Grammar, from what binds loosest, as in Python: ``>>``, then ``+ -``, then ``* /``, then unary ``-``, then ``**``, then
calls, methods and ``.momentum``. Values are numbers, strings, True, False, None, tuples, lists and dicts.
"""

from __future__ import annotations

import operator
import re
from typing import Any, NoReturn

from fastlr.schedules.base import Schedule
from fastlr.schedules.combine import Product, Sequence, Sum
from fastlr.schedules.operators import operand
from fastlr.schedules.serialize import MAX_NESTING
from fastlr.schedules.tokens import Token, tokens
from fastlr.schedules.tree import levels
from fastlr.schedules.vocabulary import (
    METHODS,
    OPERATORS,
    ExpressionError,
    arithmetic,
    bounded,
    call,
    guarded,
    is_number,
    lookup,
    suggestion,
    too_deep,
)

MAX_DEPTH = 50
MAX_WORK = 5_000_000  # characters that operators and methods look at again

LEVELS = {">>": 0, "+": 1, "-": 1, "*": 2, "/": 2}
# Runs of these are built at once: one by one, a long sequence would be built anew for each of its pieces.
JOINED: dict[str, Any] = {">>": Sequence, "+": Sum, "*": Product}
NAMED_VALUES = {"True": True, "False": False, "None": None}
CLOSING = {"(": ")", "[": "]", "{": "}"}


class Parser:
    """Reads an expression from left to right and builds its value as it goes."""

    def __init__(self, text: str) -> None:
        self.tokens = tokens(text)
        self.next = 0
        self.depth = 0
        self.work = 0

    @property
    def token(self) -> Token:
        """The first piece that has not been read."""
        return self.tokens[self.next]

    def take(self, *texts: str) -> Token | None:
        """The next piece, read, if it is one of these signs or names."""
        token = self.token
        if token.text not in texts or token.kind == "string":
            return None
        self.next += 1
        return token

    def expect(self, text: str) -> Token:
        return self.take(text) or self.refuse(f"Write {text} here.")

    def refuse(self, advice: str) -> NoReturn:
        """Say that the next piece does not belong there."""
        token = self.token
        problem = "The expression ends too early" if token.kind == "end" else f"Unexpected text: {token.text!r}"
        raise ExpressionError(problem, advice, token.position)

    def enter(self) -> None:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise ExpressionError(f"Nested too deeply: more than {MAX_DEPTH} levels", "Use fewer.", self.token.position)

    def charge(self, start: int, position: int) -> None:
        """Count what one operation looks at, so that no text of the allowed size takes minutes."""
        self.work += position - start
        if self.work > MAX_WORK:
            raise ExpressionError("The expression is too much work", "Use fewer operators.", position)

    def schedule(self) -> Schedule:
        """The whole text's value."""
        value = self.expression(0)
        if self.token.kind != "end":
            self.refuse("Write an operator, or nothing more.")
        if not isinstance(value, Schedule):
            raise ExpressionError(f"No schedule: {value!r}", "Wrap a number in Constant.", 0)
        if levels(value) > MAX_NESTING:
            raise too_deep(MAX_NESTING, 0)
        return value

    def expression(self, level: int) -> Any:
        """Operands joined by operators that bind at least as tightly as level."""
        start = self.token.position
        value = self.unary()
        while LEVELS.get(self.token.text, -1) >= level and self.token.kind == "sign":
            first = self.token
            operands = []
            while sign := self.take(first.text):
                operands.append((sign, self.expression(LEVELS[sign.text] + 1)))
                if sign.text not in JOINED:
                    break
            self.charge(start, first.position)
            value = self.join(value, operands)
        return value

    def join(self, value: Any, operands: list[tuple[Token, Any]]) -> Any:
        """The value and its operands, all after the same sign, combined from left to right."""
        for i, (sign, right) in enumerate(operands):
            if isinstance(value, Schedule) and len(operands) - i > 1:
                for place, one in operands[i:]:
                    self.check(place, one, value)
                parts = (value, *(one if sign.text == ">>" else operand(one) for _, one in operands[i:]))
                return guarded(sign.position, JOINED[sign.text], parts)
            value = self.binary(sign, value, right)
        return value

    def binary(self, sign: Token, left: Any, right: Any) -> Any:
        if is_number(left) and is_number(right) and sign.text != ">>":
            return arithmetic(sign.text, left, right, sign.position)
        self.check(sign, left, right)
        self.check(sign, right, left)
        return guarded(sign.position, OPERATORS[sign.text], left, right)

    def check(self, sign: Token, value: Any, other: Any) -> None:
        """Refuse what is neither a schedule nor a number beside a schedule; ``>>`` takes schedules only."""
        number = is_number(value) and isinstance(other, Schedule) and sign.text != ">>"
        if not (number or isinstance(value, Schedule)):
            advice = "Write Constant(value, length)." if is_number(value) else "Give it schedules."
            raise ExpressionError(f"{sign.text} does not take this: {value!r}", advice, sign.position)

    def unary(self) -> Any:
        sign = self.take("-")
        if sign is None:
            return self.power()
        self.enter()
        value = self.unary()
        self.depth -= 1
        if not (is_number(value) or isinstance(value, Schedule)):
            raise ExpressionError(f"- does not take this: {value!r}", "Give it a number.", sign.position)
        return guarded(sign.position, operator.neg, value)

    def power(self) -> Any:
        value = self.postfix()
        sign = self.take("**")
        if sign is None:
            return value
        self.enter()
        exponent = self.unary()
        self.depth -= 1
        return self.binary(sign, value, exponent)

    def postfix(self) -> Any:
        """A value with the methods called on it."""
        start = self.token.position
        value = self.atom()
        while self.take("."):
            name = self.token
            if not isinstance(value, Schedule) or name.kind != "name":
                self.refuse("Methods belong to schedules.")
            self.next += 1
            self.charge(start, name.position)
            if name.text == "momentum":
                value = getattr(value, "momentum", None)
                if not isinstance(value, Schedule):
                    raise ExpressionError("No momentum belongs to this schedule", "Leave it out.", name.position)
            elif name.text not in METHODS:
                raise ExpressionError(
                    f"Unknown method: {name.text!r}", suggestion(name.text, (*METHODS, "momentum")), name.position
                )
            else:
                value = self.call(getattr(value, name.text), name)
        return value

    def atom(self) -> Any:
        token = self.token
        if token.kind == "number":
            self.next += 1
            return self.number(token)
        if token.kind == "string":
            self.next += 1
            return token.text[1:-1]
        if token.kind == "name":
            self.next += 1
            return NAMED_VALUES[token.text] if token.text in NAMED_VALUES else self.named(token)
        if token.kind == "sign" and token.text in CLOSING:
            return self.dictionary() if token.text == "{" else self.collection()
        return self.refuse("Write a schedule or a number here.")

    def number(self, token: Token) -> int | float:
        try:
            value = int(token.text) if re.fullmatch(r"[\d_]+", token.text) else float(token.text)
        except ValueError:
            problem = f"Unreadable number: {token.text[:30]!r}"
            raise ExpressionError(problem, "Write it as in Python.", token.position) from None
        return bounded(value, token.position)

    def named(self, first: Token) -> Any:
        """A call of a class or function; its name may have its modules in front."""
        path = [first.text]
        while self.take("."):
            if self.token.kind != "name":
                self.refuse("Write a name here.")
            path.append(self.token.text)
            self.next += 1
        return self.call(lookup(path, first.position), first, path[-1])

    def call(self, function: Any, place: Token, name: str = "") -> Any:
        """The function's result for the arguments in the parentheses that follow."""
        given: list[Any] = []
        named: dict[str, Any] = {}
        self.expect("(")
        while self.another(")"):
            key = self.token
            if key.kind != "name" or self.tokens[self.next + 1].text != "=":
                if named:
                    self.refuse("Give it a name, as those before it have one.")
                given.append(self.expression(0))
            elif key.text in named:
                raise ExpressionError(f"An argument is given twice: {key.text!r}", "Give it once.", key.position)
            else:
                self.next += 2
                named[key.text] = self.expression(0)
        return call(function, name or place.text, given, named, place.position)

    def another(self, closing: str) -> bool:
        """Whether one more item follows before the closing sign; reads the comma before it, or the sign."""
        before = self.tokens[self.next - 1]
        first = before.text in CLOSING and before.kind == "sign"
        if first:
            self.enter()
        comma = None if first else self.take(",")
        if self.take(closing):
            self.depth -= 1
            return False
        if not first and comma is None:
            self.refuse(f"Write a comma or {closing} here.")
        return True

    def collection(self) -> Any:
        """What stands in parentheses or brackets: a tuple, a list, or one value in parentheses."""
        opening = self.token.text
        self.next += 1
        items = []
        while self.another(CLOSING[opening]):
            items.append(self.expression(0))
        if opening == "[":
            return items
        comma = self.tokens[self.next - 2].text == ","
        return items[0] if len(items) == 1 and not comma else tuple(items)

    def dictionary(self) -> dict[str | int, Any]:
        """Names or whole numbers and their values in braces, as other libraries' schedulers take them."""
        self.expect("{")
        entries: dict[str | int, Any] = {}
        while self.another("}"):
            place = self.token
            key = self.expression(0)
            if type(key) not in (str, int):
                raise ExpressionError(f"No key: {key!r}", "Use a name in quotes or a whole number.", place.position)
            self.expect(":")
            entries[key] = self.expression(0)
        return entries

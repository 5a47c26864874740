"""PTX text to kernels: their parameters, registers, shared variables and instructions. Nothing is executed here."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from ptx.faults import Unsupported
from ptx.kinds import BITS

_COMMENT = re.compile(r"//[^\n]*|/\*.*?\*/", re.DOTALL)
_PREAMBLE = re.compile(r"\s*(\.version\s+[\d.]+|\.target\s+\w+|\.address_size\s+64)?\s*", re.DOTALL)
_ENTRY = re.compile(r"\s*(?:\.visible\s+)?\.entry\s+([\w$]+)\s*\((.*?)\)([^{]*)\{", re.DOTALL)
_CONSTANT = re.compile(r"\s*(?:\.visible\s+|\.weak\s+)?\.(?:global|const)\s+[^;{]*(?:=[^;]*)?;", re.DOTALL)
_BOUNDS = re.compile(r"\.(maxntid|minnctapersm)\s+(\d+)(?:\s*,\s*(\d+))?(?:\s*,\s*(\d+))?")
_VARIABLE = re.compile(r"\.(param|shared)(?:\s+\.align\s+(\d+))?\s+\.(\w+)\s+([\w$]+)(?:\[(\d+)\])?")
_REGISTERS = re.compile(r"\.reg\s+\.(\w+)\s+(.*)", re.DOTALL)
_START = re.compile(r"\s*([\w$]+:|[{}])")
_NAME = re.compile(r"%[\w$]+")
_STATEMENT = re.compile(r"(?:@(!?)(%[\w$]+)\s+)?([a-z][\w.]*)\s*(.*)", re.DOTALL)
_OPERAND = re.compile(r"\{[^{}]*\}|\[[^\[\]]*\]|[^,\s{}\[\]|]+")
_ADDRESS = re.compile(r"\[\s*([%\w$]+)\s*(?:\+\s*(-?\d+))?\s*\]")


@dataclass(frozen=True)
class Address:
    """[base + offset]; base is a register or a variable."""

    base: str
    offset: int


Operand = str | Address | tuple[str, ...]


@dataclass(frozen=True)
class Instruction:
    """One statement. `guard` is the predicate register that a thread must have set, or clear where `negated`."""

    opcode: str
    modifiers: tuple[str, ...]
    operands: tuple[Operand, ...]
    guard: str | None
    negated: bool
    text: str

    @property
    def name(self) -> str:
        return ".".join((self.opcode, *self.modifiers))

    def refused(self, problem: str) -> Unsupported:
        return Unsupported(problem, self.text)


class Variable(NamedTuple):
    """A parameter or a shared variable at its offset, in bytes."""

    name: str
    offset: int
    size: int


@dataclass
class Source:
    """One kernel as it is written."""

    name: str
    parameters: list[Variable] = field(default_factory=list)
    shared: list[Variable] = field(default_factory=list)
    registers: dict[str, str] = field(default_factory=dict)
    instructions: list[Instruction] = field(default_factory=list)
    labels: dict[str, int] = field(default_factory=dict)
    max_threads: int | None = None

    @property
    def parameter_bytes(self) -> int:
        return _end(self.parameters)

    @property
    def shared_bytes(self) -> int:
        return _end(self.shared)


class Entry(NamedTuple):
    """The text of one kernel."""

    name: str
    parameters: str
    directives: str
    body: str


def entries(text: str) -> dict[str, Entry]:
    """The kernels of a module by name. Module variables are skipped: an instruction that names one is refused."""
    text = _COMMENT.sub("", text)
    kernels: dict[str, Entry] = {}
    at = 0
    while at < len(text):
        if entry := _ENTRY.match(text, at):
            end = _matching_brace(text, entry.end())
            kernels[entry[1]] = Entry(entry[1], entry[2], entry[3], text[entry.end() : end - 1])
            at = end
        elif constant := _CONSTANT.match(text, at):
            at = constant.end()
        else:
            preamble = _PREAMBLE.match(text, at)
            if preamble is None or preamble.end() == at:
                raise Unsupported("unknown declaration", " ".join(text[at : at + 200].split()))
            at = preamble.end()
    return kernels


def _matching_brace(text: str, at: int) -> int:
    """The place behind the brace that closes the one before `at`."""
    depth = 1
    for brace in re.finditer(r"[{}]", text[at:]):
        depth += 1 if brace[0] == "{" else -1
        if depth == 0:
            return at + brace.end()
    raise Unsupported("unclosed brace", text[at : at + 80])


def parse(entry: Entry) -> Source:
    """One kernel's parts."""
    kernel = Source(entry.name)
    for declaration in filter(None, map(str.strip, entry.parameters.split(","))):
        kernel.parameters.append(_variable(declaration, "param", _end(kernel.parameters)))
    for kind, x, y, z in _BOUNDS.findall(entry.directives):
        if kind == "maxntid":
            kernel.max_threads = int(x) * int(y or 1) * int(z or 1)
    if left := _BOUNDS.sub("", entry.directives).strip():
        raise Unsupported("unknown directive", left)
    for statement in _statements(entry.body):
        _add(kernel, statement)
    return kernel


def _statements(body: str) -> Iterator[str]:
    """Statements without their semicolon; labels with their colon. A register of a block in braces has a name of its
    own, with the block's number."""
    scopes: list[dict[str, str]] = []  # new names by the written ones, for each block that is open
    blocks = 0
    for part in body.split(";"):
        while start := _START.match(part):
            part = part[start.end() :]
            if start[1] == "{":
                scopes.append({})
                blocks += 1
            elif start[1] == "}" and scopes:
                scopes.pop()
            else:
                yield start[1]
        statement = " ".join(part.split())
        if scopes and statement.startswith(".reg"):
            scopes[-1] |= {name: f"{name}${blocks}" for name in _NAME.findall(statement)}
        if statement:
            yield _renamed(statement, scopes)


def _renamed(statement: str, scopes: list[dict[str, str]]) -> str:
    names = {written: new for scope in scopes for written, new in scope.items()}
    return _NAME.sub(lambda name: names.get(name[0], name[0]), statement)


def _add(kernel: Source, statement: str) -> None:
    if statement.endswith(":"):
        kernel.labels[statement[:-1]] = len(kernel.instructions)
    elif registers := _REGISTERS.fullmatch(statement):
        for declared in registers[2].split(","):
            kernel.registers |= dict.fromkeys(_names(declared.strip()), registers[1])
        if registers[1] not in BITS:
            raise Unsupported("unknown type", statement)
    elif statement.startswith(".shared"):
        kernel.shared.append(_variable(statement, "shared", kernel.shared_bytes))
    elif not statement.startswith(".pragma"):
        kernel.instructions.append(instruction(statement))


def _names(declared: str) -> list[str]:
    """%r<3> declares %r0, %r1 and %r2."""
    family = re.fullmatch(r"(%\w+)<(\d+)>", declared)
    return [f"{family[1]}{i}" for i in range(int(family[2]))] if family else [declared]


def _variable(declaration: str, space: str, begin: int) -> Variable:
    match = _VARIABLE.fullmatch(declaration)
    if not match or match[1] != space or match[3] not in BITS:
        raise Unsupported("unknown variable", declaration)
    element = BITS[match[3]] // 8
    alignment = int(match[2] or element)
    return Variable(match[4], -(-begin // alignment) * alignment, element * int(match[5] or 1))


def _end(variables: list[Variable]) -> int:
    return variables[-1].offset + variables[-1].size if variables else 0


def instruction(statement: str) -> Instruction:
    """One instruction from its text."""
    match = _STATEMENT.fullmatch(statement)
    if not match:
        raise Unsupported("unknown statement", statement)
    if re.sub(r"[,\s]", "", _OPERAND.sub("", match[4])):
        raise Unsupported("unknown operand", statement)
    opcode, *modifiers = match[3].split(".")
    operands = tuple(_operand(text, statement) for text in _OPERAND.findall(match[4]))
    return Instruction(opcode, tuple(modifiers), operands, match[2], match[1] == "!", statement)


def _operand(text: str, statement: str) -> Operand:
    if text[0] == "{":
        return tuple(part.strip() for part in text[1:-1].split(","))
    if text[0] != "[":
        return text
    address = _ADDRESS.fullmatch(text)
    if not address:
        raise Unsupported("unknown address", statement)
    return Address(address[1], int(address[2] or 0))

"""Which row groups may have a row that meets a condition, by bounds of the values in each.

The condition is evaluated on bounds instead of values, with the comparisons of `skyshards.read.expression`: these, and
the conversions of numbers before them, never turn an order round. What is not understood may be true and false.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from skyshards.format.catalog_statistics import Extent
from skyshards.read.expression import ARITHMETIC, BITWISE, COMPARISONS, FUNCTIONS, column_name, parsed, widened


class Bounds(NamedTuple):
    """Bounds of values in each row group.

    Attributes
    ----------
    low, high : arrays [groups], or constants
        Between which the values lie that are neither null nor NaN. They need not occur.
    known : bool [groups], or bool
        Where `low` and `high` hold.
    is_text : bool
        Whether they are texts.
    has_nan : bool
        Whether there may be NaN beside them.
    is_empty : bool [groups], or bool
        Where all values are null.
    """

    low: Any
    high: Any
    known: Any
    is_text: bool = False
    has_nan: bool = False
    is_empty: Any = False


class _Truth(NamedTuple):
    """Whether something may be true, and false, in some row of each row group."""

    true: Any
    false: Any


_UNKNOWN = Bounds(0, 0, False)
_EITHER = _Truth(True, True)


class _NotSkipped(Exception):
    """The evaluation of a condition may raise an error because of a value, and so must see all of them."""


def of_groups(extents: Sequence[Extent], dtype: np.dtype | None) -> Bounds:
    """Return the bounds that statistics give for a column of numbers, or of text (dtype None)."""
    is_empty = np.array([each.is_empty for each in extents], bool)
    if dtype is None:  # NumPy ignores NULs at the end of texts
        known = np.array([each.low is not None and "\0" not in each.low + each.high for each in extents], bool)
        low, high = (np.array(_ends(extents, known, end, ""), str) for end in (0, 1))
        return Bounds(low, high, known, is_text=True, is_empty=is_empty)
    known = np.array([each.low is not None for each in extents], bool)
    try:
        low, high = (np.array(_ends(extents, known, end, 0), dtype) for end in (0, 1))
    except OverflowError:  # statistics of another type
        known, low, high = np.zeros((3, len(extents)), dtype)
    return Bounds(widened(low), widened(high), known.astype(bool), has_nan=dtype.kind == "f", is_empty=is_empty)


def _ends(extents: Sequence[Extent], known: np.ndarray, end: int, otherwise: Any) -> list[Any]:
    return [each[end] if there else otherwise for each, there in zip(extents, known.tolist(), strict=True)]


def possible(condition: str, groups: int, bounds: Callable[[str], Bounds]) -> np.ndarray:
    """Return the row groups in which a condition may be true for a row: bool [groups].

    Parameters
    ----------
    condition : str
    groups : int
    bounds : callable
        Returns those of a column by name; raises `KeyError` if unknown.
    """
    try:
        tree, names = parsed(condition)
        with np.errstate(all="ignore"):
            skipping = _Skipping(bounds, names)
            found = _truth(skipping.value(tree))
    except (_NotSkipped, KeyError, SyntaxError, TypeError, ValueError, OverflowError, RecursionError, MemoryError):
        return np.ones(groups, bool)  # the evaluation on values says what is wrong
    return np.logical_and.reduce(np.broadcast_arrays(np.ones(groups, bool), found.true, *skipping.filled))


class _Skipping:
    def __init__(self, bounds: Callable[[str], Bounds], names: Mapping[str, str]):
        self._bounds = bounds
        self._names = names
        self.filled: list[np.ndarray] = []
        """For each column that was met, where it has values: a condition is false in rows without."""

    def _column(self, node: ast.AST) -> Bounds:
        found = self._bounds(column_name(node, self._names))
        self.filled.append(np.logical_not(found.is_empty))
        return found

    def value(self, node: ast.AST) -> Bounds | _Truth:
        match node:
            case ast.Constant(value=str() as text):
                return Bounds(text, text, "\0" not in text, is_text=True)  # NumPy ignores NULs at the end
            case ast.Constant(value=bool() | float() | int() as number):
                return Bounds(number, number, True)
            case ast.Name() | ast.Attribute():
                return self._column(node)
            case ast.Subscript(value=ast.Name() | ast.Attribute() as name):
                return self._column(name)._replace(known=False)
            case ast.UnaryOp(op=ast.Not() | ast.Invert(), operand=operand):
                inner = self.value(operand)
                if isinstance(node.op, ast.Not) or _is_flag(inner):
                    return _negated(_truth(inner))
                return _unknown(inner)
            case ast.UnaryOp(op=ast.USub() | ast.UAdd(), operand=operand):
                inner = self.value(operand)
                return _negative(inner) if isinstance(node.op, ast.USub) else _unknown(inner)
            case ast.BinOp(left=left, op=op, right=right) if type(op) in ARITHMETIC:
                if isinstance(op, ast.Pow):  # of integers
                    raise _NotSkipped
                return _unknown(self.value(left), self.value(right))
            case ast.BinOp(left=left, op=op, right=right) if type(op) in BITWISE:
                return self._bitwise(op, self.value(left), self.value(right))
            case ast.BoolOp(op=op, values=values):
                truths = [_truth(self.value(value)) for value in values]
                return _all(truths) if isinstance(op, ast.And) else _any(truths)
            case ast.Compare():
                return self._comparison(node)
            case ast.Call(func=ast.Name(id=name), args=[argument], keywords=[]) if name in FUNCTIONS:
                inner = self.value(argument)
                nothing = _unknown(inner)
                if name in ("isnan", "isfinite"):
                    return _EITHER
                return _absolute(inner) if name == "abs" else nothing
        raise _NotSkipped

    def _bitwise(self, op: ast.operator, left: Bounds | _Truth, right: Bounds | _Truth) -> Bounds | _Truth:
        if not (_is_flag(left) and _is_flag(right)):
            return _unknown(left, right)
        truths = [_truth(left), _truth(right)]
        return _EITHER if isinstance(op, ast.BitXor) else _all(truths) if isinstance(op, ast.BitAnd) else _any(truths)

    def _comparison(self, node: ast.Compare) -> _Truth:
        links, left = [], self.value(node.left)
        for op, comparator in zip(node.ops, node.comparators, strict=True):
            if isinstance(op, (ast.In, ast.NotIn)) and isinstance(comparator, (ast.Tuple, ast.List, ast.Set)):
                equal = [_compared(ast.Eq, left, self.value(item)) for item in comparator.elts]
                inside = _any(equal) if equal else _Truth(False, True)
                links.append(inside if isinstance(op, ast.In) else _negated(inside))
            elif type(op) in COMPARISONS:
                right = self.value(comparator)
                links.append(_compared(type(op), left, right))
                left = right
            else:
                raise _NotSkipped
        return _all(links)


def _compared(op: type[ast.cmpop], left: Bounds | _Truth, right: Bounds | _Truth) -> _Truth:
    if isinstance(left, _Truth) or isinstance(right, _Truth):
        _unknown(left, right)
        return _EITHER
    if left.is_text != right.is_text:
        raise _NotSkipped
    if op is ast.NotEq:
        return _negated(_compared(ast.Eq, left, right))
    if op is ast.Eq:
        true = np.less_equal(left.low, right.high) & np.less_equal(right.low, left.high)
        false = np.logical_not(np.equal(left.low, right.high) & np.equal(right.low, left.high))
    else:
        if op in (ast.Gt, ast.GtE):
            left, right, op = right, left, ast.Lt if op is ast.Gt else ast.LtE
        true = COMPARISONS[op](left.low, right.high)
        false = np.logical_not(COMPARISONS[op](left.high, right.low))
    unknown = np.logical_not(np.logical_and(left.known, right.known))
    return _Truth(true | unknown, false | unknown | left.has_nan | right.has_nan)


def _negated(truth: _Truth) -> _Truth:
    return _Truth(truth.false, truth.true)


def _all(truths: list[_Truth]) -> _Truth:
    true, false = zip(*truths, strict=True)
    return _Truth(_reduced(np.logical_and, true), _reduced(np.logical_or, false))


def _any(truths: list[_Truth]) -> _Truth:
    return _negated(_all([_negated(truth) for truth in truths]))


def _reduced(function: np.ufunc, values: tuple[Any, ...]) -> Any:
    return function.reduce(np.broadcast_arrays(*values))


def _is_flag(value: Bounds | _Truth) -> bool:
    return isinstance(value, _Truth) or np.asarray(value.low).dtype == bool


def _truth(value: Bounds | _Truth) -> _Truth:
    if isinstance(value, _Truth):
        return value
    if not _is_flag(value):
        raise _NotSkipped
    unknown = np.logical_not(value.known)
    return _Truth(value.high | unknown, np.logical_not(value.low) | unknown)


def _unknown(*values: Bounds | _Truth) -> Bounds:
    """Return the bounds of a number that is made of others, of which nothing is known."""
    if any(isinstance(value, Bounds) and value.is_text for value in values):
        raise _NotSkipped
    return _UNKNOWN


def _negative(value: Bounds | _Truth) -> Bounds:
    inner = _unknown(value)
    if isinstance(value, _Truth) or _is_flag(value):
        return inner
    if np.ndim(value.low) == 0 or value.low.dtype.kind == "f":  # the smallest integer has no negative
        return value._replace(low=np.negative(value.high), high=np.negative(value.low))
    return inner


def _absolute(value: Bounds | _Truth) -> Bounds:
    if isinstance(value, _Truth) or np.asarray(value.low).dtype.kind != "f":
        return _UNKNOWN
    low, high = np.abs(value.low), np.abs(value.high)
    nearest = np.where((value.low < 0) & (value.high > 0), np.zeros_like(low), np.minimum(low, high))
    return value._replace(low=nearest, high=np.maximum(low, high))

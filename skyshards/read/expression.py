"""Evaluate conditions in text, such as `gz_bar_votes > 0.5 * total_classifications`, with NumPy.

Python's parser reads them. Only what is listed here is evaluated: columns, constants, operators and a few functions of
one argument.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from skyshards.errors import UsageError

ARITHMETIC = {
    ast.Add: np.add,
    ast.Sub: np.subtract,
    ast.Mult: np.multiply,
    ast.Div: np.true_divide,
    ast.FloorDiv: np.floor_divide,
    ast.Mod: np.mod,
    ast.Pow: np.power,
}
BITWISE = {ast.BitAnd: np.bitwise_and, ast.BitOr: np.bitwise_or, ast.BitXor: np.bitwise_xor}
COMPARISONS = {
    ast.Eq: np.equal,
    ast.NotEq: np.not_equal,
    ast.Lt: np.less,
    ast.LtE: np.less_equal,
    ast.Gt: np.greater,
    ast.GtE: np.greater_equal,
}
FUNCTIONS = {"abs": np.abs, "sqrt": np.sqrt, "log10": np.log10, "isnan": np.isnan, "isfinite": np.isfinite}

_TEXT_OR_QUOTED = re.compile(r"""('[^']*'|"[^"]*")|`([^`]+)`""")


def evaluate(condition: str, column: Callable[[str], np.ndarray]) -> np.ndarray:
    """Evaluate a condition for each row: bool [rows].

    Parameters
    ----------
    condition : str
        Column names (nested ones dotted, other characters in backticks, an element of a vector as `name[0]`),
        numbers, strings, True and False; `+ - * / // % **`, `& | ^ ~`, `and or not`, comparisons, `in (...)`; and the
        functions abs, sqrt, log10, isnan and isfinite. Arithmetic is NumPy's, with integers and bools as int64.
    column : callable
        Returns the values of a column by name [rows, ...]; raises `KeyError` if unknown.

    Raises
    ------
    UsageError
        If the text is not such a condition.
    """
    try:
        tree, names = parsed(condition)
        with np.errstate(all="ignore"):
            found = _Evaluation(column, names).value(tree)
    except (SyntaxError, TypeError, ValueError, OverflowError, RecursionError, MemoryError) as error:
        reason = getattr(error, "msg", None) or str(error).strip() or type(error).__name__
        hint = "; a comparison beside & or | needs brackets" if re.search("[&|]", condition) else ""
        if isinstance(error, SyntaxError) and re.search(r"(?<![=!<>])=(?!=)", condition):
            hint = "; write == for equality"
        raise UsageError(f"{condition!r:.200} is not a condition ({reason}){hint}") from error
    if np.ndim(found) == 0 or found.dtype != bool:
        raise UsageError(f"{condition!r:.200}: expected a condition on columns, such as 'dec > 0'")
    if found.ndim > 1:
        raise UsageError(f"{condition!r:.200} has {found.shape[1]} values a row; choose one, as in `name[0] > 0.5`")
    return found


def parsed(condition: str) -> tuple[ast.expr, dict[str, str]]:
    """Return a condition as a tree, and the names in backticks by the identifiers that stand for them.

    Raises `SyntaxError`, `ValueError`, `RecursionError` or `MemoryError`.
    """
    quoted: list[str] = []

    def placeholder(match: re.Match) -> str:
        if match[1]:
            return match[1]
        quoted.append(match[2])
        return f"_quoted_{len(quoted) - 1}_"

    tree = ast.parse(_TEXT_OR_QUOTED.sub(placeholder, condition).strip(), mode="eval")
    return tree.body, {f"_quoted_{number}_": name for number, name in enumerate(quoted)}


def column_name(node: ast.AST, names: Mapping[str, str]) -> str:
    """Return the name of a column in a tree. Raises `ValueError` for anything else."""
    match node:
        case ast.Name(id=name):
            return names.get(name, name)
        case ast.Attribute(value=group, attr=name):
            return f"{column_name(group, names)}.{name}"
    raise ValueError(f"{ast.unparse(node)!r:.60} is not understood")


def widened(values: np.ndarray) -> np.ndarray:
    """Return the values of a column in the dtype in which they are compared: sums of small integers would wrap."""
    is_narrow = values.dtype.kind in "iu" and values.dtype != np.uint64
    return values.astype(np.int64, copy=False) if is_narrow else values


class _Evaluation:
    def __init__(self, column: Callable[[str], np.ndarray], names: dict[str, str]):
        self._column = column
        self._names = names

    def value(self, node: ast.AST) -> Any:
        match node:
            case ast.Constant(value=bool() | float() | str() as constant):
                return constant
            case ast.Constant(value=int() as constant) if abs(constant) < 1 << 63:
                return constant
            case ast.Name() | ast.Attribute():
                return self._values(column_name(node, self._names))
            case ast.Subscript(value=ast.Name() | ast.Attribute() as name, slice=ast.Constant(value=int() as position)):
                return self._element(column_name(name, self._names), position)
            case ast.UnaryOp(op=ast.Not() | ast.Invert(), operand=operand):
                inner = self.value(operand)
                return np.logical_not(_truth(inner)) if isinstance(node.op, ast.Not) else np.invert(inner)
            case ast.UnaryOp(op=ast.USub() | ast.UAdd(), operand=operand):
                inner = _number(self.value(operand))
                return np.negative(inner) if isinstance(node.op, ast.USub) else np.positive(inner)
            case ast.BinOp(left=left, op=op, right=right) if type(op) in ARITHMETIC:
                return ARITHMETIC[type(op)](_number(self.value(left)), _number(self.value(right)))
            case ast.BinOp(left=left, op=op, right=right) if type(op) in BITWISE:
                return BITWISE[type(op)](*_alike(self.value(left), self.value(right)))
            case ast.BoolOp(op=op, values=values):
                join = np.logical_and if isinstance(op, ast.And) else np.logical_or
                return join.reduce(np.broadcast_arrays(*[_truth(self.value(value)) for value in values]))
            case ast.Compare():
                return self._comparison(node)
            case ast.Call(func=ast.Name(id=name), args=[argument], keywords=[]) if name in FUNCTIONS:
                return FUNCTIONS[name](_number(self.value(argument)))
        raise ValueError(f"{ast.unparse(node)!r:.60} is not understood")

    def _values(self, name: str) -> np.ndarray:
        return widened(self._column(name))

    def _element(self, name: str, position: int) -> np.ndarray:
        values = self._values(name)
        if values.ndim < 2 or not 0 <= position < values.shape[1]:
            length = values.shape[1] if values.ndim > 1 else "no"
            raise ValueError(f"{name} has {length} elements, found [{position}]")
        return values[:, position]

    def _comparison(self, node: ast.Compare) -> Any:
        """Evaluate a comparison, also chained as in `0 < z < 0.1`."""
        if any(isinstance(inner, ast.BinOp) and type(inner.op) in BITWISE for inner in node.comparators[:-1]):
            raise ValueError("`a > 1 & b > 1` would be `a > (1 & b) > 1`")
        links, left = [], self._compared(node.left)
        for op, comparator in zip(node.ops, node.comparators, strict=True):
            if isinstance(op, (ast.In, ast.NotIn)):
                inside = self._is_in(left, comparator)
                links.append(inside if isinstance(op, ast.In) else ~inside)
            elif type(op) in COMPARISONS:
                right = self._compared(comparator)
                links.append(COMPARISONS[type(op)](left, right))
                left = right
            else:
                raise ValueError(f"{ast.unparse(node)!r:.60} is not understood")
        return links[0] if len(links) == 1 else np.logical_and.reduce(np.broadcast_arrays(*links))

    def _compared(self, node: ast.AST) -> Any:
        """Evaluate a side of a comparison, which may be an unsigned integer; arithmetic with it would overflow."""
        if isinstance(node, ast.Constant) and type(node.value) is int and node.value < 1 << 64:
            return node.value
        return self.value(node)

    def _is_in(self, left: Any, node: ast.AST) -> np.ndarray:
        if not isinstance(node, (ast.Tuple, ast.List, ast.Set)):
            raise ValueError(f"expected values in brackets after `in`, found {ast.unparse(node)!r:.60}")
        equal = [np.equal(left, self._compared(item)) for item in node.elts]
        return np.logical_or.reduce(equal) if equal else np.zeros(np.shape(left), bool)


def _is_flag(value: Any) -> bool:
    return isinstance(value, bool) or getattr(value, "dtype", None) == np.bool_


def _number(value: Any) -> Any:
    """Convert bools to 0 and 1."""
    return np.asarray(value, np.int64) if _is_flag(value) else value


def _alike(left: Any, right: Any) -> tuple[Any, Any]:
    if _is_flag(left) != _is_flag(right):
        raise TypeError("`&`, `|` and `^` join two comparisons, or two integers")
    return left, right


def _truth(value: Any) -> Any:
    if not _is_flag(value):
        raise TypeError("`and`, `or` and `not` join comparisons, not numbers or texts")
    return value

"""Database of a TAP service: SQLite in memory, for the common subset of its SQL and ADQL, with some extensions."""

from __future__ import annotations

import math
import re
import sqlite3
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from demo_archive.holdings.sdss_tables import Column, Table
from demo_archive.protocols.tap_schema import with_tap_schema

TOP = re.compile(r"^(\s*SELECT\s+(?:ALL\s+|DISTINCT\s+)?)TOP\s+(\d+)\s", re.IGNORECASE)
ALIAS = re.compile(r'(?:(?:,|\b(?:SELECT|ALL|DISTINCT)\b)\s*(?:\w+\.)*"?(\w+)"?\s+)?\bAS\s+"?(\w+)', re.IGNORECASE)
"""A column (empty for an expression or table) and its alias."""
TIME_LIMIT = 20.0
"""Timeout of a query, seconds."""
_READING = {sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_RECURSIVE}
_AFFINITY = {"long": "INTEGER", "int": "INTEGER", "double": "REAL", "float": "REAL", "char": "TEXT"}


class QueryError(Exception):
    """A query that cannot be answered; the message is the server's."""


@dataclass(frozen=True)
class Result:
    """Rows of a query; `overflow` if there were more than the limit."""

    columns: tuple[Column, ...]
    rows: list[tuple]
    overflow: bool


class Database:
    """Read-only, thread-safe database, loaded with the first query.

    Parameters
    ----------
    tables : function
        Returns the tables, without TAP_SCHEMA.
    """

    def __init__(self, tables: Callable[[], Sequence[Table]]) -> None:
        self._make_tables = tables
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        self._tables: Sequence[Table] = ()
        self._deadline = 0.0

    @property
    def tables(self) -> Sequence[Table]:
        """The tables of the database, those of TAP_SCHEMA included."""
        with self._lock:
            self._load()
        return self._tables

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()

    def query(self, adql: str, maxrec: int) -> Result:
        """Run a query and return its first `maxrec` rows.

        Columns are spelled as in their tables, and aliases in lower case; a repeated name gets an underscore appended.
        (A GAVO DaCHS server does both.)

        Raises
        ------
        QueryError
            The database's message: a syntax error, an unknown table or column.
        """
        adql = adql.strip().rstrip(";")
        if top := TOP.match(adql):
            adql = f"{top[1]}{adql[top.end() :]} LIMIT {top[2]}"
        with self._lock:
            connection = self._load()
            self._deadline = time.monotonic() + TIME_LIMIT
            try:
                cursor = connection.execute(re.sub(r"\bILIKE\b", "LIKE", adql, flags=re.IGNORECASE))
                rows = cursor.fetchmany(maxrec + 1)
            except (sqlite3.Error, sqlite3.Warning, OverflowError) as error:
                raise QueryError(f"Field query: {error}") from error
            if cursor.description is None:
                raise QueryError("Field query: Could not parse your query: Expected SELECT")
            names = [entry[0] for entry in cursor.description]
        aliases = {alias: column for column, alias in ALIAS.findall(adql)}
        return Result(self._columns(names, aliases, rows), rows[:maxrec], len(rows) > maxrec)

    def _load(self) -> sqlite3.Connection:
        if self._connection is not None:
            return self._connection
        self._tables = with_tap_schema(self._make_tables())
        connection = sqlite3.connect(":memory:", check_same_thread=False)
        for schema in {table.schema for table in self._tables}:
            connection.execute(f"ATTACH ':memory:' AS {schema}")
        for table in self._tables:
            columns = ", ".join(f'"{column.name}" {_AFFINITY[column.datatype]}' for column in table.columns)
            connection.execute(f'CREATE TABLE {table.schema}."{table.name}" ({columns})')
            marks = ", ".join("?" * len(table.columns))
            connection.executemany(f'INSERT INTO {table.schema}."{table.name}" VALUES ({marks})', table.rows)
        connection.commit()
        _add_functions(connection)
        # From here on, queries may only read.
        connection.set_authorizer(lambda action, *_: sqlite3.SQLITE_OK if action in _READING else sqlite3.SQLITE_DENY)
        connection.set_progress_handler(lambda: time.monotonic() > self._deadline, 100_000)
        self._connection = connection
        return connection

    def _columns(self, names: list[str], aliases: Mapping[str, str], rows: list[tuple]) -> tuple[Column, ...]:
        known: dict[str, list[Column]] = {}
        for column in (column for table in self._tables for column in table.columns):
            for name in {column.name, column.name.lower()}:
                known.setdefault(name, []).append(replace(column, name=name))
        columns: list[Column] = []
        for place, name in enumerate(names):
            values = [row[place] for row in rows if row[place] is not None]
            found = known.get(aliases.get(name) or name, [])
            column = found[0] if found else Column(name.lower(), _datatype(values))
            if {each.datatype for each in found} == {"float", "double"}:
                # ZooSpec's ra and dec are float32, PhotoObj's float64: tell them apart by their values.
                single = all(value == float(np.float32(value)) for value in values)
                column = next(each for each in found if (each.datatype == "float") == single)
            if name in aliases:
                column = replace(column, name=name.lower())
            while column.name in {earlier.name for earlier in columns}:
                column = replace(column, name=f"{column.name}_")
            columns.append(column)
        return tuple(columns)


def _datatype(values: list) -> str:
    if any(isinstance(value, str) for value in values):
        return "char"
    return "long" if values and all(isinstance(value, int) for value in values) else "double"


def _add_functions(connection: sqlite3.Connection) -> None:
    """Add the functions of ADQL and RegTAP that SQLite lacks."""
    connection.create_function("POINT", -1, lambda *args: f"P {args[-2]!r} {args[-1]!r}", deterministic=True)
    connection.create_function("CIRCLE", -1, _circle, deterministic=True)
    connection.create_function("DISTANCE", 2, _distance, deterministic=True)
    connection.create_function("CONTAINS", 2, _contains, deterministic=True)
    connection.create_function("ivo_hashlist_has", 2, _hash_list_has, deterministic=True)
    connection.create_function("ivo_nocasematch", 2, _no_case_match, deterministic=True)
    connection.create_function("ivo_hasword", 2, _has_word, deterministic=True)
    connection.create_aggregate("ivo_string_agg", 2, _StringAgg)  # type: ignore[arg-type]  # typed for one argument


def _circle(*args) -> str:
    """CIRCLE([system,] ra, dec, radius) or CIRCLE(point, radius), degrees."""
    centre = args[-2].split()[1:] if isinstance(args[-2], str) else [repr(args[-3]), repr(args[-2])]
    return f"C {centre[0]} {centre[1]} {args[-1]!r}"


def _distance(one: str, other: str) -> float:
    """Angular distance of two points, degrees, by Vincenty's formula."""
    (a, b), (c, d) = ([math.radians(float(part)) for part in point.split()[1:3]] for point in (one, other))
    across = math.hypot(
        math.cos(d) * math.sin(c - a), math.cos(b) * math.sin(d) - math.sin(b) * math.cos(d) * math.cos(c - a)
    )
    return math.degrees(math.atan2(across, math.sin(b) * math.sin(d) + math.cos(b) * math.cos(d) * math.cos(c - a)))


def _contains(point: str, circle: str) -> int:
    return int(_distance(point, circle) <= float(circle.split()[3]))


def _has_word(text: str | None, word: str) -> int:
    """RegTAP's ivo_hasword: whether the text contains all the words, ignoring case."""
    return int(all(re.search(rf"\b{re.escape(part)}", text or "", re.IGNORECASE) for part in word.split()))


def _hash_list_has(hash_list: str | None, item: str) -> int:
    """RegTAP's ivo_hashlist_has: whether a list separated by # contains an item."""
    return int(item.lower() in (hash_list or "").lower().split("#"))


def _no_case_match(text: str | None, pattern: str) -> int:
    """RegTAP's ivo_nocasematch: LIKE, ignoring case."""
    expression = re.escape(pattern).replace("%", ".*").replace("_", ".")
    return int(re.fullmatch(expression, text or "", re.IGNORECASE) is not None)


class _StringAgg:
    """RegTAP's ivo_string_agg."""

    def __init__(self) -> None:
        self.parts: list[str] = []
        self.separator = ""

    def step(self, value, separator) -> None:
        self.separator = separator
        if value is not None:
            self.parts.append(str(value))

    def finalize(self) -> str:
        return self.separator.join(self.parts)

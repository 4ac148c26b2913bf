"""TAP_SCHEMA (IVOA TAP 1.1, section 4): the tables in which a TAP service describes its tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from demo_archive.holdings.sdss_tables import Column, Table

NAME = "TAP_SCHEMA"
FOREIGN_KEYS = tuple(
    (f"{NAME}.{table}", column, f"{NAME}.{target}", target_column)
    for table, column, target, target_column in (
        ("tables", "schema_name", "schemas", "schema_name"),
        ("columns", "table_name", "tables", "table_name"),
        ("keys", "from_table", "tables", "table_name"),
        ("keys", "target_table", "tables", "table_name"),
        ("key_columns", "key_id", "keys", "key_id"),
    )
)
"""Foreign keys of a service's tables: table, column, table that it points to, and the column there."""


def with_tap_schema(tables: Sequence[Table]) -> list[Table]:
    """Add the five tables of TAP_SCHEMA, which describe the given ones and themselves."""
    described = [*tables, *_tables({})]
    schemas = list(dict.fromkeys(table.schema for table in described))
    rows: dict[str, list[tuple]] = {
        "schemas": [(name, None, None, number) for number, name in enumerate(schemas)],
        "tables": [
            (table.schema, table.full_name, "table", table.description, None, number)
            for number, table in enumerate(described)
        ],
        "columns": [
            (table.full_name, column.identifier, column.datatype, column.arraysize, None, None)
            + (
                column.description or None,
                None,
                column.unit or None,
                column.ucd or None,
                0,
                0,
                int(table.schema == NAME),
                number,
            )
            for table in described
            for number, column in enumerate(table.columns)
        ],
        "keys": [(str(number), table, target, None, None) for number, (table, _, target, _) in enumerate(FOREIGN_KEYS)],
        "key_columns": [(str(number), column, target) for number, (_, column, _, target) in enumerate(FOREIGN_KEYS)],
    }
    return [*tables, *_tables(rows)]


def _tables(rows: Mapping[str, list[tuple]]) -> list[Table]:
    return [Table(NAME, name, description, columns, rows.get(name, ())) for name, description, columns in _DECLARED]


def _columns(**descriptions: str) -> tuple[Column, ...]:
    numbers = ("schema_index", "table_index", "column_index", "size", "principal", "indexed", "std")
    return tuple(
        Column(name, "int" if name in numbers else "char", description=description)
        for name, description in descriptions.items()
    )


_DECLARED: tuple[tuple[str, str, tuple[Column, ...]], ...] = (
    (
        "schemas",
        "Schemas of this service",
        _columns(
            schema_name="Name of the schema",
            utype="Its place in a data model",
            description="What it contains",
            schema_index="Its place in a list",
        ),
    ),
    (
        "tables",
        "Tables of this service",
        _columns(
            schema_name="Name of the table's schema",
            table_name="Name of the table in a query",
            table_type="table or view",
            description="What it contains",
            utype="Its place in a data model",
            table_index="Its place in a list",
        ),
    ),
    (
        "columns",
        "Columns of all tables",
        _columns(
            table_name="Name of the column's table",
            column_name="Name of the column in a query",
            datatype="Its type in VOTable",
            arraysize="Its length in VOTable",
            xtype="Its kind in DALI",
            size="As arraysize, where that is a number",
            description="What it is",
            utype="Its place in a data model",
            unit="Its unit",
            ucd="Its UCD",
            principal="1 if it is among the most important ones",
            indexed="1 if it has an index",
            std="1 if a standard defines it",
            column_index="Its place in a list",
        ),
    ),
    (
        "keys",
        "Foreign keys",
        _columns(
            key_id="Identifier of the key",
            from_table="Table with the key",
            target_table="Table that it points to",
            description="What it means",
            utype="Its place in a data model",
        ),
    ),
    (
        "key_columns",
        "Columns of the foreign keys",
        _columns(
            key_id="Identifier of the key",
            from_column="Column of the table with the key",
            target_column="Column of the table that it points to",
        ),
    ),
)

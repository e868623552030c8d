"""Compares what Tarn answered with what PyIceberg and DuckDB read from the same table.

Input: {"catalog", "table": "schema.table", "answer": path of an Arrow IPC file with all
columns and rows as Tarn gave them, "readers": ["pyiceberg", "duckdb"]}.
Output: {"rows": n}. Ends with an error at the first difference.
"""

import datetime
import decimal
import math
import uuid

import pyarrow as pa
from pyiceberg.types import UUIDType

import lake

# Normalising must not round a decimal of 38 digits.
decimal.getcontext().prec = 80


def plain(value):
    """A value without the differences that only the client's type system makes."""
    if isinstance(value, float):
        return "nan" if math.isnan(value) else value
    if isinstance(value, decimal.Decimal):
        return value.normalize() if value else decimal.Decimal(0)
    if isinstance(value, uuid.UUID):
        return value.bytes
    if isinstance(value, datetime.datetime) and value.tzinfo:
        return value.astimezone(datetime.timezone.utc)
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value


def rows_of(table, names):
    columns = [table.column(name).to_pylist() for name in names]
    rows = [[plain(value) for value in row] for row in zip(*columns)]
    return sorted(rows, key=repr)


def with_storage_types(table):
    """Extension types, such as uuid, as what they are stored as."""
    for index, field in enumerate(table.schema):
        if isinstance(field.type, pa.BaseExtensionType):
            column = pa.chunked_array([c.storage for c in table.column(index).chunks], field.type.storage_type)
            table = table.set_column(index, field.name, column)
    return table


def read_with_pyiceberg(table, _catalog):
    return table.scan().to_arrow()


def read_with_duckdb(table, catalog):
    connection = lake.open_duckdb(catalog)
    location = table.metadata_location.removeprefix("file://")
    read = connection.execute(f"SELECT * FROM iceberg_scan('{location}')").to_arrow_table()
    for index, field in enumerate(table.schema().fields):
        if isinstance(field.field_type, UUIDType):  # DuckDB hands these over as text
            values = [value and uuid.UUID(value).bytes for value in read.column(index).to_pylist()]
            read = read.set_column(index, field.name, pa.array(values, pa.binary(16)))
    return read


READERS = {"pyiceberg": read_with_pyiceberg, "duckdb": read_with_duckdb}


def main():
    task = lake.read_input()
    table = lake.open_catalog(task["catalog"]).load_table(task["table"])
    answered = with_storage_types(pa.ipc.open_file(task["answer"]).read_all())
    names = [field.name for field in table.schema().fields]
    if answered.schema.names != names:
        raise SystemExit(f"Tarn has columns {answered.schema.names}, PyIceberg {names}")
    got = rows_of(answered, names)
    for reader in task["readers"]:
        read = with_storage_types(READERS[reader](table, task["catalog"]))
        expected = rows_of(read, names)
        if len(got) != len(expected):
            raise SystemExit(f"{reader} reads {len(expected)} rows of {task['table']}, Tarn {len(got)}")
        for number, (left, right) in enumerate(zip(expected, got)):
            if left != right:
                raise SystemExit(
                    f"row {number} of {task['table']} (sorted), columns {names}\n  {reader}: {left}\n  tarn: {right}"
                )
    lake.answer({"rows": len(got)})


if __name__ == "__main__":
    main()

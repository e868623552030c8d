"""Compares what Tarn answered with what PyIceberg and DuckDB read from the same table.

Input: {"catalog", "checks": [{"table": "schema.table", "answer": path of an Arrow IPC file with all
columns and rows as Tarn gave them, "filter": the SQL condition under which it gave them, or null}]}.
PyIceberg does not take SQL: a check with a filter is for DuckDB alone.
Output: {"rows": [n, ...]}. Ends with an error at the first difference.
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


def read_with_pyiceberg(table, _check, _connection):
    return table.scan().to_arrow()


def read_with_duckdb(table, check, connection):
    location = table.metadata_location.removeprefix("file://")
    where = f"WHERE {check['filter']}" if check["filter"] else ""
    read = connection.execute(f"SELECT * FROM iceberg_scan('{location}') {where}").to_arrow_table()
    for index, field in enumerate(table.schema().fields):
        if isinstance(field.field_type, UUIDType):  # DuckDB hands these over as text
            values = [value and uuid.UUID(value).bytes for value in read.column(index).to_pylist()]
            read = read.set_column(index, field.name, pa.array(values, pa.binary(16)))
    return read


READERS = {"pyiceberg": read_with_pyiceberg, "duckdb": read_with_duckdb}


def compare(table, check, connection):
    """How many rows there are, if all agree."""
    what = f"{check['table']} where {check['filter'] or 'true'}"
    answered = with_storage_types(pa.ipc.open_file(check["answer"]).read_all())
    names = [field.name for field in table.schema().fields]
    if answered.schema.names != names:
        raise SystemExit(f"Tarn has columns {answered.schema.names}, PyIceberg {names}")
    got = rows_of(answered, names)
    for reader in ["duckdb"] if check["filter"] else READERS:
        expected = rows_of(with_storage_types(READERS[reader](table, check, connection)), names)
        if len(got) != len(expected):
            raise SystemExit(f"{reader} reads {len(expected)} rows of {what}, Tarn {len(got)}")
        for number, (left, right) in enumerate(zip(expected, got)):
            if left != right:
                raise SystemExit(
                    f"row {number} of {what} (sorted), columns {names}\n  {reader}: {left}\n  tarn: {right}"
                )
    return len(got)


def main():
    task = lake.read_input()
    catalog = lake.open_catalog(task["catalog"])
    connection = lake.open_duckdb(task["catalog"])
    counts = [compare(catalog.load_table(check["table"]), check, connection) for check in task["checks"]]
    lake.answer({"rows": counts})


if __name__ == "__main__":
    main()

"""Makes the tables of the zoo that PyIceberg writes.

    python tests/zoo/make_python.py [--only NAME,...] [FOLDER]

Runs in the environment of the tests' clients. Beside make.py, which see.
"""

import argparse
import datetime
import decimal
import inspect
import json
import os
import shutil
import tempfile
import uuid

import pyarrow as pa
import pyarrow.parquet as pq
import pyiceberg
from pyarrow.fs import LocalFileSystem, SubTreeFileSystem
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.io.pyarrow import PyArrowFileIO
from pyiceberg.partitioning import PartitionField, PartitionSpec
from pyiceberg.schema import Schema
from pyiceberg.transforms import (
    BucketTransform,
    DayTransform,
    HourTransform,
    IdentityTransform,
    MonthTransform,
    TruncateTransform,
    YearTransform,
)
from pyiceberg.types import (
    BinaryType,
    BooleanType,
    DateType,
    DecimalType,
    DoubleType,
    FixedType,
    FloatType,
    IntegerType,
    ListType,
    LongType,
    MapType,
    NestedField,
    StringType,
    StructType,
    TimestampType,
    TimestamptzType,
    TimeType,
    UUIDType,
)

import canonical
import kept

WRITER = {"engine": "PyIceberg", "version": pyiceberg.__version__}
UTC = datetime.timezone.utc


class ZooFileIO(PyArrowFileIO):
    """The bucket `zoo` as a folder of this machine: the property `zoo.folder` names the folder it is in."""

    def __init__(self, properties):
        super().__init__(properties)
        folder = SubTreeFileSystem(properties["zoo.folder"], LocalFileSystem())
        self.fs_by_scheme = lambda scheme, host: folder

    def new_output(self, location):
        path = os.path.join(self.properties["zoo.folder"], location.removeprefix("s3://"))
        os.makedirs(os.path.dirname(path), exist_ok=True)
        return super().new_output(location)


class Table:
    """One table and the questions that PyIceberg answers in the end."""

    def __init__(self, catalog, name):
        self.catalog, self.name = catalog, name
        self.questions = [("SELECT * FROM {t}", {})]
        self.iceberg = None

    def create(self, fields, spec=(), version=2, **properties):
        schema = Schema(*[NestedField(i + 1, name, kind, required=False) for i, (name, kind) in enumerate(fields)])
        partition = PartitionSpec(
            *[PartitionField(schema.find_field(column).field_id, 1000 + i, transform, name) for i, (column, transform, name) in enumerate(spec)]
        )
        self.iceberg = self.catalog.create_table(
            f"main.{self.name}", schema, f"s3://zoo/{self.name}", partition, properties={"format-version": str(version)} | properties
        )
        return self.iceberg

    def batch(self, rows):
        """Rows as a table of Arrow in the present schema."""
        schema = self.iceberg.schema().as_arrow()
        return pa.Table.from_pylist([dict(zip(schema.names, row)) for row in rows], schema=schema)

    def append(self, *rows, **options):
        self.iceberg.append(self.batch(rows), **options)

    def where(self, *conditions):
        """Conditions that mean the same in SQL and in PyIceberg's language, or pairs of both."""
        for condition in conditions:
            sql, own = condition if isinstance(condition, tuple) else (condition, condition)
            self.questions.append((f"SELECT * FROM {{t}} WHERE {sql}", {"row_filter": own}))

    def ask_versions(self):
        for snapshot in self.iceberg.metadata.snapshots:
            id = snapshot.snapshot_id
            self.questions.append((f"SELECT * FROM {{t}} FOR VERSION AS OF {id}", {"snapshot_id": id}))

    def answers(self):
        for sql, scan in self.questions:
            read = self.iceberg.scan(**scan).to_arrow()
            columns = [column.to_pylist() for column in read.columns]
            rows = [[canonical.from_python(value) for value in row] for row in zip(*columns)]
            yield {"sql": sql, "columns": read.schema.names, "rows": sorted(rows, key=json.dumps)}


# ---- the tables


def _every_type(t, version):
    nested = StructType(NestedField(101, "x", IntegerType(), required=False), NestedField(102, "y", StringType(), required=False))
    kinds = [
        ("b", BooleanType()), ("i", IntegerType()), ("l", LongType()), ("f", FloatType()), ("d", DoubleType()), ("dec", DecimalType(9, 2)),
        ("big", DecimalType(38, 10)), ("day", DateType()), ("clock", TimeType()), ("at", TimestampType()), ("at_utc", TimestamptzType()),
        ("s", StringType()), ("u", UUIDType()), ("fix", FixedType(5)), ("bin", BinaryType()),
        ("items", ListType(103, LongType(), element_required=False)), ("pair", nested),
        ("m", MapType(104, StringType(), 105, nested, value_required=False)),
    ]
    t.create(kinds, version=version)
    moment = datetime.datetime(1969, 12, 31, 23, 59, 59, 999999)
    t.append(
        (
            True, 2**31 - 1, 2**63 - 1, 1.5, 1e300, decimal.Decimal("1234567.89"), decimal.Decimal("1234567890123456789012345678.0123456789"),
            datetime.date(1582, 10, 15), datetime.time(23, 59, 59, 999999), moment, moment.replace(tzinfo=UTC), "naïve ☃",
            uuid.UUID("f79c3e09-677c-4bbd-a479-3f349cb785e7").bytes, b"\0\xff\1\2\3", b"\xff\0", [1, None, 3], {"x": 1, "y": None}, [("k", {"x": 2, "y": "v"}), ("l", None)],
        ),
        tuple([None] * len(kinds)),
    )
    t.append(
        (
            False, -(2**31), -(2**63), float("nan"), float("-inf"), decimal.Decimal("-0.01"), decimal.Decimal("-0.0000000001"), datetime.date(1, 1, 1),
            datetime.time(0, 0), datetime.datetime(1, 1, 1), datetime.datetime(9999, 12, 31, 23, 59, 59, 999999, UTC), "", bytes(16), bytes(5), b"", [], None, [],
        )
    )
    t.where("b = true", "i < 0", "l > 0", "dec = -0.01", "s = ''", "f IS NULL", ("isnan(f)", "f IS NAN"), "day < '1600-01-01'", "clock >= '12:00:00'")
    t.where(("at < TIMESTAMP '1970-01-01 00:00:00'", "at < '1970-01-01T00:00:00'"), ("at_utc > TIMESTAMPTZ '2000-01-01 00:00:00+00'", "at_utc > '2000-01-01T00:00:00+00:00'"))
    t.where("d < 0", "fix IS NULL")


def pyiceberg_types(t):
    """Version 2: each type of PyIceberg, nested ones, edges and NULLs."""
    _every_type(t, 2)


def pyiceberg_types_v1(t):
    """Version 1: each type of PyIceberg, nested ones, edges and NULLs."""
    _every_type(t, 1)


EVENTS = [
    ("id", LongType()), ("region", StringType()), ("code", StringType()), ("at", TimestampType()), ("at_utc", TimestamptzType()), ("day", DateType()),
    ("amount", DecimalType(12, 2)), ("u", UUIDType()),
]


def _events(first, count):
    start = datetime.datetime(1969, 12, 31, 20)
    for i in range(first, first + count):
        null = i % 11 == 0
        at = start + datetime.timedelta(hours=i)
        yield (
            None if null else i * 7919 - 50000, None if i % 7 == 0 else f"r {i % 3}/ü", f"code-{i % 5}", None if null else at, None if i % 13 == 0 else at.replace(tzinfo=UTC),
            datetime.date(1969, 11, 15) + datetime.timedelta(days=10 * i), decimal.Decimal(i - 20) / 4, uuid.UUID(int=i).bytes,
        )


def pyiceberg_transforms(t):
    """By every transform, then rows deleted and overwritten by a condition, and a spec that changed."""
    spec = [
        ("id", BucketTransform(2), "id_bucket"), ("region", IdentityTransform(), "region"), ("code", TruncateTransform(6), "code_trunc"),
        ("at", MonthTransform(), "at_month"), ("at_utc", DayTransform(), "at_utc_day"), ("day", YearTransform(), "day_year"), ("amount", TruncateTransform(1000), "amount_trunc"),
    ]
    t.create(EVENTS, spec)
    t.append(*_events(0, 16))
    t.iceberg.delete("region = 'r 1/ü' AND id < -20000")
    t.iceberg.overwrite(t.batch(list(_events(100, 3))), "id = 13352 OR id = -2483")
    with t.iceberg.update_spec() as update:
        update.remove_field("at_month")
        update.remove_field("amount_trunc")
        update.add_field("at", HourTransform(), "at_hour")
        update.add_field("u", BucketTransform(2), "u_bucket")
    t.append(*_events(16, 6))
    t.where("id = 76690", "id IS NULL", "region = 'r 1/ü'", "region IS NULL", "code >= 'code-2'", "day < '1970-01-01'", "amount <= -4.75", "id IN (-34162, 749900, 84609)")
    t.where(("at < TIMESTAMP '1970-01-01 00:00:00'", "at < '1970-01-01T00:00:00'"), ("at_utc <= TIMESTAMPTZ '1970-01-01 00:00:00+00'", "at_utc <= '1970-01-01T00:00:00+00:00'"))
    t.ask_versions()


def pyiceberg_overwrites(t):
    """Partitions overwritten dynamically, rows upserted by their key."""
    t.create([("id", IntegerType()), ("region", StringType()), ("v", DoubleType())], [("region", IdentityTransform(), "region")])
    t.append(*[(i, None if i % 4 == 0 else f"r{i % 4}", i / 4) for i in range(20)])
    t.iceberg.dynamic_partition_overwrite(t.batch([(100, "r1", 0.5), (101, None, 0.5)]))
    t.iceberg.upsert(t.batch([(2, "r2", -1.0), (3, "r9", -1.0), (200, "new", -1.0)]), join_cols=["id"])
    t.where("region = 'r1'", "region IS NULL", "v < 0", "id > 10")
    t.ask_versions()


def pyiceberg_evolved(t):
    """Columns renamed, added, dropped, widened and moved, nested ones too; one added under a dropped name."""
    inner = StructType(NestedField(10, "x", IntegerType(), required=False), NestedField(11, "y", StringType(), required=False))
    t.create([("id", IntegerType()), ("name", StringType()), ("price", DecimalType(6, 2)), ("score", FloatType()), ("gone", IntegerType()), ("p", inner)])
    t.append((1, "one", decimal.Decimal("1.25"), 0.5, 10, {"x": 1, "y": "a"}), (2, None, None, None, None, None))
    with t.iceberg.update_schema() as update:
        update.rename_column("name", "full_name")
        update.update_column("id", LongType())
        update.update_column("price", DecimalType(12, 2))
        update.update_column("score", DoubleType())
        update.delete_column("gone")
        update.rename_column(("p", "x"), "z")
        update.add_column(("p", "n"), IntegerType())
    with t.iceberg.update_schema() as update:
        update.add_column("gone", StringType())
        update.move_first("score")
    t.append((1e300, 5000000000, "two", decimal.Decimal("123456789.25"), {"z": 2, "y": "b", "n": 3}, "back"))
    t.where("id = 1", "gone IS NULL", "full_name = 'two'", "score > 1", "price < 2")
    t.ask_versions()


def pyiceberg_refs(t):
    """A tag, and a branch with rows of its own."""
    t.create([("id", IntegerType()), ("s", StringType())])
    t.append((1, "a"), (2, "b"))
    first = t.iceberg.current_snapshot().snapshot_id
    t.iceberg.manage_snapshots().create_tag(first, "first").create_branch(first, "side").commit()
    t.append((3, "side"), branch="side")
    t.append((4, "main"))
    for name, ref in t.iceberg.metadata.refs.items():
        t.questions.append((f"SELECT * FROM {{t}} FOR VERSION AS OF '{name}'", {"snapshot_id": ref.snapshot_id}))
    t.ask_versions()


def pyiceberg_files_added(t):
    """Files of PyArrow taken over as they are: no field ids, columns in another order, many row groups."""
    t.create([("id", LongType()), ("s", StringType()), ("at", TimestampType())])
    t.iceberg = t.catalog.load_table(f"main.{t.name}")
    schema = pa.schema([("s", pa.string()), ("at", pa.timestamp("us")), ("id", pa.int64())])
    rows = [{"s": f"s{i % 3}", "at": datetime.datetime(1969, 12, 31, 23, i), "id": i} for i in range(20)]
    location = f"s3://zoo/{t.name}/outside/old.parquet"
    with t.iceberg.io.new_output(location).create() as stream:
        pq.write_table(pa.Table.from_pylist(rows, schema=schema), stream, row_group_size=6)
    t.iceberg.add_files([location])
    t.append((100, "native", None))
    t.where("id = 7", "s = 's1'", ("at < TIMESTAMP '1969-12-31 23:05:00'", "at < '1969-12-31T23:05:00'"))


def main():
    here = os.path.dirname(os.path.abspath(__file__))
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="names of tables, with commas between them")
    parser.add_argument("folder", nargs="?", default=os.path.join(here, "fixtures"))
    options = parser.parse_args()
    wanted = set(filter(None, options.only.split(",")))
    makers = [f for name, f in globals().items() if name.startswith("pyiceberg_") and inspect.isfunction(f)]
    work = tempfile.mkdtemp(prefix="tarn-zoo-")
    try:
        properties = {"uri": f"sqlite:///{work}/catalog.db", "warehouse": "s3://zoo", "zoo.folder": work, "py-io-impl": f"{__name__}.ZooFileIO"}
        catalog = SqlCatalog("zoo", **properties)
        catalog.create_namespace("main")
        for maker in makers:
            name = maker.__name__
            if wanted and name not in wanted:
                continue
            table = Table(catalog, name)
            maker(table)
            location = catalog.load_table(f"main.{name}").metadata_location
            queries = list(table.answers())
            kept.keep(options.folder, f"{work}/zoo", name, WRITER, inspect.cleandoc(maker.__doc__), location, queries)
            print(f"{name}: {len(queries)} questions")
    finally:
        shutil.rmtree(work, ignore_errors=True)


if __name__ == "__main__":
    main()

"""Writes tables with PyIceberg for Tarn to read: one for each hard case.

Input: {"catalog", "namespace"}. Output: {"tables": [name, ...]}.
"""

import datetime
import decimal
import uuid

import pyarrow as pa
import pyarrow.parquet as pq
from pyiceberg.manifest import (
    DataFile,
    DataFileContent,
    FileFormat,
    ManifestContent,
    ManifestEntry,
    ManifestEntryStatus,
    ManifestWriterV2,
)
from pyiceberg.partitioning import PartitionField, PartitionSpec
from pyiceberg.schema import Schema
from pyiceberg.table.snapshots import Operation
from pyiceberg.table.update.snapshot import _FastAppendFiles
from pyiceberg.transforms import (
    BucketTransform,
    DayTransform,
    HourTransform,
    IdentityTransform,
    MonthTransform,
    TruncateTransform,
    YearTransform,
)
from pyiceberg.typedef import Record
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

import lake

UTC = datetime.timezone.utc


def every_type(catalog, name):
    """Every type of format version 2, with NULL and with values at the edges."""
    fields = [
        ("b", BooleanType()),
        ("i", IntegerType()),
        ("l", LongType()),
        ("f", FloatType()),
        ("d", DoubleType()),
        ("small", DecimalType(9, 2)),
        ("big", DecimalType(38, 10)),
        ("day", DateType()),
        ("clock", TimeType()),
        ("at", TimestampType()),
        ("at_utc", TimestamptzType()),
        ("s", StringType()),
        ("u", UUIDType()),
        ("fx", FixedType(4)),
        ("bin", BinaryType()),
        ("items", ListType(101, LongType(), element_required=False)),
        ("pairs", MapType(102, StringType(), 103, LongType(), value_required=False)),
        ("nested", StructType(NestedField(104, "x", LongType()), NestedField(105, "y", StringType()))),
    ]
    schema = Schema(*[NestedField(i + 1, name, kind, required=False) for i, (name, kind) in enumerate(fields)])
    table = catalog.create_table(name, schema)
    moment = datetime.datetime(2024, 2, 29, 23, 59, 59, 999999)
    early = datetime.datetime(1969, 12, 31, 23, 59, 59, 1)
    rows = [
        dict.fromkeys(name for name, _ in fields),
        dict(b=True, i=2**31 - 1, l=2**63 - 1, f=1.5, d=1e300, small=decimal.Decimal("1234567.89"),
             big=decimal.Decimal("1234567890123456789012345678.0123456789"), day=datetime.date(2024, 2, 29),
             clock=datetime.time(23, 59, 59, 999999), at=moment, at_utc=moment.replace(tzinfo=UTC), s="naïve ☃",
             u=uuid.UUID(int=2**128 - 1).bytes, fx=b"\x00\x01\x02\x03", bin=b"\xff\x00", items=[1, None, 3],
             pairs=[("a", 1), ("b", None)], nested={"x": 1, "y": "one"}),
        dict(b=False, i=-(2**31), l=-(2**63), f=float("nan"), d=float("-inf"), small=decimal.Decimal("-0.01"),
             big=decimal.Decimal("-0.0000000001"), day=datetime.date(1582, 10, 15), clock=datetime.time(0, 0),
             at=early, at_utc=early.replace(tzinfo=UTC), s="", u=uuid.UUID(int=0).bytes, fx=b"\xff\xff\xff\xff",
             bin=b"", items=[], pairs=[], nested={"x": None, "y": None}),
    ]
    table.append(pa.Table.from_pylist(rows, schema=table.schema().as_arrow()))


def evolved(catalog, name):
    """Columns renamed, added, dropped, dropped and added again, widened and moved between writes."""
    schema = Schema(
        NestedField(1, "id", IntegerType(), required=False),
        NestedField(2, "name", StringType(), required=False),
        NestedField(3, "score", FloatType(), required=False),
        NestedField(4, "gone", StringType(), required=False),
        NestedField(5, "price", DecimalType(9, 2), required=False),
        NestedField(6, "place", StructType(NestedField(7, "lat", FloatType(), required=False)), required=False),
    )
    table = catalog.create_table(name, schema)

    def append(**columns):
        table.append(pa.table(columns).cast(table.schema().as_arrow().empty_table().select(list(columns)).schema))

    append(id=[1, 2, None], name=["one", "two", None], score=[1.5, None, 3.5], gone=["x", "y", "z"],
           price=[decimal.Decimal("1.10"), None, decimal.Decimal("3.30")],
           place=pa.array([{"lat": 1.0}, None, {"lat": None}], pa.struct([("lat", pa.float32())])))
    with table.update_schema() as update:
        update.rename_column("name", "full_name")
        update.delete_column("gone")
        update.update_column("id", LongType())
        update.update_column("score", DoubleType())
        update.update_column("price", DecimalType(18, 2))
        update.add_column("city", StringType())
        update.add_column(("place", "lon"), DoubleType())
    with table.update_schema() as update:
        update.add_column("gone", LongType())
        update.move_first("city")
    append(city=["Paris", None], id=[2**40, 5], full_name=["four", "five"], score=[1e100, None],
           price=[decimal.Decimal("1234567890123456.78"), None],
           place=pa.array([{"lat": 1.0, "lon": 2.0}, None],
                          pa.struct([("lat", pa.float32()), ("lon", pa.float64())])),
           gone=[7, None])


def partitioned(catalog, name):
    """Every partition transform in one table, and a spec that changed between writes."""
    schema = Schema(
        NestedField(1, "id", LongType(), required=False),
        NestedField(2, "region", StringType(), required=False),
        NestedField(3, "code", StringType(), required=False),
        NestedField(4, "at", TimestampType(), required=False),
        NestedField(5, "at_utc", TimestamptzType(), required=False),
        NestedField(6, "day", DateType(), required=False),
        NestedField(7, "amount", DecimalType(12, 2), required=False),
    )
    spec = PartitionSpec(
        PartitionField(1, 1000, BucketTransform(8), "id_bucket"),
        PartitionField(2, 1001, IdentityTransform(), "region"),
        PartitionField(3, 1002, TruncateTransform(3), "code_trunc"),
        PartitionField(4, 1003, HourTransform(), "at_hour"),
        PartitionField(5, 1004, DayTransform(), "at_utc_day"),
        PartitionField(6, 1005, MonthTransform(), "day_month"),
    )
    table = catalog.create_table(name, schema, partition_spec=spec)

    def rows(first, count):
        start = datetime.datetime(1969, 12, 31, 20, 0, 0)
        for i in range(first, first + count):
            null = i % 11 == 0
            yield {
                "id": None if null else i * 7919 - 50000,
                "region": None if i % 7 == 0 else f"r {i % 3}/ü",
                "code": None if null else f"code-{i % 5}",
                "at": None if null else start + datetime.timedelta(hours=i),
                "at_utc": None if null else (start + datetime.timedelta(hours=9 * i)).replace(tzinfo=UTC),
                "day": None if null else datetime.date(1969, 11, 15) + datetime.timedelta(days=10 * i),
                "amount": decimal.Decimal(i - 20) / 4,
            }

    arrow_schema = table.schema().as_arrow()
    table.append(pa.Table.from_pylist(list(rows(0, 40)), schema=arrow_schema))
    with table.update_spec() as update:
        update.remove_field("at_hour")
        update.remove_field("code_trunc")
        update.remove_field("day_month")
        update.add_field("day", YearTransform(), "day_year")
        update.add_field("amount", TruncateTransform(1000), "amount_trunc")
    table.append(pa.Table.from_pylist(list(rows(40, 40)), schema=arrow_schema))


class DeleteManifestWriter(ManifestWriterV2):
    """PyIceberg reads delete manifests, but has no public way to write one."""

    def content(self):
        return ManifestContent.DELETES

    @property
    def _meta(self):
        return super()._meta | {"content": "deletes"}


class AddDeletes(_FastAppendFiles):
    """A snapshot that keeps every manifest and adds one of position delete files."""

    delete_files = ()

    def _process_manifests(self, manifests):
        spec = self._transaction.table_metadata.spec()
        writer = DeleteManifestWriter(
            spec, self.schema(), self.new_manifest_output(), self._snapshot_id, self._compression
        )
        with writer:
            for file in self.delete_files:
                writer.add(
                    ManifestEntry.from_args(
                        status=ManifestEntryStatus.ADDED,
                        snapshot_id=self._snapshot_id,
                        sequence_number=None,
                        file_sequence_number=None,
                        data_file=file,
                    )
                )
        return [*manifests, writer.to_manifest_file()]


POSITION_DELETES = pa.schema(
    [
        pa.field("file_path", pa.string(), nullable=False, metadata={"PARQUET:field_id": "2147483546"}),
        pa.field("pos", pa.int64(), nullable=False, metadata={"PARQUET:field_id": "2147483545"}),
    ]
)


def position_deletes(catalog, name):
    """Rows deleted by position: first, last and every 100th of one file, none of another; then a later append."""
    schema = Schema(
        NestedField(1, "id", LongType(), required=False), NestedField(2, "name", StringType(), required=False)
    )
    table = catalog.create_table(name, schema, properties={"format-version": "2"})
    arrow_schema = table.schema().as_arrow()

    def append(ids):
        table.append(pa.table({"id": ids, "name": [f"n{i}" for i in ids]}, schema=arrow_schema))

    append(range(0, 1000))
    append(range(1000, 1010))
    paths = sorted(
        (task.file for task in table.scan().plan_files()), key=lambda file: -file.record_count
    )
    positions = [0, 999, *range(100, 900, 100)]
    deletes = pa.table(
        {"file_path": [paths[0].file_path] * len(positions), "pos": sorted(positions)}, schema=POSITION_DELETES
    )
    location = f"{table.location()}/data/deletes-{uuid.uuid4()}.parquet"
    with table.io.new_output(location).create() as stream:
        pq.write_table(deletes, stream)
    delete_file = DataFile.from_args(
        content=DataFileContent.POSITION_DELETES,
        file_path=location,
        file_format=FileFormat.PARQUET,
        partition=Record(),
        record_count=len(positions),
        file_size_in_bytes=len(table.io.new_input(location)),
        column_sizes={},
        value_counts={},
        null_value_counts={},
        nan_value_counts={},
        lower_bounds={},
        upper_bounds={},
        key_metadata=None,
        split_offsets=None,
        equality_ids=None,
        sort_order_id=None,
    )
    delete_file.spec_id = table.spec().spec_id
    with table.transaction() as transaction:
        with AddDeletes(Operation.DELETE, transaction, table.io) as update:
            update.delete_files = (delete_file,)
    # These rows are newer than the deletes, and one file has the same positions.
    append(range(2000, 2200))


def empty(catalog, name):
    """No snapshot at all."""
    catalog.create_table(name, Schema(NestedField(1, "id", LongType(), required=False)))


def many_files(catalog, name):
    """Thirty commits of one row each."""
    table = catalog.create_table(name, Schema(NestedField(1, "id", LongType(), required=False)))
    for i in range(30):
        table.append(pa.table({"id": [i]}, schema=table.schema().as_arrow()))


def main():
    task = lake.read_input()
    catalog = lake.open_catalog(task["catalog"])
    catalog.create_namespace_if_not_exists(task["namespace"])
    writers = [every_type, evolved, partitioned, position_deletes, empty, many_files]
    for write in writers:
        write(catalog, f"{task['namespace']}.{write.__name__}")
    lake.answer({"tables": [write.__name__ for write in writers]})


if __name__ == "__main__":
    main()

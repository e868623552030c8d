"""How fast scans of Iceberg tables are planned, and what deleted rows cost.

Starts a SeaweedFS and a server (the given binary) on it, on loopback and on a folder that is removed at the end.
Tables of many files exist in metadata only: planning never opens a data file. Deletes are written here, with PyArrow
and PyIceberg's manifest writer. Prints one table, or JSON with --json.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import shutil
import statistics
import struct
import sys
import tempfile
import time
import uuid
import zlib

import pyarrow as pa
import pyarrow.parquet as pq
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.conversions import to_bytes
from pyiceberg.manifest import (
    DataFile, DataFileContent, FileFormat, ManifestContent, ManifestEntry, ManifestEntryStatus, ManifestWriterV2,
)
from pyiceberg.table.snapshots import Operation
from pyiceberg.table.update.snapshot import _FastAppendFiles
from pyiceberg.typedef import Record
from pyiceberg.types import LongType, StringType
from pyroaring import BitMap

from common import S3, Tarn

COLUMNS = 10
FILES_PER_MANIFEST = 2_000
DELETE_EVERY = 10


class DeleteManifestWriter(ManifestWriterV2):
    """PyIceberg reads delete manifests, but has no public way to write one."""

    def content(self):
        return ManifestContent.DELETES

    @property
    def _meta(self):
        return super()._meta | {"content": "deletes"}


class VectorManifestWriter(DeleteManifestWriter):
    """With the fields of format version 3, in which deletion vectors are told."""

    def _with_partition(self, format_version):
        return super()._with_partition(3)


class AddFiles(_FastAppendFiles):
    """A snapshot that keeps every manifest and adds the given files, some to a manifest."""

    files = ()
    writer = ManifestWriterV2

    def _process_manifests(self, manifests):
        added = []
        for first in range(0, len(self.files), FILES_PER_MANIFEST):
            spec = self._transaction.table_metadata.spec()
            writer = self.writer(spec, self.schema(), self.new_manifest_output(), self._snapshot_id, self._compression)
            with writer:
                for file in self.files[first:first + FILES_PER_MANIFEST]:
                    writer.add(ManifestEntry.from_args(
                        status=ManifestEntryStatus.ADDED, snapshot_id=self._snapshot_id, sequence_number=None,
                        file_sequence_number=None, data_file=file,
                    ))
            added.append(writer.to_manifest_file())
        return [*manifests, *added]


def content_file(location: str, size: int, rows: int, version: int = 2, **known) -> DataFile:
    empty = {"column_sizes": {}, "value_counts": {}, "null_value_counts": {}, "nan_value_counts": {},
             "lower_bounds": {}, "upper_bounds": {}}
    file = DataFile.from_args(**({
        "content": DataFileContent.DATA, "file_path": location, "file_format": FileFormat.PARQUET,
        "partition": Record(), "record_count": rows, "file_size_in_bytes": size, "key_metadata": None,
        "split_offsets": None, "equality_ids": None, "sort_order_id": None,
    } | empty | known), _table_format_version=version)
    file.spec_id = 0
    return file


def commit(table, files, operation, writer=ManifestWriterV2):
    with table.transaction() as transaction:
        with AddFiles(operation, transaction, table.io) as update:
            update.files, update.writer = files, writer


def many_files(catalog, name: str, count: int) -> None:
    """Adds entries of data files that are not there, with metrics of every column."""
    table = catalog.load_table(name)
    ids = range(1, COLUMNS + 1)
    files = []
    for n in range(count):
        low, high = n * 1000, n * 1000 + 999
        bounds = lambda value: {  # noqa: E731
            i: to_bytes(StringType(), f"name-{value:012}") if i % 2 == 0 else to_bytes(LongType(), value) for i in ids
        }
        counts = {i: 1000 for i in ids}
        files.append(content_file(
            f"{table.location()}/data/{uuid.UUID(int=n)}-{n:08}.parquet", 5_000_000, 1000, column_sizes=counts,
            value_counts=counts, null_value_counts=dict.fromkeys(ids, 0), lower_bounds=bounds(low),
            upper_bounds=bounds(high), split_offsets=[4],
        ))
    commit(table, files, Operation.APPEND)


def data_files(table):
    return [task.file for task in table.scan().plan_files()]


def position_deletes(catalog, name: str) -> None:
    """Deletes every tenth row of every file, by one position delete file for each."""
    table = catalog.load_table(name)
    schema = pa.schema([
        pa.field("file_path", pa.string(), nullable=False, metadata={"PARQUET:field_id": "2147483546"}),
        pa.field("pos", pa.int64(), nullable=False, metadata={"PARQUET:field_id": "2147483545"}),
    ])
    deletes = []
    for file in data_files(table):
        positions = list(range(0, file.record_count, DELETE_EVERY))
        rows = pa.table({"file_path": [file.file_path] * len(positions), "pos": positions}, schema=schema)
        location = f"{table.location()}/data/deletes-{uuid.uuid4()}.parquet"
        with table.io.new_output(location).create() as stream:
            pq.write_table(rows, stream)
        path = file.file_path.encode()
        deletes.append(content_file(
            location, len(table.io.new_input(location)), len(positions), content=DataFileContent.POSITION_DELETES,
            lower_bounds={2147483546: path}, upper_bounds={2147483546: path},
        ))
    commit(table, deletes, Operation.DELETE, DeleteManifestWriter)


def planned(tarn: Tarn, table: str, where: str = "") -> float:
    begun = time.perf_counter()
    tarn.sql(f"EXPLAIN SELECT * FROM {table} {where}")
    return (time.perf_counter() - begun) * 1000


def planning(tarn_of, catalog, count: int) -> dict:
    """Milliseconds of EXPLAIN over HTTP, first and warm, and memory that it took."""
    tarn = tarn_of()
    try:
        name = f"main.files_{count}"
        columns = ", ".join(f"c{i} {'varchar' if i % 2 == 0 else 'bigint'}" for i in range(1, COLUMNS + 1))
        tarn.sql(f"CREATE TABLE {name} ({columns})")
        many_files(catalog(tarn), name, count)
    finally:
        tarn.stop()
    tarn = tarn_of()
    try:
        tarn.sql("SELECT 1")
        before = tarn.rss_bytes()
        cold = planned(tarn, name)
        warm = [planned(tarn, name) for _ in range(7)]
        pruned = [planned(tarn, name, f"WHERE c1 = {count * 500}") for _ in range(7)]
        grown = tarn.rss_bytes() - before
    finally:
        tarn.stop()
    return {"cold_ms": cold, "warm_ms": statistics.median(warm), "pruned_to_one_ms": statistics.median(pruned),
            "memory_mb": grown / 1e6}


SUMS = "SELECT count(*), sum(id), sum(k), max(name), avg(x) FROM main.{table}"


def timed(tarn: Tarn, table: str) -> float:
    begun = time.perf_counter()
    answer = tarn.sql(SUMS.format(table=table))
    seconds = time.perf_counter() - begun
    timed.answers[table] = answer["rows"]
    return seconds


timed.answers = {}


def deleting(tarn_of, catalog, rows: int, runs: int) -> dict:
    """Seconds of a scan of all columns, of a clean table and of tables with a tenth of their rows deleted."""
    tarn = tarn_of()
    try:
        make = """CREATE TABLE main.{table} WITH ('write.target-file-size-bytes' = '33554432') AS
            SELECT value AS id, (value * 7919) % 1000003 AS k, value::double precision / 3 AS x,
                   'row number ' || value::text AS name FROM generate_series(1, {rows})"""
        kinds = {"clean": None, "position_deletes": position_deletes, "deletion_vectors": deletion_vectors}
        for table, delete in kinds.items():
            tarn.sql(make.format(table=table, rows=rows))
            if delete:
                delete(catalog(tarn), f"main.{table}")
        times: dict = {table: [] for table in kinds}
        for _ in range(runs + 1):
            for table in kinds:
                times[table].append(timed(tarn, table))
        counts = {table: int(answer[0][0]) for table, answer in timed.answers.items()}
        assert counts["clean"] == rows, counts
        assert counts["position_deletes"] == counts["deletion_vectors"] < rows * 0.901, counts
        best = {table: min(seconds[1:]) for table, seconds in times.items()}
        return {table: {"seconds": seconds, "of_clean": seconds / best["clean"]} for table, seconds in best.items()}
    finally:
        tarn.stop()


def deletion_vectors(catalog, name: str) -> None:
    """As position_deletes, by deletion vectors, all in one Puffin file.

    PyIceberg cannot commit to a table of format version 3, so the table is of version 2; the reader does not mind.
    """
    table = catalog.load_table(name)
    location = f"{table.location()}/data/deletes-{uuid.uuid4()}.puffin"
    files, blobs, offset = data_files(table), [], 4
    for file in files:
        bitmap = BitMap(range(0, file.record_count, DELETE_EVERY)).serialize()
        body = struct.pack("<I", 1681511377) + struct.pack("<Q", 1) + struct.pack("<I", 0) + bitmap
        blob = struct.pack(">I", len(body)) + body + struct.pack(">I", zlib.crc32(body))
        blobs.append((file, blob, offset))
        offset += len(blob)
    footer = json.dumps({"blobs": [
        {"type": "deletion-vector-v1", "fields": [], "snapshot-id": -1, "sequence-number": -1, "offset": at,
         "length": len(blob), "properties": {"referenced-data-file": file.file_path,
                                             "cardinality": str(len(range(0, file.record_count, DELETE_EVERY)))}}
        for file, blob, at in blobs
    ]}).encode()
    puffin = b"PFA1" + b"".join(blob for _, blob, _ in blobs) + b"PFA1" + footer + struct.pack("<i", len(footer))
    puffin += b"\0\0\0\0PFA1"
    with table.io.new_output(location).create() as stream:
        stream.write(puffin)
    commit(table, [
        content_file(
            location, len(puffin), len(range(0, file.record_count, DELETE_EVERY)), 3, file_format=FileFormat.PUFFIN,
            content=DataFileContent.POSITION_DELETES, referenced_data_file=file.file_path, content_offset=at,
            content_size_in_bytes=len(blob),
        ) for file, blob, at in blobs
    ], Operation.DELETE, VectorManifestWriter)


def show(results: dict) -> None:
    print(f"\n{'planning (EXPLAIN over HTTP, S3)':36}{'cold':>10}{'warm':>10}{'pruned':>10}{'memory':>10}")
    for count, r in results.get("planning", {}).items():
        print(f"{count:>12} data files{'':13}{r['cold_ms']:7.0f} ms{r['warm_ms']:7.0f} ms"
              f"{r['pruned_to_one_ms']:7.0f} ms{r['memory_mb']:7.0f} MB")
    print(f"\n{'a tenth of the rows deleted':36}{'seconds':>10}{'of clean':>10}")
    for table, r in results.get("deletes", {}).items():
        print(f"{table:36}{r['seconds']:10.2f}{r['of_clean']:10.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--binary", required=True, help="the tarn binary, a release build")
    parser.add_argument("--files", type=int, nargs="*", default=[10_000, 100_000])
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--only", nargs="*", choices=["planning", "deletes"])
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    wanted = given.only or ["planning", "deletes"]
    folder = pathlib.Path(tempfile.mkdtemp(prefix="tarn-bench-"))
    s3 = S3(folder)
    tarn_of = lambda: Tarn(given.binary, folder, s3)  # noqa: E731

    def catalog(tarn: Tarn) -> SqlCatalog:
        uri = f"sqlite:///{tarn.folder / 'control.db'}"
        return SqlCatalog("lake", uri=uri, warehouse="s3://lake/warehouse", **s3.properties())

    results: dict = {}
    try:
        if "planning" in wanted:
            results["planning"] = {}
            for count in given.files:
                print(f"planning over {count:,} files", file=sys.stderr, flush=True)
                results["planning"][count] = planning(tarn_of, catalog, count)
        if "deletes" in wanted:
            print(f"deletes from {given.rows:,} rows", file=sys.stderr, flush=True)
            results["deletes"] = deleting(tarn_of, catalog, given.rows, given.runs)
        print(json.dumps(results, indent=2)) if given.json else show(results)
    finally:
        s3.stop()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()

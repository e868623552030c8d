"""Makes the files that tests/slt/files and tests/slt/copy read.

    PYTHONPATH=/path/with/fastavro ~/.cache/tarn/venv/bin/python tests/slt/data/make.py

Needs pyarrow and fastavro (pip install --target /path/with/fastavro fastavro cramjam). The files are committed: run it
again only to change them.
"""

import bz2
import datetime as dt
import decimal
import gzip
import lzma
import pathlib
import shutil

import fastavro
import pyarrow as pa
import pyarrow.orc
import pyarrow.parquet as pq

HERE = pathlib.Path(__file__).parent


def folder(name):
    path = HERE / name
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir()
    return path


def parquet(path, **columns):
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path)


def hive():
    root = folder("hive")
    ids = iter(range(1, 100))
    for year, month, rows in [
        ("2023", "01", 2),
        ("2023", "02", 1),
        ("2024", "01", 3),
        ("__HIVE_DEFAULT_PARTITION__", "03", 1),
    ]:
        at = root / f"year={year}" / f"month={month}"
        parquet(at / "part.parquet", id=pa.array([next(ids) for _ in range(rows)], pa.int64()))
    (root / "_SUCCESS").write_text("")


def odd():
    root = folder("odd")
    at = root / "year=1" / "month=1"
    at.mkdir(parents=True)
    (at / "broken.parquet").write_bytes((HERE / "broken.parquet").read_bytes())
    (root / "year=7").mkdir()
    (root / "year=7" / "own.csv").write_text("id,year\n1,1999\n")


def union():
    root = folder("union")
    parquet(root / "a.parquet", id=pa.array([1, 2], pa.int32()), name=pa.array(["a", "b"]))
    parquet(
        root / "b.parquet",
        name=pa.array(["c"]),
        id=pa.array([3], pa.int64()),
        extra=pa.array([1.5], pa.float64()),
    )
    parquet(root / "odd" / "c.parquet", id=pa.array(["x"]), name=pa.array(["d"]))
    (root / "a.csv").write_text("id,name\n1,a\n2,b\n")
    (root / "b.csv").write_text("name,extra,id\nc,2024-05-01,3\n")


def compressed():
    root = folder("compressed")
    text = b"id,name\n1,one\n2,two\n3,three\n"
    (root / "a.csv.gz").write_bytes(gzip.compress(text, mtime=0))
    # Two members, as parallel writers leave them.
    (root / "two.csv.gz").write_bytes(
        gzip.compress(b"id,name\n1,one\n", mtime=0) + gzip.compress(b"2,two\n", mtime=0)
    )
    (root / "a.csv.bz2").write_bytes(bz2.compress(text))
    (root / "a.csv.xz").write_bytes(lzma.compress(text))
    with pa.CompressedOutputStream(str(root / "a.csv.zst"), "zstd") as out:
        out.write(text)
    (root / "plain_name").write_bytes(gzip.compress(text, mtime=0))
    (root / "cut.csv.gz").write_bytes(gzip.compress(text * 100, mtime=0)[:-20])
    with pa.CompressedOutputStream(str(root / "a.ndjson.gz"), "gzip") as out:
        out.write(b'{"id": 1, "v": [1, 2]}\n{"id": 2, "v": null}\n')


def csv():
    root = folder("csv")
    (root / "odd.csv").write_text(
        "made by hand\n# id|at|when|note\nid|at|when|note\n"
        "1|31.01.2024|31/01/2024 10:30|'a|b'\n# a comment\n2|NA|NA|'it\\'s\nlong'\n"
    )
    (root / "marked.csv").write_bytes(b"\xef\xbb\xbfid,name\r\n1,x\r\n")
    (root / "late.csv").write_text("id,v\n" + "".join(f"{i},{i}\n" for i in range(50)) + "50,late\n")
    (root / "short.csv").write_text("a,b,c\n1,2,3\n4\n5,6\n")
    (root / "bare.csv").write_text("1,x\n2,y\n")
    (root / "types.csv").write_text(
        "b,i,big,f,d,t,ts,tz,s\n"
        "true,1,12345678901234567890,1.5,2024-01-31,10:00:00,2024-01-31 10:00:00,2024-01-31T10:00:00Z,a\n"
        ",,,,,,,,\n"
        "FALSE,-2,1,2e3,1999-12-31,23:59:59.5,1999-12-31T23:59:59.25,2024-01-31 10:00:00+02:00,b\n"
    )


def json():
    root = folder("json")
    (root / "array.json").write_text(
        '[{"id": 1, "tags": ["a", "]"], "at": {"x": 1.5}},\n {"id": 2, "more": true, "at": {"y": "t"}}]\n'
    )
    (root / "lines.ndjson").write_text('{"id": 3, "tags": []}\n\n{"id": 4}\n')
    (root / "mixed.json").write_text('{"v": 1}\n{"v": "x"}\n{"v": 2.5}\n')
    (root / "scalars.json").write_text("1\n2\n")
    (root / "cut.json").write_text('[{"id": 1}, {"id": 2')


MOMENT = dt.datetime(2024, 1, 31, 10, 30, 15, 250000, tzinfo=dt.timezone.utc)
AVRO = {
    "type": "record",
    "name": "row",
    "fields": [
        {"name": "id", "type": "int"},
        {"name": "big", "type": ["null", "long"]},
        {"name": "f", "type": "double"},
        {"name": "flag", "type": "boolean"},
        {"name": "name", "type": ["null", "string"]},
        {"name": "raw", "type": "bytes"},
        {"name": "day", "type": {"type": "int", "logicalType": "date"}},
        {"name": "at", "type": {"type": "long", "logicalType": "timestamp-micros"}},
        {"name": "price", "type": {"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2}},
        {"name": "tags", "type": {"type": "array", "items": "string"}},
        {"name": "point", "type": {"type": "record", "name": "p", "fields": [{"name": "x", "type": "int"}]}},
    ],
}


def avro():
    root = folder("avro")

    def row(i):
        return {
            "id": i,
            "big": None if i == 2 else i * 10**10,
            "f": i + 0.5,
            "flag": i % 2 == 1,
            "name": None if i == 3 else f"name {i}",
            "raw": bytes([i, 255]),
            "day": dt.date(2024, 1, i),
            "at": MOMENT,
            "price": decimal.Decimal(f"{i}.25"),
            "tags": ["t"] * i,
            "point": {"x": i},
        }

    for codec, ids in [("null", [1]), ("deflate", [2]), ("snappy", [3])]:
        with open(root / f"{codec}.avro", "wb") as out:
            fastavro.writer(out, AVRO, [row(i) for i in ids], codec=codec, sync_marker=b"tarn sync marker")
    whole = (root / "null.avro").read_bytes()
    (root / "cut.broken").write_bytes(whole[:-20])


def orc():
    root = folder("orc")
    table = pa.table(
        {
            "id": pa.array([1, 2, 3], pa.int32()),
            "big": pa.array([10**10, None, 3], pa.int64()),
            "name": pa.array(["one", None, "three"]),
            "f": pa.array([0.5, 1.5, None], pa.float64()),
            "day": pa.array([dt.date(2024, 1, 31), None, dt.date(1969, 12, 31)], pa.date32()),
            "price": pa.array([decimal.Decimal("1.25"), None, decimal.Decimal("-3.50")], pa.decimal128(9, 2)),
            "tags": pa.array([["a", "b"], [], None], pa.list_(pa.string())),
        }
    )
    for codec in ["uncompressed", "zlib", "zstd", "snappy"]:
        pyarrow.orc.write_table(table, str(root / f"{codec}.orc"), compression=codec)
    whole = (root / "zlib.orc").read_bytes()
    (root / "cut.broken").write_bytes(whole[: len(whole) // 2])


def text():
    root = folder("text")
    (root / "one.txt").write_text("first\nsecond — ü\n")
    (root / "two.txt").write_text("")
    (root / "raw.bin").write_bytes(bytes([0, 255, 1]))


def corrupt():
    root = folder("corrupt")
    path = root / "page.parquet"
    pq.write_table(
        pa.table({"id": pa.array(range(1000), pa.int64())}), path, compression="zstd", use_dictionary=False
    )
    # No frame of zstd begins so.
    path.write_bytes(path.read_bytes().replace(b"\x28\xb5\x2f\xfd", b"\0\0\0\0"))


for make in [hive, odd, union, compressed, csv, json, avro, orc, text, corrupt]:
    make()

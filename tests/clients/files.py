"""What DuckDB and PyArrow read: files that COPY wrote, or files that file functions read too."""

import json
import sys

import duckdb
import pyarrow as pa

# Queries that mean the same in both; {f} is the folder.
COMPARED = [
    "SELECT id, year, month FROM read_parquet('{f}/hive/year=202*/*/*.parquet', hive_partitioning => true) ORDER BY id",
    "SELECT count(*), sum(id) FROM read_parquet('{f}/hive/*/*/*.parquet', hive_partitioning => true) WHERE year = 2024",
    "SELECT id, name, extra FROM read_parquet('{f}/union/?.parquet', union_by_name => true) ORDER BY id",
    "SELECT id, name, extra::text FROM read_csv('{f}/union/*.csv', union_by_name => true) ORDER BY id",
    "SELECT count(*), sum(id), max(name) FROM read_csv('{f}/compressed/a.csv.gz')",
    "SELECT count(*), sum(id), max(name) FROM read_csv('{f}/compressed/a.csv.zst')",
    "SELECT i, f, d::text, ts::text, s FROM read_csv('{f}/csv/types.csv') WHERE i IS NOT NULL ORDER BY i",
    "SELECT id, name FROM read_csv('{f}/csv/marked.csv')",
    "SELECT id, array_to_string(tags, '+') FROM read_json('{f}/json/array.json') ORDER BY id",
    "SELECT content, size FROM read_text('{f}/text/*.txt') ORDER BY size",
]


def shown(value):
    if value is None:
        return "NULL"
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def compare(folder):
    out = []
    for query in COMPARED:
        query = query.format(f=folder)
        rows = duckdb.sql(query).fetchall()
        out.append({"tarn": query, "rows": [[shown(v) for v in row] for row in rows]})
    return out


def read(folder):
    summary = "count(*), sum(id)::bigint, count(s), sum(n)::decimal(20, 2)::text, min(moment)::text, max(moment)::text"
    out = {}
    arrow = pa.ipc.open_file(f"{folder}/t.arrow").read_all()
    for name, source in [
        ("t.csv", f"read_csv('{folder}/t.csv')"),
        ("t.csv.gz", f"read_csv('{folder}/t.csv.gz')"),
        (
            "t.json",
            f"read_json('{folder}/t.json', columns = {{id: 'bigint', p: 'int', s: 'varchar', n: 'decimal(9, 2)', moment: 'timestamp'}})",
        ),
        ("t.parquet", f"read_parquet('{folder}/t.parquet')"),
        ("t.arrow", "arrow"),
    ]:
        out[name] = list(duckdb.sql(f"SELECT {summary} FROM {source}").fetchone())
    parts = f"read_parquet('{folder}/parts/**/*.parquet', hive_partitioning = true)"
    out["parts"] = [
        list(row)
        for row in duckdb.sql(f"SELECT p, count(*) FROM {parts} GROUP BY p ORDER BY p").fetchall()
    ]
    return out


given = json.load(sys.stdin)
json.dump(compare(given["compare"]) if "compare" in given else read(given["folder"]), sys.stdout)

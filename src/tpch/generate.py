#!/usr/bin/env python3
"""Writes the 22 TPC-H queries and DuckDB's known answers beside this file.

    pip install duckdb==1.5.5 duckdb-extension-tpch==1.5.5
    python3 src/tpch/generate.py

The answers are what DuckDB ships as `tpch_answers()`: they are validated by
that project, not computed here and never by Tarn. Nothing is downloaded.
"""

import pathlib

import duckdb
import duckdb_extension_tpch

HERE = pathlib.Path(__file__).resolve().parent
SCALE_FACTORS = {0.01: "sf0.01", 0.1: "sf0.1", 1.0: "sf1"}


def main() -> None:
    extension = next(pathlib.Path(duckdb_extension_tpch.__file__).parent.rglob("tpch.duckdb_extension"))
    connection = duckdb.connect(config={"allow_unsigned_extensions": True})
    connection.execute(f"LOAD '{extension}'")

    queries = HERE / "queries"
    queries.mkdir(exist_ok=True)
    for number, text in connection.execute("SELECT query_nr, query FROM tpch_queries()").fetchall():
        (queries / f"q{number:02}.sql").write_text(text.strip() + "\n")

    rows = connection.execute("SELECT query_nr, scale_factor, answer FROM tpch_answers()").fetchall()
    assert len(rows) == 22 * len(SCALE_FACTORS), len(rows)
    for number, scale_factor, answer in rows:
        folder = HERE / "answers" / SCALE_FACTORS[scale_factor]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"q{number:02}.csv").write_text(answer)


if __name__ == "__main__":
    main()

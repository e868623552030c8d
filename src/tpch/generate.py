#!/usr/bin/env python3
"""Writes the 22 TPC-H queries and their known answers beside this file.

    pip install duckdb==1.5.5 duckdb-extension-tpch==1.5.5 tpchgen-cli==4.0.0
    python3 src/tpch/generate.py

The answers are what DuckDB ships as `tpch_answers()`: validated by that
project, not computed here and never by Tarn. With one exception: DuckDB's
data generator fills the free text of the tables (addresses, comments) with
other words than the official `dbgen` and `tpchgen`, which Tarn uses. For the
five queries that show or search such text, DuckDB itself answers over the
data of `tpchgen-cli`, and every column that is no free text must equal
`tpch_answers()`. A unit test in `mod.rs` compares all answers at scale
factor 1 with the official ones of the TPC.
"""

import pathlib
import subprocess
import sys
import tempfile

import duckdb
import duckdb_extension_tpch

HERE = pathlib.Path(__file__).resolve().parent
SCALE_FACTORS = {0.01: "sf0.01", 0.1: "sf0.1", 1.0: "sf1"}
TABLES = "region nation supplier customer part partsupp orders lineitem".split()
FREE_TEXT = {"s_address", "s_comment", "c_address", "c_comment"}
SHOWS_FREE_TEXT = {2, 10, 15, 20}
SEARCHES_FREE_TEXT = {13}


def main() -> None:
    extension = next(pathlib.Path(duckdb_extension_tpch.__file__).parent.rglob("tpch.duckdb_extension"))
    connection = duckdb.connect(config={"allow_unsigned_extensions": True})
    connection.execute(f"LOAD '{extension}'")

    queries = dict(connection.execute("SELECT query_nr, query FROM tpch_queries()").fetchall())
    assert sorted(queries) == list(range(1, 23))
    (HERE / "queries").mkdir(exist_ok=True)
    for number, text in queries.items():
        (HERE / "queries" / f"q{number:02}.sql").write_text(text.strip() + "\n")

    rows = connection.execute("SELECT query_nr, scale_factor, answer FROM tpch_answers()").fetchall()
    assert len(rows) == 22 * len(SCALE_FACTORS), len(rows)
    answers = {(number, scale_factor): answer for number, scale_factor, answer in rows}

    for scale_factor, name in SCALE_FACTORS.items():
        folder = HERE / "answers" / name
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory() as data:
            load(connection, scale_factor, pathlib.Path(data))
            for number in range(1, 23):
                answer = answers[number, scale_factor]
                if number in SHOWS_FREE_TEXT | SEARCHES_FREE_TEXT:
                    shipped, answer = answer, ask(connection, queries[number])
                    if number in SHOWS_FREE_TEXT:
                        assert without_free_text(answer) == without_free_text(shipped), (number, scale_factor)
                (folder / f"q{number:02}.csv").write_text(answer)


def load(connection: duckdb.DuckDBPyConnection, scale_factor: float, folder: pathlib.Path) -> None:
    """Makes the eight tables views over files that tpchgen-cli writes."""
    program = pathlib.Path(sys.executable).with_name("tpchgen-cli")
    subprocess.run([program, "parquet", "-s", str(scale_factor), "-o", folder], check=True, stdout=subprocess.DEVNULL)
    for table in TABLES:
        connection.execute(f"CREATE OR REPLACE VIEW {table} AS SELECT * FROM '{folder}/{table}.parquet'")


def ask(connection: duckdb.DuckDBPyConnection, query: str) -> str:
    """An answer in the form of `tpch_answers()`."""
    result = connection.execute(query)
    lines = [[column[0] for column in result.description], *result.fetchall()]
    return "".join("|".join("" if value is None else str(value) for value in line) + "\n" for line in lines)


def without_free_text(answer: str) -> list[list[str]]:
    lines = [line.split("|") for line in answer.splitlines()]
    kept = [index for index, name in enumerate(lines[0]) if name not in FREE_TEXT]
    return [[line[index] for index in kept] for line in lines]


if __name__ == "__main__":
    main()

"""DuckDB's postgres extension: attaches the server, lists, reads by binary COPY, joins with its own tables."""

import datetime
import decimal
import glob
import os

import duckdb
import psycopg

from common import DATABASE, HOST, PASSWORD, PORT, USER, check, equal, run, url

SCHEMA = "c_duckdb"


def attached(options="READ_ONLY"):
    connection = duckdb.connect(config={"autoinstall_known_extensions": "false"})
    packages = os.path.join(os.path.dirname(duckdb.__file__), "..")
    (path,) = glob.glob(os.path.join(packages, "duckdb_extension_postgres_scanner/extensions/*/postgres_scanner.duckdb_extension"))
    connection.execute(f"LOAD '{path}'")
    connection.execute("SET TimeZone = 'UTC'")
    connection.execute(f"ATTACH 'host={HOST} port={PORT} user={USER} password={PASSWORD} dbname={DATABASE}' AS there (TYPE postgres, {options})")
    return connection


@check
def tables_and_columns_are_listed():
    connection = attached()
    names = connection.execute(f"SELECT table_name FROM duckdb_tables() WHERE database_name = 'there' AND schema_name = '{SCHEMA}'").fetchall()
    assert ("every_type",) in names, names
    columns = connection.execute(f"SELECT column_name, data_type FROM duckdb_columns() WHERE database_name = 'there' AND schema_name = '{SCHEMA}' AND table_name = 'every_type'").fetchall()
    equal(dict(columns), {
        "b": "BOOLEAN", "i": "INTEGER", "l": "BIGINT", "f": "FLOAT", "d": "DOUBLE", "n": "DECIMAL(12,2)", "s": "VARCHAR", "bin": "BLOB", "u": "UUID",
        "day": "DATE", "clock": "TIME", "at": "TIMESTAMP", "atz": "TIMESTAMP WITH TIME ZONE", "longs": "BIGINT[]", "texts": "VARCHAR[]"})


@check
def every_type_is_read():
    connection = attached()
    row = connection.execute(f'SELECT * REPLACE (u::text AS u, epoch_us(atz) AS atz) FROM there.{SCHEMA}.every_type WHERE i = 1').fetchone()
    equal(row, (True, 1, 9223372036854775807, 1.5, 1e300, decimal.Decimal("1234567.89"), "naïve ☃", b"\x00\xff", "11111111-2222-3333-4444-555555555555",
                datetime.date(2024, 2, 29), datetime.time(23, 59, 59, 999999), datetime.datetime(2024, 2, 29, 23, 59, 59, 999999), 1709251199999999, [1, None, 3], ["a", None]))
    row = connection.execute(f"SELECT * FROM there.{SCHEMA}.every_type WHERE i = 2").fetchone()
    equal([value for value in row if value is not None], [2])


@check
def tables_are_joined_and_aggregated():
    connection = attached()
    connection.execute("CREATE TABLE here AS SELECT i AS n, 'name ' || i AS name FROM range(1, 100) AS r(i)")
    equal(connection.execute(f"SELECT name FROM here JOIN there.{SCHEMA}.every_type AS t ON t.i = here.n ORDER BY 1").fetchall(), [("name 1",), ("name 2",)])
    equal(connection.execute("SELECT * FROM postgres_query('there', 'SELECT sum(n)::bigint AS s FROM generate_series(1, 10) AS t(n)')").fetchall(), [(55,)])


@check
def rows_are_copied_in():
    connection = attached("READ_WRITE")
    connection.execute(f"CREATE TABLE there.{SCHEMA}.made (id BIGINT, name VARCHAR, day DATE, amount DECIMAL(10, 2))")
    connection.execute(f"INSERT INTO there.{SCHEMA}.made SELECT i, 'n' || i, DATE '2024-01-01' + i::INTEGER, i / 4 FROM range(1000) AS r(i)")
    with psycopg.connect(url()) as other:
        equal(other.execute(f"SELECT count(*), sum(id), min(day), sum(amount) FROM {SCHEMA}.made").fetchone(),
              (1000, 499500, datetime.date(2024, 1, 1), decimal.Decimal("124875.00")))


def statements(*texts):
    with psycopg.connect(url(), autocommit=True) as connection:
        for text in texts:
            connection.execute(text)


def setup():
    statements(
        f"DROP SCHEMA IF EXISTS {SCHEMA} CASCADE", f"CREATE SCHEMA {SCHEMA}",
        f"CREATE TABLE {SCHEMA}.every_type (b boolean, i integer, l bigint, f real, d double precision, n numeric(12,2), s text, bin bytea, u uuid, "
        "day date, clock time, at timestamp, atz timestamptz, longs bigint[], texts text[])",
        f"INSERT INTO {SCHEMA}.every_type VALUES (true, 1, 9223372036854775807, 1.5, 1e300, 1234567.89, 'naïve ☃', '\\x00ff', "
        "'11111111-2222-3333-4444-555555555555', '2024-02-29', '23:59:59.999999', '2024-02-29 23:59:59.999999', '2024-02-29 23:59:59.999999+00', "
        "ARRAY[1, NULL, 3], ARRAY['a', NULL])",
        f"INSERT INTO {SCHEMA}.every_type (i) VALUES (2)")


def teardown():
    statements(f"DROP SCHEMA IF EXISTS {SCHEMA} CASCADE")


if __name__ == "__main__":
    run(setup, teardown)

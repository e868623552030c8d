"""ODBC: psqlODBC through unixODBC and pyodbc, as Excel, Tableau and Power BI desktop programs use it."""

import datetime
import decimal
import threading
import uuid

import pyodbc

from common import DATABASE, HOST, PASSWORD, PORT, TARN, USER, check, equal, run

SCHEMA = "c_odbc"

pyodbc.pooling = False


def connect(driver="PostgreSQL Unicode", autocommit=True, **options):
    parts = {"Driver": f"{{{driver}}}", "Server": HOST, "Port": PORT, "Database": DATABASE, "Uid": USER, "Pwd": f"{{{PASSWORD}}}"} | options
    return pyodbc.connect(";".join(f"{key}={value}" for key, value in parts.items()), autocommit=autocommit, timeout=20)


def state(function, *arguments):
    try:
        function(*arguments)
    except pyodbc.Error as error:
        return error.args[0]
    raise AssertionError("succeeded")


def each_way(function):
    """Marks a check that runs with every way in which the driver can send statements."""

    def run_it():
        ways = (
            {}, {"UseServerSidePrepare": "0"}, {"UseDeclareFetch": "1", "Fetch": "7"}, {"Protocol": "7.4-0"}, {"Protocol": "7.4-1"}, {"BoolsAsChar": "0"},
        )
        for way in ways:
            connection = connect(**way)
            try:
                function(connection)
            except BaseException as error:
                raise AssertionError(f"with {way}") from error
            finally:
                connection.close()

    run_it.__name__ = function.__name__
    return check(run_it)


@check
def the_driver_tells_about_the_server():
    connection = connect()
    equal(connection.getinfo(pyodbc.SQL_DBMS_NAME), "PostgreSQL")
    assert int(connection.getinfo(pyodbc.SQL_DBMS_VER).split(".")[0]) >= 14
    equal(connection.getinfo(pyodbc.SQL_DATABASE_NAME), DATABASE)
    equal(connection.getinfo(pyodbc.SQL_USER_NAME), USER)
    equal(connection.getinfo(pyodbc.SQL_IDENTIFIER_QUOTE_CHAR), '"')
    connection.close()


@each_way
def values_arrive_with_their_types(connection):
    row = connection.execute(f"SELECT i, l, f, d, n, day, clock, at, u, s, bin, b FROM {SCHEMA}.every_type WHERE i = 1").fetchone()
    equal(tuple(row)[:8], (1, 9223372036854775807, 1.5, 1e300, decimal.Decimal("1234567.89"), datetime.date(2024, 2, 29), datetime.time(23, 59, 58),
                           datetime.datetime(2024, 2, 29, 23, 59, 58, 999999)))
    equal(str(row[8]).lower(), "11111111-2222-3333-4444-555555555555")
    equal(row[9], "naïve ☃")
    equal(bytes(row[10]), b"\x00\xff")
    equal(row[11] in (True, "1"), True)
    row = connection.execute(f"SELECT * FROM {SCHEMA}.every_type WHERE i = 2").fetchone()
    equal([value for value in row if value is not None], [2])


@each_way
def parameters_go_in(connection):
    cursor = connection.cursor()
    row = cursor.execute(
        f"SELECT s, l FROM {SCHEMA}.every_type WHERE i = ? AND n > ? AND day = ? AND s IS NOT NULL AND at > ? AND d > ?",
        1, decimal.Decimal("0.5"), datetime.date(2024, 2, 29), datetime.datetime(2020, 1, 1), 1.0).fetchone()
    equal(row[1], 9223372036854775807)
    equal(tuple(cursor.execute("SELECT CAST(? AS bigint) + 1, CAST(? AS text), CAST(? AS text)", 41, "it's", None).fetchone()), (42, "it's", None))
    for _ in range(3):
        equal(cursor.execute("SELECT count(*) FROM generate_series(1, CAST(? AS bigint))", 20).fetchone()[0], 20)


@check
def rows_are_inserted():
    connection = connect()
    cursor = connection.cursor()
    cursor.execute(f"CREATE TABLE {SCHEMA}.inserted (id bigint, name text, amount numeric(10,2), at timestamp, day date, flag boolean, raw bytea)")
    given = (1, "ünï", decimal.Decimal("1.50"), datetime.datetime(2024, 2, 29, 1, 2, 3, 456000), datetime.date(2024, 2, 29), True, b"\x01\x00")
    equal(cursor.execute(f"INSERT INTO {SCHEMA}.inserted VALUES (?, ?, ?, ?, ?, ?, ?)", given).rowcount, 1)
    cursor.executemany(f"INSERT INTO {SCHEMA}.inserted (id, name) VALUES (?, ?)", [(n, None if n == 3 else str(n)) for n in range(2, 6)])
    cursor.fast_executemany = True
    cursor.executemany(f"INSERT INTO {SCHEMA}.inserted (id, name) VALUES (?, ?)", [(n, str(n)) for n in range(6, 10)])
    equal(tuple(cursor.execute(f"SELECT count(*), count(name), sum(id) FROM {SCHEMA}.inserted").fetchone()), (9, 8, 45))
    row = cursor.execute(f"SELECT id, name, amount, at, day, raw FROM {SCHEMA}.inserted WHERE id = 1").fetchone()
    equal(tuple(row), given[:5] + given[6:])
    connection.close()


@check
def tables_are_listed():
    connection = connect()
    cursor = connection.cursor()
    listed = [(t.table_cat, t.table_schem, t.table_name, t.table_type) for t in cursor.tables(schema=SCHEMA)]
    equal(sorted(listed), [(DATABASE, SCHEMA, "a_view", "VIEW"), (DATABASE, SCHEMA, "every_type", "TABLE"), (DATABASE, SCHEMA, "inserted", "TABLE")])
    equal([t.table_name for t in cursor.tables(table="every%", schema=SCHEMA, tableType="TABLE")], ["every_type"])
    equal([t.table_name for t in cursor.tables(schema=SCHEMA, tableType="VIEW")], ["a_view"])
    schemas = {t.table_schem for t in cursor.tables(catalog="", schema="%", table="")}
    assert SCHEMA in schemas, schemas
    equal([t.table_cat for t in cursor.tables(catalog="%", schema="", table="") if t.table_cat == DATABASE], [DATABASE])
    connection.close()


@check
def columns_are_listed():
    connection = connect()
    cursor = connection.cursor()
    columns = [(c.column_name, c.type_name, c.data_type, c.nullable) for c in cursor.columns(table="every_type", schema=SCHEMA)]
    equal([(name, kind) for name, kind, _, _ in columns], [
        ("b", "bool"), ("i", "int4"), ("l", "int8"), ("f", "float4"), ("d", "float8"), ("n", "numeric"), ("s", "text"), ("bin", "bytea"), ("u", "uuid"),
        ("day", "date"), ("clock", "time"), ("at", "timestamp"), ("atz", "timestamptz"), ("longs", "_int8"), ("texts", "_text")])
    n = [c for c in cursor.columns(table="every_type", schema=SCHEMA, column="n")][0]
    equal((n.column_size, n.decimal_digits, n.nullable), (12, 2, 1))
    equal([c.nullable for c in cursor.columns(table="every_type", schema=SCHEMA, column="i")], [0])
    connection.close()


@check
def keys_statistics_and_types_are_listed():
    connection = connect()
    cursor = connection.cursor()
    equal(cursor.primaryKeys(table="every_type", schema=SCHEMA).fetchall(), [])
    equal(cursor.foreignKeys(table="every_type", schema=SCHEMA).fetchall(), [])
    equal(cursor.foreignKeys(foreignTable="every_type", foreignSchema=SCHEMA).fetchall(), [])
    equal([row for row in cursor.statistics(table="every_type", schema=SCHEMA) if row.type != 0], [])
    cursor.rowIdColumns(table="every_type", schema=SCHEMA).fetchall()
    cursor.rowVerColumns(table="every_type", schema=SCHEMA).fetchall()
    cursor.procedures(schema=SCHEMA).fetchall()
    types = {row[0] for row in cursor.getTypeInfo()}
    assert {"int8", "text", "numeric", "timestamptz", "bytea", "uuid"} <= types, types
    connection.close()


@check
def a_large_result_is_fetched_in_pieces():
    connection = connect(autocommit=False, UseDeclareFetch="1", Fetch="500")
    cursor = connection.cursor()
    total = 0
    for n, in cursor.execute("SELECT n FROM generate_series(1, 20000) AS t(n)"):
        total += n
    equal(total, 20000 * 20001 // 2)
    connection.rollback()
    connection.close()


@check
def errors_have_their_states():
    connection = connect(autocommit=False)
    equal(state(connection.execute, "SELECT * FROM nowhere"), "42P01")
    connection.rollback()
    equal(state(connection.execute, "SELEC 1"), "42601")
    connection.rollback()
    equal(state(connection.execute, "SELECT 1/0"), "22012")
    # The driver sets a savepoint before each statement and goes back to it.
    equal(connection.execute("SELECT 2").fetchone()[0], 2)
    connection.rollback()
    equal(connection.execute("SELECT 1").fetchone()[0], 1)
    connection.commit()
    if TARN:
        equal(state(connection.execute, f"DELETE FROM {SCHEMA}.every_type WHERE i = 1"), "0A000")
        connection.rollback()
        equal(state(lambda: connect(Pwd="wrong-password")), "08001")
    connection.close()


@check
def a_cancel_and_a_timeout_stop_the_query():
    query = "SELECT count(*) FROM generate_series(1, 2000000000) AS a(x), generate_series(1, 1000) AS b(y)"
    connection = connect()
    cursor = connection.cursor()
    threading.Timer(0.7, cursor.cancel).start()
    equal(state(cursor.execute, query), "57014")
    equal(connection.execute("SELECT 1").fetchone()[0], 1)
    connection.close()
    connection = connect(ConnSettings="SET statement_timeout=300")
    equal(state(connection.execute, query), "57014")
    connection.close()


def setup():
    connection = connect()
    for statement in (
        f"DROP SCHEMA IF EXISTS {SCHEMA} CASCADE", f"CREATE SCHEMA {SCHEMA}",
        f"CREATE TABLE {SCHEMA}.every_type (b boolean, i integer NOT NULL, l bigint, f real, d double precision, n numeric(12,2), s text, bin bytea, u uuid, "
        "day date, clock time, at timestamp, atz timestamptz, longs bigint[], texts text[])",
        f"CREATE VIEW {SCHEMA}.a_view AS SELECT i, s FROM {SCHEMA}.every_type",
        f"INSERT INTO {SCHEMA}.every_type VALUES (true, 1, 9223372036854775807, 1.5, 1e300, 1234567.89, 'naïve ☃', '\\x00ff', "
        "'11111111-2222-3333-4444-555555555555', '2024-02-29', '23:59:58', '2024-02-29 23:59:58.999999', '2024-02-29 23:59:58.999999+00', "
        "ARRAY[1, NULL, 3], ARRAY['a', NULL])",
        f"INSERT INTO {SCHEMA}.every_type (i) VALUES (2)",
    ):
        connection.execute(statement)
    connection.close()


def teardown():
    connection = connect()
    connection.execute(f"DROP SCHEMA IF EXISTS {SCHEMA} CASCADE")
    connection.close()


if __name__ == "__main__":
    run(setup, teardown)

"""psycopg2: transactions, named cursors, COPY, execute_values, types."""

import datetime
import decimal
import io
import threading
import uuid

import psycopg2
import psycopg2.extensions
import psycopg2.extras

from common import DATABASE, HOST, PASSWORD, PORT, TARN, USER, check, equal, run

SCHEMA = "c_psycopg2"


def connect(autocommit=True):
    connection = psycopg2.connect(host=HOST, port=PORT, user=USER, password=PASSWORD, dbname=DATABASE, connect_timeout=20)
    connection.autocommit = autocommit
    return connection


def fetch(connection, query, parameters=None):
    with connection.cursor() as cursor:
        cursor.execute(query, parameters)
        return cursor.fetchall()


def execute(connection, *statements):
    with connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)


def code(function, *arguments):
    try:
        function(*arguments)
    except psycopg2.Error as error:
        return error.pgcode
    raise AssertionError("succeeded")


@check
def values_arrive_with_their_types():
    connection = connect()
    (row,) = fetch(
        connection,
        "SELECT %s, %s, %s, %s, %s::date, %s, ARRAY[1, NULL], '1.50'::numeric, now() > '2020-01-01', interval '1 day', '{\"a\": 1}'::json, %s::bytea",
        [True, 5, "it's ☃", None, datetime.date(2024, 2, 29), decimal.Decimal("1.5"), psycopg2.Binary(b"\x00\xff")])
    equal(row[:-1], (True, 5, "it's ☃", None, datetime.date(2024, 2, 29), decimal.Decimal("1.5"), [1, None], decimal.Decimal("1.50"), True,
                     datetime.timedelta(days=1), {"a": 1}))
    equal(bytes(row[-1]), b"\x00\xff")
    psycopg2.extras.register_uuid()
    equal(fetch(connection, "SELECT %s::uuid", [uuid.UUID(int=5)]), [(uuid.UUID(int=5),)])
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1::bigint AS a, 'x'::text AS b, 1.5::numeric(10,2) AS c, now() AS d")
        equal([(c.name, c.type_code, c.precision, c.scale) for c in cursor.description],
              [("a", 20, None, None), ("b", 25, None, None), ("c", 1700, 10, 2), ("d", 1184, None, None)])
    connection.close()


@check
def execute_values_inserts_pages():
    connection = connect()
    execute(connection, f"CREATE TABLE {SCHEMA}.pages (id bigint, name text)")
    with connection.cursor() as cursor:
        psycopg2.extras.execute_values(cursor, f"INSERT INTO {SCHEMA}.pages VALUES %s", [(n, f"n{n}") for n in range(500)], page_size=250)
        equal(cursor.rowcount, 250)
        psycopg2.extras.execute_batch(cursor, f"INSERT INTO {SCHEMA}.pages VALUES (%s, %s)", [(n, None) for n in range(4)], page_size=2)
    equal(fetch(connection, f"SELECT count(*), count(name), sum(id) FROM {SCHEMA}.pages"), [(504, 500, 124756)])
    connection.close()


@check
def named_cursors_read_in_pieces():
    connection = connect(autocommit=False)
    with connection.cursor("pieces") as cursor:
        cursor.itersize = 100
        cursor.execute("SELECT n FROM generate_series(1, %s) AS t(n) ORDER BY n", [1000])
        equal([row[0] for row in cursor], list(range(1, 1001)))
    connection.commit()
    with connection.cursor("held", withhold=True) as cursor:
        cursor.execute("SELECT n FROM generate_series(1, 10) AS t(n) ORDER BY n")
        connection.commit()
        equal(cursor.fetchmany(3), [(1,), (2,), (3,)])
        equal(len(cursor.fetchall()), 7)
    connection.close()


@check
def copy_moves_rows():
    connection = connect()
    execute(connection, f"CREATE TABLE {SCHEMA}.copied (id bigint, name text)")
    with connection.cursor() as cursor:
        cursor.copy_expert(f"COPY {SCHEMA}.copied FROM STDIN WITH CSV", io.StringIO("1,one\n2,\n"))
        equal(cursor.rowcount, 2)
        out = io.StringIO()
        cursor.copy_expert(f"COPY (SELECT * FROM {SCHEMA}.copied ORDER BY id) TO STDOUT", out)
        equal(out.getvalue(), "1\tone\n2\t\\N\n")
        cursor.execute(f"SET search_path TO {SCHEMA}")
        cursor.copy_from(io.StringIO("3|three\n"), "copied", sep="|", columns=("id", "name"))
        out = io.StringIO()
        cursor.copy_to(out, "copied", sep=";", null="-", columns=("name",))
        equal(sorted(out.getvalue().split()), ["-", "one", "three"])
    connection.close()


@check
def transactions_and_isolation_levels():
    connection = connect(autocommit=False)
    connection.set_session(isolation_level="SERIALIZABLE", readonly=True)
    equal(fetch(connection, "SELECT 1"), [(1,)])
    equal(connection.get_transaction_status(), psycopg2.extensions.TRANSACTION_STATUS_INTRANS)
    equal(code(fetch, connection, "SELECT 1/0"), "22012")
    equal(connection.get_transaction_status(), psycopg2.extensions.TRANSACTION_STATUS_INERROR)
    equal(code(fetch, connection, "SELECT 1"), "25P02")
    connection.rollback()
    connection.set_session(isolation_level="READ COMMITTED", readonly=False)
    equal(fetch(connection, "SHOW transaction_isolation"), [("read committed",)])
    connection.rollback()
    connection.reset()
    equal(connection.get_parameter_status("server_encoding"), "UTF8")
    connection.close()


@check
def writes_in_a_transaction():
    """PostgreSQL rolls them back; Tarn has committed each of them, and warns of it."""
    connection = connect(autocommit=False)
    execute(connection, f"CREATE TABLE {SCHEMA}.written (id bigint)")
    connection.commit()
    execute(connection, f"INSERT INTO {SCHEMA}.written VALUES (1)")
    connection.rollback()
    equal(fetch(connection, f"SELECT count(*) FROM {SCHEMA}.written"), [(1 if TARN else 0,)])
    if TARN:
        assert any("WARNING" in notice for notice in connection.notices), connection.notices
    connection.close()


@check
def cancel_stops_the_query():
    connection = connect()
    threading.Timer(0.7, connection.cancel).start()
    equal(code(fetch, connection, "SELECT count(*) FROM generate_series(1, 2000000000) AS a(x), generate_series(1, 1000) AS b(y)"), "57014")
    equal(fetch(connection, "SELECT 1"), [(1,)])
    connection.close()


def setup():
    connection = connect()
    execute(connection, f"DROP SCHEMA IF EXISTS {SCHEMA} CASCADE", f"CREATE SCHEMA {SCHEMA}")
    connection.close()


def teardown():
    connection = connect()
    execute(connection, f"DROP SCHEMA IF EXISTS {SCHEMA} CASCADE")
    connection.close()


if __name__ == "__main__":
    run(setup, teardown)

"""psycopg 3: sync and async, text and binary, pipelines, server-side cursors, COPY, cancel, every type."""

import asyncio
import datetime
import decimal
import ipaddress
import threading
import time
import uuid

import psycopg
from psycopg import sql
from psycopg.rows import class_row, dict_row
from psycopg.types.json import Json, Jsonb
from psycopg.types.string import TextLoader

from common import DATABASE, TARN, USER, check, equal, open_defect, run, url

SCHEMA = "c_psycopg3"

LONG_QUERY = "SELECT count(*) FROM generate_series(1, 2000000000) AS a(x), generate_series(1, 1000) AS b(y)"

EVERY_TYPE = (
    "b boolean, i integer, l bigint, f real, d double precision, n numeric(12,2), s text, bin bytea, u uuid, "
    "day date, clock time, at timestamp, atz timestamptz, longs bigint[], texts text[], days date[]"
)

VALUES = (
    True, 2**31 - 1, -(2**63), 1.5, 1e300, decimal.Decimal("1234567.89"), "naïve ☃", b"\x00\xff",
    uuid.UUID("11111111-2222-3333-4444-555555555555"), datetime.date(2024, 2, 29), datetime.time(23, 59, 59, 999999),
    datetime.datetime(2024, 2, 29, 23, 59, 59, 999999), datetime.datetime(1969, 12, 31, 23, 59, 59, 1, tzinfo=datetime.UTC),
    [1, None, 3], ["a,b", None, 'q"\\'], [datetime.date(1999, 12, 31), None],
)


def connect(**options):
    return psycopg.connect(url(), connect_timeout=20, **options)


def state(function, *arguments):
    try:
        function(*arguments)
    except psycopg.Error as error:
        return error.sqlstate
    raise AssertionError("succeeded")


def in_async(function):
    """Marks an async check, which gets a connection of its own."""

    def run_it():
        async def body():
            async with await psycopg.AsyncConnection.connect(url(), connect_timeout=20, autocommit=True) as connection:
                await function(connection)

        asyncio.run(asyncio.wait_for(body(), 60))

    run_it.__name__ = function.__name__
    return check(run_it)


@check
def start_up_tells_the_parameters():
    with connect(application_name="a program", options="-c statement_timeout=12345") as connection:
        status = connection.info.parameter_status
        assert connection.info.server_version >= 140000, connection.info.server_version
        for name, value in (
            ("server_encoding", "UTF8"), ("client_encoding", "UTF8"), ("integer_datetimes", "on"), ("standard_conforming_strings", "on"),
            ("DateStyle", "ISO, MDY"), ("IntervalStyle", "postgres"), ("is_superuser", "on"), ("session_authorization", USER), ("TimeZone", "UTC"),
            ("application_name", "a program"),
        ):
            equal((name, status(name)), (name, value))
        equal(connection.execute("SHOW statement_timeout").fetchone(), ("12345ms",))
        equal(connection.execute("SELECT current_database(), current_user, session_user, pg_backend_pid()").fetchone(),
              (DATABASE, USER, USER, connection.info.backend_pid))
        connection.execute("SET TIME ZONE 'Europe/Zurich'")
        equal(status("TimeZone"), "Europe/Zurich")
        equal(connection.info.timezone.key, "Europe/Zurich")


def goes_in_and_comes_out(name, *, binary):
    with connect(autocommit=True) as connection:
        connection.execute(f"CREATE TABLE {SCHEMA}.{name} ({EVERY_TYPE})")
        format = "b" if binary else "t"
        places = ", ".join([f"%{format}"] * len(VALUES))
        cursor = connection.cursor(binary=binary)
        equal(cursor.execute(f"INSERT INTO {SCHEMA}.{name} VALUES ({places})", VALUES).statusmessage, "INSERT 0 1")
        cursor.execute(f"INSERT INTO {SCHEMA}.{name} VALUES ({', '.join(['%s'] * len(VALUES))})", [None] * len(VALUES))
        equal(cursor.rowcount, 1)
        rows = cursor.execute(f"SELECT * FROM {SCHEMA}.{name} ORDER BY l").fetchall()
        equal(rows, [VALUES, (None,) * len(VALUES)])
        equal([column.type_display for column in cursor.description], [
            "bool", "int4", "int8", "float4", "float8", "numeric(12,2)", "text", "bytea", "uuid", "date", "time", "timestamp", "timestamptz",
            "int8[]", "text[]", "date[]"])
        # Each of them as a parameter of a comparison.
        columns = EVERY_TYPE.replace("numeric(12,2)", "numeric").split(", ")
        for column, value in zip((c.split()[0] for c in columns), VALUES, strict=True):
            cast = "::bigint[]" if column == "longs" else ""  # psycopg sends smallint[]
            found = connection.execute(f"SELECT count(*) FROM {SCHEMA}.{name} WHERE {column} = %{format}{cast}", [value]).fetchone()
            equal((column, found), (column, (1,)))


@check
def every_type_goes_in_and_comes_out_as_text():
    goes_in_and_comes_out("every_type_text", binary=False)


@check
def every_type_goes_in_and_comes_out_as_binary():
    goes_in_and_comes_out("every_type_binary", binary=True)


@check
def values_at_the_edges_of_types():
    edges = [
        ("bigint", -(2**63)), ("bigint", 2**63 - 1), ("int", -(2**31)), ("smallint", -32768), ("double precision", float("inf")),
        ("double precision", -0.0), ("real", float("-inf")), ("numeric", decimal.Decimal("1e-9")), ("numeric", decimal.Decimal("0.000000000000000001")),
        ("numeric", decimal.Decimal("-12345678901234567890123456789.123456789")), ("numeric", decimal.Decimal("10000")), ("numeric", decimal.Decimal("0")),
        ("text", ""), ("text", "\U0001f600 '\" \\ \n\r\t"), ("bytea", b""), ("bytea", bytes(range(256))), ("date", datetime.date(1, 1, 1)),
        ("date", datetime.date(9999, 12, 31)), ("time", datetime.time(0, 0)), ("timestamp", datetime.datetime(1, 1, 1)),
        ("timestamp", datetime.datetime(9999, 12, 31, 23, 59, 59, 999999)), ("timestamptz", datetime.datetime(1900, 1, 1, tzinfo=datetime.UTC)),
        ("interval", datetime.timedelta(days=-3, microseconds=1)), ("interval", datetime.timedelta(days=400, hours=5, microseconds=999999)),
        ("bigint[]", []), ("bigint[]", [None]), ("text[]", ["", "NULL", "{}", "a\"b\\c", " x "]), ("boolean[]", [True, None, False]),
        ("numeric[]", [decimal.Decimal("1.5"), None]), ("uuid[]", [uuid.UUID(int=0)]), ("double precision[]", [1.5, float("nan")][:1]),
        ("timestamptz[]", [datetime.datetime(2024, 1, 1, tzinfo=datetime.UTC)]), ("bytea[]", [b"\x00\xff", None]),
    ]
    failures = []
    with connect(autocommit=True) as connection:
        for kind, value in edges:
            for given in ("t", "b"):
                for binary in (False, True):
                    try:
                        (back,) = connection.execute(f"SELECT %{given}::{kind}", [value], binary=binary).fetchone()
                        if (back, type(back)) != (value, type(value)):
                            failures.append(f"{kind} %{given} binary={binary}: {value!r} came back as {back!r}")
                    except psycopg.Error as error:
                        failures.append(f"{kind} %{given} binary={binary}: {value!r}: {error.sqlstate} {error}")
    assert not failures, "\n".join(failures)


@check
def nan_and_intervals_and_json():
    with connect(autocommit=True) as connection:
        for binary in (False, True):
            row = connection.execute("SELECT 'NaN'::float8, interval '1 day 02:03:04.5', '{\"a\": [1, null]}'::json", binary=binary).fetchone()
            assert row[0] != row[0], row
            equal(row[1:], (datetime.timedelta(days=1, hours=2, minutes=3, seconds=4.5), {"a": [1, None]}))
        equal(connection.execute("SELECT %s::json", [Json({"k": "v"})]).fetchone(), ({"k": "v"},))
        if TARN:
            cursor = connection.execute("SELECT named_struct('a', 1, 'b', 'x') AS s, ARRAY[named_struct('a', 1)] AS l")
            equal([column.type_display for column in cursor.description][0], "json")
            equal(cursor.fetchone()[0], {"a": 1, "b": "x"})


@check
def addresses_and_jsonb_have_types_of_their_own():
    with connect(autocommit=True) as connection:
        for binary in (False, True):
            row = connection.execute("SELECT '10.0.0.1'::inet, '10.1.2.3/8'::inet, '::1'::inet, '10'::cidr, '{\"bb\": 1, \"a\": [1e2, null]}'::jsonb", binary=binary)
            equal([column.type_code for column in row.description], [869, 869, 869, 650, 3802])
            equal(row.fetchone(), (
                ipaddress.ip_address("10.0.0.1"), ipaddress.ip_interface("10.1.2.3/8"), ipaddress.ip_address("::1"),
                ipaddress.ip_network("10.0.0.0/8"), {"a": [100, None], "bb": 1},
            ))
        for sent in ("%b", "%t"):
            row = connection.execute(f"SELECT {sent}::jsonb, {sent}::inet, {sent}::cidr", [Jsonb({"k": ["v"]}), ipaddress.ip_interface("10.1.2.3/8"), ipaddress.ip_network("::/0")])
            equal(row.fetchone(), ({"k": ["v"]}, ipaddress.ip_interface("10.1.2.3/8"), ipaddress.ip_network("::/0")))
        equal(connection.execute("SELECT '{\"bb\":1, \"a\":2, \"bb\":1.50}'::jsonb::text").fetchone(), ('{"a": 2, "bb": 1.50}',))
        for bad in ("'1.2.3'::inet", "'10.0.0.1/8'::cidr", "'{'::jsonb", "'{'::json"):
            equal(state(connection.execute, f"SELECT {bad}"), "22P02")


@check
def arrays_have_dimensions_and_digits():
    with connect(autocommit=True) as connection:
        for binary in (False, True):
            row = connection.execute("SELECT '{{1,2},{3,4}}'::int[], ARRAY[['a','b c'],[NULL,'d']], '{1,2}'::int[][], '{}'::int[]", binary=binary)
            equal([column.type_code for column in row.description], [1007, 1009, 1007, 1007])
            equal(row.fetchone(), ([[1, 2], [3, 4]], [["a", "b c"], [None, "d"]], [1, 2], []))
            digits = [decimal.Decimal("1.5"), decimal.Decimal("-2.123456789012345")]
            row = connection.execute("SELECT '{1.5,-2.123456789012345}'::numeric[], ARRAY[1.5,2.25]", binary=binary).fetchone()
            equal(str(row), str((digits, [decimal.Decimal("1.5"), decimal.Decimal("2.25")])))
        for sent in ("%b", "%t"):
            row = connection.execute(f"SELECT {sent}::int[], {sent}::text[], {sent}::numeric[]", [[[1, 2], [3, 4]], [["a"], ["b"]], digits])
            equal(str(row.fetchone()), str(([[1, 2], [3, 4]], [["a"], ["b"]], digits)))


@check
def parameters_are_described_by_their_places():
    boolean, integer, text, double, integers = 16, 23, 25, 701, 1007
    places = [
        ("SELECT $1 IN (1::int, 2::int)", [integer], [boolean]),
        ("SELECT coalesce($1, 1::int)", [integer], [integer]),
        ("SELECT CASE WHEN $1 THEN $2 ELSE 1::int END", [boolean, integer], [integer]),
        ("SELECT left($1, $2), substr($3, $4), split_part($5, $6, $7)", [text, integer, text, integer, text, text, integer], [text] * 3),
        ("SELECT NOT $1, true AND $2", [boolean, boolean], [boolean, boolean]),
        ("SELECT interval '1 day' * $1", [double], [1186]),
        ("SELECT $1::int[] || $2", [integers, integers], [integers]),
        ("SELECT 1::int LIMIT $1", [20], [integer]),
        ("SELECT floor($1), sqrt($2)", [double, double], [double, double]),
        ("SELECT $1 BETWEEN 1::int AND $2", [integer, integer], [boolean]),
        ("SELECT x FROM (VALUES (1::int), ($1)) AS t(x) WHERE $2", [integer, boolean], [integer]),
        ("SELECT 1::int UNION SELECT $1", [integer], [integer]),
        ("SELECT ARRAY[$1, 2::int]", [integer], [integers]),
    ]
    with connect(autocommit=True) as connection:
        for sql, parameters, columns in places:
            done = connection.pgconn.prepare(b"", sql.encode())
            equal((sql, done.error_message), (sql, b""))
            told = connection.pgconn.describe_prepared(b"")
            equal((sql, [told.param_type(at) for at in range(told.nparams)]), (sql, parameters))
            equal((sql, [told.ftype(at) for at in range(told.nfields)]), (sql, columns))
        row = connection.execute("SELECT interval '1 day' * %s, left(%s, %s), CASE WHEN %s THEN %s ELSE 1::int END", ["2", "abc", "2", "t", "7"])
        equal(row.fetchone(), (datetime.timedelta(days=2), "ab", 7))


@check
def explain_answers_with_one_document():
    with connect(autocommit=True) as connection:
        for options in ("FORMAT JSON", "ANALYZE, FORMAT JSON"):
            cursor = connection.execute(f"EXPLAIN ({options}) SELECT n FROM generate_series(1, 10) AS s(n) WHERE n > 3")
            equal([(column.name, column.type_code) for column in cursor.description], [("QUERY PLAN", 114)])
            [[document]] = cursor.fetchall()
            [explained] = document
            assert explained["Plan"]["Node Type"], document
        node = explained["Plan"]
        assert explained["Execution Time"] > 0, document
        while "Actual Rows" not in node:
            [node] = node["Plans"]
        equal(node["Actual Rows"], 7)


@check
def parameters_without_a_type_get_one():
    """psycopg sends strings and None without a type: the server finds it."""
    with connect(autocommit=True) as connection:
        connection.execute(f"CREATE TABLE {SCHEMA}.inferred (id bigint, name text, day date, amount numeric(10,2), flag boolean)")
        connection.execute(f"INSERT INTO {SCHEMA}.inferred VALUES (%s, %s, %s, %s, %s)", ["7", "x", "2024-02-29", "1.25", "true"])
        connection.execute(f"INSERT INTO {SCHEMA}.inferred (name, id) VALUES (%s, %s), (%s, %s)", [None, 8, "y", None])
        found = connection.execute(f"SELECT * FROM {SCHEMA}.inferred WHERE id = %s AND day = %s AND amount < %s AND flag = %s", ["7", "2024-02-29", "2", "t"])
        equal(found.fetchall(), [(7, "x", datetime.date(2024, 2, 29), decimal.Decimal("1.25"), True)])
        equal(connection.execute("SELECT %s, %s::text, coalesce(%s, 'z')", ["a", None, None]).fetchone(), ("a", None, "z"))
        equal(connection.execute(f"SELECT count(*) FROM {SCHEMA}.inferred WHERE id BETWEEN %s AND %s LIMIT %s OFFSET %s", [1, 8, 5, 0]).fetchone(), (2,))
        equal(connection.execute(f"SELECT name FROM {SCHEMA}.inferred WHERE id = ANY(%s) ORDER BY id", [[7, 8, 9]]).fetchall(), [("x",), (None,)])
        equal(connection.execute("SELECT '%%' || %s || '%%'", ["x"]).fetchone(), ("%x%",))
        equal(connection.execute("SELECT n FROM (VALUES (%s::int), (%s)) AS t(n) ORDER BY n", [2, 1]).fetchall(), [(1,), (2,)])
        equal(state(connection.execute, "SELECT %s::int", ["x"]), "22P02")


@check
def prepared_statements_are_listed():
    with connect(autocommit=True) as connection:
        for n in range(10):
            equal(connection.execute("SELECT %s::int * 2", [n]).fetchone(), (n * 2,))
        count = connection.execute("SELECT count(*) FROM pg_prepared_statements").fetchone()[0]
        assert count >= 1, count
        connection.execute("DEALLOCATE ALL")
        connection.execute("PREPARE p (bigint, text) AS SELECT $1, $2")
        connection.execute("EXECUTE p (1, 'x')")
        row = connection.execute("SELECT name, parameter_types, from_sql, custom_plans FROM pg_prepared_statements WHERE from_sql").fetchone()
        equal(row, ("p", ["bigint", "text"] if isinstance(row[1], list) else "{bigint,text}", True, 1))
        connection.execute("DEALLOCATE p")
        equal(connection.execute("SELECT count(*) FROM pg_prepared_statements WHERE from_sql").fetchone(), (0,))


@check
def plans_of_prepared_statements_are_used_again():
    with connect(autocommit=True) as connection:
        connection.execute(f"CREATE TABLE {SCHEMA}.planned (id bigint, s text)")
        connection.execute(f"INSERT INTO {SCHEMA}.planned VALUES (1, 'a'), (2, 'b'), (3, NULL)")
        ask = f"SELECT s FROM {SCHEMA}.planned WHERE id = %s"
        for n in range(4):
            equal([connection.execute(ask, [key], prepare=True).fetchall() for key in (1, 2, 3, 4)], [[("a",)], [("b",)], [(None,)], []])
        asks = "SELECT generic_plans > 0, generic_plans + custom_plans FROM pg_prepared_statements WHERE statement LIKE '%.planned WHERE%'"
        equal(connection.execute(asks).fetchone(), (True, 16))


@check
def prepared_statements_see_every_change():
    table = f"{SCHEMA}.kept"
    with connect(autocommit=True) as one, connect(autocommit=True) as other:
        other.execute(f"CREATE TABLE {table} (id bigint, s text)")
        other.execute(f"INSERT INTO {table} VALUES (1, 'a'), (2, 'b')")

        def ask(key=1, sql=f"SELECT s FROM {table} WHERE id = %s"):
            return sorted(row[0] for row in one.execute(sql, [key], prepare=True).fetchall())

        def warm(expected, **how):
            for _ in range(8):
                equal(ask(**how), expected)

        warm(["a"])
        other.execute(f"INSERT INTO {table} VALUES (1, 'c')")
        warm(["a", "c"])
        one.execute(f"INSERT INTO {table} VALUES (1, 'd')")
        warm(["a", "c", "d"])
        other.execute(f"TRUNCATE {table}")
        warm([])
        other.execute(f"DROP TABLE {table}")
        equal(state(ask), "42P01")
        other.execute(f"CREATE TABLE {table} (s text, more int, id bigint)")
        other.execute(f"INSERT INTO {table} VALUES ('new', 5, 1)")
        warm(["new"])
        other.execute(f"ALTER TABLE {table} RENAME COLUMN s TO t")
        equal(state(ask), "42703")
        other.execute(f"ALTER TABLE {table} RENAME COLUMN t TO s")
        warm(["new"])
        other.execute(f"ALTER TABLE {table} RENAME COLUMN more TO s2")
        other.execute(f"ALTER TABLE {table} RENAME COLUMN s TO s3")
        other.execute(f"ALTER TABLE {table} RENAME COLUMN s3 TO s")
        warm(["new"])
        other.execute(f"ALTER TABLE {table} RENAME TO kept_away")
        equal(state(ask), "42P01")
        other.execute(f"ALTER TABLE {SCHEMA}.kept_away RENAME TO kept")
        warm(["new"])

        every = f"SELECT * FROM {table} WHERE id = %s"
        for _ in range(8):
            equal(one.execute(every, [1], prepare=True).fetchall(), [("new", 5, 1)])
        other.execute(f"ALTER TABLE {table} ADD COLUMN later int")
        equal(state(lambda: one.execute(every, [1], prepare=True)), "0A000")


@check
def prepared_statements_see_other_views_names_and_settings():
    with connect(autocommit=True) as one, connect(autocommit=True) as other:
        other.execute(f"CREATE TABLE {SCHEMA}.seen (id bigint, at timestamptz)")
        other.execute(f"INSERT INTO {SCHEMA}.seen VALUES (1, '2024-01-02 03:04:05+00')")
        other.execute(f"CREATE VIEW {SCHEMA}.watched AS SELECT id + 10 AS id FROM {SCHEMA}.seen")
        answers = lambda sql, *values: [row[0] for row in one.execute(sql, values, prepare=True).fetchall()]

        def warm(expected, sql, *values):
            for _ in range(8):
                equal(answers(sql, *values), expected)

        warm([11], f"SELECT id FROM {SCHEMA}.watched WHERE id > %s", 5)
        other.execute(f"CREATE OR REPLACE VIEW {SCHEMA}.watched AS SELECT id + 20 AS id FROM {SCHEMA}.seen")
        warm([21], f"SELECT id FROM {SCHEMA}.watched WHERE id > %s", 5)

        # PostgreSQL keeps to the table that the name stood for first, as long as there is that table.
        if TARN:
            other.execute(f"CREATE SCHEMA {SCHEMA}_first")
            one.execute(f"SET search_path = {SCHEMA}_first, {SCHEMA}")
            warm([1], "SELECT id FROM seen WHERE id < %s", 100)
            other.execute(f"CREATE TABLE {SCHEMA}_first.seen (id bigint)")
            warm([], "SELECT id FROM seen WHERE id < %s", 100)
            other.execute(f"INSERT INTO {SCHEMA}_first.seen VALUES (7)")
            warm([7], "SELECT id FROM seen WHERE id < %s", 100)
            one.execute("CREATE TEMPORARY TABLE seen (id bigint)")
            warm([], "SELECT id FROM seen WHERE id < %s", 100)
            one.execute("INSERT INTO seen VALUES (9)")
            warm([9], "SELECT id FROM seen WHERE id < %s", 100)
            one.execute("DROP TABLE seen")
            warm([7], "SELECT id FROM seen WHERE id < %s", 100)
            other.execute(f"DROP TABLE {SCHEMA}_first.seen")
            other.execute(f"DROP SCHEMA {SCHEMA}_first")
            warm([1], "SELECT id FROM seen WHERE id < %s", 100)

        hour = f"SELECT extract(hour FROM at)::int FROM {SCHEMA}.seen WHERE id = %s"
        warm([3], hour, 1)
        one.execute("SET TIME ZONE 'Asia/Tokyo'")
        warm([12], hour, 1)

        moments = {answers(f"SELECT now() FROM {SCHEMA}.seen WHERE id = %s", 1)[0] for _ in range(8)}
        equal(len(moments), 8)
        warm([True], f"SELECT at < 'now'::timestamptz FROM {SCHEMA}.seen WHERE id = %s", 1)


@check
def prepared_statements_take_any_values():
    with connect(autocommit=True) as connection:
        connection.execute(f"CREATE TABLE {SCHEMA}.valued (id bigint, s text, day date, n numeric(10,2))")
        connection.execute(f"INSERT INTO {SCHEMA}.valued SELECT n, 's' || n, date '2024-01-01' + n::int, n FROM generate_series(1, 100) AS t(n)")

        def ask(sql, *values):
            return connection.execute(f"SELECT id FROM {SCHEMA}.valued {sql}", values, prepare=True).fetchall()

        for n in range(1, 12):
            equal(len(ask("ORDER BY id LIMIT %s", n)), n)
            equal(ask("ORDER BY id LIMIT %s OFFSET %s", 1, n), [(n + 1,)])
            equal(ask("WHERE s = %s", f"s{n}"), [(n,)])
            equal(ask("WHERE day = %s", datetime.date(2024, 1, 1) + datetime.timedelta(n)), [(n,)])
            equal(ask("WHERE (%s::text IS NULL OR s = %s)", None, f"s{n}")[:0], [])
            equal(len(ask("WHERE (%s::text IS NULL OR s = %s)", None if n % 2 else "x", f"s{n}")), 100 if n % 2 else 1)
            equal(ask("WHERE id = ANY(%s) ORDER BY id", [n, n + 1]), [(n,), (n + 1,)])
            equal(ask("WHERE id IN (%s, %s) ORDER BY id", n, 50), [(n,), (50,)])
            equal(ask("WHERE n BETWEEN %s AND %s", decimal.Decimal(n), decimal.Decimal(n)), [(n,)])
            equal(ask("WHERE id = %s + 1", n), [(n + 1,)])
            equal(ask("WHERE id = (SELECT max(id) FROM " + SCHEMA + ".valued WHERE id <= %s)", n), [(n,)])
            equal(connection.execute(f"SELECT count(*), max(s) FROM {SCHEMA}.valued WHERE id <= %s", [n], prepare=True).fetchone()[0], n)


@check
def cursors_are_listed_while_they_are_open():
    asks = "SELECT statement, is_holdable, is_binary, is_scrollable FROM pg_cursors WHERE name = 'c_open'"
    with connect() as connection, connect() as other:
        connection.execute("DECLARE c_open NO SCROLL CURSOR FOR SELECT 1")
        equal(connection.execute(asks).fetchall(), [("DECLARE c_open NO SCROLL CURSOR FOR SELECT 1", False, False, False)])
        equal(other.execute(asks).fetchall(), [])
        connection.commit()
        equal(connection.execute(asks).fetchall(), [])
        connection.execute("DECLARE c_open BINARY NO SCROLL CURSOR WITH HOLD FOR SELECT 1")
        connection.commit()
        equal(connection.execute(asks).fetchone()[1:], (True, True, False))
        connection.execute("CLOSE c_open")
        equal(connection.execute(asks).fetchall(), [])


def activity(connection, pid):
    return connection.execute("SELECT state, query, application_name, xact_start IS NULL FROM pg_stat_activity WHERE pid = %s", [pid]).fetchone()


@check
def a_session_is_seen_with_what_it_does():
    with connect(autocommit=True, application_name="c_seen") as seen, connect(autocommit=True) as connection:
        pid = seen.info.backend_pid
        equal(seen.execute("SELECT pg_backend_pid()").fetchone(), (pid,))
        equal(activity(seen, pid)[0], "active")
        seen.execute("SELECT 'idle now'")
        equal(activity(connection, pid), ("idle", "SELECT 'idle now'", "c_seen", True))
        seen.execute("BEGIN")
        equal(activity(connection, pid), ("idle in transaction", "BEGIN", "c_seen", False))
        equal(state(seen.execute, "SELECT 1/0"), "22012")
        equal(activity(connection, pid)[:2], ("idle in transaction (aborted)", "SELECT 1/0"))
        seen.execute("ROLLBACK")
        seen.execute("SET application_name = 'c_other'")
        equal(activity(connection, pid), ("idle", "SET application_name = 'c_other'", "c_other", True))
    with connect(autocommit=True) as connection:
        equal(until(lambda: activity(connection, pid) is None), True)


def until(holds):
    for _ in range(200):
        if holds():
            return True
        time.sleep(0.05)
    return False


@check
def another_session_ends_a_statement_and_then_the_session():
    with connect(autocommit=True) as connection:
        ended = connect(autocommit=True)
        pid = ended.info.backend_pid
        said = []
        thread = threading.Thread(target=lambda: said.append(state(ended.execute, LONG_QUERY)))
        thread.start()
        assert until(lambda: activity(connection, pid)[:2] == ("active", LONG_QUERY)), activity(connection, pid)
        equal(connection.execute("SELECT pg_cancel_backend(%s)", [pid]).fetchone(), (True,))
        thread.join(30)
        equal(said, ["57014"])
        equal(ended.execute("SELECT 1").fetchone(), (1,))
        # A plan does not end anybody.
        connection.execute(f"EXPLAIN SELECT pg_terminate_backend({pid})")
        equal(connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid = %s AND false", [pid]).fetchall(), [])
        equal(ended.execute("SELECT 1").fetchone(), (1,))
        equal(connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid = %s", [pid]).fetchall(), [(True,)])
        equal(state(ended.execute, "SELECT 1"), "57P01")
        assert until(lambda: activity(connection, pid) is None)
        warned = []
        connection.add_notice_handler(lambda diagnostic: warned.append((diagnostic.severity, diagnostic.sqlstate, diagnostic.message_primary)))
        for function in ("pg_cancel_backend", "pg_terminate_backend"):
            equal(connection.execute(f"SELECT {function}(%s)", [pid]).fetchone(), (False,))
            equal(warned.pop(), ("WARNING", "01000", f"PID {pid} is not a PostgreSQL backend process"))
        equal(warned, [])


@check
def statements_are_prepared_after_five_runs():
    with connect(autocommit=True) as connection:
        for n in range(10):
            equal(connection.execute("SELECT %s::int * 2", [n]).fetchone(), (n * 2,))
        for n in range(3):
            equal(connection.execute("SELECT %s::text || 'x'", [str(n)], prepare=True).fetchone(), (f"{n}x",))
        connection.execute("DEALLOCATE ALL")
        connection.prepare_threshold = 0
        connection.prepared_max = 2
        for n in range(5):
            equal(connection.execute(f"SELECT {n} + %s::int", [1]).fetchone(), (n + 1,))


@check
def a_prepared_statement_notices_a_changed_table():
    with connect(autocommit=True) as connection, connect(autocommit=True) as other:
        other.execute(f"CREATE TABLE {SCHEMA}.changing (a bigint)")
        query = f"SELECT * FROM {SCHEMA}.changing"
        equal(connection.execute(query, prepare=True).fetchall(), [])
        other.execute(f"INSERT INTO {SCHEMA}.changing VALUES (1)")
        equal(connection.execute(query, prepare=True).fetchall(), [(1,)])
        other.execute(f"DROP TABLE {SCHEMA}.changing")
        equal(state(lambda: connection.execute(query, prepare=True)), "42P01")
        other.execute(f"CREATE TABLE {SCHEMA}.changing (a bigint, b text)")
        # Its answer would not be what the client was told: "cached plan must not change result type".
        equal(state(lambda: connection.execute(query, prepare=True)), "0A000")
        equal(connection.execute(query, prepare=False).fetchall(), [])


@check
def executemany_and_its_results():
    with connect(autocommit=True) as connection, connection.cursor() as cursor:
        cursor.execute(f"CREATE TABLE {SCHEMA}.many (id bigint, name text)")
        cursor.executemany(f"INSERT INTO {SCHEMA}.many VALUES (%s, %s)", [(n, f"n{n}") for n in range(10)])
        equal(cursor.rowcount, 10)
        equal(connection.execute(f"SELECT count(*), sum(id) FROM {SCHEMA}.many").fetchone(), (10, 45))
        cursor.executemany("SELECT %s::int", [(1,), (2,), (3,)], returning=True)
        answers = []
        while True:
            answers.append(cursor.fetchone())
            if not cursor.nextset():
                break
        equal(answers, [(1,), (2,), (3,)])


@check
def several_statements_in_one_string():
    with connect(autocommit=True) as connection:
        cursor = connection.execute("SELECT 1; SELECT 'two'; SELECT 3.5")
        answers = [cursor.fetchone()]
        while cursor.nextset():
            answers.append(cursor.fetchone())
        equal(answers, [(1,), ("two",), (decimal.Decimal("3.5"),)])
        equal(state(connection.execute, "SELECT 1; SELECT %s", [1]), "42601")


@check
def pipelines_answer_in_order():
    with connect(autocommit=True) as connection:
        with connection.pipeline():
            cursors = [connection.execute("SELECT %s::int", [n]) for n in range(100)]
            equal([cursor.fetchone() for cursor in cursors], [(n,) for n in range(100)])
        with connection.pipeline() as pipeline:
            first = connection.execute("SELECT 1")
            pipeline.sync()
            second = connection.execute("SELECT 2")
            equal((first.fetchone(), second.fetchone()), ((1,), (2,)))
        after = None  # The error may be there before the last statement is sent.
        try:
            with connection.pipeline() as pipeline:
                before = connection.execute("SELECT 'before'")
                connection.execute("SELECT 1 / (%s::int)", [0])
                after = connection.execute("SELECT 'after'")
                pipeline.sync()
            raise AssertionError("succeeded")
        except psycopg.errors.DivisionByZero:
            pass
        equal(before.fetchone(), ("before",))
        try:
            assert not after or not after.fetchone(), "a statement after the error ran"
        except (psycopg.errors.PipelineAborted, psycopg.ProgrammingError):
            pass
        equal(connection.execute("SELECT 'alive'").fetchone(), ("alive",))


@check
def server_side_cursors_read_in_pieces():
    with connect() as connection:
        with connection.cursor("named") as cursor:
            cursor.execute("SELECT n, 'x' || n FROM generate_series(1, %s::bigint) AS t(n) ORDER BY n", [5000])
            cursor.itersize = 100
            equal(cursor.fetchone(), (1, "x1"))
            equal(cursor.fetchmany(2), [(2, "x2"), (3, "x3")])
            equal(sum(row[0] for row in cursor), 5000 * 5001 // 2 - 6)
            equal([column.type_display for column in cursor.description], ["int8", "text"])
        with connection.cursor("binary cursor", binary=True) as cursor:
            cursor.execute("SELECT n FROM generate_series(1, 10) AS t(n) ORDER BY n")
            equal(cursor.fetchall(), [(n,) for n in range(1, 11)])
        with connection.cursor("scrolling", scrollable=False) as cursor:
            cursor.execute("SELECT n FROM generate_series(1, 10) AS t(n) ORDER BY n")
            cursor.scroll(4)
            equal(cursor.fetchone(), (5,))
            equal(state(cursor.scroll, -1), "55000")
    with connect(autocommit=True) as connection:
        with connection.cursor("kept", withhold=True) as cursor:
            cursor.execute("SELECT 1 AS a")
            equal(cursor.fetchall(), [(1,)])


@check
def scrollable_cursors_go_both_ways():
    # More than one batch of rows.
    count = 20000
    with connect() as connection, connection.cursor("both ways", scrollable=True) as cursor:
        cursor.execute("SELECT n, 'x' || n FROM generate_series(1, %s::bigint) AS t(n) ORDER BY n", [count])
        fetch = lambda how: [row[0] for row in connection.execute(f'FETCH {how} FROM "both ways"').fetchall()]
        move = lambda how: connection.execute(f'MOVE {how} FROM "both ways"').statusmessage
        equal(cursor.fetchmany(3), [(1, "x1"), (2, "x2"), (3, "x3")])
        equal((fetch("PRIOR"), fetch("PRIOR"), fetch("PRIOR"), fetch("PRIOR")), ([2], [1], [], []))
        equal((fetch("0"), fetch("NEXT"), fetch("0"), fetch("RELATIVE 0")), ([], [1], [1], [1]))
        equal((fetch("LAST"), fetch("NEXT"), fetch("NEXT"), fetch("PRIOR")), ([count], [], [], [count]))
        equal((fetch("ABSOLUTE 9000"), fetch("BACKWARD 3"), fetch("-2")), ([9000], [8999, 8998, 8997], [8996, 8995]))
        equal((fetch("ABSOLUTE -2"), fetch("RELATIVE -3"), fetch("RELATIVE 2")), ([count - 1], [count - 4], [count - 2]))
        equal((fetch("FIRST"), fetch("ABSOLUTE 0"), fetch("FORWARD 2")), ([1], [], [1, 2]))
        equal(fetch(f"ABSOLUTE {count + 5}"), [])
        equal(fetch("BACKWARD ALL"), list(range(count, 0, -1)))
        equal(fetch("FORWARD ALL"), list(range(1, count + 1)))
        equal((move("BACKWARD ALL"), move("BACKWARD ALL"), move("5"), move("0")), (f"MOVE {count}", "MOVE 0", "MOVE 5", "MOVE 1"))
        equal((move("BACKWARD ALL"), move("FORWARD ALL"), move("0"), move("ABSOLUTE 7")), ("MOVE 4", f"MOVE {count}", "MOVE 0", "MOVE 1"))
        cursor.scroll(-3)
        equal(cursor.fetchone(), (5, "x5"))
        cursor.scroll(99, mode="absolute")
        equal(cursor.fetchone(), (100, "x100"))
        equal(connection.execute("SELECT is_scrollable FROM pg_cursors WHERE name = 'both ways'").fetchone(), (True,))
    with connect(autocommit=True) as connection:
        connection.execute("DECLARE c_held BINARY SCROLL CURSOR WITH HOLD FOR SELECT n FROM generate_series(1, 3) AS t(n) ORDER BY n")
        equal(connection.execute("FETCH LAST FROM c_held", binary=True).fetchall(), [(3,)])
        equal(connection.execute("FETCH BACKWARD 5 FROM c_held", binary=True).fetchall(), [(2,), (1,)])
        connection.execute("CLOSE c_held")


@check
def streams_come_row_by_row():
    with connect(autocommit=True) as connection:
        total = 0
        for n, in connection.cursor().stream("SELECT n FROM generate_series(1, 20000) AS t(n)"):
            total += n
        equal(total, 20000 * 20001 // 2)


def every_row(connection, table):
    return connection.execute(f"SELECT * FROM {SCHEMA}.{table} ORDER BY i").fetchall()


def copies(name, *, binary):
    with connect(autocommit=True) as connection, connection.cursor() as cursor:
        cursor.execute(f"CREATE TABLE {SCHEMA}.{name} ({EVERY_TYPE})")
        format = "(FORMAT BINARY)" if binary else ""
        with cursor.copy(f"COPY {SCHEMA}.{name} FROM STDIN {format}") as copy:
            copy.set_types("bool int4 int8 float4 float8 numeric text bytea uuid date time timestamp timestamptz int8[] text[] date[]".split())
            copy.write_row(VALUES)
            copy.write_row([False, 5] + [None] * (len(VALUES) - 2))
        equal((cursor.rowcount, cursor.statusmessage), (2, "COPY 2"))
        expected = [(False, 5) + (None,) * (len(VALUES) - 2), VALUES]
        equal(every_row(connection, name), expected)
        with cursor.copy(f"COPY (SELECT * FROM {SCHEMA}.{name} ORDER BY i) TO STDOUT {format}") as copy:
            copy.set_types("bool int4 int8 float4 float8 numeric text bytea uuid date time timestamp timestamptz int8[] text[] date[]".split())
            equal(list(copy.rows()), expected)
        # What comes out goes in again.
        cursor.execute(f"CREATE TABLE {SCHEMA}.{name}_again ({EVERY_TYPE})")
        with connect(autocommit=True) as other, other.cursor().copy(f"COPY {SCHEMA}.{name}_again FROM STDIN {format}") as into:
            with cursor.copy(f"COPY {SCHEMA}.{name} TO STDOUT {format}") as out_of:
                for data in out_of:
                    into.write(data)
        equal(every_row(connection, f"{name}_again"), expected)


@check
def copy_moves_every_type_as_text():
    copies("copied_text", binary=False)


@check
def copy_moves_every_type_as_binary():
    copies("copied_binary", binary=True)


@check
def a_failing_copy_writes_nothing():
    with connect(autocommit=True) as connection, connection.cursor() as cursor:
        cursor.execute(f"CREATE TABLE {SCHEMA}.copy_fails (id bigint, name text)")
        statement = f"COPY {SCHEMA}.copy_fails FROM STDIN"

        def broken(data):
            with cursor.copy(statement) as copy:
                copy.write(data)

        equal(state(broken, "1\tone\nx\ttwo\n"), "22P02")
        equal(state(broken, "1\tone\ttoo much\n"), "22P04")
        try:
            with cursor.copy(statement) as copy:
                copy.write("1\tone\n")
                raise KeyError
        except KeyError:
            pass
        equal(connection.execute(f"SELECT count(*) FROM {SCHEMA}.copy_fails").fetchone(), (0,))
        equal(state(lambda: cursor.copy(f"COPY {SCHEMA}.nowhere FROM STDIN").__enter__()), "42P01")
        equal(connection.execute("SELECT 'alive'").fetchone(), ("alive",))


@check
def a_large_copy_arrives_whole():
    with connect(autocommit=True) as connection, connection.cursor() as cursor:
        cursor.execute(f"CREATE TABLE {SCHEMA}.large (id bigint, filler text)")
        filler = "x" * 1000
        with cursor.copy(f"COPY {SCHEMA}.large FROM STDIN") as copy:
            for n in range(10000):
                copy.write_row((n, filler))
        equal(cursor.rowcount, 10000)
        equal(connection.execute(f"SELECT count(*), sum(id), sum(length(filler)) FROM {SCHEMA}.large").fetchone(), (10000, 49995000, 10000000))
        with cursor.copy(f"COPY {SCHEMA}.large TO STDOUT") as copy:
            equal(sum(len(bytes(data)) for data in copy), 10000 * 1002 + sum(len(str(n)) for n in range(10000)))


@check
def a_cancel_stops_the_query():
    with connect(autocommit=True) as connection:
        threading.Timer(0.7, connection.cancel_safe).start()
        started = time.monotonic()
        equal(state(connection.execute, LONG_QUERY), "57014")
        assert time.monotonic() - started < 15
        equal(connection.execute("SELECT 'alive'").fetchone(), ("alive",))
        connection.execute("SET statement_timeout = '300ms'")
        equal(state(connection.execute, LONG_QUERY), "57014")
        # A cancel of an idle session does nothing.
        connection.execute("RESET statement_timeout")
        connection.cancel_safe()
        equal(connection.execute("SELECT 'alive'").fetchone(), ("alive",))


@check
def transactions_have_their_states():
    status = psycopg.pq.TransactionStatus
    with connect() as connection:
        equal(connection.info.transaction_status, status.IDLE)
        connection.execute("SELECT 1")
        equal(connection.info.transaction_status, status.INTRANS)
        equal(state(connection.execute, "SELECT 1/0"), "22012")
        equal(connection.info.transaction_status, status.INERROR)
        equal(state(connection.execute, "SELECT 1"), "25P02")
        connection.rollback()
        equal(connection.info.transaction_status, status.IDLE)
        with connection.transaction():
            try:
                with connection.transaction("inner"):
                    connection.execute("SELECT nope")
            except psycopg.errors.UndefinedColumn:
                pass
            equal(connection.execute("SELECT 'after'").fetchone(), ("after",))
        connection.rollback()
        connection.read_only = True
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        connection.execute("SELECT 1")
        equal(connection.execute("SHOW transaction_isolation").fetchone(), ("repeatable read",))
        equal(state(connection.execute, f"CREATE TABLE {SCHEMA}.never (a int)"), "25006")
        connection.rollback()


@check
def do_blocks_are_refused_by_name():
    with connect(autocommit=True) as connection:
        if TARN:
            equal(state(connection.execute, "DO $$ BEGIN END $$"), "0A000")
        else:
            connection.execute("DO $$ BEGIN END $$")


@check
def errors_carry_their_facts():
    with connect(autocommit=True) as connection:
        try:
            connection.execute("SELECT 1,\n nope FROM (SELECT 1 AS a) AS t")
            raise AssertionError("succeeded")
        except psycopg.errors.UndefinedColumn as error:
            equal(error.diag.severity_nonlocalized, "ERROR")
            equal(error.diag.statement_position, "12")
            assert "nope" in error.diag.message_primary
        expected = psycopg.errors
        for statement, kind in (
            ("SELEC 1", expected.SyntaxError), ("SELECT * FROM nowhere", expected.UndefinedTable), ("SELECT nope()", expected.UndefinedFunction),
            ("SELECT 'x'::int", expected.InvalidTextRepresentation), ("SELECT 2147483647::int + 1::int", expected.NumericValueOutOfRange),
            ("SELECT '2024-13-01'::date", expected.DatetimeFieldOverflow), (f"CREATE SCHEMA {SCHEMA}", expected.DuplicateSchema),
            ("SET nonsense = 1", expected.UndefinedObject), ("SELECT (SELECT 1 UNION ALL SELECT 2)", expected.CardinalityViolation),
        ):
            try:
                connection.execute(statement)
                raise AssertionError(f"succeeded: {statement}")
            except psycopg.Error as error:
                equal((statement, type(error).__name__), (statement, kind.__name__))
        if TARN:
            connection.execute(f"CREATE TABLE {SCHEMA}.refused (id bigint)")
            for statement in (f"UPDATE {SCHEMA}.refused SET id = 1 WHERE id = 2", f"DELETE FROM {SCHEMA}.refused WHERE id = 1", "LISTEN x",
                              f"INSERT INTO {SCHEMA}.refused VALUES (1) RETURNING id", f"CREATE INDEX i ON {SCHEMA}.refused (id)", "NOTIFY x", f"LOCK TABLE {SCHEMA}.refused",
                              "CREATE FUNCTION f() RETURNS int LANGUAGE plpgsql AS $$ BEGIN RETURN 1; END $$", f"GRANT SELECT ON {SCHEMA}.refused TO PUBLIC",
                              "CREATE SEQUENCE s", f"CREATE TRIGGER a BEFORE INSERT ON {SCHEMA}.refused EXECUTE FUNCTION f()", "CREATE TYPE m AS ENUM ('a')"):
                equal((statement, state(connection.execute, statement)), (statement, "0A000"))


@check
def row_factories_and_composed_sql():
    class Point:
        def __init__(self, x, y):
            self.x, self.y = x, y

    with connect(autocommit=True) as connection:
        equal(connection.cursor(row_factory=dict_row).execute("SELECT 1 AS a, 'x' AS b").fetchone(), {"a": 1, "b": "x"})
        equal(connection.cursor(row_factory=class_row(Point)).execute("SELECT 1 AS x, 2 AS y").fetchone().y, 2)
        name = 'Odd "name'
        connection.execute(sql.SQL("CREATE TABLE {} ({} bigint)").format(sql.Identifier(SCHEMA, name), sql.Identifier("Ä b")))
        connection.execute(sql.SQL("INSERT INTO {} VALUES ({})").format(sql.Identifier(SCHEMA, name), sql.Literal(5)))
        cursor = connection.execute(sql.SQL("SELECT * FROM {}").format(sql.Identifier(SCHEMA, name)))
        equal((cursor.description[0].name, cursor.fetchall()), ("Ä b", [(5,)]))
        connection.execute(sql.SQL("DROP TABLE {}").format(sql.Identifier(SCHEMA, name)))
        cursor = connection.cursor()
        cursor.adapters.register_loader("int4", TextLoader)
        equal(cursor.execute("SELECT 5::int").fetchone(), ("5",))


@check
def type_info_is_fetched():
    with connect(autocommit=True) as connection:
        info = psycopg.types.TypeInfo.fetch(connection, "numeric")
        equal((info.oid, info.array_oid), (1700, 1231))
        equal(psycopg.types.TypeInfo.fetch(connection, "no_such_type"), None)
        equal(psycopg.types.TypeInfo.fetch(connection, "hstore"), None)


@check
def client_side_binding_works():
    with psycopg.connect(url(), autocommit=True, cursor_factory=psycopg.ClientCursor) as connection:
        row = connection.execute("SELECT %s, %s, %s, %s, %s, %s, %s", [
            "it's", 5, None, datetime.date(2024, 1, 1), b"\x00\xff", [1, 2], decimal.Decimal("1.50")]).fetchone()
        equal(row, ("it's", 5, None, datetime.date(2024, 1, 1), b"\x00\xff", [1, 2], decimal.Decimal("1.50")))
        equal(connection.execute("SELECT %s; SELECT %s", [1, 2]).fetchone(), (1,))


@check
def raw_queries_take_numbered_places():
    with psycopg.connect(url(), autocommit=True, cursor_factory=psycopg.RawCursor) as connection:
        equal(connection.execute("SELECT $2::text, $1::int, $2::text", [1, "b"]).fetchone(), ("b", 1, "b"))


@check
def notices_arrive():
    with connect(autocommit=True) as connection:
        said = []
        connection.add_notice_handler(lambda diagnostic: said.append((diagnostic.severity, diagnostic.sqlstate)))
        connection.execute("COMMIT")
        connection.execute(f"DROP TABLE IF EXISTS {SCHEMA}.nowhere")
        equal(said, [("WARNING", "25P01"), ("NOTICE", "00000")])
        connection.execute("SET client_min_messages = error")
        connection.execute("COMMIT")
        equal(len(said), 2)


@check
def a_lost_connection_frees_its_session():
    with connect(autocommit=True) as connection:
        pid = connection.info.backend_pid
    with connect(autocommit=True) as connection:
        assert connection.info.backend_pid != pid
        for _ in range(100):
            (count,) = connection.execute("SELECT count(*) FROM pg_stat_activity WHERE pid = %s", [pid]).fetchone()
            if count == 0:
                break
            time.sleep(0.05)
        equal(count, 0)


@in_async
async def async_queries_run_at_once(connection):
    async def one(n):
        async with await psycopg.AsyncConnection.connect(url(), autocommit=True) as own:
            return (await (await own.execute("SELECT %s::int + 1", [n])).fetchone())[0]

    equal(await asyncio.gather(*(one(n) for n in range(10))), list(range(1, 11)))
    async with connection.cursor() as cursor:
        await cursor.execute("SELECT n FROM generate_series(1, 1000) AS t(n) ORDER BY n")
        equal([row[0] async for row in cursor], list(range(1, 1001)))
    async with connection.transaction(), connection.cursor("async named") as cursor:
        await cursor.execute("SELECT n FROM generate_series(1, 1000) AS t(n) ORDER BY n")
        equal(await cursor.fetchmany(2), [(1,), (2,)])


@in_async
async def async_copy_and_pipeline(connection):
    await connection.execute(f"CREATE TABLE {SCHEMA}.async_copy (id bigint)")
    async with connection.cursor() as cursor:
        async with cursor.copy(f"COPY {SCHEMA}.async_copy FROM STDIN") as copy:
            for n in range(100):
                await copy.write_row([n])
        async with cursor.copy(f"COPY {SCHEMA}.async_copy TO STDOUT") as copy:
            equal(sorted([int(row[0]) async for row in copy.rows()]), list(range(100)))
    async with connection.pipeline():
        cursors = [await connection.execute("SELECT %s::int", [n]) for n in range(50)]
        equal([(await cursor.fetchone())[0] for cursor in cursors], list(range(50)))


@in_async
async def async_cancel(connection):
    task = asyncio.create_task(connection.execute(LONG_QUERY))
    await asyncio.sleep(0.7)
    await connection.cancel_safe()
    try:
        await task
        raise AssertionError("succeeded")
    except psycopg.errors.QueryCanceled:
        pass
    equal(await (await connection.execute("SELECT 1")).fetchone(), (1,))


def setup():
    with connect(autocommit=True) as connection:
        connection.execute(f"DROP SCHEMA IF EXISTS {SCHEMA} CASCADE")
        connection.execute(f"CREATE SCHEMA {SCHEMA}")


def teardown():
    with connect(autocommit=True) as connection:
        connection.execute(f"DROP SCHEMA IF EXISTS {SCHEMA} CASCADE")


if __name__ == "__main__":
    run(setup, teardown)

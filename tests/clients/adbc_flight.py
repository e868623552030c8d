"""ADBC's Flight SQL driver against a server: what a Python program may expect.

Where the server is and the password come in the environment; the first check that fails ends the program.
"""

import datetime
import decimal
import os
import sys
import threading
import time

import adbc_driver_flightsql
import adbc_driver_flightsql.dbapi as flightsql
import adbc_driver_manager
import pyarrow as pa
from adbc_driver_flightsql import ConnectionOptions, DatabaseOptions

URI = f"{os.environ.get('FLIGHT_SCHEME', 'grpc')}://{os.environ['FLIGHT_HOST']}:{os.environ['FLIGHT_PORT']}"
PASSWORD = os.environ["TARN_PASSWORD"]
CA = os.environ.get("FLIGHT_CA")


def options(**more):
    found = {DatabaseOptions.TLS_ROOT_CERTS.value: open(CA).read()} if CA else {}
    return found | more


def connect(user="admin", password=PASSWORD, **more):
    return flightsql.connect(
        URI, db_kwargs=options(username=user, password=password, **more), autocommit=True
    )


def equal(got, wanted, what):
    assert got == wanted, f"{what}: wanted {wanted!r}, got {got!r}"


def refused(call, what, *parts):
    try:
        call()
    except adbc_driver_manager.Error as error:
        for part in parts:
            assert part in str(error), f"{what}: {part!r} is not in {error}"
        return error
    raise AssertionError(f"{what} was not refused")


def connecting():
    with connect() as connection, connection.cursor() as cursor:
        cursor.execute("SELECT 1 AS one, 'x' AS text")
        equal(cursor.fetchall(), [(1, "x")], "a row")
        equal([c[0] for c in cursor.description], ["one", "text"], "names")

    def wrong(user):
        connect(user=user, password="wrong").cursor().execute("SELECT 1")

    first = refused(lambda: wrong("admin"), "a wrong password", "nauthenticated")
    second = refused(lambda: wrong("nobody"), "an unknown user")
    equal(str(first), str(second), "the answer to an unknown user")


def statements(cursor):
    cursor.execute("CREATE SCHEMA adbc")
    cursor.execute(
        "CREATE TABLE adbc.t (id bigint NOT NULL, name text, price numeric(10, 2), at timestamp, day date)"
    )
    cursor.execute(
        "INSERT INTO adbc.t VALUES (1, 'one', 1.50, TIMESTAMP '2024-02-29 12:00:00', DATE '2024-02-29'), (2, NULL, NULL, NULL, NULL)"
    )
    cursor.execute("SELECT * FROM adbc.t ORDER BY id")
    equal(
        cursor.fetchall(),
        [
            (1, "one", decimal.Decimal("1.50"), datetime.datetime(2024, 2, 29, 12), datetime.date(2024, 2, 29)),
            (2, None, None, None, None),
        ],
        "rows",
    )
    cursor.execute("SELECT arrow_cast('view', 'Utf8View') AS v, arrow_cast('d', 'Dictionary(Int32, Utf8)') AS d, ['a'] AS l")
    table = cursor.fetch_arrow_table()
    equal(table.schema.types, [pa.string(), pa.string(), pa.list_(table.schema.types[2].value_field)], "plain types")
    equal(table.schema.types[2].value_type, pa.string(), "plain types in lists")


def parameters(cursor):
    cursor.execute("SELECT ? + 1 AS n, ? AS t", (41, "x"))
    equal(cursor.fetchall(), [(42, "x")], "positional parameters")
    cursor.execute("SELECT $2 AS b, $1 AS a", ("first", "second"))
    equal(cursor.fetchall(), [("second", "first")], "numbered parameters")
    cursor.execute("CREATE TABLE adbc.p (id bigint, name text)")
    cursor.executemany("INSERT INTO adbc.p VALUES (?, ?)", [(1, "a"), (2, "b"), (3, None)])
    cursor.execute("SELECT id, name FROM adbc.p WHERE id >= ? ORDER BY id", (2,))
    equal(cursor.fetchall(), [(2, "b"), (3, None)], "rows of executemany")
    batch = pa.record_batch({"1": pa.array([1, 3], pa.int64())})
    cursor.execute("SELECT name FROM adbc.p WHERE id = ?", batch)
    equal(cursor.fetchall(), [("a",), (None,)], "a query for each row of parameters")
    statement = cursor.adbc_statement
    statement.set_sql_query("SELECT $1 + 1, name FROM adbc.p WHERE name = $2")
    statement.prepare()
    handle = statement.get_parameter_schema()
    schema = pa.Schema._import_from_c(handle.address)
    equal(schema.types[1], pa.string(), "type of a parameter beside a column")
    assert pa.null() not in schema.types, f"no parameter is of type null: {schema}"
    refused(lambda: cursor.execute("SELECT ?, ?", (1,)), "too few parameters", "22023")


def objects(connection, cursor):
    cursor.execute("CREATE TABLE adbc.commented (id bigint NOT NULL COMMENT 'the key', amount numeric(12, 3))")
    depth = connection.adbc_get_objects(depth="catalogs").read_all().to_pylist()
    assert "lake" in [c["catalog_name"] for c in depth], depth
    found = connection.adbc_get_objects(depth="all", catalog_filter="lake", db_schema_filter="adbc", table_name_filter="comm%")
    [catalog] = found.read_all().to_pylist()
    [schema] = catalog["catalog_db_schemas"]
    equal(schema["db_schema_name"], "adbc", "schema")
    [table] = schema["db_schema_tables"]
    equal((table["table_name"], table["table_type"]), ("commented", "TABLE"), "table")
    columns = table["table_columns"]
    equal([c["column_name"] for c in columns], ["id", "amount"], "columns")
    equal([c["ordinal_position"] for c in columns], [1, 2], "positions")
    # This version of the driver reads no more of a column than this.
    equal([c["xdbc_type_name"] for c in columns], ["bigint", "numeric(12,3)"], "type names")
    equal([c["xdbc_data_type"] for c in columns], [-5, 3], "type codes")
    equal(columns[0]["xdbc_is_autoincrement"], False, "auto increment")
    schema = connection.adbc_get_table_schema("commented", catalog_filter="lake", db_schema_filter="adbc")
    equal(schema.names, ["id", "amount"], "GetTableSchema")
    equal(schema.types, [pa.int64(), pa.decimal128(12, 3)], "types of GetTableSchema")
    equal(schema.field(0).nullable, False, "nullability of GetTableSchema")
    refused(lambda: connection.adbc_get_table_schema("nowhere", db_schema_filter="adbc"), "no such table")
    assert "TABLE" in connection.adbc_get_table_types()
    info = connection.adbc_get_info()
    equal(info["vendor_name"], "Tarn", "vendor")


def ingest(cursor):
    table = pa.table({"id": pa.array([1, 2], pa.int64()), "name": pa.array(["a", None])})
    equal(cursor.adbc_ingest("loaded", table, mode="create", db_schema_name="adbc"), 2, "create")
    refused(
        lambda: cursor.adbc_ingest("loaded", table, mode="create", db_schema_name="adbc"),
        "a table that exists",
        "42P07",
    )
    equal(cursor.adbc_ingest("loaded", table, mode="append", db_schema_name="adbc"), 2, "append")
    equal(cursor.adbc_ingest("loaded", table, mode="create_append", db_schema_name="adbc"), 2, "create_append")
    cursor.execute("SELECT count(*), count(name), sum(id) FROM adbc.loaded")
    equal(cursor.fetchall(), [(6, 3, 9)], "rows ingested")
    other = pa.table({"day": pa.array([datetime.date(2024, 2, 29)]), "big": pa.array([decimal.Decimal("1.5")])})
    equal(cursor.adbc_ingest("loaded", other, mode="replace", db_schema_name="adbc"), 1, "replace")
    cursor.execute("SELECT * FROM adbc.loaded")
    equal(cursor.fetchall(), [(datetime.date(2024, 2, 29), decimal.Decimal("1.5"))], "rows replaced")
    refused(
        lambda: cursor.adbc_ingest("missing", table, mode="append", db_schema_name="adbc"),
        "appending to nothing",
        "42P01",
    )
    refused(
        lambda: cursor.adbc_ingest("loaded", table, mode="append", db_schema_name="adbc"),
        "rows that do not fit",
    )
    reordered = pa.table({"big": pa.array([decimal.Decimal("2.5")]), "day": pa.array([datetime.date(2025, 1, 1)])})
    equal(cursor.adbc_ingest("loaded", reordered, mode="append", db_schema_name="adbc"), 1, "columns by name")
    cursor.execute("SELECT day, big FROM adbc.loaded ORDER BY day")
    equal(cursor.fetchall()[1], (datetime.date(2025, 1, 1), decimal.Decimal("2.5")), "columns by name")
    rows = 200_000
    large = pa.table({"id": pa.array(range(rows), pa.int64()), "text": pa.array([f"row {i}" for i in range(rows)])})
    reader = pa.RecordBatchReader.from_batches(large.schema, large.to_batches(max_chunksize=20_000))
    equal(cursor.adbc_ingest("large", reader, mode="create", db_schema_name="adbc"), rows, "a stream of rows")
    cursor.execute("SELECT count(*), sum(id), max(text) FROM adbc.large")
    equal(cursor.fetchall(), [(rows, rows * (rows - 1) // 2, "row 99999")], "rows of the stream")


def temporary(connection, cursor):
    table = pa.table({"id": pa.array([7], pa.int64())})
    # A cursor of its own: one remembers the schema of its last ingest.
    with connection.cursor() as own:
        equal(own.adbc_ingest("mine", table, mode="create", temporary=True), 1, "temporary")
        refused(
            lambda: own.adbc_ingest("mine", table, mode="create", temporary=True, db_schema_name="adbc"),
            "a temporary table in a schema",
            "0A000",
        )
    cursor.execute("SELECT id FROM mine")
    equal(cursor.fetchall(), [(7,)], "the temporary table")
    with connect() as other, other.cursor() as stranger:
        refused(lambda: stranger.execute("SELECT id FROM mine"), "another session's table", "42P01")


def partitions(connection, cursor):
    partitions, schema = cursor.adbc_execute_partitions("SELECT id, text FROM adbc.large")
    equal(len(partitions), 2, "partitions")
    equal(schema.names, ["id", "text"], "schema of the partitions")
    sums = []

    def read(partition):
        with connect() as own, own.cursor() as reader:
            reader.adbc_read_partition(partition)
            table = reader.fetch_arrow_table()
            sums.append((table.num_rows, sum(table["id"].to_pylist())))

    threads = [threading.Thread(target=read, args=(p,)) for p in partitions]
    [t.start() for t in threads]
    [t.join() for t in threads]
    equal(len(sums), 2, "readers")
    equal((sum(s[0] for s in sums), sum(s[1] for s in sums)), (200_000, 200_000 * 199_999 // 2), "all rows, once")
    ordered, _ = cursor.adbc_execute_partitions("SELECT id FROM adbc.large ORDER BY id")
    equal(len(ordered), 1, "a result in order has one partition")
    refused(lambda: cursor.adbc_read_partition(partitions[0]), "a partition that was read already", "34000")
    cursor.execute("CREATE USER adbc_stranger PASSWORD 'a-long-password'")
    with connect(user="adbc_stranger", password="a-long-password") as other, other.cursor() as stranger:
        refused(lambda: stranger.adbc_read_partition(ordered[0]), "another user's partition", "34000")
    cursor.adbc_read_partition(ordered[0])
    equal(cursor.fetch_arrow_table().num_rows, 200_000, "rows of one's own partition")
    cursor.execute("DROP USER adbc_stranger")


def pandas(cursor):
    cursor.execute("SELECT id, name FROM adbc.p ORDER BY id")
    frame = cursor.fetch_df()
    equal(list(frame.columns), ["id", "name"], "columns of the frame")
    equal(int(frame["id"].sum()), 6, "sum of the frame")


def errors(cursor):
    refused(lambda: cursor.execute("SELECT * FROM nowhere"), "no table", "42P01", "nowhere")
    refused(lambda: cursor.execute("SELEC"), "no SQL", "42601")

    def late():
        cursor.execute("SELECT 1 / (v - 100000) AS q FROM generate_series(1, 100001) AS t(v)")
        cursor.fetch_arrow_table()

    refused(late, "an error after the first rows", "22012")
    cursor.execute("SELECT 1")
    equal(cursor.fetchall(), [(1,)], "the next statement")


def sessions(connection, cursor):
    connection.adbc_connection.set_options(**{"adbc.connection.catalog": "lake"})
    connection.adbc_connection.set_options(**{"adbc.connection.db_schema": "adbc"})
    cursor.execute("SELECT current_schema(), count(*) FROM p")
    equal(cursor.fetchall(), [("adbc", 3)], "the schema of the session")
    prefix = ConnectionOptions.OPTION_SESSION_OPTION_PREFIX.value
    connection.adbc_connection.set_options(**{prefix + "time_zone": "Europe/Berlin"})
    cursor.execute("SHOW time_zone")
    equal(cursor.fetchall(), [("Europe/Berlin",)], "an option of the session")
    refused(
        lambda: connection.adbc_connection.set_options(**{prefix + "nonsense": "x"}), "an option that does not exist"
    )
    connection.adbc_connection.set_options(**{prefix + "time_zone": "UTC"})


def transactions():
    def begin():
        with flightsql.connect(URI, db_kwargs=options(username="admin", password=PASSWORD), autocommit=False) as c:
            with c.cursor() as cursor:
                cursor.execute("SELECT 1")

    # dbapi falls back to autocommit with a warning, or says so: both are clear.
    try:
        begin()
    except adbc_driver_manager.Error as error:
        assert "ransaction" in str(error), error


ENDLESS = "SELECT count(*) FROM generate_series(1, 1000000000) AS a(x), generate_series(1, 1000) AS b(y) WHERE x + y = -1"
RUNNING = "SELECT count(*) FROM system.queries WHERE state IN ('RUNNING', 'PLANNING', 'QUEUED') AND statement LIKE '%1000000000%' AND statement NOT LIKE '%system.queries%'"


def cancel(connection, cursor):
    with connect() as second, second.cursor() as watcher:

        def running():
            watcher.execute(RUNNING)
            return watcher.fetchall()[0][0]

        def stop():
            deadline = time.monotonic() + 60
            while running() == 0 and time.monotonic() < deadline:
                time.sleep(0.02)
            cursor.adbc_cancel()

        thread = threading.Thread(target=stop)
        thread.start()

        def run():
            cursor.execute(ENDLESS)
            cursor.fetchall()

        refused(run, "a cancelled query")
        thread.join()
        deadline = time.monotonic() + 10
        while running() > 0:
            assert time.monotonic() < deadline, "a cancelled query ends"
            time.sleep(0.05)
    with connection.cursor() as again:
        again.execute("SELECT 1")
        equal(again.fetchall(), [(1,)], "the connection goes on")


def tokens(cursor):
    cursor.execute("CREATE TOKEN adbc_token")
    token = max((str(v) for v in cursor.fetchall()[0]), key=len)
    header = {DatabaseOptions.AUTHORIZATION_HEADER.value: f"Bearer {token}"}
    with flightsql.connect(URI, db_kwargs=options(**header), autocommit=True) as connection, connection.cursor() as own:
        own.execute("SET statement_timeout = '61s'")
        own.execute("SHOW statement_timeout")
        equal(own.fetchall(), [("61s",)], "the session of a token")
    with connect(password=token) as connection, connection.cursor() as own:
        own.execute("SELECT current_user")
        equal(own.fetchall(), [("admin",)], "a token as password")
    cursor.execute("DROP TOKEN adbc_token")
    refused(
        lambda: flightsql.connect(URI, db_kwargs=options(**header), autocommit=True).cursor().execute("SELECT 1"),
        "a token that is revoked",
        "nauthenticated",
    )


def main():
    with connect() as connection, connection.cursor() as cursor:
        steps = [
            ("connecting", connecting),
            ("statements", lambda: statements(cursor)),
            ("parameters", lambda: parameters(cursor)),
            ("objects", lambda: objects(connection, cursor)),
            ("ingest", lambda: ingest(cursor)),
            ("temporary", lambda: temporary(connection, cursor)),
            ("partitions", lambda: partitions(connection, cursor)),
            ("pandas", lambda: pandas(cursor)),
            ("errors", lambda: errors(cursor)),
            ("sessions", lambda: sessions(connection, cursor)),
            ("transactions", transactions),
            ("cancel", lambda: cancel(connection, cursor)),
            ("tokens", lambda: tokens(cursor)),
        ]
        wanted = sys.argv[1:]
        for name, step in steps:
            if wanted and name not in wanted:
                continue
            started = time.monotonic()
            print("--", name, flush=True)
            step()
            print(f"   {time.monotonic() - started:.2f} s", flush=True)
    print("adbc passed")


main()

"""asyncpg: its introspection of types, prepared statements, cursors, COPY, pool."""

import asyncio
import datetime
import decimal
import io
import uuid

import asyncpg

from common import DATABASE, HOST, PASSWORD, PORT, TARN, USER, check, equal, run

SCHEMA = "c_asyncpg"


async def connect(**options):
    return await asyncpg.connect(host=HOST, port=PORT, user=USER, password=PASSWORD, database=DATABASE, timeout=20, **options)


def with_connection(function):
    """Marks an async check, which gets a connection of its own."""

    def run_it():
        async def body():
            connection = await connect()
            try:
                await function(connection)
            finally:
                await connection.close()

        asyncio.run(asyncio.wait_for(body(), 60))

    run_it.__name__ = function.__name__
    return check(run_it)


async def state(awaitable):
    try:
        await awaitable
    except asyncpg.PostgresError as error:
        return error.sqlstate
    raise AssertionError("succeeded")


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


@with_connection
async def settings_and_version(connection):
    assert connection.get_server_version().major >= 14
    equal(connection.get_settings().client_encoding, "UTF8")
    await connection.execute("SET application_name = 'x y'")
    equal(connection.get_settings().application_name, "x y")
    equal(await connection.fetchval("SELECT current_setting('application_name')"), "x y")


@with_connection
async def every_type_goes_in_and_comes_out(connection):
    await connection.execute(f"CREATE TABLE {SCHEMA}.every_type ({EVERY_TYPE})")
    places = ", ".join(f"${i + 1}" for i in range(len(VALUES)))
    equal(await connection.execute(f"INSERT INTO {SCHEMA}.every_type VALUES ({places})", *VALUES), "INSERT 0 1")
    await connection.execute(f"INSERT INTO {SCHEMA}.every_type VALUES ({places})", *[None] * len(VALUES))
    rows = await connection.fetch(f"SELECT * FROM {SCHEMA}.every_type ORDER BY l")
    equal(tuple(rows[0]), VALUES)
    equal(tuple(rows[1]), (None,) * len(VALUES))
    equal(rows[0]["n"], decimal.Decimal("1234567.89"))


@with_connection
async def parameters_get_the_types_of_their_places(connection):
    await connection.execute(f"CREATE TABLE {SCHEMA}.places (id bigint, name text, amount numeric(10,2), day date)")
    statement = await connection.prepare(f"SELECT id, name FROM {SCHEMA}.places WHERE id = $1 AND name LIKE $2 AND amount > $3 AND day < $4 LIMIT $5")
    equal([t.name for t in statement.get_parameters()], ["int8", "text", "numeric", "date", "int8"])
    equal([(a.name, a.type.name) for a in statement.get_attributes()], [("id", "int8"), ("name", "text")])
    equal(await statement.fetch(1, "a", decimal.Decimal(1), datetime.date(2024, 1, 1), 5), [])
    statement = await connection.prepare(f"INSERT INTO {SCHEMA}.places VALUES ($1, $2, $3, $4)")
    equal([t.name for t in statement.get_parameters()], ["int8", "text", "numeric", "date"])
    equal(statement.get_attributes(), ())
    statement = await connection.prepare("SELECT $1::int[] AS a, $2 AS b, $3::interval AS c")
    equal([t.name for t in statement.get_parameters()], ["int4[]", "text", "interval"])
    statement = await connection.prepare("SELECT $1::oid AS a, $2::oid[] AS b, $3::name AS c, $4::json AS d, $5::uuid AS e, $6::regclass::oid AS f, $7::regtype::oid AS g")
    equal([t.name for t in statement.get_parameters()], ["oid", "oid[]", "name", "json", "uuid", "regclass", "regtype"])
    row = await statement.fetchrow(1259, [1259, 23], "n", "{}", VALUES[8], "pg_class", "integer")
    equal(tuple(row), (1259, [1259, 23], "n", "{}", VALUES[8], 1259, 23))
    statement = await connection.prepare("SELECT relname FROM pg_class WHERE oid = $1 AND relname = $2")
    equal([t.name for t in statement.get_parameters()], ["oid", "name"])
    equal(await statement.fetchval(1259, "pg_class"), "pg_class")
    equal(await connection.fetchval(f"SELECT count(*) FROM {SCHEMA}.places WHERE id = ANY($1::bigint[])", [1, 2]), 0)


@with_connection
async def executemany_inserts_rows(connection):
    await connection.execute(f"CREATE TABLE {SCHEMA}.many (id bigint, name text)")
    await connection.executemany(f"INSERT INTO {SCHEMA}.many VALUES ($1, $2)", [(i, f"n{i}") for i in range(10)])
    equal(await connection.fetchval(f"SELECT count(*) FROM {SCHEMA}.many"), 10)
    equal((await connection.fetchrow(f"SELECT sum(id), max(name) FROM {SCHEMA}.many"))[0:2], (45, "n9"))


@with_connection
async def introspection_knows_unusual_types(connection):
    row = await connection.fetchrow(
        "SELECT interval '1 day 2 hours' AS v, '{\"a\": 1}'::json AS j, ARRAY[1.5, 2.5]::numeric[] AS n, "
        "ARRAY['2024-01-01'::timestamptz] AS t, ARRAY[true] AS b, 'x'::varchar AS c, 'name'::name AS m, 5::oid AS o, 'c'::\"char\" AS ch")
    equal(row["v"], datetime.timedelta(days=1, hours=2))
    equal(row["j"], '{"a": 1}')
    equal(row["n"], [decimal.Decimal("1.5"), decimal.Decimal("2.5")])
    equal(row["t"], [datetime.datetime(2024, 1, 1, tzinfo=datetime.UTC)])
    equal(row["b"], [True])
    equal((row["c"], row["m"], row["o"]), ("x", "name", 5))
    await connection.set_type_codec("json", encoder=str, decoder=lambda text: ("decoded", text), schema="pg_catalog")
    equal(await connection.fetchval("SELECT '{}'::json"), ("decoded", "{}"))
    await connection.reset_type_codec("json", schema="pg_catalog")
    equal(await connection.fetchval("SELECT '{}'::json"), "{}")


@with_connection
async def types_are_introspected_by_oid(connection):
    """What asyncpg asks when it meets a type that it does not know."""
    types = await connection._introspect_types([23, 1009, 1700, 114], 60)  # noqa: SLF001: there is no other way to ask
    names = {row["oid"]: (row["name"], row["kind"] in (b"b", "b"), row["elemtype"]) for row in types[0]}
    equal(names[23], ("int4", True, 0))
    equal(names[1009], ("_text", True, 25))
    equal(names[1700][0], "numeric")


@with_connection
async def cursors_read_in_pieces(connection):
    async with connection.transaction():
        seen = [row[0] async for row in connection.cursor("SELECT n FROM generate_series(1, 1000) AS t(n) ORDER BY n", prefetch=100)]
        equal(seen, list(range(1, 1001)))
        cursor = await connection.cursor("SELECT n FROM generate_series($1::bigint, 100) AS t(n) ORDER BY n", 11)
        equal([row[0] for row in await cursor.fetch(3)], [11, 12, 13])
        equal(await cursor.forward(5), 5)
        equal((await cursor.fetchrow())[0], 19)
        # Another statement while the portal is suspended.
        equal(await connection.fetchval("SELECT 'between'"), "between")
        equal((await cursor.fetchrow())[0], 20)
    try:
        await connection.cursor("SELECT 1")
        raise AssertionError("a cursor needs a transaction")
    except asyncpg.NoActiveSQLTransactionError:
        pass


RECORDS = [(1, "one", decimal.Decimal("1.50"), datetime.date(2024, 1, 1)), (2, None, None, None), (3, "thr,ee \"\\\n", decimal.Decimal("-2.25"), datetime.date(1970, 1, 1))]


@with_connection
async def records_are_copied_in(connection):
    await connection.execute(f"CREATE TABLE {SCHEMA}.copied (id bigint, name text, amount numeric(10,2), day date)")
    equal(await connection.copy_records_to_table("copied", schema_name=SCHEMA, records=RECORDS), "COPY 3")
    equal([tuple(row) for row in await connection.fetch(f"SELECT * FROM {SCHEMA}.copied ORDER BY id")], RECORDS)
    equal(await connection.copy_records_to_table("copied", schema_name=SCHEMA, columns=["name", "id"], records=[("four", 4)]), "COPY 1")
    equal(tuple(await connection.fetchrow(f"SELECT * FROM {SCHEMA}.copied WHERE id = 4")), (4, "four", None, None))


@with_connection
async def queries_and_tables_are_copied_out(connection):
    output = io.BytesIO()
    query = "SELECT n, 'x,' || n AS t FROM generate_series(1, 3) AS s(n) ORDER BY n"
    equal(await connection.copy_from_query(query, output=output, format="csv", header=True), "COPY 3")
    equal(output.getvalue(), b'n,t\n1,"x,1"\n2,"x,2"\n3,"x,3"\n')
    output = io.BytesIO()
    equal(await connection.copy_from_query("SELECT n FROM generate_series($1::int, $2::int) AS s(n) ORDER BY n", 5, 6, output=output), "COPY 2")
    equal(output.getvalue(), b"5\n6\n")
    await connection.execute(f"CREATE TABLE {SCHEMA}.copied_out (id bigint, name text)")
    source = io.BytesIO(b"1|one\n2|~\n")
    equal(await connection.copy_to_table("copied_out", schema_name=SCHEMA, source=source, format="csv", delimiter="|", null="~"), "COPY 2")
    output = io.BytesIO()
    equal(await connection.copy_from_table("copied_out", schema_name=SCHEMA, columns=["id"], output=output, format="binary"), "COPY 2")
    assert output.getvalue().startswith(b"PGCOPY\n\xff\r\n\0"), output.getvalue()


@with_connection
async def transactions_nest(connection):
    async with connection.transaction(isolation="serializable", readonly=True):
        equal(await connection.fetchval("SELECT 1"), 1)
    try:
        async with connection.transaction():
            try:
                async with connection.transaction():
                    await connection.execute("SELECT 1/0")
            except asyncpg.DivisionByZeroError:
                pass
            equal(await connection.fetchval("SELECT 2"), 2)
            raise KeyError
    except KeyError:
        pass
    equal(connection.is_in_transaction(), False)


@with_connection
async def errors_are_those_of_their_sqlstates(connection):
    equal(await state(connection.fetch("SELEC 1")), "42601")
    equal(await state(connection.fetch("SELECT * FROM nowhere")), "42P01")
    equal(await state(connection.fetch(f"SELECT nope FROM {SCHEMA}.many")), "42703")
    equal(await state(connection.execute(f"CREATE SCHEMA {SCHEMA}")), "42P06")
    equal(await state(connection.fetch("SELECT $1::int / 0", 1)), "22012")
    if TARN:
        equal(await state(connection.execute(f"DELETE FROM {SCHEMA}.many WHERE id = 1")), "0A000")
    equal(await connection.fetchval("SELECT 'alive'"), "alive")


@with_connection
async def a_timeout_cancels_the_query(connection):
    query = "SELECT count(*) FROM generate_series(1, 2000000000) AS a(x), generate_series(1, 1000) AS b(y)"
    try:
        await connection.fetchval(query, timeout=0.5)
        raise AssertionError("succeeded")
    except TimeoutError:
        pass
    equal(await connection.fetchval("SELECT 'alive'", timeout=10), "alive")


@with_connection
async def a_pool_resets_its_connections(connection):
    async with asyncpg.create_pool(host=HOST, port=PORT, user=USER, password=PASSWORD, database=DATABASE, min_size=1, max_size=3) as pool:
        async with pool.acquire() as first:
            await first.execute("SET application_name = 'kept?'")
        answers = await asyncio.gather(*(pool.fetchval("SELECT $1::int * 2", n) for n in range(20)))
        equal(answers, [n * 2 for n in range(20)])
        equal(await pool.fetchval("SHOW application_name"), "")


def setup():
    async def body():
        connection = await connect()
        await connection.execute(f"DROP SCHEMA IF EXISTS {SCHEMA} CASCADE")
        await connection.execute(f"CREATE SCHEMA {SCHEMA}")
        await connection.close()

    asyncio.run(body())


def teardown():
    async def body():
        connection = await connect()
        await connection.execute(f"DROP SCHEMA IF EXISTS {SCHEMA} CASCADE")
        await connection.close()

    asyncio.run(body())


if __name__ == "__main__":
    run(setup, teardown)

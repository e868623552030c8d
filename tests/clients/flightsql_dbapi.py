"""flightsql-dbapi and its SQLAlchemy dialect against a server; the first check that fails ends the program."""

import os

import pyarrow as pa
import sqlalchemy
import flightsql.sqlalchemy  # noqa: F401 (registers the dialect)
from flightsql import FlightSQLClient, connect

HOST, PORT, PASSWORD = os.environ["FLIGHT_HOST"], os.environ["FLIGHT_PORT"], os.environ["TARN_PASSWORD"]


def equal(got, wanted, what):
    assert got == wanted, f"{what}: wanted {wanted!r}, got {got!r}"


def client():
    client = FlightSQLClient(host=HOST, port=int(PORT), user="admin", password=PASSWORD, insecure=True)

    def rows(info):
        return client.do_get(info.endpoints[0].ticket).read_all().to_pylist()

    equal(rows(client.execute("SELECT 1 AS a, 'x' AS b")), [{"a": 1, "b": "x"}], "a row")
    client.execute_update("CREATE TABLE dbapi_t (id bigint, name text)")
    equal(client.execute_update("INSERT INTO dbapi_t VALUES (1, 'one'), (2, NULL)"), 2, "rows inserted")
    [table] = rows(client.get_tables(table_name_filter_pattern="dbapi%", include_schema=False))
    equal((table["db_schema_name"], table["table_name"], table["table_type"]), ("main", "dbapi_t", "TABLE"), "a table")
    assert {"catalog_name": "lake"} in rows(client.get_catalogs())
    statement = client.prepare("SELECT name FROM dbapi_t WHERE id = ?")
    binding = pa.record_batch({"id": pa.array([1], pa.int64())})
    equal(rows(statement.execute(binding)), [{"name": "one"}], "a prepared statement")
    statement.close()
    cursor = connect(client).cursor()
    cursor.execute("SELECT id FROM dbapi_t ORDER BY id")
    equal([tuple(row) for row in cursor.fetchall()], [(1,), (2,)], "DB-API")


def dialect():
    engine = sqlalchemy.create_engine(f"datafusion+flightsql://admin:{PASSWORD}@{HOST}:{PORT}?insecure=True")
    with engine.connect() as connection:
        found = connection.execute(sqlalchemy.text("SELECT count(*) AS n FROM dbapi_t")).fetchall()
        equal([tuple(row) for row in found], [(2,)], "SQLAlchemy")
    inspector = sqlalchemy.inspect(engine)
    assert "main" in inspector.get_schema_names(), inspector.get_schema_names()
    assert "dbapi_t" in inspector.get_table_names("main"), inspector.get_table_names("main")
    equal([c["name"] for c in inspector.get_columns("dbapi_t", "main")], ["id", "name"], "columns")


client()
dialect()
print("flightsql-dbapi passed")

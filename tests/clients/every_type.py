"""One row of a table with a column of every type, as each door and each witness shows it.

Input: "table" (schema.table; columns id, c0, c1, …), "json" (what JSON should show of each column), "http", "password", "postgres" and "flight" (ports), "catalog".
Output: for each form a list with what it shows of each column.
"""

import csv
import decimal
import io
import json
import urllib.request
from base64 import b64encode

import adbc_driver_flightsql.dbapi as flightsql
import psycopg
import pyarrow as pa

from lake import answer, open_catalog, read_input

spec = read_input()
COLUMNS = ", ".join(f"c{n}" for n in range(len(spec["json"])))
SELECT = f"SELECT {COLUMNS} FROM {spec['table']} WHERE id = 1"
SELECT_NULL = f"SELECT {COLUMNS} FROM {spec['table']} WHERE id = 2"


def http(accept, statement=SELECT):
    login = b64encode(f"admin:{spec['password']}".encode()).decode()
    request = urllib.request.Request(
        spec["http"] + "/api/v1/sql",
        data=json.dumps({"statement": statement}).encode(),
        headers={"Authorization": f"Basic {login}", "Content-Type": "application/json", "Accept": accept},
    )
    with urllib.request.urlopen(request) as response:
        return response.read()


def compact(value):
    """JSON with every digit, in one form."""
    if isinstance(value, decimal.Decimal):
        return str(value)
    if isinstance(value, dict):
        return "{" + ",".join(json.dumps(k) + ":" + compact(v) for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(compact, value)) + "]"
    return json.dumps(value)


def parsed(text):
    return json.loads(text, parse_float=decimal.Decimal)


def plain(value):
    """An Arrow value as Python has it, maps in one form."""
    if isinstance(value, list):
        return [list(map(plain, v)) if isinstance(v, tuple) else plain(v) for v in value]
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items()}
    return repr(value)


def shown(table):
    return {
        "types": [str(field.type) for field in table.schema],
        "values": [plain(column.to_pylist()[0]) for column in table.columns],
    }


out = {}
out["wanted"] = [compact(parsed(text)) for text in spec["json"]]
out["json"] = [compact(v) for v in parsed(http("application/json"))["rows"][0]]
out["json_null"] = [compact(v) for v in parsed(http("application/json", SELECT_NULL))["rows"][0]]
out["ndjson"] = [compact(v) for v in parsed(http("application/x-ndjson")).values()]
out["csv"] = list(csv.reader(io.StringIO(http("text/csv").decode())))[1]
# The same as JSON, texts without quotes.
out["csv_wanted"] = [v if isinstance(v, str) else compact(v) for v in map(parsed, spec["json"])]
with pa.ipc.open_stream(http("application/vnd.apache.arrow.stream")) as reader:
    out["arrow"] = shown(reader.read_all())

with flightsql.connect(
    f"grpc://127.0.0.1:{spec['flight']}",
    db_kwargs={"username": "admin", "password": spec["password"]},
    autocommit=True,
) as connection, connection.cursor() as cursor:
    cursor.execute(SELECT)
    out["flight"] = shown(cursor.fetch_arrow_table())

with psycopg.connect(
    host="127.0.0.1", port=spec["postgres"], user="admin", password=spec["password"], dbname="lake"
) as connection:
    for form in ("text", "binary"):
        with connection.cursor(binary=form == "binary") as cursor:
            cursor.execute(SELECT)
            result = cursor.pgresult
            columns = range(result.nfields)
            out["oids"] = [result.ftype(n) for n in columns]
            if form == "text":
                out["text"] = [result.get_value(0, n).decode() for n in columns]
            else:
                # What psycopg makes of the binary form, as text.
                out["binary"] = [repr(v) for v in cursor.fetchone()]
    with connection.cursor() as cursor:
        cursor.execute(SELECT)
        out["from_text"] = [repr(v) for v in cursor.fetchone()]
    with connection.cursor() as cursor:
        oids = ",".join(str(oid) for oid in set(out["oids"]))
        cursor.execute(f"SELECT oid::int, format_type(oid, NULL), typname FROM pg_type WHERE oid IN ({oids})")
        names = {row[0]: row[2] for row in cursor.fetchall()}
        out["names"] = [names.get(oid) for oid in out["oids"]]

table = open_catalog(spec["catalog"]).load_table(spec["table"])
out["iceberg"] = [str(field.field_type) for field in table.schema().fields if field.name != "id"]
out["pyiceberg"] = shown(table.scan(row_filter="id = 1").to_arrow().drop_columns(["id"]))
answer(out)

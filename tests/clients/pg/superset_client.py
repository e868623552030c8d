"""Apache Superset: connects the database, browses it, makes a dataset and charts, and their data are right.

Runs in Superset's own virtual environment. SUPERSET_TEMPLATE is a folder with Superset's own
database as `superset db upgrade`, `superset fab create-admin` and `superset init` leave it.
SUPERSET_PORT is where it may listen.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time

import psycopg2
import requests

from common import DATABASE, HOST, PASSWORD, PORT, USER, check, equal, run, url

SCHEMA = "c_superset"

HOME = tempfile.mkdtemp()

ADDRESS = f"http://127.0.0.1:{os.environ['SUPERSET_PORT']}"

http = requests.Session()

state = {}


def execute(*statements):
    connection = psycopg2.connect(host=HOST, port=PORT, user=USER, password=PASSWORD, dbname=DATABASE, connect_timeout=20)
    connection.autocommit = True
    with connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)
    connection.close()


def call(method, path, **options):
    answer = http.request(method, f"{ADDRESS}/api/v1/{path}", timeout=60, **options)
    assert answer.ok, f"{method} {path}: {answer.status_code} {answer.text[:1500]}\n{read_log()}"
    return answer.json()


@check
def the_database_is_connected():
    call("POST", "database/test_connection/", json={"sqlalchemy_uri": url(), "database_name": "tested", "impersonate_user": False})
    created = call("POST", "database/", json={"database_name": "server", "sqlalchemy_uri": url(), "expose_in_sqllab": True, "allow_ctas": True, "allow_dml": True})
    state["database"] = created["id"]
    listed = call("GET", f"database/{created['id']}")["result"]
    equal(listed["backend"], "postgresql")


@check
def schemas_tables_and_columns_are_browsed():
    database = state["database"]
    schemas = call("GET", f"database/{database}/schemas/", params={"q": "(force:!t)"})["result"]
    assert SCHEMA in schemas and "information_schema" in schemas, schemas
    tables = call("GET", f"database/{database}/tables/", params={"q": f"(schema_name:{SCHEMA},force:!t)"})["result"]
    equal(sorted((table["value"], table["type"]) for table in tables), [("by_country", "view"), ("sales", "table")])
    table = call("GET", f"database/{database}/table_metadata/", params={"name": "sales", "schema": SCHEMA})
    equal([(column["name"], column["type"]) for column in table["columns"]], [
        ("id", "BIGINT"), ("country", "TEXT"), ("amount", "NUMERIC"), ("quantity", "INTEGER"), ("sold", "TIMESTAMP"), ("day", "DATE"), ("paid", "BOOLEAN")])
    equal((table["comment"], table["indexes"], table["foreignKeys"]), ("what was sold", [], []))
    assert "country" in table["selectStar"], table
    call("GET", f"database/{database}/function_names/")
    call("GET", f"database/{database}/catalogs/")


@check
def a_dataset_knows_its_columns():
    created = call("POST", "dataset/", json={"database": state["database"], "schema": SCHEMA, "table_name": "sales"})
    state["dataset"] = created["id"]
    dataset = call("GET", f"dataset/{created['id']}")["result"]
    columns = {column["column_name"]: (column["type"], column["type_generic"], column["is_dttm"]) for column in dataset["columns"]}
    equal(columns, {
        "id": ("BIGINT", 0, False), "country": ("TEXT", 1, False), "amount": ("NUMERIC(12, 2)", 0, False), "quantity": ("INTEGER", 0, False),
        "sold": ("TIMESTAMP WITHOUT TIME ZONE", 2, True), "day": ("DATE", 2, True), "paid": ("BOOLEAN", 3, False)})
    equal(dataset["main_dttm_col"] in ("sold", "day"), True)


SUM = {"expressionType": "SIMPLE", "column": {"column_name": "amount"}, "aggregate": "SUM", "label": "total"}


def data(**query):
    body = {"datasource": {"id": state["dataset"], "type": "table"}, "result_format": "json", "result_type": "full", "force": True,
            "queries": [{"row_limit": 1000, "metrics": [SUM], "columns": [], "filters": [], "extras": {}, "orderby": []} | query]}
    (result,) = call("POST", "chart/data", json=body)["result"]
    assert not result.get("error"), result["error"]
    return result


@check
def a_chart_is_made_and_its_data_are_right():
    query = {"columns": ["country"], "metrics": [SUM, "count"], "orderby": [[SUM, False]], "row_limit": 100, "filters": []}
    context = {"datasource": {"id": state["dataset"], "type": "table"}, "force": True, "queries": [query], "result_format": "json", "result_type": "full"}
    params = {"viz_type": "pie", "datasource": f"{state['dataset']}__table", "groupby": ["country"], "metric": SUM, "row_limit": 100}
    created = call("POST", "chart/", json={
        "slice_name": "Sales by country", "viz_type": "pie", "datasource_id": state["dataset"], "datasource_type": "table",
        "params": json.dumps(params), "query_context": json.dumps(context)})
    (result,) = call("GET", f"chart/{created['id']}/data/")["result"]
    equal(result["data"], [{"country": "CH", "total": 130.5, "count": 3}, {"country": "NO", "total": 20.25, "count": 2}, {"country": None, "total": 1.0, "count": 1}])
    equal(result["status"], "success")
    equal(result["coltypes"], [1, 0, 0])
    page = http.get(f"{ADDRESS}/explore/?slice_id={created['id']}", timeout=60)
    equal(page.status_code, 200)
    state["chart"] = created["id"]


@check
def time_is_cut_by_each_grain():
    expected = {
        "P1D": [("2026-01-01", 30.5), ("2026-01-15", 20.25), ("2026-02-01", 100.0), ("2026-03-31", 1.0)],
        "P1W": [("2025-12-29", 30.5), ("2026-01-12", 20.25), ("2026-01-26", 100.0), ("2026-03-30", 1.0)],
        "P1M": [("2026-01-01", 50.75), ("2026-02-01", 100.0), ("2026-03-01", 1.0)],
        "P3M": [("2026-01-01", 151.75)],
        "P1Y": [("2026-01-01", 151.75)],
    }
    for grain, rows in expected.items():
        axis = {"columnType": "BASE_AXIS", "sqlExpression": "sold", "label": "sold", "expressionType": "SQL", "timeGrain": grain}
        result = data(columns=[axis], extras={"time_grain_sqla": grain}, granularity="sold")
        got = sorted((time.strftime("%Y-%m-%d", time.gmtime(row["sold"] / 1000)), row["total"]) for row in result["data"])
        equal((grain, got), (grain, rows))


@check
def filters_reach_the_server():
    def total(*filters, **more):
        (row,) = data(filters=[{"col": column, "op": op, "val": value} for column, op, value in filters], **more)["data"]
        return row["total"]

    equal(total(("country", "==", "CH")), 130.5)
    equal(total(("country", "IN", ["CH", "NO"])), 150.75)
    equal(total(("country", "IS NULL", None)), 1.0)
    equal(total(("country", "ILIKE", "%h%")), 130.5)
    equal(total(("quantity", ">", 1), ("paid", "IS TRUE", None)), 21.5)
    equal(total(time_range="2026-01-01 : 2026-02-01", granularity="sold"), 50.75)
    equal(total(time_range="2026-01-01 : 2026-02-01", granularity="day"), 50.75)
    equal(total(extras={"where": "amount > 15", "having": ""}), 140.5)


@check
def raw_rows_and_samples_are_shown():
    result = data(metrics=[], columns=["id", "country", "amount", "quantity", "sold", "day", "paid"], orderby=[["id", True]], row_limit=2)
    equal(result["data"], [
        {"id": 1, "country": "CH", "amount": 10.0, "quantity": 1, "sold": 1767261600000, "day": 1767225600000, "paid": True},
        {"id": 2, "country": "CH", "amount": 20.5, "quantity": 2, "sold": 1767265200000, "day": 1767225600000, "paid": True}])
    values = call("GET", f"datasource/table/{state['dataset']}/column/country/values/")["result"]
    equal(sorted(str(value) for value in values), ["CH", "NO", "None"])


@check
def aggregates_of_every_kind():
    metrics = [{"expressionType": "SIMPLE", "column": {"column_name": "quantity"}, "aggregate": kind, "label": kind} for kind in ("AVG", "COUNT", "COUNT_DISTINCT", "MAX", "MIN", "SUM")]
    metrics.append({"expressionType": "SQL", "sqlExpression": "sum(amount) FILTER (WHERE paid)", "label": "paid only"})
    equal(data(metrics=metrics)["data"], [{"AVG": 2.5, "COUNT": 6, "COUNT_DISTINCT": 4, "MAX": 5, "MIN": 1, "SUM": 15, "paid only": 31.75}])
    series = data(columns=["country"], series_columns=["country"], series_limit=1, series_limit_metric=SUM, metrics=[SUM])["data"]
    equal(series, [{"country": "CH", "total": 130.5}])


@check
def sql_lab_runs_statements():
    def lab(sql, **more):
        return call("POST", "sqllab/execute/", json={"database_id": state["database"], "sql": sql, "schema": SCHEMA, "runAsync": False, "queryLimit": 1000, "client_id": os.urandom(5).hex()} | more)

    answer = lab("SELECT country, count(*) AS n FROM sales GROUP BY country ORDER BY country NULLS LAST")
    equal(answer["data"], [{"country": "CH", "n": 3}, {"country": "NO", "n": 2}, {"country": None, "n": 1}])
    equal([(column["column_name"], column["type"]) for column in answer["columns"]], [("country", "STRING"), ("n", "LONGINTEGER")])
    answer = lab("-- two statements\nSELECT 1 AS a; SELECT id FROM by_country ORDER BY id DESC LIMIT 1")
    equal(answer["data"][0], {"id": 6})
    failed = http.post(f"{ADDRESS}/api/v1/sqllab/execute/", json={"database_id": state["database"], "sql": "SELECT nope FROM sales", "schema": SCHEMA, "runAsync": False, "client_id": "abcdefghij"}, timeout=60)
    assert failed.status_code >= 400 and "nope" in failed.text, failed.text
    virtual = call("POST", "dataset/", json={"database": state["database"], "schema": SCHEMA, "table_name": "virtual", "sql": f"SELECT country, sum(amount) AS s FROM {SCHEMA}.sales GROUP BY country"})
    columns = call("GET", f"dataset/{virtual['id']}")["result"]["columns"]
    equal(sorted((column["column_name"], column["type_generic"]) for column in columns), [("country", 1), ("s", 0)])


def start_superset():
    for name in os.listdir(os.environ["SUPERSET_TEMPLATE"]):
        shutil.copy(os.path.join(os.environ["SUPERSET_TEMPLATE"], name), HOME)
    folder = os.path.dirname(os.path.abspath(__file__))
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PG")} | {
        "SUPERSET_HOME": HOME, "SUPERSET_CONFIG_PATH": os.path.join(folder, "../superset/superset_config.py"), "FLASK_APP": "superset.app:create_app()",
        "PYTHONDONTWRITEBYTECODE": "1"}
    log = open(os.path.join(HOME, "log"), "w", encoding="utf-8")
    arguments = ["run", "--host", "127.0.0.1", "--port", os.environ["SUPERSET_PORT"], "--with-threads", "--no-reload"]
    process = subprocess.Popen([os.path.join(os.path.dirname(sys.executable), "superset"), *arguments], env=environment, stdout=log, stderr=log, cwd=HOME)
    for _ in range(600):
        assert process.poll() is None, read_log()
        try:
            if requests.get(f"{ADDRESS}/health", timeout=5).ok:
                return process
        except requests.ConnectionError:
            time.sleep(0.1)
    raise AssertionError(read_log())


def read_log():
    with open(os.path.join(HOME, "log"), encoding="utf-8") as file:
        return file.read()[-5000:]


def setup():
    teardown_server()
    execute(
        f"CREATE SCHEMA {SCHEMA}",
        f"CREATE TABLE {SCHEMA}.sales (id bigint, country text, amount numeric(12,2), quantity integer, sold timestamp, day date, paid boolean)",
        f"COMMENT ON TABLE {SCHEMA}.sales IS 'what was sold'",
        f"INSERT INTO {SCHEMA}.sales VALUES (1, 'CH', 10.00, 1, '2026-01-01 10:00:00', '2026-01-01', true), (2, 'CH', 20.50, 2, '2026-01-01 11:00:00', '2026-01-01', true), "
        "(3, 'NO', 20.00, 3, '2026-01-15 00:00:00', '2026-01-15', false), (4, 'NO', 0.25, 1, '2026-01-15 23:59:59', '2026-01-15', true), "
        "(5, 'CH', 100.00, 5, '2026-02-01 00:00:00', '2026-02-01', false), (6, NULL, 1.00, 3, '2026-03-31 12:00:00', '2026-03-31', true)",
        f"CREATE VIEW {SCHEMA}.by_country AS SELECT country, id FROM {SCHEMA}.sales")
    state["process"] = start_superset()
    token = call("POST", "security/login", json={"username": "admin", "password": "secret", "provider": "db", "refresh": True})["access_token"]
    http.headers["Authorization"] = f"Bearer {token}"
    # The pages want a session, as a browser has it.
    http.post(f"{ADDRESS}/login/", data={"username": "admin", "password": "secret"}, timeout=60)


def teardown_server():
    execute(f"DROP SCHEMA IF EXISTS {SCHEMA} CASCADE")


def teardown():
    if os.environ.get("SUPERSET_STAY"):
        print(f"Superset stays at {ADDRESS}, chart {state.get('chart')}, process {state['process'].pid}")
        return
    state["process"].terminate()
    state["process"].wait(20)
    shutil.rmtree(HOME, ignore_errors=True)
    teardown_server()


if __name__ == "__main__":
    run(setup, teardown)

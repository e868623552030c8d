"""dbt-postgres: seeds, view, table, incremental and ephemeral models, tests, docs; twice, then in full again.

Runs in dbt's own virtual environment, and asks the server with psycopg2, which dbt brings.
"""

import json
import os
import shutil
import tempfile

import psycopg2
from dbt.cli.main import dbtRunner

from common import DATABASE, HOST, PASSWORD, PORT, TARN, USER, check, equal, run

SCHEMA = "c_dbt"

PROJECT = os.path.join(os.path.dirname(__file__), "..", "dbt")

FOLDER = tempfile.mkdtemp()

os.environ |= {"DBT_SCHEMA": SCHEMA, "DO_NOT_TRACK": "1"}


def dbt(*arguments, success=True):
    """Runs dbt, and gives what came of each node."""
    runner = dbtRunner()
    done = runner.invoke([
        *arguments, "--quiet", "--project-dir", PROJECT, "--profiles-dir", PROJECT, "--target-path", FOLDER + "/target", "--log-path", FOLDER + "/logs"])
    results = getattr(done.result, "results", [])
    said = [f"{result.node.name}: {result.status}: {result.message}" for result in results]
    assert done.success == success, "\n".join([f"dbt {arguments}: {done.exception}", *said])
    return {result.node.name: str(result.status) for result in results}


def debug_log():
    path = FOLDER + "/logs/dbt.log"
    if not os.path.exists(path):
        return ""
    with open(path, encoding="utf-8") as file:
        return "".join(file.readlines()[-80:])


def fetch(query):
    connection = psycopg2.connect(host=HOST, port=PORT, user=USER, password=PASSWORD, dbname=DATABASE, connect_timeout=20)
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute(query)
        rows = cursor.fetchall() if cursor.description else None
    connection.close()
    return rows


def numbers(query):
    return [[str(value) for value in row] for row in fetch(query)]


def everything_is_as_it_should_be(log_rows):
    equal(numbers(f"SELECT customer_id, name, total, orders, last_placed FROM {SCHEMA}.customer_totals ORDER BY customer_id"), [
        ["1", "Ann", "30.50", "2", "2026-01-02 11:00:00"], ["2", "Bob", "5.25", "1", "2026-01-03 12:00:00"],
        ["3", 'Cid, the "third"', "97.00", "2", "2026-02-02 23:59:59"]])
    equal(numbers(f"SELECT count(*), sum(amount) FROM {SCHEMA}.customer_orders"), [["5", "132.75"]])
    equal(numbers(f"SELECT order_id FROM {SCHEMA}.order_log ORDER BY order_id"), [[str(n)] for n in log_rows])
    equal(numbers(f"SELECT shouted, total FROM {SCHEMA}.big_spenders ORDER BY total"), [["ANN", "30.50"], ['CID, THE "THIRD"', "97.00"]])
    equal(fetch(f"SELECT table_name, table_type FROM information_schema.tables WHERE table_schema = '{SCHEMA}' ORDER BY 1"), [
        ("big_spenders", "BASE TABLE"), ("customer_orders", "VIEW"), ("customer_totals", "BASE TABLE"), ("customers", "BASE TABLE"),
        ("order_log", "BASE TABLE"), ("orders", "BASE TABLE")])


MODELS = {"customer_orders", "customer_totals", "order_log", "big_spenders"}


@check
def a_first_build_makes_seeds_models_and_tests():
    results = dbt("build")
    bad = {name: status for name, status in results.items() if status not in ("success", "pass")}
    equal(bad, {})
    equal(MODELS | {"customers", "orders", "totals_add_up"} <= set(results), True)
    everything_is_as_it_should_be([1, 2, 3])


@check
def a_second_run_appends_what_is_new():
    equal(dbt("run"), dict.fromkeys(MODELS, "success"))
    everything_is_as_it_should_be([1, 2, 3, 4, 5])
    equal(dbt("run", "--select", "order_log"), {"order_log": "success"})
    everything_is_as_it_should_be([1, 2, 3, 4, 5])


@check
def a_full_refresh_starts_again():
    equal(dbt("seed", "--full-refresh"), {"customers": "success", "orders": "success"})
    equal(dbt("run", "--full-refresh"), dict.fromkeys(MODELS, "success"))
    everything_is_as_it_should_be([1, 2, 3])
    results = dbt("test")
    equal({status for status in results.values()}, {"pass"})


@check
def a_model_may_change_from_view_to_table_and_back():
    for kind, expected in (("table", "BASE TABLE"), ("view", "VIEW")):
        equal(dbt("run", "--select", "customer_orders", "--vars", json.dumps({"customer_orders_as": kind})), {"customer_orders": "success"})
        equal(fetch(f"SELECT table_type FROM information_schema.tables WHERE table_schema = '{SCHEMA}' AND table_name = 'customer_orders'"), [(expected,)])
    dbt("run")


@check
def a_model_that_replaces_rows():
    """dbt deletes the rows of the same key first, which Tarn cannot yet and says so."""
    arguments = ("run", "--select", "latest_order", "--vars", json.dumps({"replace_rows": True}))
    equal(dbt(*arguments), {"latest_order": "success"})
    if not TARN:
        equal(dbt(*arguments), {"latest_order": "success"})
        return
    equal(dbt(*arguments, success=False), {"latest_order": "error"})
    assert "DELETE" in debug_log(), debug_log()
    fetch(f"DROP TABLE {SCHEMA}.latest_order")


@check
def docs_know_the_tables_and_columns():
    dbt("docs", "generate")
    with open(FOLDER + "/target/catalog.json", encoding="utf-8") as file:
        catalog = json.load(file)
    assert not catalog["errors"], catalog["errors"]
    node = catalog["nodes"]["model.shop.customer_totals"]
    equal((node["metadata"]["type"], node["metadata"]["schema"], node["metadata"]["database"], node["metadata"]["comment"]),
          ("BASE TABLE", SCHEMA, DATABASE, "What each customer spent."))
    equal({name: column["type"] for name, column in node["columns"].items()}, {
        "customer_id": "bigint", "name": "text", "total": "numeric(14,2)", "orders": "bigint", "last_placed": "timestamp without time zone"})
    equal(node["columns"]["customer_id"]["comment"], "The customer.")
    equal(catalog["nodes"]["model.shop.customer_orders"]["metadata"]["type"], "VIEW")
    equal(catalog["nodes"]["model.shop.customer_orders"]["metadata"]["comment"], "Each order with who ordered; it's a view.")
    equal(catalog["nodes"]["seed.shop.orders"]["metadata"]["owner"], USER)
    assert "source.shop.raw.orders" in catalog["sources"]


@check
def a_failing_test_is_reported():
    fetch(f"INSERT INTO {SCHEMA}.orders VALUES (99, 1, 1.00, '2026-03-01')")
    results = dbt("test", "--select", "totals_add_up", success=False)
    equal(results, {"totals_add_up": "fail"})


def setup():
    fetch(f"DROP SCHEMA IF EXISTS {SCHEMA} CASCADE")


def teardown():
    fetch(f"DROP SCHEMA IF EXISTS {SCHEMA} CASCADE")
    shutil.rmtree(FOLDER)


if __name__ == "__main__":
    run(setup, teardown)

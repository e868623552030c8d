"""What the witnesses share: opening the catalog that Tarn uses, with PyIceberg and DuckDB.

Each witness reads one JSON object from stdin and prints one to stdout. Its key
"catalog" is what `Server::catalog_for_python` of the harness gives.
"""

import glob
import json
import os
import sys

import duckdb
from pyiceberg.catalog.sql import SqlCatalog


def read_input():
    return json.load(sys.stdin)


def answer(value):
    json.dump(value, sys.stdout)


def open_catalog(catalog):
    """PyIceberg's own catalog on the same metadata database, as a user would open it."""
    properties = {"uri": catalog["uri"], "warehouse": catalog["warehouse"]}
    if catalog["s3"]:
        properties |= {
            "s3.endpoint": catalog["s3"]["endpoint"],
            "s3.region": catalog["s3"]["region"],
            "s3.access-key-id": catalog["s3"]["access_key"],
            "s3.secret-access-key": catalog["s3"]["secret_key"],
        }
    return SqlCatalog("lake", **properties)


def open_duckdb(catalog):
    """DuckDB with its extensions loaded from their wheels."""
    connection = duckdb.connect(config={"autoinstall_known_extensions": "false"})
    packages = os.path.join(os.path.dirname(duckdb.__file__), "..")
    for extension in ("avro", "httpfs", "iceberg"):
        pattern = f"duckdb_extension_{extension}/extensions/*/{extension}.duckdb_extension"
        (path,) = glob.glob(os.path.join(packages, pattern))
        connection.execute(f"LOAD '{path}'")
    connection.execute("SET TimeZone = 'UTC'")
    s3 = catalog["s3"]
    if s3:
        host = s3["endpoint"].removeprefix("http://")
        connection.execute(
            f"""CREATE SECRET (TYPE s3, KEY_ID '{s3["access_key"]}', SECRET '{s3["secret_key"]}',
                REGION '{s3["region"]}', ENDPOINT '{host}', URL_STYLE 'path', USE_SSL false)"""
        )
    return connection

"""Makes the tables of the zoo that DuckDB writes, through a REST catalog of its own (rest.py) and SeaweedFS.

    python tests/zoo/make_duckdb.py [--only NAME,...] [FOLDER]

Runs in the environment of the tests' clients. Beside make.py, which see.
"""

import argparse
import inspect
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time

import duckdb
from pyarrow import fs

import canonical
import kept
import rest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.append(os.path.join(HERE, "../clients"))
import lake

WRITER = {"engine": "DuckDB", "version": duckdb.__version__, "catalog": "tests/zoo/rest.py"}
KEY, SECRET, REGION = "zoo-key", "zoo-secret", "us-east-1"
START_TIMEOUT_S = 60


class Bucket:
    """SeaweedFS with the empty bucket `zoo`, until closed."""

    def __init__(self, work):
        names = ["s3.port", "master.port", "volume.port", "filer.port", "admin.port", "webdav.port"]
        names = ["s3.port"] + [n + g for n in names for g in ("", ".grpc") if n + g not in ("s3.port", "webdav.port.grpc", "admin.port.grpc")]
        held = [socket.create_server(("127.0.0.1", 0)) for _ in names]
        ports = [s.getsockname()[1] for s in held]
        for s in held:
            s.close()
        identity = {"name": "zoo", "credentials": [{"accessKey": KEY, "secretKey": SECRET}], "actions": ["Admin", "Read", "Write", "List", "Tagging"]}
        with open(f"{work}/identities.json", "w") as file:
            json.dump({"identities": [identity]}, file)
        command = [os.path.join(os.path.dirname(sys.executable), "weed"), "mini", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-master.telemetry=false"]
        command += ["-admin.ui=false", "-webdav=false", "-s3.port.iceberg=0", "-s3.port.lance=0", "-volume.max=10", "-bucket=zoo", f"-dir={work}"]
        command += [f"-{name}={port}" for name, port in zip(names, ports)]
        command += [f"-s3.config={work}/identities.json", f"-s3.localSocket={work}/s3.sock", f"-filer.localSocket={work}/filer.sock"]
        self.log = open(f"{work}/weed.log", "w+")
        self.process = subprocess.Popen(command, cwd=work, stdout=self.log, stderr=self.log)
        self.endpoint = f"http://127.0.0.1:{ports[0]}"
        self.files = fs.S3FileSystem(access_key=KEY, secret_key=SECRET, region=REGION, endpoint_override=self.endpoint)
        began = time.monotonic()
        while "components are running and ready" not in open(self.log.name).read():
            if self.process.poll() is not None or time.monotonic() - began > START_TIMEOUT_S:
                raise SystemExit(f"SeaweedFS did not start:\n{open(self.log.name).read()}")
            time.sleep(0.1)

    def write(self, location, data):
        with self.files.open_output_stream(location.removeprefix("s3://")) as stream:
            stream.write(data)

    def close(self):
        self.process.terminate()
        self.process.wait()


class Table:
    """One table and the questions that DuckDB answers in the end."""

    def __init__(self, connection, catalog, name):
        self.connection, self.catalog, self.name = connection, catalog, name
        self.questions = ["SELECT * FROM {t}"]

    def sql(self, *statements):
        for statement in statements:
            try:
                self.connection.execute(statement.replace("{t}", f"zoo.animals.{self.name}"))
            except duckdb.Error as error:
                raise SystemExit(f"{self.name}: {statement}\n{error}") from error

    def where(self, *conditions):
        self.questions += [f"SELECT * FROM {{t}} WHERE {condition}" for condition in conditions]

    def answers(self):
        for sql in self.questions:
            read = self.connection.execute(sql.replace("{t}", f"zoo.animals.{self.name}")).to_arrow_table()
            rows = [[canonical.from_python(value) for value in row] for row in zip(*[column.to_pylist() for column in read.columns])]
            yield {"sql": sql, "columns": read.schema.names, "rows": sorted(rows, key=json.dumps)}
        for snapshot in self.catalog.tables[self.name]["snapshots"]:
            id = snapshot["snapshot-id"]
            read = self.connection.execute(f"SELECT * FROM zoo.animals.{self.name} AT (VERSION => {id})").to_arrow_table()
            rows = [[canonical.from_python(value) for value in row] for row in zip(*[column.to_pylist() for column in read.columns])]
            yield {"sql": f"SELECT * FROM {{t}} FOR VERSION AS OF {id}", "columns": read.schema.names, "rows": sorted(rows, key=json.dumps)}


# ---- the tables


def duckdb_types(t):
    """Each type that DuckDB writes, nested ones, edges and NULLs."""
    t.sql(
        """CREATE TABLE {t} (b boolean, i integer, l bigint, f float, d double, dec decimal(9, 2), big decimal(38, 10), day date, clock time,
            moment timestamp, moment_utc timestamptz, s varchar, u uuid, bin blob, items bigint[], pair struct(x integer, y varchar))""",
        """INSERT INTO {t} VALUES
            (true, 2147483647, 9223372036854775807, 1.5, 1e300, 1234567.89, 1234567890123456789012345678.0123456789, '1582-10-15', '23:59:59.999999',
             '1969-12-31 23:59:59.000001', '1969-12-31 23:59:59.000001+00', 'naïve ☃', 'f79c3e09-677c-4bbd-a479-3f349cb785e7', '\\x00\\xFF'::blob, [1, NULL, 3], {'x': 1, 'y': NULL}),
            (false, -2147483648, -9223372036854775808, 'NaN', '-Infinity', -0.01, -0.0000000001, '2024-02-29', '00:00:00', '2024-02-29 12:00:00',
             '2024-02-29 12:00:00+00', '', '00000000-0000-0000-0000-000000000000', ''::blob, [], NULL)""",
        "INSERT INTO {t} (i) VALUES (NULL)",
    )
    t.where("i > 0", "l < 0", "dec = -0.01", "s = ''", "s IS NULL", "isnan(f)", "day < DATE '1970-01-01'", "moment >= TIMESTAMP '1970-01-01 00:00:00'")
    t.where("moment_utc < TIMESTAMPTZ '1970-01-01 00:00:00+00'", "d < 0", "b", "clock > TIME '12:00:00'")


ROWS = "SELECT i::integer AS id, CASE WHEN i % 6 > 0 THEN 'r' || (i % 3) END AS region, i / 4.0::double AS v FROM range({}, {}) AS s(i)"


def _change(t):
    t.sql(
        f"INSERT INTO {{t}} {ROWS.format(0, 40)}",
        f"INSERT INTO {{t}} {ROWS.format(40, 60)}",
        "DELETE FROM {t} WHERE id % 10 = 3",
        "UPDATE {t} SET v = -v WHERE id % 10 = 4",
        "DELETE FROM {t} WHERE id IN (0, 39, 40, 59)",
        f"INSERT INTO {{t}} {ROWS.format(3, 5)}",
    )
    t.where("id = 4", "id < 30", "region = 'r1'", "region IS NULL", "v > 10", "v < 0")


def duckdb_deletes(t):
    """Version 2: DuckDB's position deletes and updates."""
    t.sql("CREATE TABLE {t} (id integer, region varchar, v double) WITH ('format-version' = 2)")
    _change(t)


def duckdb_deletion_vectors(t):
    """Version 3: DuckDB's deletion vectors and updates."""
    t.sql("CREATE TABLE {t} (id integer, region varchar, v double) WITH ('format-version' = 3)")
    _change(t)


def duckdb_partitioned(t):
    """By identity, bucket, truncate and month."""
    t.sql(
        "CREATE TABLE {t} (id integer, region varchar, moment timestamp, n bigint) PARTITIONED BY (region, bucket(2, id), truncate(100, n), month(moment))",
        """INSERT INTO {t} SELECT i, CASE WHEN i % 7 > 0 THEN 'r ' || (i % 3) || '/ü' END,
            TIMESTAMP '1969-12-30 20:00:00' + to_hours(i::integer * 5), CASE WHEN i % 5 > 0 THEN i * 31 - 200 END FROM range(0, 20) AS s(i)""",
    )
    t.where("id = 7", "region = 'r 1/ü'", "region IS NULL", "moment < TIMESTAMP '1970-01-01 00:00:00'", "n < 0", "n = 48", "n IS NULL")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="names of tables, with commas between them")
    parser.add_argument("folder", nargs="?", default=os.path.join(HERE, "fixtures"))
    options = parser.parse_args()
    wanted = set(filter(None, options.only.split(",")))
    makers = [f for name, f in globals().items() if name.startswith("duckdb_") and inspect.isfunction(f)]
    work = tempfile.mkdtemp(prefix="tarn-zoo-")
    bucket = Bucket(work)
    try:
        catalog = rest.Catalog(bucket.write)
        server = rest.serve(catalog)
        connection = lake.open_duckdb({"s3": {"endpoint": bucket.endpoint, "region": REGION, "access_key": KEY, "secret_key": SECRET}})
        connection.execute(
            f"""ATTACH '' AS zoo (TYPE iceberg, ENDPOINT 'http://127.0.0.1:{server.server_port}', AUTHORIZATION_TYPE 'none',
                ACCESS_DELEGATION_MODE 'none')"""
        )
        for maker in makers:
            name = maker.__name__
            if wanted and name not in wanted:
                continue
            table = Table(connection, catalog, name)
            maker(table)
            queries = list(table.answers())
            copy = f"{work}/copy"
            os.makedirs(copy, exist_ok=True)
            fs.copy_files(f"zoo/{name}", f"{copy}/{name}", source_filesystem=bucket.files, destination_filesystem=fs.LocalFileSystem())
            kept.keep(options.folder, copy, name, WRITER, inspect.cleandoc(maker.__doc__), catalog.locations[name], queries)
            print(f"{name}: {len(queries)} questions")
    finally:
        bucket.close()
        shutil.rmtree(work, ignore_errors=True)


if __name__ == "__main__":
    main()

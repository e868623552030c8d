"""How fast the doors of a Tarn server are, beside PostgreSQL and DuckDB on the same rows.

Starts a server (the given binary) and, if it is installed, a PostgreSQL of its own, both on loopback
and on a folder that is removed at the end. Prints one table, or JSON with --json.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import glob
import http.client
import json
import os
import pathlib
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request

import adbc_driver_flightsql
import adbc_driver_flightsql.dbapi
import asyncpg
import duckdb
import psycopg
import pyarrow as pa

from common import PASSWORD, Tarn, basic, best

ROWS_SQL = """
    SELECT value AS id,
           (value * 7919) % 1000003 AS k,
           value::double precision / 3 AS x,
           'row number ' || value::text AS name,
           TIMESTAMP '2026-01-01 00:00:00' + value * INTERVAL '1 second' AS at
    FROM generate_series(1, {rows})
"""
COLUMNS = "id bigint, k bigint, x double precision, name text, at timestamp"


class Postgres:
    """A PostgreSQL server of our own, as the user `postgres` when we are root."""

    def __init__(self, folder: pathlib.Path):
        found = sorted(glob.glob("/usr/lib/postgresql/*/bin/initdb"))
        if not found:
            raise FileNotFoundError("PostgreSQL is not installed")
        self.bin = pathlib.Path(found[-1]).parent
        self.data = folder / "postgres"
        self.data.mkdir()
        self.user = "postgres" if os.getuid() == 0 else None
        if self.user:
            shutil.chown(self.data, self.user)
            folder.chmod(0o755)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.run("initdb", "-D", str(self.data), "-A", "trust", "-U", "bench")
        self.run(
            "pg_ctl", "-D", str(self.data), "-w", "-l", str(self.data / "log"),
            "-o", f"-p {self.port} -c listen_addresses=127.0.0.1 -k {self.data} -c fsync=off -c shared_buffers=1GB -c max_wal_size=8GB",
            "start",
        )

    def run(self, tool: str, *arguments: str) -> None:
        command = [str(self.bin / tool), *arguments]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, user=self.user, cwd="/")

    def dsn(self) -> str:
        return f"host=127.0.0.1 port={self.port} user=bench dbname=postgres"

    def stop(self) -> None:
        with contextlib.suppress(subprocess.CalledProcessError):
            self.run("pg_ctl", "-D", str(self.data), "-m", "immediate", "stop")


def moved(first: float, seconds: float, rows: int, size: int) -> dict:
    return {
        "first_row_ms": first * 1000,
        "seconds": seconds,
        "rows_per_second": rows / seconds,
        "mb_per_second": size / seconds / 1e6,
    }


def copy_binary(dsn: str, rows: int) -> dict:
    with psycopg.connect(dsn, autocommit=True) as connection, connection.cursor() as cursor:
        started = time.perf_counter()
        first, size = None, 0
        with cursor.copy("COPY (SELECT * FROM bench) TO STDOUT (FORMAT binary)") as copy:
            for block in copy:
                first = first or time.perf_counter() - started
                size += len(block)
        return moved(first, time.perf_counter() - started, rows, size)


def portal_binary(dsn: dict, rows: int, limit: int = 10_000) -> dict:
    """The extended protocol: binary rows through a portal with a row limit, as drivers read."""

    async def read() -> dict:
        connection = await asyncpg.connect(**dsn)
        try:
            async with connection.transaction():
                started = time.perf_counter()
                cursor = await connection.cursor("SELECT * FROM bench")
                first, count = None, 0
                while batch := await cursor.fetch(limit):
                    first = first or time.perf_counter() - started
                    count += len(batch)
                assert count == rows, count
                return moved(first, time.perf_counter() - started, rows, 0)
        finally:
            await connection.close()

    return asyncio.run(read())


def flight(tarn: Tarn, rows: int) -> dict:
    options = {
        adbc_driver_flightsql.DatabaseOptions.AUTHORIZATION_HEADER.value: basic(),
        adbc_driver_flightsql.DatabaseOptions.WITH_MAX_MSG_SIZE.value: str(64 << 20),
    }
    uri = f"grpc://127.0.0.1:{tarn.port('flight')}"
    with adbc_driver_flightsql.dbapi.connect(uri, db_kwargs=options, autocommit=True) as connection:
        with connection.cursor() as cursor:
            started = time.perf_counter()
            cursor.execute("SELECT * FROM bench")
            first, size, count = None, 0, 0
            for batch in cursor.fetch_record_batch():
                first = first or time.perf_counter() - started
                size += batch.nbytes
                count += batch.num_rows
            assert count == rows, count
            return moved(first, time.perf_counter() - started, rows, size)


def http_arrow(tarn: Tarn, rows: int) -> dict:
    request = urllib.request.Request(
        f"http://{tarn.ready['http']}/api/v1/sql",
        data=json.dumps({"statement": "SELECT * FROM bench"}).encode(),
        headers={
            "content-type": "application/json",
            "accept": "application/vnd.apache.arrow.stream",
            "authorization": basic(),
        },
    )
    started = time.perf_counter()
    first, size, count = None, 0, 0
    with urllib.request.urlopen(request, timeout=600) as answer:
        for batch in pa.ipc.open_stream(answer):
            first = first or time.perf_counter() - started
            size += batch.nbytes
            count += batch.num_rows
    assert count == rows, count
    return moved(first, time.perf_counter() - started, rows, size)


def duckdb_arrow(files: list[str], rows: int) -> dict:
    connection = duckdb.connect()
    started = time.perf_counter()
    reader = connection.execute("SELECT * FROM read_parquet(?)", [files]).to_arrow_reader(100_000)
    first, size, count = None, 0, 0
    for batch in reader:
        first = first or time.perf_counter() - started
        size += batch.nbytes
        count += batch.num_rows
    assert count == rows, count
    return moved(first, time.perf_counter() - started, rows, size)


def percentiles(times: list[float]) -> dict:
    ordered = sorted(times)
    return {
        "p50_ms": statistics.median(ordered) * 1000,
        "p99_ms": ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))] * 1000,
    }


def short_queries(dsn: dict, clients: int, seconds: float) -> dict:
    """`SELECT x FROM bench_small WHERE id = $1`, prepared, from several connections at once."""

    async def one(until: float, times: list[float], number: int) -> None:
        connection = await asyncpg.connect(**dsn)
        try:
            statement = await connection.prepare("SELECT x FROM bench_small WHERE id = $1")
            key = number
            while time.perf_counter() < until:
                key = (key * 31 + 7) % 1000 + 1
                started = time.perf_counter()
                assert len(await statement.fetch(key)) == 1
                times.append(time.perf_counter() - started)
        finally:
            await connection.close()

    async def all_of_them() -> dict:
        times: list[float] = []
        started = time.perf_counter()
        await asyncio.gather(*(one(started + seconds, times, n) for n in range(clients)))
        spent = time.perf_counter() - started
        return {"queries_per_second": len(times) / spent, "clients": clients, **percentiles(times)}

    return asyncio.run(all_of_them())


def select_one(tarn: Tarn, runs: int) -> dict:
    """`SELECT 1` over one HTTP connection."""
    connection = http.client.HTTPConnection(tarn.ready["http"])
    body = json.dumps({"statement": "SELECT 1"})
    headers = {"content-type": "application/json", "authorization": basic()}
    times = []
    for _ in range(runs):
        started = time.perf_counter()
        connection.request("POST", "/api/v1/sql", body, headers)
        answer = json.load(connection.getresponse())
        times.append(time.perf_counter() - started)
        assert answer["rows"] == [[1]], answer
    connection.close()
    return percentiles(times)


def psql_describe(tarn: Tarn, table: str, runs: int) -> dict:
    """`\\d table` as a whole psql process, less what a process that only connects takes."""
    environment = dict(os.environ, PGPASSWORD=PASSWORD)
    command = ["psql", "-h", "127.0.0.1", "-p", str(tarn.port("postgres")), "-U", "admin", "-d", "lake"]

    def spent(*extra: str) -> float:
        started = time.perf_counter()
        subprocess.run([*command, *extra], check=True, env=environment, stdout=subprocess.DEVNULL)
        return time.perf_counter() - started

    spent("-c", rf"\d {table}")
    empty = statistics.median(spent("-c", r"\echo") for _ in range(runs))
    described = statistics.median(spent("-c", rf"\d {table}") for _ in range(runs))
    return {"ms": max(0.0, described - empty) * 1000, "process_ms": described * 1000}


def get_tables(tarn: Tarn, runs: int) -> dict:
    from pyarrow import flight as arrow_flight

    options = {adbc_driver_flightsql.DatabaseOptions.AUTHORIZATION_HEADER.value: basic()}
    uri = f"grpc://127.0.0.1:{tarn.port('flight')}"
    client = arrow_flight.FlightClient(uri)
    headers = arrow_flight.FlightCallOptions(headers=[(b"authorization", basic().encode())])
    # CommandGetTables { catalog = "lake", include_schema = true } in an Any.
    command = b"\x0a\x04lake\x28\x01"
    kind = b"type.googleapis.com/arrow.flight.protocol.sql.CommandGetTables"
    packed = b"\x0a" + bytes([len(kind)]) + kind + b"\x12" + bytes([len(command)]) + command

    def one() -> tuple[float, int]:
        started = time.perf_counter()
        info = client.get_flight_info(arrow_flight.FlightDescriptor.for_command(packed), headers)
        rows = sum(
            client.do_get(endpoint.ticket, headers).read_all().num_rows for endpoint in info.endpoints
        )
        return time.perf_counter() - started, rows

    cold, rows = one()
    warm = statistics.median(one()[0] for _ in range(runs))
    with adbc_driver_flightsql.dbapi.connect(uri, db_kwargs=options, autocommit=True) as connection:
        started = time.perf_counter()
        connection.adbc_get_objects(depth="all", catalog_filter="lake").read_all()
        objects = time.perf_counter() - started
    return {"rows": rows, "cold_ms": cold * 1000, "ms": warm * 1000, "adbc_get_objects_ms": objects * 1000}


def make_tables(tarn: Tarn, count: int) -> float:
    started = time.perf_counter()
    tarn.sql("CREATE SCHEMA wide")
    with psycopg.connect(tarn.dsn(), autocommit=True) as connection:
        for number in range(count):
            connection.execute(
                f"CREATE TABLE wide.t_{number} (id bigint, name text, at timestamp, price numeric(12, 2), ok boolean)"
            )
    return time.perf_counter() - started


def idle_sessions(tarn: Tarn, count: int) -> dict:
    """Resident memory that each of many idle connections costs."""
    before = tarn.rss_bytes()
    held = []
    try:
        for _ in range(count):
            held.append(psycopg.connect(tarn.dsn(), autocommit=True))
        time.sleep(2)
        after = tarn.rss_bytes()
    finally:
        for connection in held:
            connection.close()
    return {"sessions": len(held), "kb_per_session": (after - before) / max(1, len(held)) / 1000}


def soak(tarn: Tarn, sessions: int, seconds: float) -> dict:
    """Many sessions at once, each running short queries: errors, and whether memory grows."""
    dsn = asyncpg_dsn(tarn)
    samples: list[int] = []
    errors: list[str] = []

    async def one(until: float, number: int) -> int:
        done = 0
        try:
            connection = await asyncpg.connect(**dsn, timeout=60)
            try:
                while time.perf_counter() < until:
                    await connection.fetch("SELECT k, x FROM bench_small WHERE id = $1", number % 1000 + 1)
                    done += 1
            finally:
                await connection.close()
        except Exception as error:  # every kind of failure counts
            errors.append(f"{type(error).__name__}: {error}")
        return done

    async def watch(until: float) -> None:
        while time.perf_counter() < until:
            samples.append(tarn.rss_bytes())
            await asyncio.sleep(seconds / 30)

    async def run() -> int:
        until = time.perf_counter() + seconds
        *counts, _ = await asyncio.gather(*(one(until, n) for n in range(sessions)), watch(until))
        return sum(counts)

    queries = asyncio.run(run())
    third = max(1, len(samples) // 3)
    return {
        "sessions": sessions,
        "seconds": seconds,
        "queries": queries,
        "errors": len(errors),
        "first_errors": errors[:3],
        "rss_mb_first_third": statistics.mean(samples[:third]) / 1e6,
        "rss_mb_last_third": statistics.mean(samples[-third:]) / 1e6,
    }


def asyncpg_dsn(tarn: Tarn) -> dict:
    return {
        "host": "127.0.0.1",
        "port": tarn.port("postgres"),
        "user": "admin",
        "password": PASSWORD,
        "database": "lake",
        "ssl": False,
    }


def fill_postgres(tarn: Tarn, postgres: Postgres) -> None:
    with psycopg.connect(postgres.dsn(), autocommit=True) as target:
        target.execute(f"CREATE UNLOGGED TABLE bench ({COLUMNS})")
        target.execute(f"CREATE TABLE bench_small ({COLUMNS})")
        for table in ("bench", "bench_small"):
            with psycopg.connect(tarn.dsn(), autocommit=True) as source:
                with source.cursor().copy(f"COPY {table} TO STDOUT (FORMAT binary)") as out:
                    with target.cursor().copy(f"COPY {table} FROM STDIN (FORMAT binary)") as into:
                        for block in out:
                            into.write(block)
        target.execute("CREATE INDEX ON bench_small (id)")
        target.execute("VACUUM ANALYZE bench")
        target.execute("VACUUM ANALYZE bench_small")


def show(results: dict) -> None:
    print(f"\n{results['rows']:,} rows, best of {results['runs']}, one client, loopback")
    print(f"{'':34}{'first row':>12}{'rows/s':>14}{'MB/s':>9}{'seconds':>9}")
    for name, r in results["transfer"].items():
        size = f"{r['mb_per_second']:9.0f}" if r["mb_per_second"] else f"{'':9}"
        print(f"{name:34}{r['first_row_ms']:9.1f} ms{r['rows_per_second']:14,.0f}{size}{r['seconds']:9.2f}")
    for part in ("small", "short_queries", "metadata", "sessions"):
        print()
        for name, r in results.get(part, {}).items():
            facts = ", ".join(
                f"{key} {value:,.1f}" if isinstance(value, float) else f"{key} {value}"
                for key, value in r.items()
            )
            print(f"{name:34}{facts}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--binary", required=True, help="the tarn binary, a release build")
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--tables", type=int, default=10_000)
    parser.add_argument("--seconds", type=float, default=10, help="length of the short-query run")
    parser.add_argument("--soak-seconds", type=float, default=300)
    parser.add_argument("--only", nargs="*", choices=["small", "transfer", "short", "metadata", "sessions"])
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    wanted = given.only or ["small", "transfer", "short", "metadata", "sessions"]
    results: dict = {"rows": given.rows, "runs": given.runs, "transfer": {}}
    folder = pathlib.Path(tempfile.mkdtemp(prefix="tarn-bench-"))
    say = lambda text: print(text, file=sys.stderr, flush=True)  # noqa: E731
    tarn = Tarn(given.binary, folder)
    postgres = None
    try:
        if "small" in wanted:
            small = results["small"] = {}
            # What a server needs that nobody has asked anything.
            small["start"] = {"seconds": tarn.start_seconds, "memory_mb": tarn.rss_bytes() / 1e6}
            small["SELECT 1, HTTP"] = select_one(tarn, 1000)
        tarn.sql("CREATE TABLE bench_small AS" + ROWS_SQL.format(rows=1000))
        if "transfer" in wanted:
            say(f"making {given.rows:,} rows")
            tarn.sql("CREATE TABLE bench AS" + ROWS_SQL.format(rows=given.rows))
            try:
                postgres = Postgres(folder)
                fill_postgres(tarn, postgres)
            except FileNotFoundError as missing:
                say(f"without PostgreSQL: {missing}")
            files = glob.glob(str(tarn.folder / "warehouse/main/bench*/data/**/*.parquet"), recursive=True)
            files = [f for f in files if "bench_small" not in f]
            transfer = results["transfer"]
            say("transfer")
            transfer["Tarn, PG COPY binary"] = best(given.runs, lambda: copy_binary(tarn.dsn(), given.rows))
            if postgres:
                transfer["PostgreSQL, COPY binary"] = best(given.runs, lambda: copy_binary(postgres.dsn(), given.rows))
            transfer["Tarn, PG portal binary (asyncpg)"] = best(1, lambda: portal_binary(asyncpg_dsn(tarn), given.rows))
            if postgres:
                peer = {"host": "127.0.0.1", "port": postgres.port, "user": "bench", "database": "postgres"}
                transfer["PostgreSQL, portal (asyncpg)"] = best(1, lambda: portal_binary(peer, given.rows))
            transfer["Tarn, Flight SQL (ADBC)"] = best(given.runs, lambda: flight(tarn, given.rows))
            transfer["Tarn, HTTP Arrow stream"] = best(given.runs, lambda: http_arrow(tarn, given.rows))
            transfer["DuckDB, Arrow, in process"] = best(given.runs, lambda: duckdb_arrow(files, given.rows))
        if "short" in wanted:
            say("short queries")
            short = results["short_queries"] = {}
            short["Tarn, PG prepared"] = short_queries(asyncpg_dsn(tarn), 32, given.seconds)
            if postgres:
                peer = {"host": "127.0.0.1", "port": postgres.port, "user": "bench", "database": "postgres"}
                short["PostgreSQL, prepared"] = short_queries(peer, 32, given.seconds)
        if "sessions" in wanted:
            say("idle sessions, then the soak")
            sessions = results["sessions"] = {}
            sessions["1,000 idle"] = idle_sessions(tarn, 1000)
            sessions["200 busy"] = soak(tarn, 200, given.soak_seconds)
        if "metadata" in wanted:
            say(f"making {given.tables:,} tables")
            metadata = results["metadata"] = {}
            metadata["made"] = {"tables": given.tables, "seconds": make_tables(tarn, given.tables)}
            metadata["Flight GetTables with schemas"] = get_tables(tarn, 5)
            metadata["psql \\d of one table"] = psql_describe(tarn, f"wide.t_{given.tables // 2}", 7)
        if given.json:
            print(json.dumps(results, indent=2))
        else:
            show(results)
    finally:
        tarn.stop()
        if postgres:
            postgres.stop()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()

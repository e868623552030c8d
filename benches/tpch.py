"""TPC-H over the same Iceberg tables on the same S3: Tarn in process, Tarn on workers, DuckDB; and DataFusion's Python
wheel over the data files of these tables.

Starts a SeaweedFS, generates the data with tpchgen, lets Tarn write the tables, then runs all queries with one engine
after the other, each in fresh processes: the first round is cold (nothing cached in the engine; the object store's files
are in the page cache of the machine), of the others the best counts. Answers of all engines are compared. Prints one
table, or JSON with --json. With --data the tables are kept there for the next run.
"""

from __future__ import annotations

import argparse
import decimal
import json
import math
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time

from common import ACCESS_KEY, BUCKET, REGION, S3, SECRET_KEY, Tarn

HERE = pathlib.Path(__file__).resolve().parent
QUERIES = HERE.parent / "src" / "tpch" / "queries"
TABLES = ["region", "nation", "supplier", "customer", "part", "partsupp", "orders", "lineitem"]
ENGINES = {
    "tarn": "Tarn, in process",
    "tarn-workers": "Tarn, two workers",
    "duckdb": "DuckDB",
    "datafusion": "DataFusion's wheel, Parquet",
}
# Relative distance of two answers that rounding in doubles explains.
DOUBLE_TOLERANCE = 1e-6


def numbers(text: str) -> list[int]:
    """1,3,5-7"""
    found = []
    for part in text.split(","):
        first, _, last = part.partition("-")
        found.extend(range(int(first), int(last or first) + 1))
    if not found or min(found) < 1 or max(found) > 22:
        raise argparse.ArgumentTypeError("queries are 1 to 22, such as 1,3,5-7")
    return found


def byte_count(text: str) -> int:
    """2GiB, 512MiB or a plain number"""
    units = {"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
    for unit, factor in units.items():
        if text.endswith(unit):
            return int(float(text.removesuffix(unit)) * factor)
    return int(text)


def engines(text: str) -> list[str]:
    names = text.split(",")
    unknown = [name for name in names if name not in ENGINES]
    if unknown:
        raise argparse.ArgumentTypeError(f"unknown engine {unknown[0]}; there are {', '.join(ENGINES)}")
    return names


def query(number: int) -> str:
    return (QUERIES / f"q{number:02}.sql").read_text().rstrip().rstrip(";")


class Peak(threading.Thread):
    """The most memory that some processes had together, sampled. Anonymous pages only: what the kernel can drop counts for nobody."""

    def __init__(self, pids: list[int]):
        super().__init__(daemon=True)
        self.pids, self.bytes, self.done = pids, 0, threading.Event()
        self.start()

    def run(self) -> None:
        while not self.done.wait(0.05):
            self.bytes = max(self.bytes, sum(map(anonymous_bytes, self.pids)))

    def stop(self) -> int:
        self.done.set()
        self.join()
        return self.bytes


def anonymous_bytes(pid: int) -> int:
    try:
        lines = pathlib.Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon:"))


def children(pid: int) -> list[int]:
    found = []
    for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
        found += [int(child) for child in (task / "children").read_text().split()]
    return found


# ---- data


def load(folder: pathlib.Path, s3: S3, binary: str, scale_factor: float) -> dict:
    """Makes the tables unless they are there; gives each table's metadata location and rows."""
    state = folder / "tables.json"
    if state.exists():
        known = json.loads(state.read_text())
        if known["scale_factor"] == scale_factor:
            return known
        raise SystemExit(f"{folder} holds scale factor {known['scale_factor']}; choose another --data")
    staging = folder / "staging"
    staging.mkdir(exist_ok=True)
    started = time.monotonic()
    generator = pathlib.Path(sys.executable).parent / "tpchgen-cli"
    parts = max(1, math.ceil(scale_factor))
    subprocess.run([generator, "parquet", "-s", str(scale_factor), "--output-dir", staging, "--parts", str(parts), "--quiet"],
                   check=True)
    say(f"generated scale factor {scale_factor:g} in {time.monotonic() - started:.0f} s")
    server = Tarn(binary, folder, s3, {"TARN__STORAGE__ALLOWED_ROOTS": json.dumps([str(staging)])})
    try:
        server.sql("CREATE SCHEMA IF NOT EXISTS tpch")
        known = {"scale_factor": scale_factor, "tables": {}}
        for table in TABLES:
            started = time.monotonic()
            files = staging / table / "*.parquet" if (staging / table).is_dir() else staging / f"{table}.parquet"
            server.sql(f"DROP TABLE IF EXISTS tpch.{table}")
            server.sql(f"CREATE TABLE tpch.{table} AS SELECT * FROM read_parquet('{files}')")
            rows = server.sql(f"SELECT count(*) FROM tpch.{table}")["rows"][0][0]
            say(f"loaded {table}: {rows} rows in {time.monotonic() - started:.1f} s")
            log = server.sql(f'SELECT file FROM tpch."{table}$metadata_log_entries" ORDER BY timestamp DESC LIMIT 1')
            known["tables"][table] = {"rows": rows, "metadata": log["rows"][0][0]}
    finally:
        server.stop()
    shutil.rmtree(staging)
    state.write_text(json.dumps(known, indent=1))
    return known


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


# ---- engines


def run_tarn(options, folder: pathlib.Path, s3: S3, workers: int) -> dict:
    environment = {"TARN__CATALOG__LAKE__WAREHOUSE": f"s3://{BUCKET}/warehouse"}
    if options.memory:
        environment["TARN__MEMORY__LIMIT_BYTES"] = str(options.memory)
    server = Tarn(options.binary, folder, s3, environment, ["--workers", str(workers)])
    try:
        pids = [server.process.pid, *children(server.process.pid)]
        if workers:
            until = time.monotonic() + 30
            while server.sql("SELECT count(*) FROM system.workers")["rows"][0][0] < workers:
                if time.monotonic() > until:
                    raise SystemExit("the workers did not come")
                time.sleep(0.1)
            pids = [server.process.pid, *children(server.process.pid)]
        # With workers, queries that read little stay in the coordinator, as they do for everybody.
        properties = {"schema": "tpch"}
        peak = Peak(pids)
        rounds = timed(options, lambda text: server.sql(text, properties)["rows"])
        point = [point_query(server, key) for key in range(1, 61)]
        return rounds | {"peak_bytes": peak.stop(), "point_ms": statistics.median(point[10:]) * 1000}
    finally:
        server.stop()


def point_query(server: Tarn, number: int) -> float:
    """One order's lines: the bounds of files, row groups and pages leave little to read."""
    key = number * 7919 * 32 % 1_000_000 // 32 * 32 + 1
    started = time.perf_counter()
    server.sql(f"SELECT l_partkey, l_quantity FROM lineitem WHERE l_orderkey = {key}", {"schema": "tpch"})
    return time.perf_counter() - started


def timed(options, run) -> dict:
    """Each query once (cold), then again `runs` times (the best is warm)."""
    seconds: dict[int, list[float]] = {number: [] for number in options.queries}
    answers, errors = {}, {}
    for turn in range(1 + options.runs):
        for number in options.queries:
            if number in errors:
                continue
            text = query(number)
            started = time.perf_counter()
            try:
                answers[number] = run(text)
            except Exception as error:  # whatever an engine says is its answer
                errors[number] = str(error)
                say(f"  query {number}: {error}")
                continue
            seconds[number].append(time.perf_counter() - started)
            say(f"  round {turn} query {number}: {seconds[number][-1]:.2f} s")
    return {
        "cold": {number: times[0] for number, times in seconds.items() if times},
        "warm": {number: min(times[1:] or times) for number, times in seconds.items() if times},
        "answers": answers,
        "errors": errors,
    }


def run_peer(options, s3: S3, tables: dict, name: str) -> dict:
    request = {"peer": name, "port": s3.port, "tables": tables, "queries": options.queries, "runs": options.runs}
    process = subprocess.Popen([sys.executable, "-B", __file__, "--peer"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                               text=True)
    peak = Peak([process.pid])
    output, _ = process.communicate(json.dumps(request))
    if process.returncode:
        raise SystemExit(f"{name} failed")
    answer = json.loads(output)
    for part in ("cold", "warm", "answers", "errors"):
        answer[part] = {int(number): value for number, value in answer[part].items()}
    return answer | {"peak_bytes": peak.stop()}


def peer() -> None:
    """The child process of a peer: request on stdin, answer on stdout."""
    request = json.load(sys.stdin)
    options = argparse.Namespace(queries=request["queries"], runs=request["runs"])
    run = {"duckdb": duckdb_runner, "datafusion": datafusion_runner}[request["peer"]](request)
    json.dump(timed(options, run), sys.stdout, default=str)


def duckdb_runner(request: dict):
    import duckdb

    connection = duckdb.connect()
    for extension in ("httpfs", "avro", "iceberg"):
        duckdb_extension(connection, extension)
    connection.execute(
        f"CREATE SECRET (TYPE s3, KEY_ID '{ACCESS_KEY}', SECRET '{SECRET_KEY}', REGION '{REGION}', "
        f"ENDPOINT '127.0.0.1:{request['port']}', USE_SSL false, URL_STYLE 'path')"
    )
    for table, about in request["tables"].items():
        connection.execute(f"CREATE VIEW {table} AS SELECT * FROM iceberg_scan('{about['metadata']}')")
    return lambda text: connection.execute(text).fetchall()


def duckdb_extension(connection, name: str) -> None:
    import importlib

    module = importlib.import_module(f"duckdb_extension_{name}")
    files = list(pathlib.Path(module.__path__[0]).rglob("*.duckdb_extension"))
    connection.execute(f"LOAD '{files[0]}'")


def datafusion_runner(request: dict):
    import datafusion
    from datafusion.object_store import AmazonS3

    context = datafusion.SessionContext()
    store = AmazonS3(bucket_name=BUCKET, region=REGION, access_key_id=ACCESS_KEY, secret_access_key=SECRET_KEY,
                     endpoint=f"http://127.0.0.1:{request['port']}", allow_http=True)
    context.register_object_store("s3://", store, BUCKET)
    for table, about in request["tables"].items():
        folder = about["metadata"].rsplit("/metadata/", 1)[0]
        context.register_parquet(table, f"{folder}/data/")

    def run(text: str) -> list:
        batches = context.sql(text).collect()
        return [list(row.values()) for batch in batches for row in batch.to_pylist()]

    return run


# ---- answers


def plain(value):
    """A value as all engines say it: numbers as floats, anything else as text."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value)
    try:
        return float(decimal.Decimal(str(value)))
    except decimal.InvalidOperation:
        return str(value).strip()


def close(a, b) -> bool:
    if isinstance(a, float) and isinstance(b, float):
        return abs(a - b) <= DOUBLE_TOLERANCE * max(1.0, abs(a), abs(b))
    return a == b


def difference(left: list, right: list) -> str | None:
    if len(left) != len(right):
        return f"{len(left)} rows and {len(right)}"
    # Rows that ORDER BY leaves tied may come in any order.
    key = lambda row: [(isinstance(v, str), v if isinstance(v, str) else round(v, 2)) for v in row]
    rows = [sorted(([plain(v) for v in row] for row in side), key=key) for side in (left, right)]
    for a, b in zip(*rows):
        if len(a) != len(b) or not all(map(close, a, b)):
            return f"{a} and {b}"
    return None


# ---- what is printed


def table(options, results: dict) -> str:
    names = list(results)
    head = "| query | " + " | ".join(f"{ENGINES[name]}: cold | warm" for name in names) + " |"
    lines = [head, "|---" * (1 + 2 * len(names)) + "|"]

    def cell(times: dict, number: int) -> str:
        return f"{times[number]:.2f}" if number in times else "error"

    for number in options.queries:
        cells = [cell(results[name][part], number) for name in names for part in ("cold", "warm")]
        lines.append(f"| {number} | " + " | ".join(cells) + " |")
    totals = [f"{sum(results[name][part].values()):.1f}" for name in names for part in ("cold", "warm")]
    lines.append("| total, s | " + " | ".join(totals) + " |")
    peaks = [f"{results[name]['peak_bytes'] / 2**30:.2f} GiB | " for name in names]
    lines.append("| peak memory | " + " | ".join(peaks) + " |")
    points = [f"{results[name]['point_ms']:.1f} ms | " if "point_ms" in results[name] else " | " for name in names]
    lines.append("| one order's lines, median | " + " | ".join(points) + " |")
    return "\n".join(lines)


def main() -> None:
    if sys.argv[1:] == ["--peer"]:
        return peer()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", required=True, help="the tarn to measure")
    parser.add_argument("--scale-factor", type=float, default=10.0)
    parser.add_argument("--queries", type=numbers, default=list(range(1, 23)), help="such as 1,3,5-7")
    parser.add_argument("--engines", type=engines, default=list(ENGINES), help=",".join(ENGINES))
    parser.add_argument("--runs", type=int, default=2, help="rounds after the first")
    parser.add_argument("--memory", type=byte_count,
                        help="memory.limit_bytes of each process of Tarn, such as 2GiB; one query gets half of it")
    parser.add_argument("--data", type=pathlib.Path, help="folder that keeps the tables between runs")
    parser.add_argument("--json", type=pathlib.Path, help="file for the figures")
    options = parser.parse_args()
    options.binary = os.path.abspath(options.binary)
    folder = options.data or pathlib.Path(tempfile.mkdtemp(prefix="tarn-tpch-"))
    folder = folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    s3 = S3(folder)
    try:
        tables = load(folder, s3, options.binary, options.scale_factor)["tables"]
        results = {}
        for name in options.engines:
            say(ENGINES[name])
            if name.startswith("tarn"):
                results[name] = run_tarn(options, folder, s3, 2 if name == "tarn-workers" else 0)
            else:
                results[name] = run_peer(options, s3, tables, name)
    finally:
        s3.stop()
        if not options.data:
            shutil.rmtree(folder, ignore_errors=True)
    first, *others = results
    differences = [
        f"query {number}: {ENGINES[first]} and {ENGINES[other]} differ: {found}"
        for other in others
        for number in options.queries
        if number in results[first]["answers"] and number in results[other]["answers"]
        and (found := difference(results[first]["answers"][number], results[other]["answers"][number]))
    ]
    if options.json:
        figures = {name: {part: value for part, value in result.items() if part != "answers"} for name, result in results.items()}
        options.json.write_text(json.dumps({"scale_factor": options.scale_factor, "engines": figures,
                                            "differences": differences}, indent=1))
    print(table(options, results))
    print("\n".join(differences) or "all answers agree")
    sys.exit(bool(differences) or any(result["errors"] for result in results.values()))


if __name__ == "__main__":
    main()

"""What a query costs whose worker is lost: seeded kills and stops while it runs on workers.

Starts a server with local workers on loopback and on a folder that is removed at the end. Every answer must be the
right one, or an error that says that a retry helps (57P02); anything else ends the run with exit code 1. The extra
time is that of a query with a kill over the median of those without. Prints a table, or JSON with --json.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import random
import shutil
import signal
import statistics
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
import uuid

from common import Tarn, basic

LOST = "57P02"
QUERY = "SELECT count(*), sum(x.i) FROM numbers AS x JOIN numbers AS y ON x.k = y.k WHERE (x.i * y.i) % 7 = 3"


def workers(server: Tarn) -> list[int]:
    children = pathlib.Path(f"/proc/{server.process.pid}/task").glob("*/children")
    return sorted(int(child) for path in children for child in path.read_text().split())


def active(server: Tarn) -> int:
    return int(server.sql("SELECT count(*) FROM system.workers WHERE state = 'ACTIVE'")["rows"][0][0])


def until(what: str, seconds: float, condition) -> None:
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise SystemExit(f"waited {seconds} s in vain for: {what}")
        time.sleep(0.05)


class Session:
    """Statements that always run on workers."""

    def __init__(self, server: Tarn):
        self.server = server
        self.id = str(uuid.uuid4())
        self.sql("SET distribution = 'always'")

    def sql(self, statement: str) -> tuple[list, str | None]:
        request = urllib.request.Request(
            f"http://{self.server.ready['http']}/api/v1/sql",
            data=json.dumps({"statement": statement}).encode(),
            headers={"content-type": "application/json", "authorization": basic(), "tarn-session": self.id},
        )
        try:
            with urllib.request.urlopen(request, timeout=120) as answer:
                return json.load(answer)["rows"], None
        except urllib.error.HTTPError as error:
            problem = json.load(error)
            return [problem.get("detail")], problem.get("code") or str(problem)


def timed(session: Session) -> tuple[float, list, str | None]:
    begun = time.monotonic()
    rows, code = session.sql(QUERY)
    return time.monotonic() - begun, rows, code


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--binary", default="target/release/tarn")
    parser.add_argument("--workers", type=int, default=3)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--rows", type=int, default=400_000)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    chance = random.Random(arguments.seed)
    folder = pathlib.Path(tempfile.mkdtemp(prefix="tarn-kills-"))
    server = Tarn(arguments.binary, folder, arguments=["--workers", str(arguments.workers)])
    wrong, extra, lost = [], {"KILL": [], "STOP": []}, 0
    try:
        server.sql("CREATE TABLE numbers AS SELECT i, i % 1000 AS k, md5(i::text) AS s"
                   f" FROM generate_series(1, {arguments.rows}) AS g(i)")
        session = Session(server)
        plain = [timed(session) for _ in range(5)]
        right, usual = plain[0][1], statistics.median(seconds for seconds, _, _ in plain)
        for number in range(arguments.kills):
            until("all workers are in", 60, lambda: active(server) == arguments.workers)
            name = chance.choice(["KILL", "STOP"])
            victim = chance.choice(workers(server))
            delay = chance.uniform(0.05, 0.9) * usual
            harm = threading.Timer(delay, os.kill, [victim, getattr(signal, f"SIG{name}")])
            harm.start()
            seconds, rows, code = timed(session)
            harm.join()
            if name == "STOP":
                os.kill(victim, signal.SIGCONT)
            lost += code == LOST
            if (rows, code) != (right, None) and code != LOST:
                wrong.append(f"{name} {number} after {delay:.2f} s: {rows} {code}")
            extra[name].append(max(0.0, seconds - usual))
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)
    everything = sorted(extra["KILL"] + extra["STOP"])
    p95 = everything[min(len(everything) - 1, int(len(everything) * 0.95))]
    result = {"seed": arguments.seed, "usual_seconds": usual, "kills": len(extra["KILL"]), "stops": len(extra["STOP"]),
              "p95_extra_seconds": p95, "max_extra_seconds": everything[-1], "retryable_errors": lost, "wrong": wrong}
    if arguments.json:
        print(json.dumps(result, indent=2))
    else:
        for key, value in result.items():
            print(f"{key:20} {value}")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()

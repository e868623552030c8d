"""What the benchmarks share: a server of their own, and the S3 that it may use."""

from __future__ import annotations

import base64
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import time
import urllib.request

PASSWORD = "bench"
ACCESS_KEY, SECRET_KEY, REGION, BUCKET = "bench", "bench-secret", "us-east-1", "lake"


def basic() -> str:
    return "Basic " + base64.b64encode(f"admin:{PASSWORD}".encode()).decode()


def free_ports(count: int) -> list[int]:
    probes = [socket.socket() for _ in range(count)]
    for probe in probes:
        probe.bind(("127.0.0.1", 0))
    ports = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    return ports


class S3:
    """A SeaweedFS with one bucket."""

    def __init__(self, folder: pathlib.Path):
        # Beside this Python, as scripts/test-tools.sh installs it.
        weed = pathlib.Path(sys.executable).parent / "weed"
        if not weed.exists():
            raise SystemExit("weed (SeaweedFS) is not installed; scripts/test-tools.sh installs it")
        self.folder = folder / "s3"
        self.folder.mkdir()
        identities = {"identities": [{
            "name": "tarn",
            "credentials": [{"accessKey": ACCESS_KEY, "secretKey": SECRET_KEY}],
            "actions": ["Admin", "Read", "Write", "List", "Tagging"],
        }]}
        config = self.folder / "identities.json"
        config.write_text(json.dumps(identities))
        named = ["s3.port", "s3.port.grpc", "master.port", "master.port.grpc", "volume.port", "volume.port.grpc",
                 "filer.port", "filer.port.grpc", "admin.port", "admin.port.grpc", "webdav.port"]
        ports = free_ports(len(named))
        self.port = ports[0]
        log = open(folder / "s3.log", "w+")
        self.process = subprocess.Popen(
            [weed, "mini", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-master.telemetry=false", "-admin.ui=false",
             "-webdav=false", "-s3.port.iceberg=0", "-s3.port.lance=0", "-s3.autoCreateBucket=false",
             "-volume.max=100", *(f"-{name}={port}" for name, port in zip(named, ports)),
             f"-dir={self.folder}", f"-bucket={BUCKET}", f"-s3.config={config}",
             f"-s3.localSocket={self.folder / 's3.sock'}", f"-filer.localSocket={self.folder / 'filer.sock'}"],
            stdout=log, stderr=subprocess.STDOUT, cwd=self.folder,
        )
        until = time.monotonic() + 60
        while "components are running and ready" not in (folder / "s3.log").read_text():
            if self.process.poll() is not None or time.monotonic() > until:
                raise SystemExit(f"SeaweedFS did not start; see {folder / 's3.log'}")
            time.sleep(0.1)

    def environment(self) -> dict:
        keys = {"ENDPOINT": f"http://127.0.0.1:{self.port}", "REGION": REGION, "ACCESS_KEY_ID": ACCESS_KEY,
                "SECRET_ACCESS_KEY": SECRET_KEY}
        return {f"TARN__STORAGE__S3__{key}": value for key, value in keys.items()} | {
            "TARN__CATALOG__LAKE__WAREHOUSE": f"s3://{BUCKET}/warehouse"
        }

    def properties(self) -> dict:
        """As PyIceberg wants them."""
        return {"s3.endpoint": f"http://127.0.0.1:{self.port}", "s3.region": REGION, "s3.access-key-id": ACCESS_KEY,
                "s3.secret-access-key": SECRET_KEY}

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()


class Tarn:
    """A server on free ports."""

    def __init__(self, binary: str, folder: pathlib.Path, s3: S3 | None = None, workers: int = 0):
        self.folder = folder / "tarn"
        environment = dict(os.environ, TARN__ADMIN_PASSWORD=PASSWORD)
        if s3:
            environment |= s3.environment()
        for door in ("HTTP", "FLIGHT", "POSTGRES", "WORKER"):
            environment[f"TARN__LISTEN__{door}"] = "127.0.0.1:0"
        self.log = open(folder / "tarn.log", "a")
        self.process = subprocess.Popen(
            [binary, "server", "--data-dir", str(self.folder), "--workers", str(workers)],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=self.log,
            text=True,
        )
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"the server did not start; see {folder / 'tarn.log'}")
        self.ready = json.loads(line)["ready"]

    def port(self, door: str) -> int:
        return int(self.ready[door].rsplit(":", 1)[1])

    def sql(self, statement: str) -> dict:
        request = urllib.request.Request(
            f"http://{self.ready['http']}/api/v1/sql",
            data=json.dumps({"statement": statement}).encode(),
            headers={"content-type": "application/json", "authorization": basic()},
        )
        with urllib.request.urlopen(request, timeout=600) as answer:
            return json.load(answer)

    def dsn(self) -> str:
        return f"host=127.0.0.1 port={self.port('postgres')} user=admin password={PASSWORD} dbname=lake"

    def rss_bytes(self) -> int:
        for line in pathlib.Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
        return 0

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()


def best(runs: int, action) -> dict:
    """The run with the shortest total of several."""
    return min((action() for _ in range(runs)), key=lambda r: r["seconds"])

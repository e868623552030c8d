"""As much of an Iceberg REST catalog as DuckDB needs to write tables: DuckDB writes through no other kind of catalog.

Keeps each table's metadata in memory as the JSON of the specification, applies the updates of a commit to it, and
writes it to S3. One writer, no security, nothing checked: what is in the tables is DuckDB's doing.
"""

import http.server
import json
import re
import sys
import threading
import time
import uuid
from urllib.parse import unquote


class Catalog:
    """Tables by name, all in the namespace `animals`."""

    def __init__(self, write_file):
        self.tables, self.locations, self.write_file = {}, {}, write_file

    def create(self, request):
        name = request["name"]
        location = request.get("location") or f"s3://zoo/{name}"
        version = int(request.get("properties", {}).pop("format-version", 2))
        schema = {"schema-id": 0} | request["schema"]
        spec = {"spec-id": 0, "fields": []} | (request.get("partition-spec") or {})
        order = {"order-id": 0, "fields": []} | (request.get("write-order") or {})
        now = int(time.time() * 1000)
        metadata = {
            "format-version": version, "table-uuid": str(uuid.uuid4()), "location": location, "last-sequence-number": 0, "last-updated-ms": now,
            "last-column-id": max_id(schema), "schemas": [schema], "current-schema-id": schema["schema-id"], "partition-specs": [spec],
            "default-spec-id": spec["spec-id"], "last-partition-id": max([f.get("field-id", 999) for f in spec["fields"]] + [999]),
            "sort-orders": [order], "default-sort-order-id": order["order-id"], "properties": request.get("properties") or {},
            "snapshots": [], "refs": {}, "snapshot-log": [], "metadata-log": [],
        }
        if version > 2:
            metadata["next-row-id"] = 0
        if not request.get("stage-create"):
            self.store(name, metadata)
        return metadata

    def store(self, name, metadata):
        number = len(metadata["metadata-log"]) + (1 if name in self.locations else 0)
        if name in self.locations:
            metadata["metadata-log"].append({"timestamp-ms": metadata["last-updated-ms"], "metadata-file": self.locations[name]})
        location = f"{metadata['location']}/metadata/{number:05}-{uuid.uuid4()}.metadata.json"
        self.write_file(location, json.dumps(metadata).encode())
        self.tables[name], self.locations[name] = metadata, location

    def commit(self, name, updates):
        metadata = json.loads(json.dumps(self.tables.get(name) or self.create({"name": name, "schema": {"type": "struct", "fields": []}, "stage-create": True})))
        for update in updates:
            apply(metadata, update)
        metadata["last-updated-ms"] = max(int(time.time() * 1000), metadata["last-updated-ms"])
        self.store(name, metadata)
        return self.load(name)

    def load(self, name):
        return {"metadata-location": self.locations[name], "metadata": self.tables[name], "config": {}}


def max_id(kind):
    """The highest field id below a type."""
    if not isinstance(kind, dict):
        return 0
    ids = [kind.get(key, 0) for key in ("id", "element-id", "key-id", "value-id")]
    ids += [max_id(kind[key]) for key in ("type", "element", "key", "value") if key in kind]
    return max(ids + [max_id(field) for field in kind.get("fields", [])])


# Updates that add to a list: its key, the key of an element's id, and the update's own key.
LISTS = {
    "add-schema": ("schemas", "schema-id", "schema"),
    "add-spec": ("partition-specs", "spec-id", "spec"),
    "add-sort-order": ("sort-orders", "order-id", "sort-order"),
}
# Updates that make one of them current, by the key of the update; -1 is the one added last.
CURRENT = {
    "set-current-schema": ("current-schema-id", "schema-id", "schemas", "schema-id"),
    "set-default-spec": ("default-spec-id", "spec-id", "partition-specs", "spec-id"),
    "set-default-sort-order": ("default-sort-order-id", "sort-order-id", "sort-orders", "order-id"),
}


def apply(metadata, update):
    """One update of the specification's REST protocol."""
    action = update["action"]
    if action in LISTS:
        key, id_key, own = LISTS[action]
        added = update[own]
        added.setdefault(id_key, len(metadata[key]))
        metadata[key] = [old for old in metadata[key] if old[id_key] != added[id_key]] + [added]
        if action == "add-schema":
            metadata["last-column-id"] = max(metadata["last-column-id"], max_id(added))
        if action == "add-spec":
            ids = [field["field-id"] for field in added["fields"]]
            metadata["last-partition-id"] = max(ids + [metadata["last-partition-id"]])
    elif action in CURRENT:
        key, own, items, id_key = CURRENT[action]
        metadata[key] = metadata[items][-1][id_key] if update[own] == -1 else update[own]
    elif action == "add-snapshot":
        snapshot = update["snapshot"]
        metadata["snapshots"].append(snapshot)
        metadata["last-sequence-number"] = max(metadata["last-sequence-number"], snapshot.get("sequence-number", 0))
        metadata["last-updated-ms"] = snapshot["timestamp-ms"]
        if "added-rows" in snapshot:
            metadata["next-row-id"] += snapshot["added-rows"]
    elif action == "set-snapshot-ref":
        name = update["ref-name"]
        metadata["refs"][name] = {key: value for key, value in update.items() if key not in ("action", "ref-name")}
        if name == "main":
            metadata["current-snapshot-id"] = update["snapshot-id"]
            metadata["snapshot-log"].append({"timestamp-ms": metadata["last-updated-ms"], "snapshot-id": update["snapshot-id"]})
    elif action == "set-properties":
        metadata["properties"] |= update["updates"]
    elif action == "remove-properties":
        for key in update["removals"]:
            metadata["properties"].pop(key, None)
    elif action == "assign-uuid":
        metadata["table-uuid"] = update["uuid"]
    elif action == "set-location":
        metadata["location"] = update["location"]
    elif action == "upgrade-format-version":
        metadata["format-version"] = update["format-version"]
        if update["format-version"] > 2:
            metadata.setdefault("next-row-id", 0)
    else:
        raise ValueError(f"the update {action} is not known here: {update}")


def serve(catalog):
    """Starts the catalog on a free port of this machine and gives the server."""

    class Door(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_):
            pass

        def answer(self, status, body=None):
            data = b"" if body is None else json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(data)

        def route(self):
            length = int(self.headers.get("Content-Length") or 0)
            request = json.loads(self.rfile.read(length)) if length else {}
            path = unquote(self.path.split("?")[0])
            table = re.fullmatch(r"/v1/namespaces/animals/tables/([^/]+)", path)
            if path == "/v1/config":
                return 200, {"defaults": {}, "overrides": {}}
            if path == "/v1/namespaces":
                return 200, {"namespaces": [["animals"]]}
            if path == "/v1/namespaces/animals":
                return 200, {"namespace": ["animals"], "properties": {}}
            if path == "/v1/namespaces/animals/tables" and self.command == "GET":
                return 200, {"identifiers": [{"namespace": ["animals"], "name": name} for name in catalog.tables]}
            if path == "/v1/namespaces/animals/tables":
                metadata = catalog.create(request)
                return 200, {"metadata-location": catalog.locations.get(request["name"]), "metadata": metadata, "config": {}}
            if path == "/v1/transactions/commit":
                for change in request["table-changes"]:
                    catalog.commit(change["identifier"]["name"], change["updates"])
                return 204, None
            if table and self.command == "POST":
                return 200, catalog.commit(table[1], request["updates"])
            if table and table[1] in catalog.tables:
                return 200, catalog.load(table[1])
            error = {"message": f"{self.command} {path}", "type": "NoSuchTableException", "code": 404}
            return 404, {"error": error}

        def do_GET(self):
            try:
                self.answer(*self.route())
            except Exception as error:
                print(f"REST catalog: {self.command} {self.path}: {error!r}", file=sys.stderr)
                self.answer(500, {"error": {"message": repr(error), "type": "Error", "code": 500}})

        do_POST = do_HEAD = do_DELETE = do_GET

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Door)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server

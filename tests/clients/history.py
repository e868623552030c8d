"""The history of a table as PyIceberg sees it.

Input: {"catalog", "table"}. Output: {"snapshots": [{"id", "parent", "sequence", "operation",
"added", "total"}, ...] in the order of the metadata, "current": id}.
"""

import lake


def main():
    task = lake.read_input()
    table = lake.open_catalog(task["catalog"]).load_table(task["table"])

    def number(snapshot, key):
        return int(snapshot.summary[key] or 0)

    snapshots = [
        {
            "id": snapshot.snapshot_id,
            "parent": snapshot.parent_snapshot_id,
            "sequence": snapshot.sequence_number,
            "operation": snapshot.summary.operation.value,
            "added": number(snapshot, "added-records"),
            "total": number(snapshot, "total-records"),
        }
        for snapshot in table.metadata.snapshots
    ]
    current = table.current_snapshot()
    lake.answer({"snapshots": snapshots, "current": current.snapshot_id if current else None})


if __name__ == "__main__":
    main()

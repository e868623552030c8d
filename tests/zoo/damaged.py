"""Tables that something damaged after Spark wrote them. Reading one ends with an error that names file and
reason; the other answers are those that the spec asks for."""

import json
import os

MERGE_ON_READ = {"write.delete.mode": "merge-on-read"}


def _table(t, version=2):
    t.create_with("id int, s string", "", {"format-version": version} | MERGE_ON_READ)
    t.insert("SELECT CAST(id AS int), concat('s', id) FROM range(0, 20, 1, 1)")


def _only(t, query):
    """The one address that a query of a metadata table gives."""
    ((address,),) = t.spark.sql(t.in_spark(query)).collect()
    return address


def _damage(t, address, change):
    """Replaces the bytes of a file; `change` gives None to remove it. The refusal must name the file."""
    path = t.zoo.local(address)
    with open(path, "rb") as file:
        changed = change(file.read())
    if changed is None:
        os.remove(path)
    else:
        with open(path, "wb") as file:
            file.write(changed)
    t.refusal.append(os.path.basename(address))


def _edit_metadata(t, change):
    def edit(data):
        metadata = json.loads(data)
        change(metadata)
        return json.dumps(metadata).encode()

    t.location_kept = t.metadata_location()
    _damage(t, t.location_kept, edit)


def damaged_metadata_version(t):
    """Metadata of a format version that does not exist yet."""
    _table(t)
    _edit_metadata(t, lambda metadata: metadata.update({"format-version": 4}))
    t.refusal.append("4")


def damaged_metadata_cut(t):
    """A metadata file that was cut."""
    _table(t)
    t.location_kept = t.metadata_location()
    _damage(t, t.location_kept, lambda data: data[: len(data) // 2])


def damaged_transform(t):
    """A partition field with a transform that nobody knows."""
    t.create("id int, s string", "PARTITIONED BY (bucket(2, id))")
    t.insert("VALUES (1, 'a'), (2, 'b')")
    _edit_metadata(t, lambda metadata: metadata["partition-specs"][0]["fields"][0].update({"transform": "zorder[3]"}))
    t.refusal = []


def damaged_type(t):
    """A column of a type that nobody knows."""
    _table(t)
    _edit_metadata(t, lambda metadata: metadata["schemas"][0]["fields"][1].update({"type": "quaternion"}))
    t.refusal = ["quaternion"]


def damaged_manifest_list(t):
    """A manifest list that is no Avro."""
    _table(t)
    _damage(t, _only(t, "SELECT manifest_list FROM {t$snapshots}"), lambda data: b"no Avro at all" + data[14:])


def missing_manifest_list(t):
    """A manifest list that is gone."""
    _table(t)
    _damage(t, _only(t, "SELECT manifest_list FROM {t$snapshots}"), lambda data: None)


def damaged_manifest(t):
    """A manifest that was cut in its block of entries."""
    _table(t)
    _damage(t, _only(t, "SELECT path FROM {t$manifests}"), lambda data: data[:-200])


def missing_manifest(t):
    """A manifest that is gone."""
    _table(t)
    _damage(t, _only(t, "SELECT path FROM {t$manifests}"), lambda data: None)


def missing_data_file(t):
    """A data file that is gone."""
    _table(t)
    _damage(t, _only(t, "SELECT file_path FROM {t$data_files}"), lambda data: None)


def damaged_data_file(t):
    """A data file without its footer."""
    _table(t)
    _damage(t, _only(t, "SELECT file_path FROM {t$data_files}"), lambda data: data[:-40] + bytes(40))


def missing_position_deletes(t):
    """A file of position deletes that is gone."""
    _table(t)
    t.sql("DELETE FROM {t} WHERE id = 3")
    _damage(t, _only(t, "SELECT file_path FROM {t$delete_files}"), lambda data: None)


def damaged_position_deletes(t):
    """A file of position deletes without its footer."""
    _table(t)
    t.sql("DELETE FROM {t} WHERE id = 3")
    _damage(t, _only(t, "SELECT file_path FROM {t$delete_files}"), lambda data: data[:-40] + bytes(40))


def missing_deletion_vector(t):
    """A Puffin file of a deletion vector that is gone."""
    _table(t, 3)
    t.sql("DELETE FROM {t} WHERE id = 3")
    _damage(t, _only(t, "SELECT file_path FROM {t$delete_files}"), lambda data: None)


def damaged_deletion_vector(t):
    """A deletion vector with one byte changed, which its checksum shows."""
    _table(t, 3)
    t.sql("DELETE FROM {t} WHERE id = 3")
    # The blob begins behind the magic of four bytes: length, magic, bitmap, checksum. Its last position byte changes.
    offset = t.spark.sql(t.in_spark("SELECT content_offset, content_size_in_bytes FROM {t$delete_files}")).collect()[0]
    last = offset[0] + offset[1] - 5

    def flip(data):
        return data[:last] + bytes([data[last] ^ 1]) + data[last + 1 :]

    _damage(t, _only(t, "SELECT file_path FROM {t$delete_files}"), flip)


def _append_with_bounds(t, lower, upper):
    """Lists the data file of the table anew, as another file, with bounds of the column `id` that are given as bytes."""
    jvm, table = t.jvm, t.java()
    source = _only(t, "SELECT file_path FROM {t$data_files}")
    address = f"{t.location}/data/listed.parquet"
    with open(t.zoo.local(source), "rb") as data, open(t.zoo.local(address), "wb") as copy:
        copy.write(data.read())
    maps = [jvm.java.util.HashMap() for _ in range(2)]
    for bounds, value in zip(maps, (lower, upper)):
        bounds.put(1, jvm.java.nio.ByteBuffer.wrap(bytearray(value)))
    none = jvm.java.util.HashMap()
    metrics = jvm.org.apache.iceberg.Metrics(20, none, none, none, none, *maps)
    builder = jvm.org.apache.iceberg.DataFiles.builder(table.spec()).withInputFile(table.io().newInputFile(address)).withMetrics(metrics)
    table.newDelete().deleteFromRowFilter(jvm.org.apache.iceberg.expressions.Expressions.alwaysTrue()).commit()
    table.newAppend().appendFile(builder.build()).commit()


def bounds_of_wrong_length(t):
    """A data file whose bounds of an integer have three bytes: they say nothing, the rows are there."""
    _table(t)
    _append_with_bounds(t, b"\1\2\3", b"\1\2\3")


def bounds_crossed(t):
    """A data file whose lower bound of an integer is above its upper one: they say nothing, the rows are there."""
    _table(t)
    _append_with_bounds(t, (90).to_bytes(4, "little"), (10).to_bytes(4, "little"))

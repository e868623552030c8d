"""Branches, tags, snapshots that were rolled back, picked or expired; metadata in other places and forms."""

ROWS = "SELECT CAST(id AS int) AS id, concat('s', id % 4) AS s FROM range({}, {})"


def refs(t):
    """Branches with rows of their own, tags, and a column that came after them."""
    t.create("id int, s string", "PARTITIONED BY (s)")
    t.insert(ROWS.format(0, 10))
    t.sql("ALTER TABLE {t} CREATE TAG first RETAIN 3650 DAYS", "ALTER TABLE {t} CREATE BRANCH audit")
    t.insert(ROWS.format(10, 20))
    t.sql("ALTER TABLE {t} CREATE TAG `v 2.0`", "ALTER TABLE {t} CREATE BRANCH `dev-1` RETAIN 3650 DAYS WITH SNAPSHOT RETENTION 2 SNAPSHOTS")
    t.sql(f"INSERT INTO {t.full_name}.branch_audit VALUES (100, 'audit'), (101, NULL)")
    t.sql(f"DELETE FROM {t.full_name}.branch_audit WHERE s = 's1'")
    t.sql("ALTER TABLE {t} ADD COLUMN n int", "ALTER TABLE {t} RENAME COLUMN s TO label")
    t.insert("VALUES (30, 'main', 3)")
    t.sql("DELETE FROM {t} WHERE id < 5")
    # A branch has the table's current schema, a tag that of its snapshot.
    for ref in ("first", "v 2.0", "audit", "dev-1", "main"):
        t.ask(f"SELECT * FROM {{t}} FOR VERSION AS OF '{ref}'", f"SELECT count(*) AS n FROM {{t}} FOR VERSION AS OF '{ref}'")
    t.ask("SELECT id FROM {t} FOR VERSION AS OF 'first' WHERE s = 's1'")
    t.ask("SELECT id FROM {t} FOR VERSION AS OF 'audit' WHERE id >= 100")
    t.ask_versions()
    t.ask('SELECT name, type, snapshot_id, max_reference_age_in_ms, min_snapshots_to_keep, max_snapshot_age_in_ms FROM {t$refs}')
    t.ask("SELECT snapshot_id, parent_id, operation, manifest_list FROM {t$snapshots}")
    t.ask("SELECT made_current_at, snapshot_id, parent_id, is_current_ancestor FROM {t$history}")
    t.where("label = 's1'", "n IS NULL", "n = 3")


def rolled_back(t):
    """Rolled back, written on, then a snapshot of the lost line picked; one made current again."""
    t.create("id int, s string")
    t.insert(ROWS.format(0, 5))
    t.insert(ROWS.format(5, 10))
    t.insert(ROWS.format(10, 15))
    one, two, three = t.snapshots()
    t.zoo.spark.sql(f"CALL zoo.system.rollback_to_snapshot('main.{t.name}', {one})")
    t.insert(ROWS.format(20, 25))
    t.zoo.spark.sql(f"CALL zoo.system.cherrypick_snapshot('main.{t.name}', {three})")
    t.ask_versions()
    t.ask("SELECT made_current_at, snapshot_id, parent_id, is_current_ancestor FROM {t$history}")
    t.where("id < 7", "s = 's1'")
    times = [row[0] for row in t.spark.sql(f"SELECT CAST(made_current_at AS string) FROM {t.full_name}.history ORDER BY made_current_at").collect()]
    for time in times:
        t.ask(f"SELECT * FROM {{t}} FOR TIMESTAMP AS OF TIMESTAMP '{time}'")


def staged(t):
    """Write-audit-publish: one staged snapshot published, one never."""
    t.create_with("id int, s string", "", {"format-version": 2, "write.wap.enabled": "true"})
    t.insert(ROWS.format(0, 5))
    for wap in ("published", "never"):
        t.spark.conf.set("spark.wap.id", wap)
        t.insert(f"VALUES ({len(wap)}, '{wap}')")
    t.spark.conf.unset("spark.wap.id")
    t.zoo.spark.sql(f"CALL zoo.system.publish_changes('main.{t.name}', 'published')")
    t.ask_versions()


def expired(t):
    """Snapshots expired: a history that names what is gone, and files that went with it."""
    t.create("id int, s string", "PARTITIONED BY (s)")
    for start in (0, 5, 10):
        t.insert(ROWS.format(start, start + 5))
    t.sql("DELETE FROM {t} WHERE s = 's1'")
    t.call("expire_snapshots", "older_than => TIMESTAMP '2100-01-01 00:00:00', retain_last => 2")
    t.ask_versions()
    t.where("s = 's1'", "s = 's2'")


def time_travel(t):
    """Read as of moments between commits, across a change of the schema."""
    t.create("id int, s string")
    t.insert(ROWS.format(0, 3))
    t.sql("ALTER TABLE {t} ADD COLUMN added int")
    t.insert("VALUES (10, 'x', 1)")
    t.sql("ALTER TABLE {t} DROP COLUMN s", "DELETE FROM {t} WHERE id = 0")
    rows = t.spark.sql(f"SELECT CAST(committed_at AS string) FROM {t.full_name}.snapshots ORDER BY committed_at").collect()
    times = [row[0] for row in rows] + ["2100-01-01 00:00:00"]
    for time in times:
        t.ask(f"SELECT * FROM {{t}} FOR TIMESTAMP AS OF TIMESTAMP '{time}'")
    t.ask_versions()


def metadata_gzip(t):
    """Metadata files compressed with gzip, in a folder of their own."""
    t.create_with("id int, s string", "", {"write.metadata.compression-codec": "gzip", "write.metadata.path": "s3://zoo/metadata_gzip/meta"})
    t.insert(ROWS.format(0, 5))
    t.insert(ROWS.format(5, 9))
    t.ask_versions()


def statistics(t):
    """Puffin statistics with sketches of distinct values, and partition statistics."""
    t.create("id int, s string, n bigint", "PARTITIONED BY (s)")
    t.insert("SELECT CAST(id AS int), concat('s', id % 4), CASE WHEN id % 3 > 0 THEN id % 10 END FROM range(0, 200)")
    t.call("compute_table_stats")
    t.call("compute_partition_stats")
    t.ask("SELECT count(DISTINCT s) AS s, count(DISTINCT n) AS n FROM {t}")


def inspected(t):
    """What Spark's metadata tables and hidden columns say of a table with deletes."""
    properties = {"format-version": 2, "write.delete.mode": "merge-on-read"}
    t.create_with("id int, s string", "PARTITIONED BY (s)", properties)
    t.insert(ROWS.format(0, 8))
    t.sql("ALTER TABLE {t} ADD PARTITION FIELD bucket(2, id)")
    t.insert(ROWS.format(8, 12))
    t.sql("DELETE FROM {t} WHERE id = 1 OR id = 9")
    t.ask("SELECT id, _file, _pos, _spec_id FROM {t}", "SELECT id FROM {t} WHERE _pos = 0")
    t.ask("SELECT content, file_path, file_format, spec_id, record_count, file_size_in_bytes FROM {t$files}")
    t.ask("SELECT status, snapshot_id, sequence_number, file_sequence_number FROM {t$entries}")
    t.ask(
        """SELECT content, path, length, partition_spec_id, added_snapshot_id, added_data_files_count, existing_data_files_count,
        deleted_data_files_count, added_delete_files_count FROM {t$manifests}"""
    )
    t.ask("SELECT spec_id, record_count, file_count, position_delete_record_count, position_delete_file_count FROM {t$partitions}")
    t.ask("SELECT made_current_at, snapshot_id, parent_id, is_current_ancestor FROM {t$history}")
    t.ask("SELECT committed_at, snapshot_id, parent_id, operation, manifest_list FROM {t$snapshots}")
    t.ask("SELECT timestamp, file, latest_snapshot_id, latest_schema_id, latest_sequence_number FROM {t$metadata_log_entries}")


def hadoop_names(t):
    """A table without a catalog: its metadata files are v1, v2, v3."""
    t.full_name = f"folders.{t.name}"
    t.sql("CREATE TABLE {t} (id int, s string) USING iceberg PARTITIONED BY (s)")
    t.insert(ROWS.format(0, 6))
    t.sql("DELETE FROM {t} WHERE s = 's1'")
    t.where("s = 's2'")
    t.ask_versions()


def avro_data(t):
    """Data files in Avro."""
    _other_format(t, "avro")


def orc_data(t):
    """Data files in ORC."""
    _other_format(t, "orc")


def _other_format(t, name):
    t.create_with("id int, s string, items array<int>, at timestamp_ntz", "", {"write.format.default": name})
    t.insert("VALUES (1, 'one', array(1, NULL), TIMESTAMP_NTZ '1969-12-31 23:59:59.5'), (2, NULL, NULL, NULL)")
    t.sql("ALTER TABLE {t} RENAME COLUMN s TO label", "ALTER TABLE {t} ADD COLUMN n bigint FIRST")
    t.insert("VALUES (30, 3, 'three', array(), TIMESTAMP_NTZ '2024-02-29 12:00:00')")
    t.where("id = 1", "n IS NULL", "label = 'three'")


def mixed_formats(t):
    """Parquet, then ORC, then Avro in one table."""
    t.create("id int, s string")
    for start, name in enumerate(("parquet", "orc", "avro")):
        t.sql(f"ALTER TABLE {{t}} SET TBLPROPERTIES ('write.format.default' = '{name}')")
        t.insert(ROWS.format(start * 3, start * 3 + 3))
    t.ask_versions()

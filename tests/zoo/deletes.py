"""Row-level deletes: position deletes, equality deletes, deletion vectors, and all of them in one table.

Spark writes no equality deletes. Iceberg's Java API, which Flink writes them with, does it in Spark's JVM; the keys
come from a table of their own, so that they have the types of the table that they are deleted from.
"""

ROWS = "SELECT CAST(id AS int) AS id, CASE WHEN id % 6 = 0 THEN NULL ELSE concat('r', id % 3) END AS region, id / 4.0D AS v"

COLUMNS = "id int, region string, v double"

MERGE_ON_READ = {"write.delete.mode": "merge-on-read", "write.update.mode": "merge-on-read", "write.merge.mode": "merge-on-read"}

CONDITIONS = ["id = 4", "id < 30", "region = 'r1'", "region IS NULL", "v > 10", "id IN (3, 13, 23, 33, 43)", "v < 0"]


def _ask(t):
    t.where(*CONDITIONS)
    t.ask("SELECT count(*) AS n FROM {t}", "SELECT min(id) AS low, max(id) AS high, sum(v) AS total FROM {t}")
    t.ask("SELECT region, count(*) AS n FROM {t} GROUP BY region")
    t.ask_versions()


def _change(t):
    """Two files, then every kind of change, the same file hit several times."""
    t.insert(f"{ROWS} FROM range(0, 40)")
    t.insert(f"{ROWS} FROM range(40, 60)")
    t.sql("DELETE FROM {t} WHERE id % 10 = 3", "DELETE FROM {t} WHERE id IN (0, 39, 40, 59)")
    t.sql("UPDATE {t} SET v = -v WHERE id % 10 = 4")
    t.sql(
        """MERGE INTO {t} AS t USING (SELECT CAST(id AS int) AS id FROM range(50, 70)) AS s ON t.id = s.id
        WHEN MATCHED AND t.id % 2 = 0 THEN DELETE WHEN MATCHED THEN UPDATE SET region = 'merged'
        WHEN NOT MATCHED THEN INSERT (id, region, v) VALUES (s.id, 'new', 0)"""
    )
    t.insert(f"{ROWS} FROM range(3, 5)")


def position_deletes(t):
    """Version 2, merge-on-read: several commits of position deletes, updates and a merge."""
    t.create_with(COLUMNS, "", {"format-version": 2} | MERGE_ON_READ)
    _change(t)
    _ask(t)


def position_deletes_partitioned(t):
    """Version 2, merge-on-read in partitions, one delete file for all files of a partition, one partition dropped whole."""
    properties = {"format-version": 2, "write.delete.granularity": "partition"} | MERGE_ON_READ
    t.create_with(COLUMNS, "PARTITIONED BY (region, bucket(2, id))", properties)
    _change(t)
    t.sql("DELETE FROM {t} WHERE region = 'r2'")
    _ask(t)


def position_deletes_avro_orc(t):
    """Version 2: position deletes in Avro, then in ORC, on data in Parquet."""
    t.create_with(COLUMNS, "", {"format-version": 2, "write.delete.format.default": "avro"} | MERGE_ON_READ)
    t.insert(f"{ROWS} FROM range(0, 40)")
    t.sql("DELETE FROM {t} WHERE id % 10 = 3")
    avro = t.snapshots()[-1]
    t.sql("ALTER TABLE {t} SET TBLPROPERTIES ('write.delete.format.default' = 'orc')")
    t.sql("DELETE FROM {t} WHERE id % 10 = 4")
    t.ask("SELECT count(*) AS n FROM {t}", f"SELECT * FROM {{t}} FOR VERSION AS OF {avro}")


def copy_on_write(t):
    """Version 2: the same changes as copies of the files."""
    t.create_with(COLUMNS, "PARTITIONED BY (region)", {"format-version": 2})
    _change(t)
    _ask(t)


def deletion_vectors(t):
    """Version 3: deletion vectors, replaced by later ones, updates and a merge."""
    t.create_with(COLUMNS, "", {"format-version": 3} | MERGE_ON_READ)
    _change(t)
    _ask(t)


def deletion_vectors_partitioned(t):
    """Version 3: deletion vectors of several files in one Puffin file, in partitions."""
    t.create_with(COLUMNS, "PARTITIONED BY (region, truncate(20, id))", {"format-version": 3} | MERGE_ON_READ)
    _change(t)
    _ask(t)


def deletes_across_row_groups(t):
    """Version 3: one file of many row groups, some deleted whole, some not at all, by a vector with runs."""
    properties = {
        "format-version": 3,
        "write.parquet.row-group-size-bytes": 2000,
        "write.parquet.row-group-check-min-record-count": 50,
        "write.parquet.row-group-check-max-record-count": 50,
        "write.parquet.page-row-limit": 20,
    } | MERGE_ON_READ
    t.create_with(COLUMNS, "", properties)
    t.insert(f"{ROWS} FROM range(0, 1000)")
    t.sql("DELETE FROM {t} WHERE id BETWEEN 100 AND 399 OR id % 97 = 0 OR id = 999")
    t.where("id > 390 AND id < 410", "id = 97", "v = 25", "id = 998", "region = 'r1' AND id < 103")
    t.ask("SELECT count(*) AS n, min(id) AS low, max(id) AS high, sum(v) AS total FROM {t}")


def positions_then_vectors(t):
    """Position deletes of version 2, then upgraded to version 3: vectors take over what they hit, the rest stays."""
    t.create_with(COLUMNS, "PARTITIONED BY (bucket(3, id))", {"format-version": 2, "write.delete.granularity": "partition"} | MERGE_ON_READ)
    t.insert(f"{ROWS} FROM range(0, 40)")
    t.insert(f"{ROWS} FROM range(40, 60)")
    t.sql("DELETE FROM {t} WHERE id % 10 = 3")
    t.sql("ALTER TABLE {t} SET TBLPROPERTIES ('format-version' = '3')")
    t.sql("DELETE FROM {t} WHERE id = 5 OR id = 50", "DELETE FROM {t} WHERE id = 6")
    t.insert(f"{ROWS} FROM range(60, 70)")
    _ask(t)


def all_rows_of_a_file_deleted(t):
    """Files of which no row is left, by deletes that do not know it."""
    t.create_with(COLUMNS, "", {"format-version": 2} | MERGE_ON_READ)
    t.insert(f"{ROWS} FROM range(0, 10)")
    t.insert(f"{ROWS} FROM range(10, 20)")
    t.sql("DELETE FROM {t} WHERE v < 1", "DELETE FROM {t} WHERE v >= 1 AND v < 2.5")
    _ask(t)


def compacted(t):
    """Rewritten while deletes came: files that keep their sequence number, deletes that point at nothing, merged manifests."""
    t.create_with(COLUMNS, "PARTITIONED BY (truncate(50, id))", {"format-version": 2} | MERGE_ON_READ)
    for start in (0, 20, 40, 60, 80):
        t.insert(f"{ROWS} FROM range({start}, {start + 20})")
    t.sql("DELETE FROM {t} WHERE id % 10 = 3")
    t.call("rewrite_data_files", "options => map('rewrite-all', 'true', 'use-starting-sequence-number', 'true')")
    t.sql("DELETE FROM {t} WHERE id % 10 = 4")
    t.call("rewrite_position_delete_files", "options => map('rewrite-all', 'true')")
    t.call("rewrite_manifests")
    _ask(t)


# ---- equality deletes


def _writers(t, spec, columns):
    """Iceberg's factory of delete files with these equality columns, and the field ids in the table's schema."""
    jvm, table = t.jvm, t.java()
    schema = table.schema()
    ids = t.spark.sparkContext._gateway.new_array(jvm.int, len(columns))
    for position, column in enumerate(columns):
        ids[position] = schema.findField(column).fieldId()
    row_schema = jvm.org.apache.iceberg.types.TypeUtil.select(
        schema, jvm.java.util.HashSet([schema.findField(column).fieldId() for column in columns])
    )
    builder = getattr(jvm.org.apache.iceberg.data, "GenericFileWriterFactory$Builder")(table)
    factory = builder.equalityFieldIds(ids).equalityDeleteRowSchema(row_schema).build()
    files = jvm.org.apache.iceberg.io.OutputFileFactory.builderFor(table, 1, 1)
    files = files.format(jvm.org.apache.iceberg.FileFormat.PARQUET).operationId(jvm.java.util.UUID.randomUUID().toString())
    return factory, files.defaultSpec(spec).build(), row_schema


def _delete_file(t, columns, keys, spec_id=None, partition=None):
    """A file of equality deletes by `columns` with the rows of `keys`, VALUES of these columns in the table's order.

    `partition` is a path such as `region=r1`; without one the file is of an unpartitioned spec.
    """
    jvm, table = t.jvm, t.java()
    spec = table.spec() if spec_id is None else table.specs()[spec_id]
    factory, files, row_schema = _writers(t, spec, columns)
    scraps = f"zoo.main.keys_of_{t.name}"
    kinds = jvm.org.apache.iceberg.spark.SparkSchemaUtil.convert(row_schema).toDDL()
    t.spark.sql(f"DROP TABLE IF EXISTS {scraps}")
    t.spark.sql(f"CREATE TABLE {scraps} ({kinds.replace(' NOT NULL', '')}) USING iceberg LOCATION 's3://zoo/scraps/{t.name}'")
    t.spark.sql(f"INSERT INTO {scraps} {keys}")
    source = jvm.org.apache.iceberg.spark.Spark3Util.loadIcebergTable(t.spark._jsparkSession, scraps)
    data = jvm.org.apache.iceberg.DataFiles.data(spec, partition) if partition else None
    output = files.newOutputFile(data) if partition else files.newOutputFile()
    writer = factory.newEqualityDeleteWriter(output, spec, data)
    for record in jvm.org.apache.iceberg.data.IcebergGenerics.read(source).build().iterator():
        writer.write(record)
    writer.close()
    t.spark.sql(f"DROP TABLE {scraps}")
    return writer.toDeleteFile()


def _commit_deletes(t, *files, data=()):
    """One snapshot that adds these delete files, and data files beside them as Flink's upserts do."""
    delta = t.java().newRowDelta()
    for file in data:
        delta = delta.addRows(file)
    for file in files:
        delta = delta.addDeletes(file)
    delta.commit()


def _data_files(t, rows):
    """Data files with these rows that are in no snapshot of the table yet."""
    branch = "scratch"
    known = {row[0] for row in t.spark.sql(f"SELECT file_path FROM {t.full_name}.all_data_files").collect()}
    t.sql(f"ALTER TABLE {{t}} CREATE BRANCH {branch}", f"INSERT INTO {t.full_name}.branch_{branch} {rows}")
    snapshot = t.java().snapshot(branch)
    files = [f for f in snapshot.addedDataFiles(t.java().io()).iterator() if f.location() not in known]
    t.sql(f"ALTER TABLE {{t}} DROP BRANCH {branch}")
    t.java().expireSnapshots().expireSnapshotId(snapshot.snapshotId()).cleanExpiredFiles(False).commit()
    return files


def equality_deletes(t):
    """Equality deletes by one and by two columns, NULL keys, several sequence numbers, rows inserted again."""
    t.writer = t.writer | {"deletes": "Iceberg Java API"}
    t.create_with(COLUMNS, "", {"format-version": 2})
    t.insert(f"{ROWS} FROM range(0, 30)")
    _commit_deletes(t, _delete_file(t, ["id"], "VALUES (3), (13), (500)"))
    t.insert(f"{ROWS} FROM range(30, 50)")
    t.insert("VALUES (3, 'again', 0.5), (33, 'twice', 0.5)")
    _commit_deletes(
        t, _delete_file(t, ["id"], "VALUES (33), (34)"), _delete_file(t, ["id", "region"], "VALUES (1, 'r1'), (2, 'r1'), (6, NULL), (12, NULL)")
    )
    _commit_deletes(t, _delete_file(t, ["region", "v"], "VALUES (NULL, 4.5D), ('r2', 5.0D), ('r2', 5.5D)"))
    t.insert("VALUES (6, NULL, 1.5), (NULL, NULL, NULL), (NULL, 'r0', 1.0)")
    _commit_deletes(t, _delete_file(t, ["id"], "VALUES (CAST(NULL AS int))"))
    t.insert("VALUES (NULL, 'kept', NULL)")
    _ask(t)
    t.where("id IS NULL")


def equality_deletes_of_nulls(t):
    """An equality delete of a NULL key deletes NULLs only, one of other keys leaves NULLs alone."""
    t.writer = t.writer | {"deletes": "Iceberg Java API"}
    t.create_with(COLUMNS, "", {"format-version": 2})
    t.insert(f"{ROWS} FROM range(0, 14)")
    without = t.snapshots()[-1]
    _commit_deletes(t, _delete_file(t, ["region"], "VALUES ('r1')"))
    t.sql("ALTER TABLE {t} CREATE BRANCH nulls AS OF VERSION %d" % without)
    _ask(t)
    _commit_deletes(t, _delete_file(t, ["region"], "VALUES (CAST(NULL AS string))"))
    t.ask("SELECT * FROM {t} FOR VERSION AS OF 'nulls'")


def equality_deletes_upserts(t):
    """Rows and the equality deletes of their former versions in one snapshot, as Flink writes upserts."""
    t.writer = t.writer | {"deletes": "Iceberg Java API"}
    t.create_with(COLUMNS, "", {"format-version": 2})
    t.insert(f"{ROWS} FROM range(0, 20)")
    for step in (1, 2, 3):
        rows = _data_files(t, f"SELECT CAST(id AS int), 'step{step}', CAST(id AS double) FROM range({step}, {step + 6})")
        _commit_deletes(t, _delete_file(t, ["id"], f"SELECT CAST(id AS int) FROM range({step}, {step + 6})"), data=rows)
    _ask(t)


def equality_deletes_partitioned(t):
    """Equality deletes of one partition and of all, in specs that came and went."""
    t.writer = t.writer | {"deletes": "Iceberg Java API"}
    t.create_with(COLUMNS, "", {"format-version": 2})
    t.insert(f"{ROWS} FROM range(0, 10)")
    t.sql("ALTER TABLE {t} ADD PARTITION FIELD region")
    t.insert(f"{ROWS} FROM range(0, 20)")
    # Of partition r1: neither the unpartitioned file's rows nor other partitions' are hit.
    _commit_deletes(t, _delete_file(t, ["id"], "VALUES (1), (2), (4)", partition="region=r1"))
    # Of the unpartitioned spec: all older rows are hit, in every partition.
    _commit_deletes(t, _delete_file(t, ["id"], "VALUES (7), (8), (12), (19)", spec_id=0))
    t.insert(f"{ROWS} FROM range(7, 9)")
    t.sql("ALTER TABLE {t} ADD PARTITION FIELD bucket(2, id)")
    t.insert(f"{ROWS} FROM range(20, 30)")
    # Of a former spec: what is written by the present one is not hit.
    _commit_deletes(t, _delete_file(t, ["id"], "VALUES (5), (22), (25)", spec_id=1, partition="region=r2"))
    _ask(t)


def equality_deletes_evolved(t):
    """Keys that were renamed, widened and moved since, a key column that was dropped, one added later."""
    t.writer = t.writer | {"deletes": "Iceberg Java API"}
    t.create_with("id int, amount decimal(9, 2), f float, gone string, s string", "", {"format-version": 2})
    rows = """SELECT CAST(id AS int), CAST(id AS decimal(9, 2)) / 4, CAST(id AS float) / 2, concat('g', id), concat('s', id)
        FROM range({}, {})"""
    t.insert(rows.format(0, 20))
    _commit_deletes(
        t, _delete_file(t, ["id"], "VALUES (1), (2)"), _delete_file(t, ["amount"], "VALUES (0.75)"), _delete_file(t, ["f"], "VALUES (float('2.0'))")
    )
    _commit_deletes(t, _delete_file(t, ["gone"], "VALUES ('g5'), ('g25')"), _delete_file(t, ["id", "s"], "VALUES (6, 's6'), (7, 'x')"))
    t.sql(
        "ALTER TABLE {t} RENAME COLUMN id TO key",
        "ALTER TABLE {t} ALTER COLUMN key TYPE bigint",
        "ALTER TABLE {t} ALTER COLUMN f TYPE double",
        "ALTER TABLE {t} ALTER COLUMN amount TYPE decimal(18, 2)",
        "ALTER TABLE {t} DROP COLUMN gone",
        "ALTER TABLE {t} ADD COLUMN id string",
        "ALTER TABLE {t} ALTER COLUMN s FIRST",
    )
    _commit_deletes(t, _delete_file(t, ["key"], "VALUES (9L), (5000000000L)"), _delete_file(t, ["id"], "VALUES ('i'), ('j')"))
    t.insert("VALUES ('s', 1L, 1.00, 2.0D, 'i'), ('s9', 9L, 0.75, 1.0D, NULL), ('s6', 6L, 2.00, 3.0D, 'k')")
    _commit_deletes(t, _delete_file(t, ["id"], "VALUES ('k')"), _delete_file(t, ["f"], "VALUES (5.0D)"))
    t.where("key = 5", "key = 9", "s = 's6'", "id IS NULL", "f = 2")
    t.ask("SELECT count(*) AS n FROM {t}", "SELECT s FROM {t}", "SELECT max(amount) AS high FROM {t}")
    # At the second and third snapshot Spark forgets deletes by columns that were widened later.
    first, _, _, *later = t.snapshots()
    t.ask(*[f"SELECT * FROM {{t}} FOR VERSION AS OF {id}" for id in (first, *later)])


def equality_deletes_types(t):
    """Keys of every type, several to a file."""
    t.writer = t.writer | {"deletes": "Iceberg Java API"}
    columns = """id int, b boolean, l bigint, f float, d double, dec decimal(20, 4), day date, at timestamp_ntz, at_utc timestamp,
        s string, bin binary"""
    t.create_with(columns, "", {"format-version": 2})
    t.insert(
        """SELECT CAST(id AS int), id % 2 = 0, id * 1000000007, CASE id WHEN 9 THEN float('NaN') WHEN 8 THEN float('-0.0') ELSE CAST(id AS float) / 4 END,
            CASE id WHEN 7 THEN double('NaN') ELSE id / 3.0D END, CAST(id AS decimal(20, 4)) / 16, date_add(DATE '1969-12-25', CAST(id AS int)),
            TIMESTAMP_NTZ '1969-12-31 20:00:00.123456' + make_dt_interval(0, id), TIMESTAMP '1969-12-31 20:00:00.123456' + make_dt_interval(0, id),
            concat('ü', id), CAST(concat('b', id) AS binary)
        FROM range(0, 30) UNION ALL SELECT 100, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL"""
    )
    _commit_deletes(
        t,
        _delete_file(t, ["l"], "VALUES (1000000007L)"),
        _delete_file(t, ["b", "dec"], "VALUES (true, 0.125), (true, 0.1875), (NULL, 0.25)"),
        _delete_file(t, ["day"], "VALUES (DATE '1969-12-28')"),
        _delete_file(t, ["at"], "VALUES (TIMESTAMP_NTZ '1970-01-01 00:00:00.123456')"),
        _delete_file(t, ["at_utc"], "VALUES (TIMESTAMP '1970-01-01 01:00:00.123456')"),
        _delete_file(t, ["s", "bin"], "VALUES ('ü6', X'6236'), ('ü10', X'6236')"),
        _delete_file(t, ["f"], "VALUES (float('NaN')), (float('3.0'))"),
        _delete_file(t, ["d"], "VALUES (double('NaN'))"),
    )
    t.where("id IN (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12)", "s IS NULL", "isnan(f)", "isnan(d)")
    t.ask("SELECT count(*) AS n FROM {t}")


def equality_deletes_nested(t):
    """A key inside a struct.

    Spark's own answers disagree here: where it does not read the struct, as for `count(*)`, it forgets the deletes.
    """
    t.writer = t.writer | {"deletes": "Iceberg Java API"}
    t.create_with("id int, pair struct<x: int, y: string>", "", {"format-version": 2})
    t.insert("SELECT CAST(id AS int), CASE WHEN id > 0 THEN named_struct('x', CAST(id % 5 AS int), 'y', 'p') END FROM range(0, 12)")
    _commit_deletes(t, _delete_file(t, ["pair.x"], "VALUES (named_struct('x', 1)), (named_struct('x', 3))"))
    t.insert("VALUES (100, named_struct('x', 1, 'y', 'later'))")


def every_delete_version2(t):
    """Version 2: position and equality deletes on the same files, partitioned."""
    t.writer = t.writer | {"deletes": "Spark and Iceberg Java API"}
    t.create_with(COLUMNS, "PARTITIONED BY (region)", {"format-version": 2} | MERGE_ON_READ)
    t.insert(f"{ROWS} FROM range(0, 40)")
    t.sql("DELETE FROM {t} WHERE id % 10 = 3")
    _commit_deletes(t, _delete_file(t, ["id"], "VALUES (1), (7), (13), (19)", partition="region=r1"))
    t.insert(f"{ROWS} FROM range(0, 10)")
    t.sql("DELETE FROM {t} WHERE id = 5")
    _commit_deletes(t, _delete_file(t, ["id", "v"], "VALUES (2, 0.5D), (8, 3.0D)", partition="region=r2"))
    t.sql("UPDATE {t} SET v = -1 WHERE id = 4 OR id = 14")
    _ask(t)


def every_delete_version3(t):
    """Position deletes of version 2, then version 3: deletion vectors and equality deletes on the same files."""
    t.writer = t.writer | {"deletes": "Spark and Iceberg Java API"}
    t.create_with(COLUMNS, "", {"format-version": 2} | MERGE_ON_READ)
    t.insert(f"{ROWS} FROM range(0, 40)")
    t.insert(f"{ROWS} FROM range(40, 50)")
    t.sql("DELETE FROM {t} WHERE id % 10 = 3")
    _commit_deletes(t, _delete_file(t, ["id"], "VALUES (1), (41)"))
    t.sql("ALTER TABLE {t} SET TBLPROPERTIES ('format-version' = '3')")
    t.sql("DELETE FROM {t} WHERE id = 5")
    _commit_deletes(t, _delete_file(t, ["region"], "VALUES ('r2')"))
    t.insert(f"{ROWS} FROM range(0, 10)")
    t.sql("DELETE FROM {t} WHERE id = 7")
    _ask(t)

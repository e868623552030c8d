"""Folders of Parquet that Hive or Spark wrote and Iceberg took over where they lay: files without field ids.

Partition columns are in the folders' names only, and what belongs to which column says the table's name mapping.
"""

MERGE_ON_READ = {"format-version": 2, "write.delete.mode": "merge-on-read", "write.update.mode": "merge-on-read"}


def _write(t, query, *partitions, legacy=False, int96=True, folder="old"):
    """Writes a query's rows as Spark's own tables have them."""
    t.spark.conf.set("spark.sql.parquet.writeLegacyFormat", str(legacy).lower())
    t.spark.conf.set("spark.sql.parquet.outputTimestampType", "INT96" if int96 else "TIMESTAMP_MICROS")
    frame = t.spark.sql(query).coalesce(1)
    frame.write.partitionBy(*partitions).mode("append").parquet(f"{t.location}/{folder}")


def _take(t, more="", folder="old"):
    t.call("add_files", f"source_table => '`parquet`.`{t.location}/{folder}`', check_duplicate_files => false{more}")


EVENTS = """SELECT CAST(id AS int) AS id, CAST(id * 1.5 AS decimal(9, 2)) AS amount, TIMESTAMP '1969-12-31 20:00:00' + make_dt_interval(0, id) AS at,
    CASE WHEN id % 5 > 0 THEN concat('n', id) END AS name,
    CASE id % 6 WHEN 0 THEN NULL WHEN 1 THEN 'a/b' WHEN 2 THEN 'ü =%' ELSE concat('r', id % 6) END AS region,
    CASE WHEN id % 4 > 0 THEN date_add(DATE '1969-12-30', CAST(id % 4 AS int)) END AS day FROM range({}, {})"""


def hive_partitioned(t):
    """Folders `region=…/day=…` with odd characters and Hive's default partition; timestamps as INT96."""
    _write(t, EVENTS.format(0, 24), "region", "day")
    t.create("id int, amount decimal(9, 2), at timestamp, name string, region string, day date", "PARTITIONED BY (region, day)")
    _take(t)
    t.insert("VALUES (100, 1.00, TIMESTAMP '2024-02-29 00:00:00', 'native', 'a/b', DATE '1970-01-01')")
    t.where("region = 'a/b'", "region IS NULL", "day = DATE '1969-12-31'", "day IS NULL", "region = 'ü =%' AND day > DATE '1969-12-30'")
    t.where("at < TIMESTAMP '1970-01-01 00:00:00'", "id = 100", "name IS NULL", "region LIKE 'r%'", "amount > 30")
    t.ask("SELECT region, day, count(*) AS n, max(at) AS high FROM {t} GROUP BY region, day", "SELECT region FROM {t}", "SELECT count(*) AS n FROM {t}")
    t.ask_versions()


def hive_partition_types(t):
    """Folders named after numbers and a boolean, which the files do not have."""
    _write(t, "SELECT CAST(id AS int) AS id, CAST(id % 3 AS int) AS i, id * 5000000000 AS l, id % 2 = 0 AS b FROM range(0, 6)", "i", "l", "b")
    t.create("id int, i int, l bigint, b boolean", "PARTITIONED BY (i, l, b)")
    _take(t)
    t.where("i = 1", "l > 5000000000", "b", "NOT b AND i > 0")


def hive_evolved(t):
    """Taken over, then evolved: renamed, widened, dropped, added under an old name, partition column renamed; rows deleted."""
    _write(t, EVENTS.format(0, 24), "region")
    t.create_with("id int, amount decimal(9, 2), at timestamp, name string, day date, region string", "PARTITIONED BY (region)", MERGE_ON_READ)
    _take(t)
    t.sql(
        "ALTER TABLE {t} RENAME COLUMN name TO label",
        "ALTER TABLE {t} ALTER COLUMN id TYPE bigint",
        "ALTER TABLE {t} RENAME COLUMN region TO area",
        "ALTER TABLE {t} DROP COLUMN day",
        "ALTER TABLE {t} ADD COLUMN name string",
        "ALTER TABLE {t} ADD COLUMN n int FIRST",
    )
    t.sql("DELETE FROM {t} WHERE id IN (3, 4, 5)", "UPDATE {t} SET name = 'updated' WHERE id = 7")
    t.insert("VALUES (1, 5000000000, 1.00, NULL, 'native', 'r3', 'name')")
    t.sql("ALTER TABLE {t} DROP PARTITION FIELD area")
    t.insert("VALUES (2, 5000000001, 1.00, NULL, 'native', 'r4', 'name')")
    t.where("area = 'r3'", "area IS NULL", "label = 'n7'", "name IS NULL", "id > 20", "n IS NULL", "area = 'r4'")
    t.ask_versions()


def hive_nested(t):
    """Structs, lists and maps by name mapping, some files with lists as Hive wrote them, then evolved."""
    query = """SELECT CAST(id AS int) AS "Id", named_struct('a', CAST(id AS int), 'Inner', named_struct('b', concat('b', id))) AS s,
        array(CAST(id AS int), NULL) AS items, array(named_struct('k', CAST(id AS int), 'v', 'v'), NULL) AS structs,
        map(concat('k', id), named_struct('x', id)) AS m, CAST(id AS decimal(9, 2)) AS small, CAST(id AS decimal(30, 2)) AS big
        FROM range({}, {}) UNION ALL SELECT NULL, NULL, NULL, NULL, NULL, NULL, NULL"""
    _write(t, query.format(0, 3))
    _write(t, query.format(10, 13), legacy=True, folder="older")
    t.create(
        """"Id" int, s struct<a: int, "Inner": struct<b: string>>, items array<int>, structs array<struct<k: int, v: string>>,
        m map<string, struct<x: bigint>>, small decimal(9, 2), big decimal(30, 2)"""
    )
    _take(t)
    _take(t, folder="older")
    t.sql(
        "ALTER TABLE {t} RENAME COLUMN s.a TO renamed",
        "ALTER TABLE {t} ADD COLUMN s.z string",
        "ALTER TABLE {t} RENAME COLUMN structs.element.k TO key",
        "ALTER TABLE {t} DROP COLUMN structs.element.v",
        "ALTER TABLE {t} ADD COLUMN m.value.y int",
        "ALTER TABLE {t} ALTER COLUMN items.element TYPE bigint",
    )
    t.where('"Id" = 11', '"Id" IS NULL', "small > 10")
    t.ask('SELECT items FROM {t}', "SELECT structs FROM {t}", "SELECT m, s FROM {t}")
    t.ask_versions()


def hive_plain_timestamps(t):
    """Not partitioned, timestamps in microseconds, columns in another order than the table's, one the files lack."""
    _write(t, "SELECT concat('s', id) AS s, TIMESTAMP '1969-12-31 23:59:59.5' AS at, CAST(id AS int) AS id FROM range(0, 5)", int96=False)
    t.create("id int, missing string, s string, at timestamp")
    _take(t)
    t.where("missing IS NULL", "id = 3", "at < TIMESTAMP '1970-01-01 00:00:00'")


def hive_without_mapping(t):
    """Without field ids and without a name mapping: columns by their position."""
    _write(t, "SELECT CAST(id AS int) AS a, concat('s', id) AS b FROM range(0, 5)")
    t.create("a int, b string")
    _take(t)
    t.sql("ALTER TABLE {t} UNSET TBLPROPERTIES ('schema.name-mapping.default')", "ALTER TABLE {t} RENAME COLUMN a TO b2")
    t.insert("VALUES (100, 'native')")
    t.where("b2 = 3", "b = 's4'")

"""Tables of each format version as they are written every day: types, partitions, bounds, file layouts."""

import json

TYPES = """b boolean, i int, l bigint, f float, d double, small decimal(9, 2), wide decimal(18, 4),
    big decimal(38, 10), day date, at timestamp_ntz, at_utc timestamp, s string, bin binary, items array<int>,
    pair struct<x: int, y: string>, counts map<string, bigint>"""

TYPE_ROWS = [
    """VALUES
    (true, 2147483647, 9223372036854775807, float('1.5'), double('1e300'), 1234567.89, 12345678901234.5678,
     1234567890123456789012345678.0123456789, DATE '2024-02-29', TIMESTAMP_NTZ '2024-02-29 23:59:59.999999',
     TIMESTAMP '2024-02-29 23:59:59.999999', 'naïve ☃', X'ff00', array(1, NULL, 3),
     named_struct('x', 1, 'y', 'a'), map('k', 1L, 'l', NULL)),
    (false, -2147483648, -9223372036854775808, float('NaN'), double('-Infinity'), -0.01, -0.0001, -0.0000000001,
     DATE '1582-10-15', TIMESTAMP_NTZ '1969-12-31 23:59:59.000001', TIMESTAMP '1969-12-31 23:59:59.000001', '',
     X'', array(), named_struct('x', NULL, 'y', NULL), map())""",
    """VALUES
    (NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL),
    (true, 0, 0, float('-0.0'), double('-0.0'), 0, 0, 0, DATE '0001-01-01', TIMESTAMP_NTZ '0001-01-01 00:00:00',
     TIMESTAMP '9999-12-31 23:59:59.999999', 'q''"', X'00', NULL, NULL, NULL)""",
]

EVENTS = """SELECT CAST(id AS int) AS id, CASE WHEN id % 7 = 0 THEN NULL ELSE concat('r', id % 3) END AS region,
    CASE WHEN id % 5 = 0 THEN NULL ELSE id * 7919 - 100000 END AS n,
    CASE WHEN id % 11 = 0 THEN NULL ELSE TIMESTAMP_NTZ '1969-12-30 20:00:00' + make_dt_interval(0, id * 5) END AS at"""

EVENT_COLUMNS = "id int, region string, n bigint, at timestamp_ntz"


def _every_type(t, version):
    t.create(TYPES, version=version)
    for rows in TYPE_ROWS:
        t.insert(rows)
    t.ask("SELECT count(*) AS n, count(l) AS l, min(i) AS low, max(l) AS high FROM {t}")
    t.ask("SELECT min(small) AS a, max(big) AS b, min(day) AS c, max(at) AS d, min(s) AS e, max(s) AS f FROM {t}")
    t.where("i > 0", "l < 0", "small = -0.01", "day < DATE '1970-01-01'", "at >= TIMESTAMP '1969-12-31 23:59:59'")
    t.where("s = ''", "s IS NULL", "b", "NOT b", "isnan(f)", "d < 0", "f > 1 AND NOT isnan(f)", "wide > 1", "items IS NULL")


def v1_types(t):
    """Format version 1, each type of Spark, edges and NULLs."""
    _every_type(t, 1)


def v2_types(t):
    """Format version 2, each type of Spark, edges and NULLs."""
    _every_type(t, 2)


def v3_types(t):
    """Format version 3, each type of Spark, edges and NULLs."""
    _every_type(t, 3)


def _partitioned(t, version):
    t.create(EVENT_COLUMNS, "PARTITIONED BY (region, bucket(3, n))", version)
    t.insert(f"{EVENTS} FROM range(0, 40)")
    t.insert(f"{EVENTS} FROM range(40, 60)")
    t.spark.conf.set("spark.sql.sources.partitionOverwriteMode", "dynamic")
    t.sql("INSERT OVERWRITE {t} SELECT id + 1000, region, n, at FROM {t} WHERE region = 'r1' AND id < 10")
    t.sql("DELETE FROM {t} WHERE region = 'r2'")
    t.where("region = 'r1'", "region IS NULL", "region <> 'r1'", "n = -52486", "n IS NULL", "id >= 1000")
    t.where("region IN ('r0', 'r1') AND n > 0", "at < TIMESTAMP '1970-01-01 00:00:00'")
    t.ask("SELECT region, count(*) AS n, min(id) AS low, max(id) AS high FROM {t} GROUP BY region")
    t.ask_versions()


def v1_partitioned(t):
    """Format version 1 by identity and bucket, with a dynamic overwrite and a delete of a partition."""
    _partitioned(t, 1)


def v2_partitioned(t):
    """Format version 2 by identity and bucket, with a dynamic overwrite and a delete of a partition."""
    _partitioned(t, 2)


ODD = ["", " ", "a/b", "a=b", "a b", "ü☃", "%2F", "a%", "q'q", 'd"d', "+", "&x", "#", "?", ":", "back\\\\slash", "null"]


def identity_strings(t):
    """By identity of strings with characters that paths and URLs treat specially."""
    t.create("id int, s string", "PARTITIONED BY (s)")
    values = ", ".join("({}, '{}')".format(i, s.replace("'", "\\'")) for i, s in enumerate(ODD))
    t.insert(f"VALUES {values}, (100, NULL)")
    t.where("s = 'a/b'", "s = ''", "s = 'null'", "s IS NULL", "s > 'a'", "s = '%2F'", "s = 'q''q'", "s LIKE 'a%'")
    t.where("s IN ('ü☃', '+')", "s <> 'a b'")


def identity_types(t):
    """By identity of each type, with NULL, NaN, infinities and both zeros."""
    columns = """id int, b boolean, i int, l bigint, f float, d double, dec decimal(9, 2), day date, at timestamp_ntz,
        at_utc timestamp, bin binary"""
    t.create(columns, "PARTITIONED BY (b, i, l, f, d, dec, day, at, at_utc, bin)")
    t.insert(
        """VALUES (1, true, 7, 70L, float('1.5'), double('NaN'), 1.25, DATE '1969-12-31', TIMESTAMP_NTZ '1969-12-31 23:59:59.5',
            TIMESTAMP '1969-12-31 23:59:59.5', X'ff00'),
        (2, false, -7, -70L, float('NaN'), double('-Infinity'), -1.25, DATE '2024-02-29', TIMESTAMP_NTZ '2024-02-29 12:00:00',
            TIMESTAMP '2024-02-29 12:00:00', X''),
        (3, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL),
        (4, true, 0, 0L, float('0.0'), double('Infinity'), 0, DATE '1970-01-01', TIMESTAMP_NTZ '1970-01-01 00:00:00',
            TIMESTAMP '1970-01-01 00:00:00', X'61'),
        (5, true, 0, 0L, float('-0.0'), double('1e-300'), 0, DATE '1970-01-01', TIMESTAMP_NTZ '1970-01-01 00:00:00',
            TIMESTAMP '1970-01-01 00:00:00', X'61')"""
    )
    t.where("b", "i < 0", "l IS NULL", "isnan(f)", "isnan(d)", "d > 1 AND NOT isnan(d)", "d < 1", "dec >= 0", "f < 1.5")
    t.where("day < DATE '1970-01-01'", "at >= TIMESTAMP '1970-01-01 00:00:00'", "bin = X'ff00'", "bin IS NULL")
    t.where("at_utc < TIMESTAMP '1970-01-01 00:00:00'", "NOT b", "d IS NOT NULL")


def bucket_types(t):
    """By bucket of each type that has one."""
    columns = "id int, i int, l bigint, dec decimal(20, 3), s string, bin binary, day date, at timestamp_ntz, at_utc timestamp"
    by = ", ".join(f"bucket(2, {c})" for c in ("i", "l", "dec", "s", "bin", "day", "at", "at_utc"))
    t.create(columns, f"PARTITIONED BY ({by})")
    t.insert(
        """SELECT CAST(id AS int), CAST(id * 37 - 100 AS int), id * 7919 - 20000, CAST(id - 6 AS decimal(20, 3)) / 8,
            concat('ü', id), CAST(concat('b', id) AS binary), date_add(DATE '1969-12-28', CAST(id AS int)),
            TIMESTAMP_NTZ '1969-12-31 20:00:00.123456' + make_dt_interval(0, id), TIMESTAMP '1969-12-31 20:00:00.123456' + make_dt_interval(0, id)
        FROM range(1, 13) UNION ALL SELECT 0, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL"""
    )
    t.where("i = 48", "l = 11673", "dec = 0.125", "s = 'ü7'", "bin = X'6233'", "day = DATE '1969-12-31'")
    t.where("at = TIMESTAMP '1969-12-31 23:00:00.123456'", "at_utc = TIMESTAMP '1970-01-01 01:00:00.123456'")
    t.where("i IN (-63, 85, 11)", "s IS NULL", "l < 0", "s >= 'ü5'", "i <> 48", "dec IN (0.5, -0.25, 7)")


def truncate_types(t):
    """By truncate of each type that has it, negative numbers and strings of more than one byte a character."""
    columns = "id int, i int, l bigint, dec decimal(9, 2), s string, bin binary"
    by = "truncate(10, i), truncate(1000, l), truncate(50, dec), truncate(2, s), truncate(2, bin)"
    t.create(columns, f"PARTITIONED BY ({by})")
    t.insert(
        """VALUES (1, -1, -1L, -0.01, 'ü☃x', X'00ff01'), (2, -10, -1000L, -0.50, 'ü☃y', X'00ff02'), (3, 9, 999L, 0.49, 'a', X'01'),
            (4, 10, 1000L, 0.50, 'ab', X''), (5, 11, 1001L, 12.34, 'abc', X'ffffff'), (6, NULL, NULL, NULL, NULL, NULL),
            (7, 2147483647, 9223372036854775807, 9999999.99, '', X'ffff'), (8, -2147483648, -9223372036854775000, -999999.99, '𐍈𐍈𐍈', X'00')"""
    )
    # Not "i < 0": Spark wraps around when it truncates the smallest integer, and its own pruning then loses the row.
    t.where("i = 9", "i >= 10", "l <= -1000", "l = 1001", "dec < -0.01", "dec = 0.5", "dec > 12", "s = 'abc'")
    t.where("s LIKE 'ab%'", "s LIKE 'ü☃%'", "s > 'ab'", "s IS NULL", "bin = X'00ff02'", "bin > X'ffff'", "i <> 9", "s <> 'ab'")
    t.where("i IN (-1, 11)", "NOT (s LIKE 'a%')")


def time_transforms(t):
    """By year, month, day and hour of dates and timestamps, before 1970 too."""
    columns = "id int, d1 date, d2 date, d3 date, n1 timestamp_ntz, n2 timestamp_ntz, n3 timestamp_ntz, n4 timestamp_ntz"
    columns += ", u1 timestamp, u2 timestamp, u3 timestamp, u4 timestamp"
    by = "year(d1), month(d2), day(d3), year(n1), month(n2), day(n3), hour(n4), year(u1), month(u2), day(u3), hour(u4)"
    t.create(columns, f"PARTITIONED BY ({by})")
    days = ["1969-12-31", "1970-01-01", "1960-02-29", "1969-01-01", "2024-02-29", "0002-03-01"]
    clocks = ["23:59:59.999999", "00:00:00", "12:30:00", "00:00:00.000001", "23:00:00", "00:59:59"]
    rows = ["(0" + ", NULL" * 11 + ")"]
    for i, (day, clock) in enumerate(zip(days, clocks)):
        dates, naive = f"DATE '{day}'", f"TIMESTAMP_NTZ '{day} {clock}'"
        rows.append(f"({i + 1}" + f", {dates}" * 3 + f", {naive}" * 4 + f", TIMESTAMP '{day} {clock}'" * 4 + ")")
    t.insert("VALUES " + ", ".join(rows))
    for column in ("d1", "d2", "d3"):
        t.where(f"{column} < DATE '1970-01-01'", f"{column} = DATE '1969-12-31'", f"{column} > DATE '1969-12-31'")
    for column in ("n1", "n2", "n3", "n4", "u1", "u2", "u3", "u4"):
        t.where(f"{column} < TIMESTAMP '1970-01-01 00:00:00'", f"{column} >= TIMESTAMP '1969-12-31 23:59:59.999999'")
        t.where(f"{column} = TIMESTAMP '2024-02-29 23:00:00'", f"{column} IS NULL")


def bounds(t):
    """Files whose bounds mislead who trusts them: NaN, NULL only, infinities, long strings cut upward or not at all."""
    t.create("id int, f float, d double, s string, bin binary, dec decimal(38, 2)")
    long = "repeat('a', 40)"
    files = [
        f"VALUES (1, float('NaN'), double('NaN'), {long}, X'{'ff' * 20}', 1)",
        f"VALUES (2, float('NaN'), double('1.5'), repeat('\\uffff', 20), X'{'00' * 20}', NULL), (3, float('2.5'), double('NaN'), 'b', X'', 2)",
        "VALUES (4, NULL, NULL, NULL, NULL, NULL)",
        f"VALUES (5, float('-Infinity'), double('Infinity'), concat({long}, '\U0010ffff'), X'{'61' * 17}', 99999999999999999999999999999999.99)",
        "VALUES (6, float('-0.0'), double('-0.0'), repeat('\U0010ffff', 20), X'ff', -99999999999999999999999999999999.99)",
        "VALUES (7, float('0.0'), double('0.0'), concat(repeat('z', 15), '\U0010ffff', 'x'), X'7f', 0)",
        "VALUES (8, float('-1.5'), double('-1.5'), concat(repeat('z', 15), '\ud7ff'), X'80', 0), (9, float('3'), NULL, '', NULL, 0)",
    ]
    for file in files:
        t.insert(file)
    for column in ("f", "d"):
        # Iceberg drops files by bounds that Spark's own comparison would keep: NaN above all, -0.0 equal to 0.0.
        t.where(f"isnan({column})", f"NOT isnan({column}) AND {column} > 2", f"{column} < 0", f"NOT isnan({column}) AND {column} >= 0.5")
        t.where(f"{column} IS NULL", f"{column} IS NOT NULL AND NOT isnan({column})", f"{column} <= 1.5", f"{column} IN (1.5, 2.5)")
        t.ask(f"SELECT max({column}) AS high, count({column}) AS n FROM {{t}}", f"SELECT min({column}) AS low FROM {{t}} WHERE {column} <> 0")
    t.where(f"s = {long}", f"s > {long}", "s >= repeat('z', 16)", "s > 'b'", "s < 'b'", "s = ''", "s > repeat('\uffff', 20)")
    t.where("s LIKE 'zzz%'", "bin > X'80'", f"bin = X'{'ff' * 20}'", f"bin = X'{'61' * 17}'", "dec > 2", "dec < 0")
    t.ask("SELECT min(s) AS low, max(s) AS high, min(dec) AS dl, max(dec) AS dh FROM {t}")


def metrics_modes(t):
    """Columns with no metrics, counts only, cut and full bounds; one column without statistics in the footers."""
    properties = {
        "format-version": 2,
        "write.metadata.metrics.default": "none",
        "write.metadata.metrics.column.counted": "counts",
        "write.metadata.metrics.column.cut": "truncate(3)",
        "write.metadata.metrics.column.whole": "full",
        "write.parquet.stats-enabled.column.bare": "false",
    }
    t.create_with("bare string, counted string, cut string, whole string", "", properties)
    for start in (0, 10, 20):
        t.insert(
            f"""SELECT concat('abc', id), CASE WHEN id % 4 > 0 THEN concat('abc', id) END, concat('abc', id), concat('abc', id)
            FROM range({start}, {start + 10})"""
        )
    for column in ("bare", "counted", "cut", "whole"):
        t.where(f"{column} = 'abc15'", f"{column} > 'abc2'", f"{column} IS NULL")
        t.ask(f"SELECT min({column}) AS low, max({column}) AS high, count({column}) AS n FROM {{t}}")


def row_groups(t):
    """Files of many row groups and pages with bloom filters, in a sort order."""
    properties = {
        "format-version": 2,
        "write.parquet.row-group-size-bytes": 2000,
        "write.parquet.row-group-check-min-record-count": 20,
        "write.parquet.row-group-check-max-record-count": 20,
        "write.parquet.page-row-limit": 10,
        "write.parquet.bloom-filter-enabled.column.s": "true",
        "write.parquet.bloom-filter-max-bytes": 1024,
    }
    t.create_with("id int, s string, v double", "", properties)
    t.sql("ALTER TABLE {t} WRITE ORDERED BY s, id DESC NULLS LAST")
    t.insert("SELECT CAST(id AS int), md5(CAST(id % 50 AS string)), id / 4.0D FROM range(0, 300)")
    t.where("id = 150", "id BETWEEN 10 AND 12", "s = 'c4ca4238a0b923820dcc509a6f75849b'", "s = 'x'", "v > 74")


def object_storage(t):
    """Files spread by hash under another folder, an overwritten table, columns of odd names."""
    properties = {
        "format-version": 2,
        "write.object-storage.enabled": "true",
        "write.data.path": "s3://zoo/object_storage/elsewhere",
    }
    t.create_with('id int, "two words" string, "Großer.Punkt" int, "select" int', "PARTITIONED BY (\"two words\")", properties)
    t.insert("VALUES (1, 'x', 1, 1), (2, 'y', 2, NULL), (3, NULL, 3, 3)")
    t.sql("INSERT OVERWRITE {t} VALUES (4, 'x', 4, 4), (5, 'ü/', 5, NULL)")
    t.where("\"two words\" = 'x'", '"select" IS NULL', '"Großer.Punkt" > 4')
    t.ask_versions()


def empty_table(t):
    """No snapshot at all."""
    t.create("id int, s string")
    t.ask("SELECT count(*) AS n, min(id) AS low FROM {t}")


def emptied_table(t):
    """Filled, emptied by a delete and filled again."""
    t.create("id int, s string")
    t.insert("SELECT CAST(id AS int), CAST(id AS string) FROM range(10)")
    t.sql("DELETE FROM {t}")
    t.insert("VALUES (7, 'seven')")
    t.ask("SELECT count(*) AS n, min(id) AS low FROM {t}")
    t.ask_versions()


def v1_legacy(t):
    """Metadata as writers before 2020 left it: one schema, one spec, no ids of them, no refs, no sort orders."""
    t.create("id int, region string, n bigint", "PARTITIONED BY (region)", version=1)
    t.insert("SELECT CAST(id AS int), concat('r', id % 3), id * 10 FROM range(0, 12)")
    t.sql("DELETE FROM {t} WHERE region = 'r2'")
    path = t.zoo.local(t.metadata_location())
    with open(path, encoding="utf-8") as file:
        metadata = json.load(file)
    newer = ["schemas", "current-schema-id", "partition-specs", "default-spec-id", "last-partition-id", "sort-orders", "default-sort-order-id"]
    for key in [*newer, "refs", "statistics", "partition-statistics", "metadata-log"]:
        metadata.pop(key, None)
    for snapshot in metadata["snapshots"]:
        snapshot.pop("schema-id", None)
    metadata["schema"].pop("schema-id", None)
    legacy = f"{t.location}/metadata/00009-legacy.metadata.json"
    with open(t.zoo.local(legacy), "w", encoding="utf-8") as file:
        json.dump(metadata, file)
    t.spark.sql(f"DROP TABLE {t.full_name}")
    t.spark.sql(f"CALL zoo.system.register_table('main.{t.name}', '{legacy}')")
    t.where("region = 'r1'", "n > 50")
    t.ask_versions()


def upgraded(t):
    """Written in version 1, deleted from in version 2, extended in version 3."""
    t.create("id int, s string", "PARTITIONED BY (truncate(1, s))", version=1)
    t.insert("SELECT CAST(id AS int), concat(CASE id % 2 WHEN 0 THEN 'a' ELSE 'b' END, id) FROM range(0, 10)")
    t.sql("ALTER TABLE {t} SET TBLPROPERTIES ('format-version' = '2', 'write.delete.mode' = 'merge-on-read')", "DELETE FROM {t} WHERE id = 3 OR id = 4")
    t.insert("VALUES (20, 'a20'), (21, NULL)")
    t.sql("ALTER TABLE {t} SET TBLPROPERTIES ('format-version' = '3')", "DELETE FROM {t} WHERE id = 5")
    t.insert("VALUES (30, 'b30')")
    t.where("s LIKE 'a%'", "s IS NULL", "id = 3", "id > 4")
    t.ask_versions()


def compressions(t):
    """Files of each codec and page version."""
    t.create("id int, s string, v double")
    for number, codec in enumerate(("zstd", "gzip", "snappy", "lz4_raw", "uncompressed")):
        t.sql(f"ALTER TABLE {{t}} SET TBLPROPERTIES ('write.parquet.compression-codec' = '{codec}', 'write.parquet.page-version' = 'v{number % 2 + 1}')")
        t.insert(f"SELECT CAST(id AS int), concat('{codec}', id % 3), id / 2.0D FROM range({number * 20}, {number * 20 + 20})")
    t.where("id = 30", "s = 'gzip1'", "v > 40")


def wide(t):
    """More columns than the hundred that get metrics."""
    columns = [f"c{i}" for i in range(110)]
    t.create(", ".join(f"{column} int" for column in columns))
    for row in (0, 1000, 2000):
        t.insert("VALUES (" + ", ".join(str(row + i) for i in range(110)) + ")")
    t.where("c5 = 1005", "c109 = 1109", "c109 < 200", "c105 > 5000")
    t.ask("SELECT min(c109) AS low, max(c109) AS high, count(c108) AS n FROM {t}", "SELECT c109, c0 FROM {t}")


def required_columns(t):
    """Columns that must not be NULL, inside structs and lists too."""
    t.create("id int NOT NULL, p struct<a: int NOT NULL, b: string>, q struct<a: int> NOT NULL, s string NOT NULL")
    t.insert("SELECT 1 AS id, named_struct('a', 1, 'b', 'x') AS p, named_struct('a', 2) AS q, 's' AS s")
    t.insert("SELECT 2 AS id, CAST(NULL AS struct<a: int, b: string>) AS p, named_struct('a', CAST(NULL AS int)) AS q, '' AS s")
    t.where("p IS NULL", "s = ''", "s IS NULL", "id > 1")


def partitioned_by_field(t):
    """Partitioned by fields of a struct."""
    t.create("id int, p struct<x: int, y: string, at: timestamp_ntz>", "PARTITIONED BY (p.y, bucket(2, p.x), day(p.at))")
    t.insert(
        """SELECT CAST(id AS int), CASE WHEN id % 5 > 0 THEN named_struct('x', CAST(id AS int), 'y', concat('y', id % 2),
            'at', TIMESTAMP_NTZ '1969-12-30 12:00:00' + make_dt_interval(0, id * 9)) END FROM range(0, 10)"""
    )
    t.ask_both("SELECT id FROM {t} WHERE p['y'] = 'y1'", "SELECT id FROM {t} WHERE p.y = 'y1'")
    t.ask_both("SELECT id FROM {t} WHERE p['x'] = 4", "SELECT id FROM {t} WHERE p.x = 4")
    t.ask_both("SELECT id FROM {t} WHERE p['y'] IS NULL", "SELECT id FROM {t} WHERE p.y IS NULL")
    t.where("p IS NULL", "id = 3")

"""What only format version 3 has: row lineage and its types."""

import json

import engine

MERGE_ON_READ = {"write.delete.mode": "merge-on-read", "write.update.mode": "merge-on-read", "write.merge.mode": "merge-on-read"}

LINEAGE = "SELECT id, s, _row_id, _last_updated_sequence_number FROM {t}"

ROWS = "SELECT CAST(id AS int) AS id, concat('s', id) AS s FROM range({}, {})"


def _change(t):
    t.insert(ROWS.format(0, 8))
    t.insert(ROWS.format(8, 12))
    t.sql("UPDATE {t} SET s = 'updated' WHERE id = 2 OR id = 9", "DELETE FROM {t} WHERE id IN (0, 3)")
    t.sql(
        """MERGE INTO {t} AS t USING (SELECT CAST(id AS int) AS id FROM range(10, 14)) AS s ON t.id = s.id
        WHEN MATCHED THEN UPDATE SET s = 'merged' WHEN NOT MATCHED THEN INSERT (id, s) VALUES (s.id, 'new')"""
    )


def _ask(t):
    t.ask(LINEAGE, "SELECT id FROM {t} WHERE _row_id = 2")
    t.ask("SELECT id, _row_id FROM {t} WHERE _last_updated_sequence_number > 2")
    t.ask_versions("id, _row_id, _last_updated_sequence_number")


def row_lineage(t):
    """Row ids and the numbers of their last change through merge-on-read changes and a compaction."""
    t.create_with("id int, s string", "", {"format-version": 3} | MERGE_ON_READ)
    _change(t)
    t.call("rewrite_data_files", "options => map('rewrite-all', 'true')")
    t.insert(ROWS.format(20, 22))
    _ask(t)


def row_lineage_copied(t):
    """Row ids kept through copies on write, in partitions."""
    t.create_with("id int, s string", "PARTITIONED BY (bucket(2, id))", {"format-version": 3})
    _change(t)
    _ask(t)


def row_lineage_upgraded(t):
    """Rows of version 2, which get their ids when the table is first written in version 3."""
    t.create_with("id int, s string", "", {"format-version": 2} | MERGE_ON_READ)
    t.insert(ROWS.format(0, 4))
    t.insert(ROWS.format(4, 6))
    t.sql("ALTER TABLE {t} SET TBLPROPERTIES ('format-version' = '3')")
    t.insert(ROWS.format(10, 12))
    t.sql("UPDATE {t} SET s = 'updated' WHERE id = 1")
    t.ask(LINEAGE, "SELECT id FROM {t} WHERE _row_id IS NULL")


def row_lineage_not_yet(t):
    """Upgraded to version 3 and not written since: no row has an id."""
    t.create_with("id int, s string", "", {"format-version": 2})
    t.insert(ROWS.format(0, 4))
    t.sql("ALTER TABLE {t} SET TBLPROPERTIES ('format-version' = '3')")
    t.ask(LINEAGE)


# ---- types


def _create(t, fields, spec=None, version=3):
    """A table of Iceberg types, made with Iceberg's Java API: [(name, type in the spec's JSON), …], all optional."""
    jvm = t.jvm
    ids = iter(range(1, 1000))

    def with_ids(kind):
        if not isinstance(kind, dict):
            return kind
        kind = dict(kind)
        if kind["type"] == "list":
            kind |= {"element-id": next(ids), "element-required": False, "element": with_ids(kind["element"])}
        elif kind["type"] == "map":
            kind |= {"key-id": next(ids), "value-id": next(ids), "value-required": False}
            kind |= {"key": with_ids(kind["key"]), "value": with_ids(kind["value"])}
        elif kind["type"] == "struct":
            kind["fields"] = [with_id(name, inner) for name, inner in kind["fields"]]
        return kind

    def with_id(name, kind):
        return {"id": next(ids), "name": name, "required": False, "type": with_ids(kind)}

    schema = {"type": "struct", "schema-id": 0, "fields": [with_id(name, kind) for name, kind in fields]}
    schema = jvm.org.apache.iceberg.SchemaParser.fromJson(json.dumps(schema))
    catalog = jvm.org.apache.iceberg.spark.Spark3Util.loadIcebergCatalog(t.spark._jsparkSession, "zoo")
    builder = jvm.org.apache.iceberg.PartitionSpec.builderFor(schema)
    for transform, column in spec or []:
        builder = getattr(builder, transform)(*([column] if isinstance(column, str) else column))
    identifier = jvm.org.apache.iceberg.catalog.TableIdentifier.parse(f"main.{t.name}")
    catalog.createTable(identifier, schema, builder.build(), t.location, {"format-version": str(version)})


def _append(t, rows):
    """One commit of these rows, given as Java values in the order of the columns, one file a partition."""
    jvm, table = t.jvm, t.java()
    factory = getattr(jvm.org.apache.iceberg.data, "GenericFileWriterFactory$Builder")(table).build()
    files = jvm.org.apache.iceberg.io.OutputFileFactory.builderFor(table, 1, 1).build()
    key = jvm.org.apache.iceberg.PartitionKey(table.spec(), table.schema())
    wrapper = jvm.org.apache.iceberg.data.InternalRecordWrapper(table.schema().asStruct())
    writers, append = {}, table.newAppend()
    for row in rows:
        record = jvm.org.apache.iceberg.data.GenericRecord.create(table.schema())
        for position, value in enumerate(row):
            record.set(position, value)
        key.partition(wrapper.wrap(record))
        path = key.toPath()
        if path not in writers:
            data = key.copy() if table.spec().isPartitioned() else None
            output = files.newOutputFile(table.spec(), data) if data else files.newOutputFile()
            writers[path] = factory.newDataWriter(output, table.spec(), data)
        writers[path].write(record)
    for writer in writers.values():
        writer.close()
        append = append.appendFile(writer.toDataFile())
    append.commit()


NANOS = [
    (1, "1969-12-31T23:59:59.999999999"), (2, "1970-01-01T00:00:00.000000001"), (3, "2024-02-29T12:00:00.123456789"), (4, None),
    (5, "1969-01-01T00:00:00"), (6, "2200-12-31T23:59:59.000000999"),
]


def _nanos(t, value):
    time = t.jvm.java.time
    naive = value and time.LocalDateTime.parse(value)
    return naive, value and time.OffsetDateTime.of(naive, time.ZoneOffset.UTC)


def timestamps_in_nanoseconds(t):
    """Timestamps in nanoseconds with and without zone, before 1970 too."""
    t.writer, t.generic = engine.JAVA, True
    _create(t, [("id", "int"), ("at", "timestamp_ns"), ("at_utc", "timestamptz_ns")])
    _append(t, [(id, *_nanos(t, value)) for id, value in NANOS[:3]])
    _append(t, [(id, *_nanos(t, value)) for id, value in NANOS[3:]])


def nanosecond_transforms(t):
    """Partitioned by each transform of timestamps in nanoseconds."""
    t.writer, t.generic = engine.JAVA, True
    columns = [("id", "int")] + [(name, "timestamp_ns") for name in ("a", "b", "c", "d", "e", "f")] + [("u", "timestamptz_ns")]
    spec = [("year", "a"), ("month", "b"), ("day", "c"), ("hour", "d"), ("identity", "e"), ("bucket", ("f", 4)), ("day", "u")]
    _create(t, columns, spec)
    _append(t, [(id, *[_nanos(t, value)[0]] * 6, _nanos(t, value)[1]) for id, value in NANOS])


def every_primitive(t):
    """Each primitive type that Spark lacks or writes otherwise: time, uuid, fixed, decimals of each width."""
    t.writer, t.generic = engine.JAVA, True
    kinds = ["boolean", "int", "long", "double", "date", "time", "timestamp", "timestamptz", "string", "uuid", "fixed[5]", "binary"]
    kinds += ["decimal(4, 1)", "decimal(18, 9)", "decimal(38, 38)"]
    _create(t, [(f"c{i}", kind) for i, kind in enumerate(kinds)], version=2)
    java = t.jvm.java
    naive = java.time.LocalDateTime.parse("1969-12-31T23:59:59.000001")

    def decimal(text):
        return java.math.BigDecimal(text)

    _append(
        t,
        [
            (
                True, -7, 5000000000, 1e-300, java.time.LocalDate.parse("1582-10-15"),
                java.time.LocalTime.parse("23:59:59.999999"), naive, java.time.OffsetDateTime.of(naive, java.time.ZoneOffset.UTC), "ü☃",
                java.util.UUID.fromString("f79c3e09-677c-4bbd-a479-3f349cb785e7"), bytearray(b"\x00\xff\x01\x02\x03"),
                java.nio.ByteBuffer.wrap(bytearray(b"\xff\x00")), decimal("-999.9"), decimal("123456789.123456789"), decimal("0.99999999999999999999999999999999999999"),
            )
        ],
    )
    _append(t, [[None] * len(kinds)])


def partitioned_by_primitives(t):
    """By identity and bucket of times, uuids and fixed bytes."""
    t.writer, t.generic = engine.JAVA, True
    _create(t, [("id", "int"), ("clock", "time"), ("u", "uuid"), ("fix", "fixed[3]"), ("v", "uuid"), ("time", "time"), ("bytes", "fixed[3]")],
            [("identity", "clock"), ("identity", "u"), ("identity", "fix"), ("bucket", ("v", 3)), ("bucket", ("time", 3)), ("bucket", ("bytes", 3))], version=2)
    java = t.jvm.java
    rows = [
        (1, "00:00:00", "f79c3e09-677c-4bbd-a479-3f349cb785e7", b"\x00\xff/"), (2, "23:59:59.999999", "00000000-0000-0000-0000-000000000000", b"abc"),
        (3, "12:30:00.000001", "ffffffff-ffff-ffff-ffff-ffffffffffff", b"\xff\xff\xff"),
    ]
    values = []
    for id, clock, u, fix in rows:
        clock, u = java.time.LocalTime.parse(clock), java.util.UUID.fromString(u)
        values.append((id, clock, u, bytearray(fix), u, clock, bytearray(fix)))
    _append(t, [*values, [4] + [None] * 6])


def unknown_type(t):
    """A column of type unknown, which is NULL in every row."""
    _create(t, [("id", "int"), ("nothing", "unknown"), ("s", "string")])
    t.sql("INSERT INTO {t} (id, s) VALUES (1, 'a'), (2, NULL)")
    t.sql("INSERT INTO {t} (id, s) VALUES (3, 'c')")
    t.where("nothing IS NULL", "s IS NULL")


VARIANTS = """VALUES (1, parse_json('{{"a": 1, "b": [true, null, "x"], "c": {{"d": 1.5}}}}')), (2, parse_json('"text"')), (3, NULL), (4, parse_json('null')),
    (5, parse_json('{{"a": "one", "z": 12345678901234567890}}')), (6, parse_json('[]')), (7, parse_json('-7'))"""


def variants(t):
    """Variants: objects, arrays, scalars, the JSON null and NULL."""
    t.create("id int, v variant", version=3)
    t.insert(VARIANTS.format())
    t.ask("SELECT id FROM {t} WHERE v IS NULL", "SELECT id FROM {t}", "SELECT count(*) AS n FROM {t}")


def variants_shredded(t):
    """Variants whose common fields the writer put into columns of their own."""
    t.create_with("id int, v variant", "", {"format-version": 3, "write.parquet.shred-variants": "true"})
    t.insert("SELECT CAST(id AS int), parse_json(concat('{\"a\": ', id, ', \"b\": \"s', id, '\"}')) FROM range(0, 20)")
    t.ask("SELECT id FROM {t} WHERE v IS NULL", "SELECT count(*) AS n FROM {t}")


def geometries(t):
    """Geometry and geography, kept as well-known binary."""
    t.create("id int, g geometry(4326), h geography(4326)", version=3)
    point = "X'0101000000000000000000F03F0000000000000040'"
    t.insert(f"VALUES (1, ST_SetSrid(ST_GeomFromWKB({point}), 4326), ST_GeogFromWKB({point})), (2, NULL, NULL)")
    t.ask("SELECT id FROM {t}", "SELECT id FROM {t} WHERE g IS NULL", "SELECT count(*) AS n FROM {t}")

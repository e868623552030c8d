"""Schemas and partition specs that changed while the table lived."""


def _asked(t, *conditions):
    t.where(*conditions)
    t.ask("SELECT count(*) AS n FROM {t}")
    t.ask_versions()


def _evolve(t, version):
    t.create("id int, name string, price decimal(6, 2), score float, gone int, area string", version=version)
    t.insert("VALUES (1, 'one', 1.25, float('0.5'), 10, 'a'), (2, NULL, NULL, NULL, NULL, NULL)")
    t.sql("ALTER TABLE {t} RENAME COLUMN name TO full_name", "ALTER TABLE {t} ALTER COLUMN id TYPE bigint")
    t.insert("VALUES (5000000000, 'two', 2.5, float('1.5'), 20, 'b')")
    t.sql(
        "ALTER TABLE {t} ALTER COLUMN price TYPE decimal(20, 2)",
        "ALTER TABLE {t} ALTER COLUMN score TYPE double",
        "ALTER TABLE {t} DROP COLUMN gone",
    )
    t.insert("VALUES (4, 'four', 123456789012345678.99, 1e300, 'a')")
    t.sql("ALTER TABLE {t} ADD COLUMN gone string AFTER id", "ALTER TABLE {t} ADD COLUMN name string COMMENT 'not the old one'")
    t.insert("VALUES (5, 'back', 'five', 5, 5, 'b', 'n5')")
    t.sql("ALTER TABLE {t} ALTER COLUMN area FIRST", "ALTER TABLE {t} ALTER COLUMN score AFTER id")
    t.insert("VALUES ('c', 6, NULL, NULL, 'six', NULL, NULL)")
    _asked(
        t, "id = 1", "id > 4", "full_name = 'one'", "gone IS NULL", "gone = 'back'", "name IS NULL", "name = 'n5'",
        "price = 1.25", "price > 100", "score > 0.6", "score = 0.5", "area = 'a'", "area IS NULL",
    )
    t.ask("SELECT min(id) AS a, max(id) AS b, min(price) AS c, max(score) AS d, count(gone) AS e, count(name) AS f FROM {t}")


def evolved_v1(t):
    """Version 1: columns renamed, widened, dropped, added again under the old name, moved."""
    _evolve(t, 1)


def evolved_v2(t):
    """Version 2: columns renamed, widened, dropped, added again under the old name, moved."""
    _evolve(t, 2)


def evolved_v3(t):
    """Version 3: columns renamed, widened, dropped, added again under the old name, moved."""
    _evolve(t, 3)


def evolved_nested(t):
    """Structs, lists and maps whose fields were renamed, added, dropped, widened and moved at every depth."""
    t.create(
        """id int NOT NULL, p struct<a: int, b: string, c: struct<d: float, e: int>>, items array<struct<k: int, v: string>>,
        m map<string, struct<x: int, y: string>>, deep array<array<struct<z: int>>>, nums array<int>, sums map<int, float>"""
    )
    t.insert(
        """VALUES (1, named_struct('a', 1, 'b', 'b1', 'c', named_struct('d', float('1.5'), 'e', 1)),
            array(named_struct('k', 1, 'v', 'v1'), NULL, named_struct('k', NULL, 'v', NULL)),
            map('m1', named_struct('x', 1, 'y', 'y1'), 'm2', NULL), array(array(named_struct('z', 1)), NULL), array(1, NULL), map(1, float('1.5'))),
        (2, NULL, NULL, NULL, NULL, NULL, NULL),
        (3, named_struct('a', NULL, 'b', NULL, 'c', NULL), array(), map(), array(), array(), map())"""
    )
    t.sql(
        "ALTER TABLE {t} ALTER COLUMN id DROP NOT NULL",
        "ALTER TABLE {t} RENAME COLUMN p.a TO renamed",
        "ALTER TABLE {t} ALTER COLUMN p.renamed TYPE bigint",
        "ALTER TABLE {t} ADD COLUMN p.a string",
        "ALTER TABLE {t} DROP COLUMN p.b",
        "ALTER TABLE {t} ALTER COLUMN p.c.d TYPE double",
        "ALTER TABLE {t} ADD COLUMN p.c.f int FIRST",
        "ALTER TABLE {t} RENAME COLUMN items.element.k TO key",
        "ALTER TABLE {t} ADD COLUMN items.element.n struct<q: int>",
        "ALTER TABLE {t} DROP COLUMN m.value.x",
        "ALTER TABLE {t} ADD COLUMN m.value.x string",
        "ALTER TABLE {t} RENAME COLUMN deep.element.element.z TO zz",
        "ALTER TABLE {t} ALTER COLUMN nums.element TYPE bigint",
        "ALTER TABLE {t} ALTER COLUMN sums.value TYPE double",
        "ALTER TABLE {t} ALTER COLUMN p AFTER m",
    )
    t.insert(
        """SELECT 4 AS id, array(named_struct('key', 4, 'v', 'v4', 'n', named_struct('q', 4))) AS items,
            map('m4', named_struct('y', 'y4', 'x', 'x4')) AS m,
            named_struct('renamed', 5000000000L, 'c', named_struct('f', 4, 'd', 4.5D, 'e', 4), 'a', 'a4') AS p,
            array(array(named_struct('zz', 4))) AS deep, array(5000000000L) AS nums, map(4, 1e300D) AS sums"""
    )
    t.insert("VALUES (NULL, NULL, NULL, NULL, NULL, NULL, NULL)")
    _asked(t, "id IS NULL", "p IS NULL", "items IS NULL", "id > 1")
    t.ask("SELECT items, p FROM {t}", "SELECT deep FROM {t} WHERE id = 1", "SELECT m, sums FROM {t}")
    t.ask_both("SELECT id, p['renamed'] AS r, p['c']['d'] AS d FROM {t}", "SELECT id, p.renamed AS r, p.c.d AS d FROM {t}")
    t.ask_both("SELECT id FROM {t} WHERE p['renamed'] > 1", "SELECT id FROM {t} WHERE p.renamed > 1")


def _evolve_spec(t, version):
    t.create("id int, region string, at timestamp_ntz, old string", "PARTITIONED BY (region, bucket(2, old))", version)
    rows = """SELECT CAST(id AS int), CASE WHEN id % 4 > 0 THEN concat('r', id % 4) END, TIMESTAMP_NTZ '1969-12-20 00:00:00' + make_dt_interval(0, id * 7),
        concat('o', id % 3) FROM range({}, {})"""
    t.insert(rows.format(0, 12))
    t.sql("ALTER TABLE {t} DROP PARTITION FIELD bucket(2, old)", "ALTER TABLE {t} ADD PARTITION FIELD month(at)")
    t.insert(rows.format(12, 24))
    t.sql("ALTER TABLE {t} REPLACE PARTITION FIELD month(at) WITH day(at) AS at_whole_day", "ALTER TABLE {t} DROP PARTITION FIELD region")
    t.insert(rows.format(24, 36))
    t.sql("ALTER TABLE {t} ADD PARTITION FIELD region", "ALTER TABLE {t} ADD PARTITION FIELD truncate(10, id) AS tens")
    t.insert(rows.format(36, 44))
    t.sql("ALTER TABLE {t} RENAME COLUMN region TO area")
    t.insert(rows.format(44, 48))
    if version > 1:
        t.sql("ALTER TABLE {t} DROP COLUMN old")
    t.sql("DELETE FROM {t} WHERE area = 'r2' AND id >= 36")
    _asked(
        t, "area = 'r1'", "area IS NULL", "area <> 'r1'", "at < TIMESTAMP '1970-01-01 00:00:00'", "at > TIMESTAMP '1969-12-30 12:00:00'",
        "id = 25", "id > 35", "area = 'r3' AND id < 20", "area IN ('r1', 'r2') OR id = 0",
    )
    t.ask("SELECT area, count(*) AS n FROM {t} GROUP BY area")


def spec_evolved_v1(t):
    """Version 1: partition fields dropped (they become void), replaced and added; a renamed source column."""
    _evolve_spec(t, 1)


def spec_evolved_v2(t):
    """Version 2: partition fields dropped, replaced and added; a renamed source column; an old spec's source column dropped."""
    _evolve_spec(t, 2)


def spec_evolved_deletes(t):
    """Merge-on-read deletes on files of three specs, the source column of the first widened."""
    properties = {"format-version": 2, "write.delete.mode": "merge-on-read", "write.update.mode": "merge-on-read"}
    t.create_with("id int, region string", "PARTITIONED BY (id)", properties)
    t.insert("VALUES (1, 'a'), (2, 'b'), (3, NULL), (NULL, 'd')")
    t.sql("ALTER TABLE {t} ALTER COLUMN id TYPE bigint", "ALTER TABLE {t} REPLACE PARTITION FIELD id WITH bucket(2, id)")
    t.insert("VALUES (1, 'a2'), (2, 'b2'), (5000000000, NULL)")
    t.sql("ALTER TABLE {t} DROP PARTITION FIELD bucket(2, id)")
    t.insert("VALUES (1, 'a3'), (2, 'b3')")
    t.sql("DELETE FROM {t} WHERE id = 2 AND region <> 'b2'", "UPDATE {t} SET region = 'changed' WHERE id = 1 AND region <> 'a2'")
    _asked(t, "id = 1", "id = 2", "id > 2", "id IS NULL", "region = 'changed'")


def column_defaults(t):
    """Version 3: initial defaults of each type, nested ones, and write defaults that changed."""
    t.create("id int, p struct<a: int>", version=3)
    t.insert("VALUES (1, named_struct('a', 1)), (2, NULL)")
    expressions, types = t.jvm.org.apache.iceberg.expressions, t.jvm.org.apache.iceberg.types.Types

    def literal(value, kind):
        return expressions.Expressions.lit(value).to(types.fromPrimitiveString(kind))

    update = t.java().updateSchema()
    defaults = [
        ("b", "boolean", True), ("i", "int", 7), ("l", "long", 5000000000), ("f", "float", 1.5), ("d", "double", -1.5), ("dec", "decimal(9, 2)", "12.30"),
        ("day", "date", "2024-02-29"), ("at", "timestamp", "2024-02-29T12:00:00.5"), ("at_utc", "timestamptz", "2024-02-29T12:00:00.5+00:00"),
        ("s", "string", "dé'faut"), ("none", "string", None),
    ]
    for name, kind, value in defaults:
        if value is None:
            update = update.addColumn(name, types.fromPrimitiveString(kind))
        else:
            update = update.addColumn(name, types.fromPrimitiveString(kind), literal(value, kind))
    update = update.addColumn("p", "n", types.fromPrimitiveString("int"), literal(9, "int"))
    update = update.addRequiredColumn("must", types.fromPrimitiveString("int"), literal(3, "int"))
    update.commit()
    t.sql("INSERT INTO {t} (id, p, s, must) VALUES (3, named_struct('a', 3, 'n', NULL), NULL, 4)")
    t.java().updateSchema().updateColumnDefault("i", literal(8, "int")).commit()
    t.sql("INSERT INTO {t} (id, p, i, must) VALUES (4, named_struct('a', 4, 'n', 4), 100, 5)")
    _asked(t, "i = 7", "i > 7", "i IS NULL", "s IS NULL", "s = 'dé''faut'", "b", "dec = 12.3", "day = DATE '2024-02-29'", "must = 3", "none IS NULL")
    t.where("at = TIMESTAMP '2024-02-29 12:00:00.5'", "l = 5000000000", "f > 1", "d < 0")
    t.ask("SELECT min(i) AS a, max(i) AS b, count(i) AS c, max(l) AS d, min(s) AS e, count(*) AS n FROM {t}")

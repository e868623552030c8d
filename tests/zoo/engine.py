"""Spark with Iceberg's catalog, and what a table of the zoo is.

The tables lie at `s3://zoo/TABLE/…`. While they are made, Hadoop's ViewFs maps that bucket to a folder of
this machine, so that the addresses in their metadata are those of any S3 server that is given the files.
"""

import json
import os
import re

os.environ["TZ"] = "UTC"

import pyspark
from pyspark.sql import SparkSession

import canonical
import jars
import kept

SPARK = {"engine": "Spark", "version": pyspark.__version__, "library": f"{jars.SPARK_RUNTIME} {jars.ICEBERG}"}
JAVA = {"engine": "Iceberg Java API", "version": jars.ICEBERG}


def start(work, name, database, warehouse, more=None):
    """A Spark session whose catalog `name` is Iceberg's JDBC catalog in `database`; `work` is a folder for scraps."""
    catalog = f"spark.sql.catalog.{name}"
    configuration = {
        "spark.jars": jars.installed(),
        "spark.ui.enabled": "false",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.host": "127.0.0.1",
        "spark.driver.extraJavaOptions": f"-Duser.timezone=UTC -Dderby.system.home={work}/derby",
        "spark.local.dir": f"{work}/local",
        "spark.sql.warehouse.dir": f"{work}/warehouse",
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.shuffle.partitions": "1",
        "spark.sql.geospatial.enabled": "true",
        "spark.sql.ansi.enabled": "true",
        "spark.sql.ansi.doubleQuotedIdentifiers": "true",
        "spark.sql.extensions": "org.apache.iceberg.spark.extensions.IcebergSparkSessionExtensions",
        catalog: "org.apache.iceberg.spark.SparkCatalog",
        f"{catalog}.catalog-impl": "org.apache.iceberg.jdbc.JdbcCatalog",
        f"{catalog}.jdbc.schema-version": "V1",
        f"{catalog}.cache-enabled": "false",
        f"{catalog}.uri": database,
        f"{catalog}.warehouse": warehouse,
    }
    builder = SparkSession.builder.master("local[2]")
    for key, value in (configuration | (more or {})).items():
        builder = builder.config(key, value)
    spark = builder.getOrCreate()
    spark.sparkContext.setLogLevel("ERROR")
    return spark


def answer(spark, query):
    """Names of the columns and rows in canonical form."""
    read = spark.sql(query)
    kinds = [field.dataType for field in read.schema.fields]
    return read.columns, [[canonical.from_spark(v, kind) for v, kind in zip(row, kinds)] for row in read.collect()]


class Zoo:
    """The bucket, and the engine that fills it."""

    def __init__(self, work):
        self.bucket = os.path.join(work, "bucket")
        os.makedirs(self.bucket)
        viewfs = "spark.hadoop.fs.viewfs"
        # A catalog whose tables have no catalog but their folder: names such as `v3.metadata.json`.
        hadoop = "spark.sql.catalog.folders"
        more = {
            "spark.hadoop.fs.s3.impl": "org.apache.hadoop.fs.viewfs.ViewFileSystemOverloadScheme",
            f"{viewfs}.overload.scheme.target.file.impl": "org.apache.hadoop.fs.RawLocalFileSystem",
            f"{viewfs}.mounttable.zoo.linkFallback": f"file://{self.bucket}",
            hadoop: "org.apache.iceberg.spark.SparkCatalog",
            f"{hadoop}.type": "hadoop",
            f"{hadoop}.warehouse": "s3://zoo",
            f"{hadoop}.cache-enabled": "false",
        }
        self.spark = start(work, "zoo", f"jdbc:sqlite:{work}/catalog.db", "s3://zoo", more)
        self.jvm = self.spark._jvm
        self.spark.sql("CREATE NAMESPACE zoo.main")

    def local(self, address):
        """The file of this machine behind an address."""
        prefix = "s3://zoo/"
        if not address.startswith(prefix):
            raise SystemExit(f"{address} is outside the bucket")
        return os.path.join(self.bucket, address[len(prefix):])


class Table:
    """One table: how it is changed, and the questions that its writer answers in the end."""

    def __init__(self, zoo, name, what):
        self.zoo, self.name, self.what = zoo, name, what
        self.spark, self.jvm = zoo.spark, zoo.jvm
        self.location = f"s3://zoo/{name}"
        self.full_name = f"zoo.main.{name}"
        self.writer = SPARK
        self.questions = []
        self.generic = False
        # What the refusal of a damaged table names, and the metadata file that the catalog would not read any more.
        self.refusal, self.location_kept = [], None

    # ---- changing it

    def sql(self, *statements):
        """Runs statements in which {t} is this table and {at} its location."""
        for statement in statements:
            result = self.spark.sql(self.in_spark(statement))
        return result

    def create(self, columns, more="", version=2, **properties):
        """CREATE TABLE; underscores in the names of properties stand for hyphens."""
        pairs = {"format-version": version} | {key.replace("_", "-"): value for key, value in properties.items()}
        self.create_with(columns, more, pairs)

    def create_with(self, columns, more, properties):
        pairs = {"write.metadata.previous-versions-max": "5", "commit.manifest-merge.enabled": "true"} | properties
        listed = ", ".join(f"'{key}' = '{value}'" for key, value in pairs.items())
        self.sql(f"CREATE TABLE {{t}} ({columns}) USING iceberg {more} LOCATION '{{at}}' TBLPROPERTIES ({listed})")

    def insert(self, rows, columns=""):
        """One commit: `rows` is a query or VALUES."""
        self.sql(f"INSERT INTO {{t}} {columns} {rows}")

    def properties(self, **pairs):
        listed = ", ".join(f"'{key.replace('_', '-').replace('--', '.')}' = '{value}'" for key, value in pairs.items())
        self.sql(f"ALTER TABLE {{t}} SET TBLPROPERTIES ({listed})")

    def call(self, procedure, arguments=""):
        """A procedure of Iceberg on this table."""
        separator = ", " if arguments else ""
        return self.sql(f"CALL zoo.system.{procedure}(table => 'main.{self.name}'{separator}{arguments})").collect()

    def java(self):
        """This table in Iceberg's Java API, as it is now."""
        return self.jvm.org.apache.iceberg.spark.Spark3Util.loadIcebergTable(self.spark._jsparkSession, self.full_name)

    def metadata(self):
        operations = self.java().operations()
        return operations.current()

    def snapshots(self):
        """Ids of the snapshots, oldest first."""
        rows = self.spark.sql(f"SELECT snapshot_id FROM {self.full_name}.snapshots ORDER BY committed_at").collect()
        return [row[0] for row in rows]

    # ---- asking its writer

    def ask(self, *queries):
        """Queries that Spark and Tarn both understand; {t} is the table, {t$files} a metadata table."""
        self.questions.extend((query, query) for query in queries)

    def where(self, *conditions):
        """All rows that a condition keeps, and how many."""
        for condition in conditions:
            self.ask(f"SELECT * FROM {{t}} WHERE {condition}", f"SELECT count(*) AS n FROM {{t}} WHERE {condition}")

    def ask_both(self, tarn, spark):
        """One question in two dialects."""
        self.questions.append((tarn, spark))

    def ask_versions(self, columns="*"):
        """Every snapshot by its id."""
        self.ask(*[f"SELECT {columns} FROM {{t}} FOR VERSION AS OF {id}" for id in self.snapshots()])

    def in_spark(self, text):
        text = re.sub(r"\{t\$(\w+)\}", rf"{self.full_name}.\1", text)
        return text.replace("{t}", self.full_name).replace("{at}", self.location)

    def answers(self):
        if self.generic:
            yield "SELECT * FROM {t}", *self.read_generic()
        else:
            self.questions.insert(0, ("SELECT * FROM {t}", "SELECT * FROM {t}"))
        for tarn, spark in self.questions:
            try:
                columns, rows = answer(self.spark, self.in_spark(spark))
            except Exception as error:
                raise SystemExit(f"{self.name}: {spark}\n{error}") from error
            self.check_count(tarn, rows)
            yield tarn, columns, rows

    def check_count(self, query, rows):
        """A writer that contradicts itself is no witness."""
        if query.startswith("SELECT count(*) AS n FROM {t} WHERE "):
            if rows != [[self.counted]]:
                raise SystemExit(f"{self.name}: {query}\ncounts {rows}, but selects {self.counted} rows")
        self.counted = len(rows)

    def read_generic(self):
        """All rows as Iceberg's own generic reader gives them, for what Spark has no type for."""
        table = self.java()
        fields = list(table.schema().columns())
        records = self.jvm.org.apache.iceberg.data.IcebergGenerics.read(table).build()
        rows = []
        for record in records.iterator():
            rows.append([canonical.from_java(self.jvm, record.get(i), f.type()) for i, f in enumerate(fields)])
        return [field.name() for field in fields], rows

    def metadata_location(self):
        return self.java().operations().current().metadataFileLocation()

    def keep(self, fixtures):
        """Copies what a reader can reach, with the writer's answers."""
        location = self.location_kept or self.metadata_location()
        queries = [
            {"sql": sql, "columns": columns, "rows": sorted(rows, key=json.dumps)}
            for sql, columns, rows in ([] if self.refusal else self.answers())
        ]
        kept.keep(fixtures, self.zoo.bucket, self.name, self.writer, self.what, location, queries, self.refusal)

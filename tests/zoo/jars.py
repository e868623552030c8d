"""The jars that Spark needs beside its own, by their paths in Maven's repository; prints them, one a line."""

import os

ICEBERG = "1.12.0"
SPARK_RUNTIME = "iceberg-spark-runtime-4.1_2.13"
SQLITE = "3.50.3.0"

JARS = [
    f"org/apache/iceberg/{SPARK_RUNTIME}/{ICEBERG}/{SPARK_RUNTIME}-{ICEBERG}.jar",
    f"org/xerial/sqlite-jdbc/{SQLITE}/sqlite-jdbc-{SQLITE}.jar",
]


def installed():
    """Where they are, for `spark.jars`."""
    paths = [os.path.join(os.path.expanduser("~/.m2/repository"), jar) for jar in JARS]
    for path in paths:
        if not os.path.exists(path):
            raise SystemExit(f"{path} is missing; run `scripts/test-tools.sh zoo`")
    return ",".join(paths)


if __name__ == "__main__":
    print("\n".join(JARS))

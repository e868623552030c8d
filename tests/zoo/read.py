"""Spark reads the tables of a Tarn server through the server's own catalog.

Input: {"catalog": what `Server::catalog_for_python` of the harness gives, on SQLite and the file system,
"queries": [SQL, ...] of tables in the catalog `lake`}. Output: {"answers": [{"columns", "rows"}, ...]} in canonical
form, or {"error"} in place of an answer.
"""

import json
import os
import sys
import tempfile

import engine


def main():
    task = json.load(sys.stdin)
    # Spark and the JVM write to stdout what they like; the answer alone goes to ours.
    stdout = os.dup(1)
    os.dup2(2, 1)
    database = "jdbc:" + task["catalog"]["uri"].replace("sqlite:///", "sqlite:", 1)
    answers = []
    with tempfile.TemporaryDirectory(prefix="tarn-zoo-") as work:
        spark = engine.start(work, "lake", database, task["catalog"]["warehouse"])
        for query in task["queries"]:
            try:
                columns, rows = engine.answer(spark, query)
                answers.append({"columns": columns, "rows": rows})
            except Exception as error:
                answers.append({"error": str(error)})
        spark.stop()
    with os.fdopen(stdout, "w") as output:
        json.dump({"answers": answers}, output)


if __name__ == "__main__":
    main()

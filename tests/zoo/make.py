"""Makes the zoo: tables as other engines write them, each with its writer's own answers.

    python tests/zoo/make.py [--only NAME,...] [FOLDER]

Writes `FOLDER/TABLE/…`, by default into `tests/zoo/fixtures`. Needs what `scripts/zoo-tools.sh` installs.
See README.md beside this file.
"""

import argparse
import inspect
import os
import shutil
import sys
import tempfile
import time

import damaged
import deletes
import engine
import evolution
import history
import migrated
import plain
import version3

MODULES = [plain, deletes, evolution, history, migrated, version3, damaged]


def tables_of(module):
    """The functions of a module that make a table: those with a text on what it is."""
    functions = inspect.getmembers(module, inspect.isfunction)
    own = [f for _, f in functions if f.__module__ == module.__name__ and f.__doc__ and not f.__name__.startswith("_")]
    return sorted(own, key=lambda function: function.__code__.co_firstlineno)


def main():
    here = os.path.dirname(os.path.abspath(__file__))
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="names of tables, with commas between them")
    parser.add_argument("folder", nargs="?", default=os.path.join(here, "fixtures"))
    options = parser.parse_args()
    wanted = set(filter(None, options.only.split(",")))
    work = tempfile.mkdtemp(prefix="tarn-zoo-")
    try:
        zoo = engine.Zoo(work)
        makers = [maker for module in MODULES for maker in tables_of(module)]
        failed = []
        for maker in makers:
            name = maker.__name__
            if wanted and name not in wanted:
                continue
            began = time.monotonic()
            try:
                table = engine.Table(zoo, name, inspect.cleandoc(maker.__doc__).replace("\n", " "))
                maker(table)
                table.keep(options.folder)
            except (Exception, SystemExit) as error:
                failed.append(name)
                print(f"{name}: FAILED: {str(error)[:20000]}", file=sys.stderr)
                continue
            print(f"{name}: {len(table.questions)} questions, {time.monotonic() - began:.1f} s")
        zoo.spark.stop()
        if failed:
            raise SystemExit(f"not made: {', '.join(failed)}")
    finally:
        shutil.rmtree(work, ignore_errors=True)


if __name__ == "__main__":
    main()

"""The start-up and browsing queries of BI tools and editors, with checked answers: bi/*.sql.

A file is a list of checks. `--- name` opens one; a statement follows as the tool sends it, then
lines `--= …` say what its answer is: `rows [[…]]` (these and no others), `includes […]` (this
row is one of them), `has {…}` (a row has these values by name), `matches […]` (one row, whose
values match), `columns […]` (names), `first […] of N` (the first row's values from column N on),
`any` (no error), `done` (a command). {user} and {database} are filled in.
"""

import glob
import json
import os
import re

import psycopg

from common import DATABASE, USER, check, equal, run, url

SCHEMA = "c_bi"
OPEN_DEFECTS = {}


def answer_of(connection, sql, *, extended):
    """Names and rows, everything as text, as the server sends it."""
    raw = connection.pgconn
    result = raw.exec_params(sql.encode(), None) if extended else raw.exec_(sql.encode())
    if result.status == psycopg.pq.ExecStatus.FATAL_ERROR:
        raise AssertionError(f"{result.error_message.decode()}\n{sql}")
    names = [result.fname(column).decode() for column in range(result.nfields)]
    rows = [[None if (v := result.get_value(row, column)) is None else v.decode() for column in range(result.nfields)] for row in range(result.ntuples)]
    return names, rows


def is_true(expectation, names, rows):
    kind, _, rest = expectation.partition(" ")
    if kind == "first":
        rest, _, column = rest.rpartition(" of ")
        equal(rows[0][int(column):], json.loads(rest))
        return
    expected = json.loads(rest) if rest else None
    if kind == "rows":
        equal(rows, expected)
    elif kind == "includes":
        assert expected in rows, f"{expected} is not among {rows[:50]}"
    elif kind == "has":
        found = [row for row in rows if expected.items() <= dict(zip(names, row, strict=True)).items()]
        assert found, f"no row has {expected}: {names} {rows[:50]}"
    elif kind == "matches":
        (row,) = rows
        assert len(row) == len(expected) and all(re.fullmatch(e, v) for e, v in zip(expected, row, strict=True)), f"{row} does not match {expected}"
    elif kind == "columns":
        equal(names, expected)
    elif kind == "done":
        equal((names, rows), ([], []))
    else:
        equal(kind, "any")


def statements(text):
    """(name of the check, SQL, expectations) of each statement of a file."""
    name, sql, expectations, out = None, [], [], []
    for line in [*text.split("\n"), "--- end"]:
        if line.startswith("--= "):
            expectations.append(line[4:])
            continue
        if expectations:
            out.append((name, "\n".join(sql).strip(), expectations))
            sql, expectations = [], []
        if line.startswith("--- "):
            name, sql = line[4:], []
        else:
            sql.append(line)
    return out


def as_check(tool, name, steps, *, extended):
    def run_it():
        with psycopg.connect(url(), autocommit=True) as connection:
            for sql, expectations in steps:
                names, rows = answer_of(connection, sql, extended=extended)
                for expectation in expectations:
                    is_true(expectation, names, rows)

    words = re.sub(r"\W+", "_", name)
    run_it.open_defect = OPEN_DEFECTS.get(f"{tool}_{words}")
    run_it.__name__ = f"{tool}_{words}_{'extended' if extended else 'simple'}"
    return check(run_it)


def add_checks():
    for path in sorted(glob.glob(os.path.join(os.path.dirname(__file__), "bi", "*.sql"))):
        with open(path, encoding="utf-8") as file:
            text = file.read().replace("{user}", USER).replace("{database}", DATABASE)
        steps = {}
        for name, sql, expectations in statements(text):
            steps.setdefault(name, []).append((sql, expectations))
        for name, of_check in steps.items():
            for extended in (False, True):
                as_check(os.path.basename(path)[:-4], name, of_check, extended=extended)


def setup():
    with psycopg.connect(url(), autocommit=True) as connection:
        for statement in (
            f"DROP SCHEMA IF EXISTS {SCHEMA} CASCADE", f"CREATE SCHEMA {SCHEMA}",
            f"CREATE TABLE {SCHEMA}.orders (id bigint NOT NULL, customer text, amount numeric(12,2), placed timestamp, paid boolean, tags text[])",
            f"COMMENT ON TABLE {SCHEMA}.orders IS 'what was ordered'", f"COMMENT ON COLUMN {SCHEMA}.orders.amount IS 'in francs'",
            f"INSERT INTO {SCHEMA}.orders VALUES (1, 'Ann', 10.50, '2026-11-01 10:00:00', true, ARRAY['a', 'b c']), (2, 'Bob', -3.00, '2026-11-02 11:30:00', false, NULL)",
            f"CREATE VIEW {SCHEMA}.paid AS SELECT id, amount FROM {SCHEMA}.orders WHERE paid",
        ):
            connection.execute(statement)


def teardown():
    with psycopg.connect(url(), autocommit=True) as connection:
        connection.execute(f"DROP SCHEMA IF EXISTS {SCHEMA} CASCADE")


if __name__ == "__main__":
    add_checks()
    run(setup, teardown)

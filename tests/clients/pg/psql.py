"""psql 15: its \\d commands, \\copy, variables, cursors, errors, and its prompt through a pty."""

import os
import re
import struct
import subprocess
import tempfile
import time

import pexpect

from common import DATABASE, TARN, USER, check, equal, open_defect, run

SCHEMA = "c_psql"

# Of a literal without a type; Tarn's are always 64 bits wide.

SETUP = f"""
CREATE SCHEMA {SCHEMA};
CREATE TABLE {SCHEMA}.orders (
    id bigint NOT NULL, customer text, amount numeric(12,2), placed timestamp, seen timestamptz,
    paid boolean, score double precision, ratio real, quantity integer, ref uuid, day date, clock time, raw bytea, tags text[]);
INSERT INTO {SCHEMA}.orders VALUES
    (1, 'Ann', 10.50, '2026-11-01 10:00:00', '2026-11-01 10:00:00+00', true, 1.5, 0.5, 3,
     '11111111-2222-3333-4444-555555555555', '2026-11-01', '10:00:00', '\\xdead', ARRAY['a', 'b c']),
    (2, 'Bob', -3.00, '2026-11-02 11:30:00.123456', '2026-11-02 11:30:00.123456+00', false, 'NaN', '-Infinity', -7,
     '00000000-0000-0000-0000-000000000000', '1999-12-31', '23:59:59.999999', '\\x', ARRAY['NULL', NULL]),
    (3, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
CREATE VIEW {SCHEMA}.paid_orders AS SELECT id, customer FROM {SCHEMA}.orders WHERE paid;
COMMENT ON TABLE {SCHEMA}.orders IS 'what was ordered';
COMMENT ON COLUMN {SCHEMA}.orders.amount IS 'in francs';
CREATE TABLE {SCHEMA}.copied (id bigint, name text, amount numeric(12,2));
"""



def psql(script, *arguments, code=0, **environment):
    """What psql prints to stdout and stderr when `script` is its input."""
    done = subprocess.run(
        ["psql", "-X", "-q", "-v", "VERBOSITY=default", *arguments],
        input=script, capture_output=True, text=True, timeout=120,
        env=os.environ | {"LC_ALL": "C.UTF-8", "PGCONNECT_TIMEOUT": "10"} | environment,
    )
    assert done.returncode == code, f"psql ended with {done.returncode}:\n{done.stdout}\n{done.stderr}"
    return done.stdout, done.stderr


def out(script, *arguments, **environment):
    """stdout of a script that says nothing on stderr."""
    stdout, stderr = psql(script, *arguments, **environment)
    equal(stderr, "")
    return stdout


def lines(text):
    return [line.rstrip() for line in text.strip("\n").split("\n")]


def shows(command, expected):
    """The command prints exactly this, but for spaces at the ends of lines and before a title."""
    actual, expected = lines(out(command)), lines(expected)
    equal([actual[0].strip(), *actual[1:]], [expected[0].strip(), *expected[1:]])


@check
def it_is_psql_15():
    version = subprocess.run(["psql", "--version"], capture_output=True, text=True, check=True).stdout
    assert re.match(r"psql \(PostgreSQL\) 15\.", version), version


@check
def l_lists_the_database():
    rows = [line.split("|") for line in out("\\pset format unaligned\n\\pset tuples_only on\n\\l\n").splitlines()]
    (row,) = [row for row in rows if row[0] == DATABASE]
    equal(row[1:3], [USER, "UTF8"])
    out("\\l+\n")


@check
def dn_lists_the_schema():
    shows(f"\\dn {SCHEMA}", f"""
  List of schemas
  Name  | Owner
--------+-------
 {SCHEMA} | {USER}
(1 row)

""")
    out("\\dn+")
    assert "information_schema" in out("\\dnS"), "system schemas are missing"
    assert "information_schema" not in out("\\dn")


@check
def dt_lists_tables():
    shows(f"\\dt {SCHEMA}.*", f"""
         List of relations
 Schema |  Name  | Type  | Owner
--------+--------+-------+-------
 {SCHEMA} | copied | table | {USER}
 {SCHEMA} | orders | table | {USER}
(2 rows)

""")
    assert "what was ordered" in out(f"\\dt+ {SCHEMA}.orders")


@check
def dv_lists_views():
    shows(f"\\dv {SCHEMA}.*", f"""
           List of relations
 Schema |    Name     | Type | Owner
--------+-------------+------+-------
 {SCHEMA} | paid_orders | view | {USER}
(1 row)

""")
    out(f"\\dv+ {SCHEMA}.*")


@check
def d_lists_relations_of_the_search_path():
    text = out(f"SET search_path = {SCHEMA};\n\\d\n")
    equal(re.findall(r"\| (\w+)\s+\| (table|view)", text), [("copied", "table"), ("orders", "table"), ("paid_orders", "view")])


@check
def d_describes_a_table():
    shows(f"\\d {SCHEMA}.orders", f"""
                         Table "{SCHEMA}.orders"
  Column  |            Type             | Collation | Nullable | Default
----------+-----------------------------+-----------+----------+---------
 id       | bigint                      |           | not null |
 customer | text                        |           |          |
 amount   | numeric(12,2)               |           |          |
 placed   | timestamp without time zone |           |          |
 seen     | timestamp with time zone    |           |          |
 paid     | boolean                     |           |          |
 score    | double precision            |           |          |
 ratio    | real                        |           |          |
 quantity | integer                     |           |          |
 ref      | uuid                        |           |          |
 day      | date                        |           |          |
 clock    | time without time zone      |           |          |
 raw      | bytea                       |           |          |
 tags     | text[]                      |           |          |

""")
    equal(out(f"SET search_path = {SCHEMA};\n\\d orders\n"), out(f"\\d {SCHEMA}.orders"))
    equal(out(f'\\d "{SCHEMA}"."orders"'), out(f"\\d {DATABASE}.{SCHEMA}.orders"))


@check
def d_plus_describes_a_table():
    text = out(f"\\d+ {SCHEMA}.orders")
    rows = [[cell.strip() for cell in line.split("|")] for line in text.splitlines() if line.count("|") == 8]
    equal(rows[0], ["Column", "Type", "Collation", "Nullable", "Default", "Storage", "Compression", "Stats target", "Description"])
    equal(rows[1], ["id", "bigint", "", "not null", "", "plain", "", "", ""])
    equal(rows[3], ["amount", "numeric(12,2)", "", "", "", "main", "", "", "in francs"])
    equal(rows[14], ["tags", "text[]", "", "", "", "extended", "", "", ""])


@check
def d_plus_describes_a_view():
    text = out(f"\\d+ {SCHEMA}.paid_orders")
    assert f'View "{SCHEMA}.paid_orders"' in text, text
    definition = " ".join(text.split("View definition:")[1].split())
    for part in ("SELECT", "customer", "FROM", "orders", "WHERE", "paid"):
        assert part in definition, definition
    assert "CREATE OR REPLACE VIEW" in out(f"\\sv {SCHEMA}.paid_orders")


@check
def d_of_an_unknown_table_says_so():
    equal(psql("\\set QUIET off\n\\d c_psql.nothing"), ("", 'Did not find any relation named "c_psql.nothing".\n'))


@check
def df_lists_functions():
    text = out("\\df pg_catalog.upper")
    assert re.search(r"pg_catalog \| upper +\| text +\| text +\| func", text), text
    text = out("\\df pg_catalog.count")
    assert re.search(r"pg_catalog \| count +\| bigint +\| .*\| agg", text), text
    out("\\df")
    out("\\dfS")
    out("\\df+ pg_catalog.upper")
    out("\\da pg_catalog.count")


@check
def du_lists_roles():
    text = out(f"\\du {USER}")
    assert re.search(rf"^ {USER} +\| Superuser", text, re.M), text
    out("CREATE USER c_psql_role PASSWORD 'long-enough-secret';")
    try:
        text = out("\\du c_psql_role")
        assert re.search(r"^ c_psql_role +\| +\| \{\}", text, re.M), text
        out("\\du+")
        out("\\dg")
    finally:
        out("DROP USER c_psql_role;")


@check
def dp_lists_privileges():
    text = out(f"\\dp {SCHEMA}.*")
    assert re.search(rf" {SCHEMA} \| orders +\| table \|", text), text
    assert re.search(rf" {SCHEMA} \| paid_orders +\| view +\|", text), text
    equal(out(f"\\z {SCHEMA}.*"), text)


@check
def every_other_backslash_command_works():
    """Each asks the catalogs something; what it finds may be nothing, but it is no error."""
    commands = (
        "\\d \\dS \\dtS \\dvS \\di \\dm \\ds \\dE \\dT \\dTS \\dT+ \\dD \\dC \\dc \\dO \\do \\dA \\dAc \\dAf \\dAo \\dAp \\db \\db+ \\dx "
        "\\dx+ \\dL \\dL+ \\dF \\dFd \\dFp \\dFt \\dP \\dPt \\dPi \\ddp \\drds \\dRp \\dRs \\dX \\dy \\des \\det \\dew "
        "\\deu \\dl \\dconfig \\dd \\conninfo \\encoding \\dt+ \\di+ \\l+"
    ).split()
    failures = []
    for command in commands:
        stdout, stderr = psql(command + "\n")
        if "ERROR" in stderr or "FATAL" in stderr:
            failures.append(f"{command}: {stderr.strip()}")
    assert not failures, "\n".join(failures)


@check
def dconfig_shows_a_parameter():
    text = out("\\dconfig server_version")
    assert re.search(r" server_version \| \d+", text), text


@check
def every_type_prints_as_postgresql_prints_it():
    shows(f"\\x on\n\\pset null ∅\nSELECT * FROM {SCHEMA}.orders ORDER BY id LIMIT 2;", """
-[ RECORD 1 ]----------------------------------
id       | 1
customer | Ann
amount   | 10.50
placed   | 2026-11-01 10:00:00
seen     | 2026-11-01 10:00:00+00
paid     | t
score    | 1.5
ratio    | 0.5
quantity | 3
ref      | 11111111-2222-3333-4444-555555555555
day      | 2026-11-01
clock    | 10:00:00
raw      | \\xdead
tags     | {a,"b c"}
-[ RECORD 2 ]----------------------------------
id       | 2
customer | Bob
amount   | -3.00
placed   | 2026-11-02 11:30:00.123456
seen     | 2026-11-02 11:30:00.123456+00
paid     | f
score    | NaN
ratio    | -Infinity
quantity | -7
ref      | 00000000-0000-0000-0000-000000000000
day      | 1999-12-31
clock    | 23:59:59.999999
raw      | \\x
tags     | {"NULL",NULL}

""")


@check
def a_time_zone_moves_timestamptz_only():
    shows(f"\\t\nSET TIME ZONE 'Asia/Kolkata';\nSELECT seen, placed FROM {SCHEMA}.orders WHERE id = 1;\nSHOW timezone;",
          " 2026-11-01 15:30:00+05:30 | 2026-11-01 10:00:00\n\n Asia/Kolkata\n")


ROWS = [(1, "plain", "1.50"), (2, 'quo"te, comma', "-0.01"), (3, "tab\there\nand a line\\", None), (4, None, "9999999999.99"), (5, "", "0.00"), (6, "naïve ☃", "7.00")]

TEXT = "1\tplain\t1.50\n2\tquo\"te, comma\t-0.01\n3\ttab\\there\\nand a line\\\\\t\\N\n4\t\\N\t9999999999.99\n5\t\t0.00\n6\tnaïve ☃\t7.00\n"

CSV = 'id,name,amount\n1,plain,1.50\n2,"quo""te, comma",-0.01\n3,"tab\there\nand a line\\",\n4,,9999999999.99\n5,"",0.00\n6,naïve ☃,7.00\n'


def copies_both_ways(content, options):
    """Loads a file, unloads the same rows to another, and gives what is in that."""
    with tempfile.TemporaryDirectory() as folder:
        path, back = os.path.join(folder, "in"), os.path.join(folder, "out")
        with open(path, "wb") as file:
            file.write(content)
        table = f"{SCHEMA}.copied_{re.sub('[^a-z]', '', options.lower())[:6]}"
        out(f"CREATE TABLE {table} (id bigint, name text, amount numeric(12,2));")
        try:
            said = psql(f"\\set QUIET off\n\\copy {table} FROM '{path}' {options}\n")[0]
            equal(said, "COPY 6\n")
            said = psql(f"\\set QUIET off\n\\copy (SELECT * FROM {table} ORDER BY id) TO '{back}' {options}\n")[0]
            equal(said, "COPY 6\n")
            with open(back, "rb") as file:
                return file.read()
        finally:
            out(f"DROP TABLE {table};")


@check
def copy_text_round_trips():
    equal(copies_both_ways(TEXT.encode(), ""), TEXT.encode())


@check
def copy_csv_round_trips():
    equal(copies_both_ways(CSV.encode(), "WITH (FORMAT csv, HEADER)"), CSV.encode())


@check
def copy_csv_with_other_characters_round_trips():
    given = "1;plain;1.50\n2;'quo\"te, comma';-0.01\n".replace("'quo\"te, comma'", 'quo"te, comma') + "".join(f"{i};~;{i}.00\n" for i in range(3, 7))
    equal(copies_both_ways(given.encode(), "WITH (FORMAT csv, DELIMITER ';', NULL '~', QUOTE '''')"), given.encode())


def binary_numeric(text):
    digits = {"1.50": (0, 0, 2, [1, 5000]), "-0.01": (-1, 0x4000, 2, [100]), "9999999999.99": (2, 0, 2, [99, 9999, 9999, 9900]),
              "0.00": (0, 0, 2, []), "7.00": (0, 0, 2, [7])}
    weight, sign, scale, groups = digits[text]
    return struct.pack("!hhHh", len(groups), weight, sign, scale) + b"".join(struct.pack("!h", group) for group in groups)


@check
def copy_binary_round_trips():
    def field(value):
        return struct.pack("!i", -1) if value is None else struct.pack("!i", len(value)) + value

    given = b"PGCOPY\n\xff\r\n\0" + struct.pack("!ii", 0, 0)
    for number, name, amount in ROWS:
        given += struct.pack("!h", 3) + field(struct.pack("!q", number)) + field(None if name is None else name.encode())
        given += field(binary_numeric(amount) if amount else None)
    given += struct.pack("!h", -1)
    equal(copies_both_ways(given, "WITH (FORMAT binary)"), given)


@check
def copy_of_a_table_and_of_columns_to_stdout():
    shows(f"COPY (SELECT id, customer FROM {SCHEMA}.orders ORDER BY id) TO STDOUT;", "1\tAnn\n2\tBob\n3\t\\N\n")
    equal(sorted(lines(out(f"COPY {SCHEMA}.orders (id, paid) TO STDOUT WITH CSV;"))), ["1,t", "2,f", "3,"])
    equal(sorted(lines(out(f"\\copy {SCHEMA}.orders (id, tags) to stdout"))), ["1\t{a,\"b c\"}", "2\t{\"NULL\",NULL}", "3\t\\N"])


@check
def copy_from_stdin_takes_columns_and_refuses_bad_rows():
    table = f"{SCHEMA}.copy_stdin"
    out(f"CREATE TABLE {table} (id bigint, name text);")
    out(f"COPY {table} (name, id) FROM STDIN;\none\t1\ntwo\t2\n\\.\n")
    equal(lines(out(f"\\t\n\\a\nSELECT * FROM {table} ORDER BY id;")), ["1|one", "2|two"])
    said = psql(f"\\set VERBOSITY verbose\nCOPY {table} FROM STDIN;\n3\tthree\nx\tfour\n\\.\nSELECT 'alive';")
    assert "22P02" in said[1] and "alive" in said[0], said
    equal(lines(out(f"\\t\n\\a\nSELECT count(*) FROM {table};")), ["2"])
    said = psql(f"\\set VERBOSITY verbose\nCOPY {table} FROM STDIN;\n3\n\\.\n")
    assert "22P04" in said[1], said
    out(f"DROP TABLE {table};")


@check
def gdesc_names_the_types():
    shows(f"\\t\n\\a\nSELECT * FROM {SCHEMA}.orders \\gdesc", "\n".join([
        "id|bigint", "customer|text", "amount|numeric(12,2)", "placed|timestamp without time zone", "seen|timestamp with time zone",
        "paid|boolean", "score|double precision", "ratio|real", "quantity|integer", "ref|uuid", "day|date", "clock|time without time zone",
        "raw|bytea", "tags|text[]"]))
    shows("\\t\n\\a\nSELECT count(*), 'x' AS s, 1 AS i, 1.5::float8 AS n, now() AS t, interval '1 day' AS v, 1 = 1 \\gdesc",
          f"count|bigint\ns|text\ni|integer\nn|double precision\nt|timestamp with time zone\nv|interval\n?column?|boolean")
    shows("\\t\n\\a\nSELECT 1::numeric AS a, 1.5::numeric(2,1) AS b, ARRAY[1]::numeric(5,2)[] AS c, 'a'::name AS d, '{}'::json AS e, 1::oid AS f \\gdesc",
          "a|numeric\nb|numeric(2,1)\nc|numeric(5,2)[]\nd|name\ne|json\nf|oid")


@check
def gset_sets_variables():
    shows(f"SELECT id AS a, customer AS b FROM {SCHEMA}.orders WHERE id = 2 \\gset got_\n\\echo :got_a :got_b\n"
          f"\\t\n\\a\nSELECT customer FROM {SCHEMA}.orders WHERE customer = :'got_b';", "2 Bob\nBob\n")


@check
def crosstabview_pivots():
    shows("SELECT * FROM (VALUES ('a','x',1),('a','y',2),('b','x',3)) AS t(r, c, v) ORDER BY 1, 2 \\crosstabview", """
 r | x | y
---+---+---
 a | 1 | 2
 b | 3 |
(2 rows)

""")


@check
def gexec_runs_what_a_query_returns():
    shows("\\t\n\\a\nSELECT 'SELECT ' || n FROM (VALUES (10), (20)) AS t(n) ORDER BY n \\gexec", "10\n20\n")


@check
def errors_have_code_line_and_position():
    stdout, stderr = psql("SELECT 1,\n  2 FROM nowhere;\n\\errverbose\n")
    said = stdout + stderr
    assert re.search(r"ERROR:  .*nowhere", said), said
    assert "LINE 2:   2 FROM nowhere;\n                 ^" in said, said
    assert re.search(r"ERROR:  42P01: ", said), said
    for statement, code in (
        ("SELEC 1", "42601"), ("SELECT nope FROM c_psql.orders", "42703"), ("SELECT nope(1)", "42883"), ("SELECT 1/0", "22012"),
        ("SELECT 'x'::int", "22P02"), ("CREATE TABLE c_psql.orders (a int)", "42P07"), ("CREATE SCHEMA c_psql", "42P06"),
        ("DROP TABLE c_psql.nope", "42P01"), ("SELECT * FROM nowhere.t", "42P01"), ("DROP TABLE nowhere.t", "3F000"),
        ("INSERT INTO nowhere.t VALUES (1)", "42P01"), ("CREATE TABLE nowhere.t (a int)", "3F000"), ("SELECT 'nowhere'::regclass", "42P01"),
        ("SELECT 'nowhere.t'::regclass", "3F000"), ("SELECT 'nope'::regtype", "42704"), ("SELECT 'x'::date", "22007"),
        ("SELECT '2024-02-30'::date", "22008"), ("SELECT '2024-01-01 25:00'::timestamp", "22008"), ("SELECT 'x'::interval", "22007"),
        ("SELECT customer FROM c_psql.orders GROUP BY customer HAVING id > 1", "42803"), ("VALUES (1), (2, 3)", "42601"),
        ("INSERT INTO c_psql.copied (id, name) VALUES (1)", "42601"), ("SELECT 1 UNION SELECT 1, 2", "42601"),
        ("SET nonsense_setting = 1", "42704"),
        ("DROP SCHEMA c_psql", "2BP01"),
    ):
        said = psql(f"\\set VERBOSITY sqlstate\n{statement};\nSELECT 'alive' AS a;\n")
        equal((statement, said[1].strip()), (statement, f"ERROR:  {code}"))
        assert "alive" in said[0]


@check
def a_column_that_is_not_grouped_is_42803():
    said = psql("\\set VERBOSITY sqlstate\nSELECT id FROM c_psql.orders GROUP BY customer;\n")
    equal(said[1].strip(), "ERROR:  42803")


@check
def more_values_than_columns_are_42601():
    said = psql("\\set VERBOSITY sqlstate\nINSERT INTO c_psql.copied VALUES (1, 'a', 2, 3);\n")
    equal(said[1].strip(), "ERROR:  42601")


@check
def several_statements_in_one_string_answer_each():
    stdout, stderr = psql("", "-At", "-c", "SELECT 1; SELECT 'two'; SELECT 3")
    equal((stdout, stderr), ("1\ntwo\n3\n", ""))
    stdout, stderr = psql("", "-At", "-c", "SELECT 1; SELECT 1/0; SELECT 3", code=1)
    assert stdout == "1\n" and "division by zero" in stderr.lower(), (stdout, stderr)
    equal(out("SELECT 'a;b' AS x\\; SELECT $$c;d$$ AS y;", "-At"), "a;b\nc;d\n")
    equal(out("", "-At", "-c", ";"), "")
    equal(out("", "-At", "-c", "-- nothing but a comment"), "")


@check
def command_tags_are_postgresqls():
    table = f"{SCHEMA}.tags"
    stdout, stderr = psql(
        f"\\set QUIET off\nCREATE TABLE {table} (a bigint);\nINSERT INTO {table} VALUES (1), (2);\nCREATE VIEW {table}_v AS SELECT 1 AS x;\n"
        f"DROP VIEW {table}_v;\nDROP TABLE {table};\nSET application_name = 'x';\nRESET application_name;\nBEGIN;\nSAVEPOINT a;\n"
        "RELEASE a;\nCOMMIT;\nSTART TRANSACTION;\nROLLBACK;\nDISCARD ALL;\nDEALLOCATE ALL;\nCLOSE ALL;\n"
        "CREATE SCHEMA c_psql_x;\nDROP SCHEMA c_psql_x;\n")
    equal(stderr, "")
    equal(stdout.splitlines(), [
        "CREATE TABLE", "INSERT 0 2", "CREATE VIEW", "DROP VIEW", "DROP TABLE", "SET", "RESET", "BEGIN", "SAVEPOINT", "RELEASE", "COMMIT",
        "START TRANSACTION", "ROLLBACK", "DISCARD ALL", "DEALLOCATE ALL", "CLOSE CURSOR ALL", "CREATE SCHEMA", "DROP SCHEMA"])


@check
def fetch_count_reads_through_a_cursor():
    text = out("\\set FETCH_COUNT 100\n\\t\n\\a\nSELECT n FROM generate_series(1, 1000) AS t(n) ORDER BY n;")
    equal(lines(text), [str(n) for n in range(1, 1001)])


@check
def cursors_of_sql_move_forward():
    shows("\\t\n\\a\nBEGIN;\nDECLARE c CURSOR FOR SELECT n FROM generate_series(1, 10) AS t(n) ORDER BY n;\nFETCH 2 FROM c;\nFETCH NEXT FROM c;\n"
          "FETCH FORWARD 2 IN c;\nFETCH ALL FROM c;\nFETCH c;\nCLOSE c;\nCOMMIT;", "\n".join(map(str, range(1, 11))))
    shows("\\t\n\\a\nDECLARE h CURSOR WITH HOLD FOR SELECT n FROM generate_series(1, 3) AS t(n) ORDER BY n;\nFETCH 2 FROM h;\nFETCH 2 FROM h;\nCLOSE h;",
          "1\n2\n3")
    said = psql("\\set VERBOSITY sqlstate\nFETCH 1 FROM nope;\nCLOSE nope;\nDECLARE d CURSOR FOR SELECT 1;\n")[1]
    equal(said.splitlines(), ["ERROR:  34000", "ERROR:  34000", "ERROR:  25P01"])


@check
def prepared_statements_of_sql():
    shows("\\t\n\\a\nPREPARE p AS SELECT $1::int + 1, upper($2);\nEXECUTE p(41, 'abc');\nEXECUTE p(1, 'x');\nDEALLOCATE p;", "42|ABC\n2|X")
    shows("\\t\n\\a\nPREPARE q (bigint, text) AS SELECT $1, $2;\nEXECUTE q(1, 'x');", "1|x")
    said = psql("\\set VERBOSITY sqlstate\nEXECUTE nope(1);\nDEALLOCATE nope;\nPREPARE p AS SELECT 1;\nPREPARE p AS SELECT 2;\n")[1]
    equal(said.splitlines(), ["ERROR:  26000", "ERROR:  26000", "ERROR:  42P05"])


@check
def prepared_statements_are_listed():
    shows("\\t\n\\a\nPREPARE q (bigint, text) AS SELECT $1, $2;\nSELECT name, parameter_types::text FROM pg_prepared_statements;",
          "q|{bigint,text}")


@check
def an_error_fails_the_transaction_until_rollback():
    stdout, stderr = psql("\\set VERBOSITY sqlstate\n\\t\n\\a\nBEGIN;\nSELECT 1/0;\nSELECT 2;\nROLLBACK;\nSELECT 3;\n")
    equal((stderr.splitlines(), stdout), (["ERROR:  22012", "ERROR:  25P02"], "3\n"))
    stdout, stderr = psql("\\set QUIET off\n\\set ON_ERROR_ROLLBACK on\n\\t\n\\a\nBEGIN;\nSELECT 1/0;\nSELECT 2;\nCOMMIT;\n")
    assert stdout.endswith("BEGIN\n2\nCOMMIT\n"), stdout
    stdout, stderr = psql("\\set QUIET off\nBEGIN;\nSELECT 1/0;\nCOMMIT;\nCOMMIT;\n")
    equal(stdout, "BEGIN\nROLLBACK\nCOMMIT\n")
    assert "there is no transaction in progress" in stderr, stderr


@check
def a_script_stops_at_its_first_error():
    with tempfile.NamedTemporaryFile("w", suffix=".sql") as file:
        file.write("SELECT 1;\nSELECT nope;\nSELECT 3;\n")
        file.flush()
        stdout, stderr = psql("", "-At", "-v", "ON_ERROR_STOP=1", "-f", file.name, code=3)
        equal(stdout, "1\n")
        assert f"psql:{file.name}:2: ERROR:" in stderr, stderr
        equal(out("", "-At", "-1", "-c", "SELECT 1", "-c", "SELECT 2"), "1\n2\n")


@check
def a_wrong_password_is_refused():
    if TARN:  # PostgreSQL trusts everybody in the tests.
        stdout, stderr = psql("SELECT 1;", code=2, PGPASSWORD="wrong-password")
        assert f'password authentication failed for user "{USER}"' in stderr, stderr
        equal(psql("SELECT 1;", code=2, PGPASSWORD="wrong", PGUSER="nobody_here")[1].replace("nobody_here", USER), stderr)
    stdout, stderr = psql("SELECT 1;", code=2, PGDATABASE="no_such_database")
    assert 'database "no_such_database" does not exist' in stderr, stderr


class Terminal:
    """psql on a terminal of its own."""

    def __init__(self):
        environment = os.environ | {"TERM": "dumb", "LC_ALL": "C.UTF-8", "PSQL_HISTORY": "/dev/null", "INPUTRC": "/dev/null", "PAGER": "cat"}
        self.child = pexpect.spawn("psql", ["-X", "-P", "pager=off"], env=environment, encoding="utf-8", timeout=20, dimensions=(50, 200))
        self.prompt()

    def prompt(self, state="="):
        self.child.expect_exact(f"{DATABASE}{state}# ")
        return self.child.before

    def run(self, line, state="="):
        self.child.sendline(line)
        return self.prompt(state)

    def complete(self, line, wanted):
        """Types a line and Tab; the completed line shows on the screen."""
        self.child.send(line + "\t")
        self.child.expect_exact(wanted, timeout=10)
        self.child.send("\x15\n")  # rubs the line out
        self.prompt()

    def offers(self, line, wanted):
        """Types a line and Tab twice; readline lists what fits."""
        self.child.send(line + "\t\t")
        for name in wanted:
            self.child.expect_exact(name, timeout=10)
        self.child.send("\x15\n")
        self.prompt()

    def close(self):
        self.child.sendline("\\q")
        self.child.expect(pexpect.EOF)
        self.child.close()


@check
def tab_completes_names_from_the_catalogs():
    terminal = Terminal()
    terminal.complete(f"SELECT * FROM {SCHEMA[:5]}", f"SELECT * FROM {SCHEMA}.")
    terminal.complete(f"SELECT * FROM {SCHEMA}.ord", f"SELECT * FROM {SCHEMA}.orders ")
    terminal.offers(f"SELECT * FROM {SCHEMA}.", ["copied", "orders", "paid_orders"])
    terminal.complete(f"\\d {SCHEMA}.pai", f"\\d {SCHEMA}.paid_orders ")
    terminal.complete(f"SELECT * FROM {SCHEMA}.orders WHERE custo", f"SELECT * FROM {SCHEMA}.orders WHERE customer ")
    terminal.complete("SET TIM", "timezone")
    terminal.complete("SHOW search_p", "SHOW search_path ")
    terminal.complete(f"DROP VIEW {SCHEMA}.", f"DROP VIEW {SCHEMA}.paid_orders ")
    terminal.complete(f"\\dn c_psq", f"\\dn {SCHEMA} ")
    terminal.run(f"SET search_path = {SCHEMA};")
    terminal.complete("SELECT * FROM orde", "SELECT * FROM orders ")
    terminal.complete("INSERT INTO cop", "INSERT INTO copied ")
    terminal.complete("\\df pg_catalog.array_appe", "\\df pg_catalog.array_append ")
    terminal.complete(f"\\du {USER[:-1]}", f"\\du {USER}")
    terminal.complete(f"\\c {DATABASE[:-1]}", f"\\c {DATABASE} ")
    terminal.close()


@check
def the_prompt_shows_the_state_of_the_transaction():
    terminal = Terminal()
    terminal.run("BEGIN;", "=*")
    terminal.run("SELECT 1/0;", "=!")
    terminal.run("ROLLBACK;")
    terminal.close()


@check
def watch_repeats_until_interrupted():
    terminal = Terminal()
    terminal.child.sendline("SELECT 'tick' AS w \\watch 0.1")
    for _ in range(3):
        terminal.child.expect(r"\(every 0\.1s\)")
        terminal.child.expect_exact("(1 row)")
    terminal.child.sendintr()
    terminal.prompt()
    terminal.close()


@check
def timing_tells_a_time():
    text = out("\\timing on\nSELECT 1 AS x;")
    assert re.search(r"^Time: \d+\.\d{3} ms", text, re.M), text


@check
def interrupting_cancels_the_query():
    terminal = Terminal()
    terminal.child.sendline("SELECT count(*) FROM generate_series(1, 2000000000) AS a(x), generate_series(1, 1000) AS b(y);")
    terminal.child.expect_exact("\r\n")
    time.sleep(1)  # until the query runs; a cancel request before that would be for nothing
    terminal.child.sendintr()
    terminal.child.expect_exact("canceling statement due to user request", timeout=15)
    terminal.prompt()
    assert "alive" in terminal.run("SELECT 'ali' || 've';")
    terminal.close()


@check
def password_changes_a_password():
    psql("CREATE USER c_psql_changer PASSWORD 'an old secret of some length';")
    try:
        terminal = Terminal()
        terminal.child.sendline("\\password c_psql_changer")
        for _ in range(2):
            # For a new password, then again.
            terminal.child.expect(r"(?i)enter [^\n]*:")
            terminal.child.sendline("a new secret of some length")
        said = terminal.prompt()
        assert "ERROR" not in said, said
        terminal.close()
        if TARN:  # PostgreSQL trusts everybody in the tests.
            who = {"PGUSER": "c_psql_changer"}
            equal(out("SELECT current_user;", "-At", PGPASSWORD="a new secret of some length", **who), "c_psql_changer\n")
            assert "password authentication failed" in psql("SELECT 1;", code=2, PGPASSWORD="an old secret of some length", **who)[1]
    finally:
        psql("DROP USER c_psql_changer;")


@check
def reconnecting_keeps_the_user():
    assert f'"{DATABASE}" as user "{USER}"' in psql(f"\\set QUIET off\n\\c {DATABASE}\n\\conninfo\n")[0]
    assert f'"{DATABASE}" as user "{USER}"' in out("\\conninfo\n")


def setup():
    psql(f"DROP SCHEMA IF EXISTS {SCHEMA} CASCADE;")
    stdout, stderr = psql(SETUP, "-v", "ON_ERROR_STOP=1")
    equal((stdout, stderr), ("", ""))


def teardown():
    psql(f"DROP SCHEMA IF EXISTS {SCHEMA} CASCADE;")


if __name__ == "__main__":
    run(setup, teardown)

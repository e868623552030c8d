"""pandas: read_sql in whole and in pieces, to_sql in each of its ways, over SQLAlchemy and ADBC-less drivers."""

import numpy
import pandas
import sqlalchemy as sa

from common import check, equal, run, url

SCHEMA = "c_pandas"


def engine():
    return sa.create_engine(url("postgresql+psycopg"))


FRAME = pandas.DataFrame({
    "id": pandas.Series([1, 2, 3], dtype="int64"),
    "small": pandas.Series([1, 2, 3], dtype="int32"),
    "name": ["a", "naïve ☃", None],
    "score": [1.5, float("nan"), -2.0],
    "flag": [True, False, True],
    "at": pandas.to_datetime(["2024-02-29 01:02:03.456789", "1969-12-31 23:59:59.000001", None]),
    "zoned": pandas.to_datetime(["2024-02-29 01:02:03+00:00", "1969-12-31 23:59:59+00:00", None], utc=True),
})


def frames_equal(actual, expected):
    pandas.testing.assert_frame_equal(actual.reset_index(drop=True), expected.reset_index(drop=True), check_dtype=False)


@check
def to_sql_creates_appends_and_replaces():
    own = engine()
    FRAME.to_sql("written", own, schema=SCHEMA, index=False)
    read = pandas.read_sql_table("written", own, schema=SCHEMA).sort_values("id")
    frames_equal(read, FRAME)
    equal(str(read.dtypes["id"]), "int64")
    assert str(read.dtypes["at"]).startswith("datetime64["), read.dtypes
    assert str(read.dtypes["zoned"]).endswith("UTC]"), read.dtypes
    FRAME.to_sql("written", own, schema=SCHEMA, index=False, if_exists="append", method="multi")
    equal(pandas.read_sql(f"SELECT count(*) AS n FROM {SCHEMA}.written", own)["n"][0], 6)
    FRAME.head(1).to_sql("written", own, schema=SCHEMA, index=False, if_exists="replace")
    equal(pandas.read_sql(f"SELECT count(*) AS n FROM {SCHEMA}.written", own)["n"][0], 1)
    try:
        FRAME.to_sql("written", own, schema=SCHEMA, if_exists="fail")
        raise AssertionError("succeeded")
    except ValueError:
        pass
    own.dispose()


def with_copy(table, connection, keys, rows):
    """The insertion method of pandas' documentation that uses COPY."""
    with connection.connection.driver_connection.cursor() as cursor:
        columns = ", ".join(f'"{key}"' for key in keys)
        with cursor.copy(f'COPY "{table.schema}"."{table.name}" ({columns}) FROM STDIN') as copy:
            for row in rows:
                copy.write_row(row)


@check
def to_sql_copies_many_rows():
    own = engine()
    frame = pandas.DataFrame({"id": numpy.arange(20000), "value": numpy.arange(20000) / 4})
    frame.to_sql("copied", own, schema=SCHEMA, index=False, method=with_copy, chunksize=10000)
    read = pandas.read_sql(sa.text(f"SELECT count(*) AS n, sum(id) AS s, sum(value) AS v FROM {SCHEMA}.copied"), own)
    equal([float(x) for x in read.iloc[0]], [20000.0, 199990000.0, 49997500.0])
    own.dispose()


@check
def read_sql_takes_parameters_dates_and_pieces():
    own = engine()
    read = pandas.read_sql(
        sa.text("SELECT n, CAST(:word AS text) AS word, DATE '2024-02-29' AS day FROM generate_series(1, :last) AS t(n) ORDER BY n"), own,
        params={"last": 3, "word": "x"}, index_col="n", parse_dates=["day"])
    equal(list(read.index), [1, 2, 3])
    equal(list(read["word"]), ["x"] * 3)
    equal(read["day"].iloc[0], pandas.Timestamp("2024-02-29"))
    pieces = [len(piece) for piece in pandas.read_sql("SELECT n FROM generate_series(1, 1000) AS t(n)", own, chunksize=300)]
    equal(pieces, [300, 300, 300, 100])
    with own.connect().execution_options(stream_results=True) as connection:
        equal(sum(piece["n"].sum() for piece in pandas.read_sql(sa.text("SELECT n FROM generate_series(1, 1000) AS t(n)"), connection, chunksize=100)), 500500)
    own.dispose()


@check
def read_sql_groups_as_pandas_does():
    own = engine()
    frame = pandas.DataFrame({"k": ["a", "b", "a", "c"], "v": [1.0, 2.0, 3.5, None]})
    frame.to_sql("grouped", own, schema=SCHEMA, index=False)
    read = pandas.read_sql(f"SELECT k, sum(v) AS v, count(*) AS n FROM {SCHEMA}.grouped GROUP BY k ORDER BY k", own)
    expected = frame.groupby("k", as_index=False).agg(v=("v", lambda s: s.sum(min_count=1)), n=("k", "size"))
    frames_equal(read, expected)
    own.dispose()


def statements(*texts):
    own = sa.create_engine(url("postgresql+psycopg"), isolation_level="AUTOCOMMIT")
    with own.connect() as connection:
        for text in texts:
            connection.exec_driver_sql(text)
    own.dispose()


def setup():
    statements(f"DROP SCHEMA IF EXISTS {SCHEMA} CASCADE", f"CREATE SCHEMA {SCHEMA}")


def teardown():
    statements(f"DROP SCHEMA IF EXISTS {SCHEMA} CASCADE")


if __name__ == "__main__":
    run(setup, teardown)

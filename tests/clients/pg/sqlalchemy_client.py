"""SQLAlchemy 2: reflection, Core and ORM, over psycopg, asyncpg and psycopg2."""

import asyncio
import datetime
import decimal
import uuid

import sqlalchemy as sa
from sqlalchemy import orm
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

from common import TARN, check, equal, run, url

SCHEMA = "c_sqlalchemy"

SYNC_DRIVERS = ("psycopg", "psycopg2")


def engine(driver="psycopg", **options):
    return sa.create_engine(url(f"postgresql+{driver}"), **options)


class Base(orm.DeclarativeBase):
    metadata = sa.MetaData(schema=SCHEMA)


class Author(Base):
    __tablename__ = "author"
    id: orm.Mapped[int] = orm.mapped_column(sa.BigInteger, primary_key=True, autoincrement=False)
    name: orm.Mapped[str] = orm.mapped_column(sa.Text)
    born: orm.Mapped[datetime.date | None]
    books: orm.Mapped[list["Book"]] = orm.relationship(back_populates="author", primaryjoin="Author.id == foreign(Book.author_id)")


class Book(Base):
    __tablename__ = "book"
    id: orm.Mapped[int] = orm.mapped_column(sa.BigInteger, primary_key=True, autoincrement=False)
    author_id: orm.Mapped[int] = orm.mapped_column(sa.BigInteger)
    title: orm.Mapped[str] = orm.mapped_column(sa.Text)
    price: orm.Mapped[decimal.Decimal | None] = orm.mapped_column(sa.Numeric(10, 2))
    author: orm.Mapped[Author] = orm.relationship(back_populates="books", primaryjoin="Author.id == foreign(Book.author_id)")


DDL = f"""
CREATE SCHEMA {SCHEMA};
CREATE TABLE {SCHEMA}.author (id bigint NOT NULL, name text NOT NULL, born date);
CREATE TABLE {SCHEMA}.book (id bigint NOT NULL, author_id bigint NOT NULL, title text, price numeric(10,2));
CREATE TABLE {SCHEMA}.every_type (
    b boolean, i integer, l bigint, f real, d double precision, n numeric(12,2), s text, bin bytea, u uuid, day date, clock time,
    at timestamp, atz timestamptz, longs bigint[], texts text[]);
CREATE VIEW {SCHEMA}.titles AS SELECT title, price FROM {SCHEMA}.book;
COMMENT ON TABLE {SCHEMA}.book IS 'what was written';
COMMENT ON COLUMN {SCHEMA}.book.price IS 'in francs'
"""


def each_driver(function):
    """Marks a check that runs with each driver that is not async."""

    def run_it():
        for driver in SYNC_DRIVERS:
            own = engine(driver)
            try:
                function(own)
            except BaseException as error:
                raise AssertionError(f"with {driver}") from error
            finally:
                own.dispose()

    run_it.__name__ = function.__name__
    return check(run_it)


@each_driver
def the_dialect_starts(own):
    with own.connect() as connection:
        assert own.dialect.server_version_info >= (14,), own.dialect.server_version_info
        assert own.dialect.default_schema_name, own.dialect.default_schema_name
        equal(connection.scalar(sa.text("SELECT :n + 1"), {"n": 1}), 2)
        equal(connection.get_isolation_level(), "READ COMMITTED")
        connection.rollback()
        equal(connection.execution_options(isolation_level="AUTOCOMMIT").scalar(sa.select(sa.literal("x"))), "x")


@each_driver
def names_are_inspected(own):
    inspector = sa.inspect(own)
    names = inspector.get_schema_names()
    assert SCHEMA in names and "information_schema" in names, names
    assert not [name for name in names if name.startswith("pg_")], names
    equal(sorted(inspector.get_table_names(SCHEMA)), ["author", "book", "every_type"])
    equal(inspector.get_view_names(SCHEMA), ["titles"])
    equal(inspector.get_materialized_view_names(SCHEMA), [])
    equal(inspector.get_temp_table_names(), [])
    equal(inspector.get_sequence_names(SCHEMA), [])
    equal([inspector.has_table(name, SCHEMA) for name in ("book", "titles", "nope")], [True, True, False])
    equal([inspector.has_schema(name) for name in (SCHEMA, "nope")], [True, False])
    definition = inspector.get_view_definition("titles", SCHEMA)
    assert "title" in definition and "book" in definition, definition
    equal(inspector.get_enums(SCHEMA), [])
    equal(inspector.get_domains(SCHEMA), [])


@each_driver
def columns_are_inspected(own):
    columns = sa.inspect(own).get_columns("every_type", SCHEMA)
    equal([(c["name"], c["type"].compile(own.dialect), c["nullable"]) for c in columns], [
        ("b", "BOOLEAN", True), ("i", "INTEGER", True), ("l", "BIGINT", True), ("f", "REAL", True), ("d", "DOUBLE PRECISION", True),
        ("n", "NUMERIC(12, 2)", True), ("s", "TEXT", True), ("bin", "BYTEA", True), ("u", "UUID", True), ("day", "DATE", True), ("clock", "TIME WITHOUT TIME ZONE", True),
        ("at", "TIMESTAMP WITHOUT TIME ZONE", True), ("atz", "TIMESTAMP WITH TIME ZONE", True), ("longs", "BIGINT[]", True), ("texts", "TEXT[]", True)])
    equal([c["type"].timezone for c in columns if c["name"] in ("at", "atz")], [False, True])
    columns = sa.inspect(own).get_columns("book", SCHEMA)
    equal([(c["name"], c["nullable"], c["default"], c["comment"], c["autoincrement"]) for c in columns], [
        ("id", False, None, None, False), ("author_id", False, None, None, False), ("title", True, None, None, False),
        ("price", True, None, "in francs", False)])
    equal([c["name"] for c in sa.inspect(own).get_columns("titles", SCHEMA)], ["title", "price"])


@each_driver
def keys_indexes_and_comments_are_inspected(own):
    inspector = sa.inspect(own)
    equal(inspector.get_table_comment("book", SCHEMA), {"text": "what was written"})
    equal(inspector.get_table_comment("author", SCHEMA), {"text": None})
    equal(inspector.get_pk_constraint("book", SCHEMA)["constrained_columns"], [])
    equal(inspector.get_foreign_keys("book", SCHEMA), [])
    equal(inspector.get_indexes("book", SCHEMA), [])
    equal(inspector.get_unique_constraints("book", SCHEMA), [])
    equal(inspector.get_check_constraints("book", SCHEMA), [])
    inspector.get_table_options("book", SCHEMA)
    try:
        inspector.get_columns("nope", SCHEMA)
        raise AssertionError("succeeded")
    except sa.exc.NoSuchTableError:
        pass


@each_driver
def a_schema_is_reflected_at_once(own):
    metadata = sa.MetaData()
    metadata.reflect(own, schema=SCHEMA, views=True)
    equal(sorted(metadata.tables), [f"{SCHEMA}.{name}" for name in ("author", "book", "every_type", "titles")])
    book = metadata.tables[f"{SCHEMA}.book"]
    equal((book.comment, book.c.price.comment), ("what was written", "in francs"))
    with own.connect() as connection:
        connection.execute(sa.select(book).limit(1)).all()
        equal(connection.execute(sa.select(sa.func.count()).select_from(metadata.tables[f"{SCHEMA}.titles"])).scalar_one() >= 0, True)


@each_driver
def core_inserts_and_selects(own):
    table = sa.Table(f"core_{own.driver}", sa.MetaData(schema=SCHEMA), sa.Column("id", sa.BigInteger), sa.Column("name", sa.Text),
                     sa.Column("amount", sa.Numeric(12, 2)), sa.Column("at", sa.DateTime(timezone=True)), sa.Column("ref", sa.Uuid), sa.Column("flag", sa.Boolean),
                     sa.Column("tags", sa.ARRAY(sa.Text)))
    table.create(own)
    at = datetime.datetime(2026, 11, 1, 10, tzinfo=datetime.UTC)
    with own.begin() as connection:
        connection.execute(table.insert(), {"id": 1, "name": "one", "amount": decimal.Decimal("1.50"), "at": at, "ref": uuid.UUID(int=1), "flag": True, "tags": ["a", "b"]})
        connection.execute(table.insert(), [{"id": n, "name": f"n{n}"} for n in range(2, 50)])
        connection.execute(sa.insert(table).from_select(["id", "name"], sa.select(table.c.id + 100, sa.func.upper(table.c.name)).where(table.c.id < 3)))
    with own.connect() as connection:
        equal(connection.execute(sa.select(table).where(table.c.id == 1)).one(), (1, "one", decimal.Decimal("1.50"), at, uuid.UUID(int=1), True, ["a", "b"]))
        query = sa.select(sa.func.count(), sa.func.sum(table.c.id)).where(table.c.name.like("n%"), table.c.id.in_([2, 3, 4, 99]))
        equal(connection.execute(query).one(), (3, 9))
        query = sa.select(table.c.name, sa.func.row_number().over(order_by=table.c.id)).where(sa.or_(table.c.id > 100, table.c.name.ilike("ONE"))).order_by(table.c.id)
        equal(connection.execute(query).all(), [("one", 1), ("ONE", 2), ("N2", 3)])
        query = sa.select(sa.case((table.c.flag.is_(True), "yes"), else_="no"), sa.cast(table.c.id, sa.String), sa.extract("year", table.c.at)).where(table.c.id == 1)
        equal(connection.execute(query).one(), ("yes", "1", 2026))
        result = connection.execution_options(stream_results=True, yield_per=10).execute(sa.select(table.c.id).order_by(table.c.id))
        equal(len(result.all()), 51)
        subquery = sa.select(table.c.id).where(table.c.id < 5).cte("few")
        equal(connection.execute(sa.select(sa.func.count()).select_from(subquery)).scalar(), 4)
    table.drop(own)
    equal(sa.inspect(own).has_table(table.name, SCHEMA), False)


@each_driver
def the_orm_selects(own):
    with orm.Session(own) as session:
        authors = session.scalars(sa.select(Author).options(orm.selectinload(Author.books)).order_by(Author.id)).all()
        equal([(a.name, [b.title for b in sorted(a.books, key=lambda b: b.id)]) for a in authors], [("Ann", ["A", "B"]), ("Bob", [])])
        equal(session.get(Book, 1).author.name, "Ann")
        rows = session.execute(sa.select(Author.name, sa.func.sum(Book.price)).join(Book, Book.author_id == Author.id).group_by(Author.name)).all()
        equal(rows, [("Ann", decimal.Decimal("30.50"))])
        joined = session.scalars(sa.select(Author).options(orm.joinedload(Author.books)).where(Author.id == 1)).unique().one()
        equal(len(joined.books), 2)
        equal(session.scalar(sa.select(sa.exists().where(Author.born > datetime.date(1980, 1, 1)))), True)


@check
def the_orm_writes():
    own = engine()
    with orm.Session(own) as session:
        session.add_all([Author(id=10, name="Cid", born=None), Author(id=11, name="Dee", born=datetime.date(2000, 2, 29))])
        session.commit()
    with orm.Session(own) as session:
        equal(session.scalars(sa.select(Author.name).where(Author.id >= 10).order_by(Author.id)).all(), ["Cid", "Dee"])
        author = session.get(Author, 10)
        author.name = "Changed"
        if TARN:
            try:
                session.commit()
                raise AssertionError("an UPDATE succeeded")
            except sa.exc.NotSupportedError as error:
                equal(error.orig.sqlstate, "0A000")
        session.rollback()
    own.dispose()


@check
def asyncpg_reflects_selects_and_inserts():
    async def body():
        own = create_async_engine(url("postgresql+asyncpg"))
        async with own.connect() as connection:
            names = await connection.run_sync(lambda c: sorted(sa.inspect(c).get_table_names(SCHEMA)))
            assert {"author", "book", "every_type"} <= set(names), names
            columns = await connection.run_sync(lambda c: [(x["name"], str(x["type"])) for x in sa.inspect(c).get_columns("book", SCHEMA)])
            equal(columns, [("id", "BIGINT"), ("author_id", "BIGINT"), ("title", "TEXT"), ("price", "NUMERIC(10, 2)")])
            metadata = sa.MetaData()
            await connection.run_sync(lambda c: metadata.reflect(c, schema=SCHEMA, views=True))
        async with AsyncSession(own) as session:
            authors = (await session.scalars(sa.select(Author).options(orm.selectinload(Author.books)).where(Author.id < 10).order_by(Author.id))).all()
            equal([(a.name, len(a.books)) for a in authors], [("Ann", 2), ("Bob", 0)])
        async with own.begin() as connection:
            await connection.execute(sa.insert(Book), [{"id": 20, "author_id": 10, "title": "T", "price": decimal.Decimal("1.00")}, {"id": 21, "author_id": 10, "title": "U", "price": None}])
        async with own.connect() as connection:
            result = await connection.stream(sa.select(Book.title).where(Book.id >= 20).order_by(Book.id))
            equal([row[0] async for row in result], ["T", "U"])
        await own.dispose()

    asyncio.run(asyncio.wait_for(body(), 60))


@check
def a_database_error_has_its_class():
    own = engine()
    with own.connect() as connection:
        for statement, kind in (("SELECT * FROM nowhere", sa.exc.ProgrammingError), ("SELECT 1/0", sa.exc.DataError), ("SELECT 'x'::int", sa.exc.DataError)):
            try:
                connection.execute(sa.text(statement))
                raise AssertionError("succeeded")
            except kind:
                connection.rollback()
    own.dispose()


@check
def a_pool_checks_its_connections():
    own = engine(pool_size=2, pool_pre_ping=True)
    for _ in range(5):
        with own.connect() as connection:
            equal(connection.scalar(sa.text("SELECT 1")), 1)
    own.dispose()


def statements(*texts):
    own = engine(isolation_level="AUTOCOMMIT")
    with own.connect() as connection:
        for text in texts:
            connection.exec_driver_sql(text)
    own.dispose()


def setup():
    teardown()
    statements(*DDL.split(";"), f"INSERT INTO {SCHEMA}.author VALUES (1, 'Ann', '1990-01-01'), (2, 'Bob', NULL)",
               f"INSERT INTO {SCHEMA}.book VALUES (1, 1, 'A', 10.50), (2, 1, 'B', 20.00)")


def teardown():
    statements(f"DROP SCHEMA IF EXISTS {SCHEMA} CASCADE")


if __name__ == "__main__":
    run(setup, teardown)

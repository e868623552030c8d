"""TLS, accounts and tokens with each driver: psql, psycopg, asyncpg, psycopg2, ODBC and node.

The server has a certificate for this machine whose authority is TLS_CA; NODE_MODULES is where node's packages are.
"""

import asyncio
import os
import ssl
import subprocess
import time

import asyncpg
import psycopg
import psycopg2
import pyodbc

from common import DATABASE, HOST, PASSWORD, PORT, USER, check, equal, run

CA = os.environ["TLS_CA"]

NAME, SECRET = "c_tls_user", "a long enough secret"

state = {}


def connect(user=USER, password=PASSWORD, **options):
    parts = {"host": HOST, "port": PORT, "dbname": DATABASE, "user": user, "password": password, "sslmode": "require", "connect_timeout": 20} | options
    return psycopg.connect(autocommit=True, **parts)


def psql(script, **environment):
    done = subprocess.run(["psql", "-X", "-q", "-At"], input=script, capture_output=True, text=True, timeout=60,
                          env=os.environ | {"PGSSLMODE": "require", "LC_ALL": "C.UTF-8"} | environment)
    return done.returncode, done.stdout, done.stderr


@check
def psql_speaks_tls():
    code, out, said = psql("\\conninfo\nSELECT 1;")
    assert code == 0 and "SSL connection (protocol: TLSv1.3" in out, (out, said)
    code, out, said = psql("SELECT 1;", PGSSLMODE="verify-full", PGSSLROOTCERT=CA, PGHOST="localhost")
    equal((code, out, said), (0, "1\n", ""))
    code, out, said = psql("SELECT 1;", PGSSLMODE="verify-full", PGSSLROOTCERT="/etc/ssl/certs/ca-certificates.crt", PGHOST="localhost")
    assert code == 2 and "certificate verify failed" in said, said


@check
def the_server_knows_that_a_session_is_encrypted():
    with connect() as connection:
        equal(connection.execute("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()").fetchone(), (True,))
        version, cipher, bits = connection.execute("SELECT version, cipher, bits FROM pg_stat_ssl WHERE pid = %s", [connection.info.backend_pid]).fetchone()
        equal(version, "TLSv1.3")
        # What libpq's OpenSSL says of its end of the same connection.
        code, out, said = psql("\\conninfo\n")
        assert f"cipher: {cipher}" in out, (cipher, out, code, said)
        equal(bits, 128 if "AES_128" in cipher else 256)


@check
def each_driver_speaks_tls():
    with connect() as connection:
        equal(connection.pgconn.ssl_in_use, True)
    with connect(host="localhost", sslmode="verify-full", sslrootcert=CA) as connection:
        equal(connection.execute("SELECT 1").fetchone(), (1,))

    async def by_asyncpg():
        context = ssl.create_default_context(cafile=CA)
        connection = await asyncpg.connect(host="localhost", port=PORT, user=USER, password=PASSWORD, database=DATABASE, ssl=context, timeout=20)
        equal(await connection.fetchval("SELECT 1"), 1)
        await connection.close()

    asyncio.run(by_asyncpg())
    connection = psycopg2.connect(host=HOST, port=PORT, user=USER, password=PASSWORD, dbname=DATABASE, sslmode="require")
    equal(connection.info.ssl_in_use, True)
    connection.close()
    connection = pyodbc.connect(f"Driver={{PostgreSQL Unicode}};Server={HOST};Port={PORT};Database={DATABASE};Uid={USER};Pwd={{{PASSWORD}}};SSLmode=require", autocommit=True)
    equal(connection.execute("SELECT 1").fetchone()[0], 1)
    connection.close()
    program = (
        "const pg = require(process.env.NODE_MODULES + '/pg'); const client = new pg.Client({ host: 'localhost', ssl: { ca: require('fs').readFileSync(process.env.TLS_CA) } });"
        "client.connect().then(() => client.query('SELECT 1 AS a')).then((answer) => { console.log(answer.rows[0].a); return client.end(); })"
        ".catch((error) => { console.error(error); process.exit(1); });")
    equal(subprocess.run(["node", "-e", program], capture_output=True, text=True, timeout=60, check=True).stdout, "1\n")


@check
def a_user_has_a_password_and_changes_it():
    with connect() as connection:
        connection.execute(f"CREATE USER {NAME} PASSWORD '{SECRET}'")
    with connect(NAME, SECRET) as connection:
        equal(connection.execute("SELECT current_user").fetchone(), (NAME,))
        equal(connection.info.parameter_status("is_superuser"), "off")
        try:
            connection.execute("CREATE USER c_tls_other PASSWORD 'another secret of some length'")
            raise AssertionError("a user without privileges made a user")
        except psycopg.errors.InsufficientPrivilege:
            pass
        connection.execute(f"ALTER USER {NAME} PASSWORD 'changed {SECRET}'")
    equal(refusal(NAME, SECRET), "28P01")
    connect(NAME, f"changed {SECRET}").close()


def refusal(user, password):
    """The SQLSTATE with which a connection is refused."""
    try:
        connect(user, password).close()
    except psycopg.OperationalError as error:
        text = str(error)
        assert "password authentication failed" in text, text
        return "28P01"
    return None


@check
def a_token_is_a_password():
    with connect(NAME, f"changed {SECRET}") as connection:
        cursor = connection.execute("CREATE TOKEN c_tls_token EXPIRES IN '1 day'")
        columns = [column.name for column in cursor.description]
        token = dict(zip(columns, cursor.fetchone(), strict=True))["token"]
    with connect(NAME, token) as connection:
        equal(connection.execute("SELECT current_user").fetchone(), (NAME,))
        shown = connection.execute("SHOW TOKENS").fetchall()
        assert "c_tls_token" in str(shown) and token not in str(shown), shown
    equal(refusal(USER, token), "28P01")
    code, out, said = psql("SELECT current_user;", PGUSER=NAME, PGPASSWORD=token)
    equal((code, out, said), (0, NAME + "\n", ""))
    with connect(NAME, f"changed {SECRET}") as connection:
        connection.execute("REVOKE TOKEN c_tls_token")
    equal(refusal(NAME, token), "28P01")


@check
def a_token_that_has_expired_is_no_password():
    with connect(NAME, f"changed {SECRET}") as connection:
        cursor = connection.execute("CREATE TOKEN c_tls_short EXPIRES IN '2 seconds'")
        columns = [column.name for column in cursor.description]
        token = dict(zip(columns, cursor.fetchone(), strict=True))["token"]
    connect(NAME, token).close()
    for _ in range(100):
        if refusal(NAME, token):
            break
        time.sleep(0.1)
    else:
        raise AssertionError("a token outlived its time")
    code, out, said = psql("SELECT 1;", PGUSER=NAME, PGPASSWORD=token)
    equal((code, out), (2, ""))
    assert "password authentication failed" in said, said


@check
def users_see_and_end_their_own_sessions_only():
    with connect() as admin, connect(NAME, f"changed {SECRET}") as own, connect(NAME, f"changed {SECRET}") as other:
        pid = admin.info.backend_pid
        seen = own.execute("SELECT pid, state, query, client_addr, backend_start FROM pg_stat_activity WHERE pid = %s", [pid]).fetchone()
        equal(seen, (pid, None, "<insufficient privilege>", None, None))
        equal(own.execute("SELECT count(*) FROM pg_stat_ssl WHERE pid = %s", [pid]).fetchone(), (0,))
        for function in ("pg_cancel_backend", "pg_terminate_backend"):
            try:
                own.execute(f"SELECT {function}(%s)", [pid])
                raise AssertionError(f"a user called {function} for an administrator's session")
            except psycopg.errors.InsufficientPrivilege as error:
                assert "must be a superuser to" in str(error), error
        equal(admin.execute("SELECT 1").fetchone(), (1,))
        pid = other.info.backend_pid
        equal(own.execute("SELECT usename, state FROM pg_stat_activity WHERE pid = %s", [pid]).fetchone(), (NAME, "idle"))
        equal(own.execute("SELECT pg_terminate_backend(%s)", [pid]).fetchone(), (True,))


@check
def idle_sessions_are_in_pg_stat_activity_and_can_be_ended():
    with connect() as first, connect() as second:
        pid = first.info.backend_pid
        row = second.execute("SELECT usename, state FROM pg_stat_activity WHERE pid = %s", [pid]).fetchone()
        equal(row[0], USER)
        sessions = second.execute("SHOW SESSIONS")
        assert USER in str(sessions.fetchall())
        second.execute("SELECT pg_terminate_backend(%s)", [pid])
        for _ in range(100):
            try:
                first.execute("SELECT 1")
            except psycopg.errors.AdminShutdown:
                break
            except psycopg.OperationalError:
                break
            time.sleep(0.05)
        else:
            raise AssertionError("a session outlived pg_terminate_backend")


@check
def many_wrong_passwords_are_slowed_down_and_say_the_same():
    said = set()
    for user in (USER, "nobody_of_this_name"):
        try:
            connect(user, "wrong-password").close()
        except psycopg.OperationalError as error:
            said.add(str(error).replace(user, "USER"))
    equal(len(said), 1)


def teardown():
    with connect() as connection:
        connection.execute(f"DROP USER IF EXISTS {NAME}")


if __name__ == "__main__":
    run(teardown, teardown)

// node-postgres: queries, parameters, prepared statements, cursors, streams, pools, errors.
//
// NODE_MODULES names the folder where package-lock.json was installed.

import assert from 'node:assert/strict';
import { createRequire } from 'node:module';
import { join } from 'node:path';

const load = createRequire(join(process.env.NODE_MODULES, 'package.json'));
const pg = load('pg');
const Cursor = load('pg-cursor');
const QueryStream = load('pg-query-stream');

const SCHEMA = 'c_node';
const TARN = process.env.TARN_TEST_SERVER !== 'postgres';
const LONG_QUERY = 'SELECT count(*) FROM generate_series(1, 2000000000) AS a(x), generate_series(1, 1000) AS b(y)';

async function connect(options = {}) {
  const client = new pg.Client({ connectionTimeoutMillis: 20000, ...options });
  await client.connect();
  return client;
}

const rows = async (client, ...query) => (await client.query(...query)).rows;

const fails = async (code, promise) => {
  await assert.rejects(promise, (error) => {
    assert.equal(error.code, code, String(error));
    return true;
  });
};

const checks = {
  async values_arrive_with_their_types(client) {
    const { rows: [row], fields } = await client.query(
      `SELECT true AS b, 5::int AS i, 9223372036854775807 AS l, 1.5::float8 AS d, 1.50::numeric AS n, 'naïve ☃' AS s, '\\x00ff'::bytea AS bin,
         '11111111-2222-3333-4444-555555555555'::uuid AS u, '2024-02-29 01:02:03.456+00'::timestamptz AS at, ARRAY[1, NULL, 3]::int[] AS a,
         ARRAY['x,y', NULL, 'q"'] AS t, '{"k": [1]}'::json AS j, NULL AS nothing, interval '1 day 2 hours' AS v`);
    assert.deepEqual(
      { ...row, v: row.v.toPostgres() },
      {
        b: true, i: 5, l: '9223372036854775807', d: 1.5, n: '1.50', s: 'naïve ☃', bin: Buffer.from([0, 255]),
        u: '11111111-2222-3333-4444-555555555555', at: new Date('2024-02-29T01:02:03.456Z'), a: [1, null, 3], t: ['x,y', null, 'q"'],
        j: { k: [1] }, nothing: null, v: '2 hours 1 days',
      });
    assert.deepEqual(fields.map((f) => f.dataTypeID), [16, 23, 20, 701, 1700, 25, 17, 2950, 1184, 1007, 1009, 114, 25, 1186]);
  },

  async a_whole_number_without_a_type(client) {
    assert.deepEqual(await rows(client, 'SELECT 1 AS a'), [{ a: 1 }]);
  },

  async parameters_are_text_without_types(client) {
    await client.query(`CREATE TABLE ${SCHEMA}.places (id bigint, name text, amount numeric(10,2), at timestamptz, flag boolean, tags text[], raw bytea)`);
    const at = new Date('2024-02-29T01:02:03.456Z');
    const inserted = await client.query(`INSERT INTO ${SCHEMA}.places VALUES ($1, $2, $3, $4, $5, $6, $7)`, [7, 'x', 1.25, at, true, ['a', 'b c'], Buffer.from([1, 0])]);
    assert.deepEqual([inserted.command, inserted.rowCount], ['INSERT', 1]);
    assert.deepEqual(await rows(client, `SELECT * FROM ${SCHEMA}.places WHERE id = $1 AND amount < $2 AND at = $3`, [7, '2', at]),
      [{ id: '7', name: 'x', amount: '1.25', at, flag: true, tags: ['a', 'b c'], raw: Buffer.from([1, 0]) }]);
    assert.deepEqual(await rows(client, `SELECT name FROM ${SCHEMA}.places WHERE id = ANY($1)`, [[7, 8]]), [{ name: 'x' }]);
    assert.deepEqual(await rows(client, 'SELECT $1::int + 1::int AS n, $2 AS t, $3::text AS u', [41, 'a', null]), [{ n: 42, t: 'a', u: null }]);
    assert.deepEqual(await rows(client, { text: 'SELECT 1::int AS a, 2::int AS a', rowMode: 'array' }), [[1, 2]]);
  },

  async named_statements_are_prepared_once(client) {
    for (let n = 0; n < 10; n++) {
      assert.deepEqual(await rows(client, { name: 'twice', text: 'SELECT $1::int * 2::int AS n', values: [n] }), [{ n: 2 * n }]);
    }
    const listed = "SELECT statement, parameter_types::text AS types, from_sql FROM pg_prepared_statements WHERE name = 'twice'";
    assert.deepEqual(await rows(client, listed), [{ statement: 'SELECT $1::int * 2::int AS n', types: '{integer}', from_sql: false }]);
  },

  async binary_results_arrive(client) {
    const row = (await rows(client, { text: "SELECT 5::int AS i, 1.5::float8 AS d, true AS b, 'x' AS s, 7::bigint AS l", binary: true }))[0];
    assert.deepEqual(row, { i: 5, d: 1.5, b: true, s: 'x', l: '7' });
  },

  async several_statements_answer_each(client) {
    const answers = await client.query("SELECT 1::int AS a; SELECT 'two' AS b; SET application_name = 'x'");
    assert.deepEqual(answers.map((a) => [a.command, a.rows]), [['SELECT', [{ a: 1 }]], ['SELECT', [{ b: 'two' }]], ['SET', []]]);
    const nothing = await client.query('');
    assert.equal(nothing.rows.length, 0);
  },

  async queries_queue_on_one_connection(client) {
    const answers = await Promise.all(Array.from({ length: 50 }, (_, n) => rows(client, 'SELECT $1::int AS n', [n])));
    assert.deepEqual(answers.map((a) => a[0].n), Array.from({ length: 50 }, (_, n) => n));
  },

  async cursors_read_in_pieces(client) {
    const cursor = client.query(new Cursor('SELECT n FROM generate_series(1, $1::bigint) AS t(n) ORDER BY n', [1000]));
    assert.deepEqual((await cursor.read(3)).map((r) => r.n), ['1', '2', '3']);
    let count = 3;
    for (let piece = await cursor.read(100); piece.length; piece = await cursor.read(100)) {
      count += piece.length;
    }
    assert.equal(count, 1000);
    await cursor.close();
    // Left before its end, the portal is closed and the connection goes on.
    const left = client.query(new Cursor('SELECT n FROM generate_series(1, 1000000) AS t(n)'));
    assert.equal((await left.read(10)).length, 10);
    await left.close();
    assert.deepEqual(await rows(client, "SELECT 'alive' AS a"), [{ a: 'alive' }]);
  },

  async streams_read_row_by_row(client) {
    let sum = 0;
    for await (const row of client.query(new QueryStream('SELECT n FROM generate_series(1, $1::int) AS t(n)', [20000], { batchSize: 500 }))) {
      sum += Number(row.n);
    }
    assert.equal(sum, 200010000);
    let seen = 0;
    for await (const _ of client.query(new QueryStream('SELECT n FROM generate_series(1, 1000000) AS t(n)'))) {
      if (++seen === 5) {
        break;
      }
    }
    assert.deepEqual(await rows(client, "SELECT 'alive' AS a"), [{ a: 'alive' }]);
  },

  async errors_have_their_facts(client) {
    await fails('42601', client.query('SELEC 1'));
    await fails('42P01', client.query('SELECT * FROM nowhere'));
    await fails('22P02', client.query('SELECT $1::int', ['x']));
    await fails('22012', client.query('SELECT 1 / $1::int', [0]));
    await assert.rejects(client.query(`SELECT nope FROM (SELECT 1 AS a) AS t`), (error) => {
      assert.deepEqual([error.code, error.severity, error.position], ['42703', 'ERROR', '8']);
      return true;
    });
    if (TARN) {
      await fails('0A000', client.query(`DELETE FROM ${SCHEMA}.places WHERE id = 1`));
      await fails('0A000', client.query('LISTEN a'));
      // PostgreSQL trusts everybody in the tests.
      await fails('28P01', connect({ password: 'wrong-password' }));
    }
    await fails('3D000', connect({ database: 'no_such_database' }));
    assert.deepEqual(await rows(client, "SELECT 'alive' AS a"), [{ a: 'alive' }]);
  },

  async transactions_fail_until_rolled_back(client) {
    await client.query('BEGIN');
    await fails('22012', client.query('SELECT 1/0'));
    await fails('25P02', client.query('SELECT 1'));
    await client.query('ROLLBACK');
    assert.deepEqual(await rows(client, 'SELECT 1::int AS a'), [{ a: 1 }]);
  },

  async notices_and_parameters_arrive(client) {
    const notices = [];
    client.on('notice', (notice) => notices.push(notice.severity));
    await client.query(`DROP TABLE IF EXISTS ${SCHEMA}.nowhere`);
    assert.deepEqual(notices, ['NOTICE']);
  },

  async a_timeout_and_a_cancel_stop_the_query(client) {
    const own = await connect({ statement_timeout: 400 });
    await fails('57014', own.query(LONG_QUERY));
    await own.end();
    const other = await connect();
    const [{ pid }] = await rows(other, 'SELECT pg_backend_pid() AS pid');
    assert.equal(pid, other.processID);
    const running = fails('57014', other.query(LONG_QUERY));
    setTimeout(() => new pg.Client().cancel(other, other.activeQuery ?? other._activeQuery), 700);
    await running;
    assert.deepEqual(await rows(other, "SELECT 'alive' AS a"), [{ a: 'alive' }]);
    await other.end();
  },

  async a_pool_serves_many() {
    const pool = new pg.Pool({ max: 4, connectionTimeoutMillis: 20000 });
    const answers = await Promise.all(Array.from({ length: 40 }, (_, n) => pool.query('SELECT $1::int AS n', [n])));
    assert.deepEqual(answers.map((a) => a.rows[0].n), Array.from({ length: 40 }, (_, n) => n));
    await pool.end();
  },
};

const wanted = process.argv.slice(2);
let passed = 0;
let failed = 0;
const client = await connect();
await client.query(`DROP SCHEMA IF EXISTS ${SCHEMA} CASCADE`);
await client.query(`CREATE SCHEMA ${SCHEMA}`);
for (const [name, check] of Object.entries(checks)) {
  if (wanted.length && !wanted.includes(name)) {
    continue;
  }
  const started = performance.now();
  const own = await connect();
  let bell;
  try {
    const late = new Promise((_, reject) => {
      bell = setTimeout(() => reject(new Error('took longer than 30 s')), 30000);
    });
    await Promise.race([check(own), late]);
    passed += 1;
    console.log(`${name} ... ok (${((performance.now() - started) / 1000).toFixed(2)} s)`);
  } catch (error) {
    failed += 1;
    console.log(error);
    console.log(`${name} ... FAILED`);
  }
  clearTimeout(bell);
  own.end().catch(() => {});
}
await client.query(`DROP SCHEMA IF EXISTS ${SCHEMA} CASCADE`);
await client.end();
console.log(`${passed} passed, ${failed} failed`);
process.exit(failed || !passed ? 1 : 0);

//! The PostgreSQL door at its corners: psql, and a client that speaks the protocol by hand and does
//! what no driver would.

use std::net::SocketAddr;
use std::process::Command;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::harness::server::PASSWORD;
use super::harness::{Server, ServerOptions, wait_for};

/// How long an answer may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// A message of the server.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Answer {
    tag: u8,
    body: Vec<u8>,
}

impl Answer {
    /// One field of an error or notice.
    fn field(&self, kind: u8) -> Option<String> {
        let mut rest = &self.body[..];
        while let Some((first, after)) = rest.split_first() {
            let end = after.iter().position(|b| *b == 0)?;
            if *first == kind {
                return Some(String::from_utf8_lossy(&after[..end]).into_owned());
            }
            rest = &after[end + 1..];
        }
        None
    }

    /// The values of a row in text.
    fn row(&self) -> Vec<Option<String>> {
        let count = u16::from_be_bytes([self.body[0], self.body[1]]);
        let mut rest = &self.body[2..];
        (0..count)
            .map(|_| {
                let (length, after) = rest.split_at(4);
                let length = i32::from_be_bytes(length.try_into().unwrap());
                let length = usize::try_from(length);
                rest = &after[length.unwrap_or(0)..];
                let value = &after[..length.ok()?];
                Some(String::from_utf8_lossy(value).into_owned())
            })
            .collect()
    }
}

/// A client without manners.
pub(super) struct Raw {
    socket: TcpStream,
    key: Vec<u8>,
}

fn message(tag: u8, body: &[u8]) -> Vec<u8> {
    let mut out = vec![tag];
    out.extend(u32::try_from(body.len() + 4).unwrap().to_be_bytes());
    out.extend_from_slice(body);
    out
}

fn query(sql: &str) -> Vec<u8> {
    message(b'Q', format!("{sql}\0").as_bytes())
}

fn parse(name: &str, sql: &str) -> Vec<u8> {
    message(b'P', format!("{name}\0{sql}\0\0\0").as_bytes())
}

/// A `Bind` of texts.
fn bind(portal: &str, statement: &str, values: &[&str], binary_results: bool) -> Vec<u8> {
    let mut body = format!("{portal}\0{statement}\0\0\0").into_bytes();
    body.extend(u16::try_from(values.len()).unwrap().to_be_bytes());
    for value in values {
        body.extend(u32::try_from(value.len()).unwrap().to_be_bytes());
        body.extend(value.as_bytes());
    }
    body.extend([0, 1, 0, u8::from(binary_results)]);
    message(b'B', &body)
}

fn execute(portal: &str, rows: u32) -> Vec<u8> {
    let mut body = format!("{portal}\0").into_bytes();
    body.extend(rows.to_be_bytes());
    message(b'E', &body)
}

fn sync() -> Vec<u8> {
    message(b'S', b"")
}

impl Raw {
    async fn connect(address: SocketAddr) -> Self {
        let socket = TcpStream::connect(address).await.unwrap();
        Self {
            socket,
            key: vec![],
        }
    }

    /// Connects and authenticates as admin.
    pub(super) async fn admin(server: &Server) -> Self {
        let mut raw = Self::connect(server.door("postgres")).await;
        let mut packet = 0x0003_0000_u32.to_be_bytes().to_vec();
        packet.extend(b"user\0admin\0database\0lake\0\0");
        raw.packet(&packet).await;
        assert_eq!(raw.answer().await.unwrap().body, [0, 0, 0, 3]);
        raw.send(&message(b'p', format!("{PASSWORD}\0").as_bytes()))
            .await;
        let greeting = raw.until_ready().await;
        let key = greeting.iter().find(|answer| answer.tag == b'K').unwrap();
        raw.key.clone_from(&key.body);
        raw
    }

    /// Sends a packet without a tag, as at start-up.
    async fn packet(&mut self, body: &[u8]) {
        let mut out = u32::try_from(body.len() + 4)
            .unwrap()
            .to_be_bytes()
            .to_vec();
        out.extend_from_slice(body);
        self.send(&out).await;
    }

    async fn send(&mut self, bytes: &[u8]) {
        self.socket.write_all(bytes).await.unwrap();
    }

    /// The next message; `None` if the server has closed the connection.
    async fn answer(&mut self) -> Option<Answer> {
        let read = async {
            let mut head = [0; 5];
            self.socket.read_exact(&mut head).await.ok()?;
            let length = u32::from_be_bytes(head[1..].try_into().unwrap());
            let mut body = vec![0; usize::try_from(length).unwrap() - 4];
            self.socket.read_exact(&mut body).await.ok()?;
            Some(Answer { tag: head[0], body })
        };
        tokio::time::timeout(PATIENCE, read)
            .await
            .expect("the server did not answer in time")
    }

    /// Everything up to `ReadyForQuery`, which is the last.
    async fn until_ready(&mut self) -> Vec<Answer> {
        let mut answers = vec![];
        loop {
            let answer = self
                .answer()
                .await
                .expect("the server closed the connection");
            let done = answer.tag == b'Z';
            answers.push(answer);
            if done {
                return answers;
            }
        }
    }

    /// Sends a query whose answer nobody waits for.
    pub(super) async fn send_query(&mut self, sql: &str) {
        self.send(&query(sql)).await;
    }

    /// Answers to one query.
    async fn query(&mut self, sql: &str) -> Vec<Answer> {
        self.send(&query(sql)).await;
        self.until_ready().await
    }

    /// The last byte, which says where the transaction stands.
    async fn state_after(&mut self, sql: &str) -> u8 {
        self.query(sql).await.last().unwrap().body[0]
    }
}

fn tags(answers: &[Answer]) -> String {
    answers.iter().map(|a| char::from(a.tag)).collect()
}

fn rows(answers: &[Answer]) -> Vec<Vec<Option<String>>> {
    let rows = answers.iter().filter(|a| a.tag == b'D');
    rows.map(Answer::row).collect()
}

fn codes(answers: &[Answer], tag: u8) -> Vec<String> {
    let found = answers.iter().filter(|a| a.tag == tag);
    found.filter_map(|a| a.field(b'C')).collect()
}

/// A server that takes passwords in the clear, so that the test needs no SCRAM.
async fn server() -> Server {
    ServerOptions::default()
        .set("TARN__POSTGRES__AUTHENTICATION", "password")
        .start()
        .await
}

/// Runs psql; gives its exit code, output and errors.
fn psql(server: &Server, password: &str, arguments: &[&str]) -> (Option<i32>, String, String) {
    let door = server.door("postgres");
    let output = Command::new("psql")
        .args(["-X", "-q", "-A", "-t", "-h"])
        .arg(door.ip().to_string())
        .arg("-p")
        .arg(door.port().to_string())
        .args(["-U", "admin", "-d", "lake"])
        .args(arguments)
        .env("PGPASSWORD", password)
        .output()
        .expect("psql is missing; run `make test-tools`");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (
        output.status.code(),
        text(&output.stdout),
        text(&output.stderr),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn psql_logs_in_by_scram_and_sees_rows_and_errors() {
    let server = ServerOptions::default().start().await;
    let (code, out, err) = psql(&server, PASSWORD, &["-c", "SELECT 1 AS a, 'x' AS b"]);
    assert_eq!((code, out.as_str()), (Some(0), "1|x\n"), "{err}");
    let (code, _, err) = psql(&server, "wrong", &["-c", "SELECT 1"]);
    assert_eq!(code, Some(2));
    assert!(err.contains("password authentication failed"), "{err}");
    let (code, _, err) = psql(&server, PASSWORD, &["-c", "SELECT nope"]);
    assert_eq!(code, Some(1));
    assert!(err.contains("nope") && err.contains('^'), "{err}");
    let script = "CREATE TABLE t (a int, b text); INSERT INTO t VALUES (1, 'x'); SELECT * FROM t;";
    let (_, out, err) = psql(&server, PASSWORD, &["-c", script]);
    assert_eq!(out, "1|x\n", "{err}");
    let (code, _, err) = psql(&server, PASSWORD, &["-d", "nowhere", "-c", "SELECT 1"]);
    assert_eq!(code, Some(2));
    assert!(err.contains("\"nowhere\" does not exist"), "{err}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_unknown_costs_much_or_stays_long() {
    let server = ServerOptions::default()
        .set("TARN__POSTGRES__AUTHENTICATION_TIMEOUT", "1s")
        .start()
        .await;
    let door = server.door("postgres");
    for bytes in [
        &b"\x7f\xff\xff\xff"[..],
        b"\0\0\0\x03",
        b"\0\0\0\x08\0\x02\0\0",
        b"\0\0\0\x09\0\x03\0\0x",
        b"GET / HTTP/1.1\r\n\r\n",
    ] {
        let mut raw = Raw::connect(door).await;
        raw.send(bytes).await;
        let answer = raw.answer().await;
        let severity = answer.as_ref().and_then(|a| a.field(b'S'));
        assert_eq!(severity.as_deref(), Some("FATAL"), "{bytes:?}: {answer:?}");
        assert!(raw.answer().await.is_none());
    }
    // Silent, or half of a packet: closed in time.
    for bytes in [&b""[..], b"\0\0\0\x20\0\x03"] {
        let mut raw = Raw::connect(door).await;
        raw.send(bytes).await;
        let started = Instant::now();
        assert!(raw.answer().await.is_none());
        assert!(started.elapsed() > Duration::from_millis(900));
    }
    let mut raw = Raw::connect(door).await;
    raw.packet(&80_877_103_u32.to_be_bytes()).await;
    let mut byte = [0];
    raw.socket.read_exact(&mut byte).await.unwrap();
    assert_eq!(byte, *b"N", "no TLS is configured");
    raw.packet(b"\0\x03\0\0user\0nobody\0\0").await;
    assert_eq!(raw.answer().await.unwrap().body[..4], [0, 0, 0, 10]);
}

#[tokio::test(flavor = "multi_thread")]
async fn after_an_error_everything_is_skipped_up_to_sync() {
    let server = server().await;
    let mut raw = Raw::admin(&server).await;
    let mut pipeline = vec![];
    for sql in ["SELECT 1", "SELECT nope", "SELECT 2"] {
        pipeline.extend(parse("", sql));
        pipeline.extend(bind("", "", &[], false));
        pipeline.extend(execute("", 0));
    }
    pipeline.extend(sync());
    pipeline.extend(parse("", "SELECT $1::int + 1"));
    pipeline.extend(bind("", "", &["41"], false));
    pipeline.extend(message(b'D', b"P\0"));
    pipeline.extend(execute("", 0));
    pipeline.extend(sync());
    raw.send(&pipeline).await;
    let answers = raw.until_ready().await;
    assert!(tags(&answers).starts_with("12DC1"), "{}", tags(&answers));
    assert_eq!(codes(&answers, b'E'), ["42703"]);
    assert_eq!(rows(&answers), [[Some("1".to_owned())]]);
    let answers = raw.until_ready().await;
    assert_eq!(tags(&answers), "12TDCZ");
    assert_eq!(rows(&answers), [[Some("42".to_owned())]]);
}

#[tokio::test(flavor = "multi_thread")]
async fn portals_stand_still_between_executes() {
    let server = server().await;
    let mut raw = Raw::admin(&server).await;
    let mut pipeline = query("BEGIN");
    for portal in ["a", "b"] {
        pipeline.extend(parse("", "SELECT * FROM generate_series(1, 5) AS g(i)"));
        pipeline.extend(bind(portal, "", &[], false));
    }
    for (portal, rows) in [("a", 2), ("b", 4), ("a", 2), ("a", 2), ("b", 0)] {
        pipeline.extend(execute(portal, rows));
    }
    pipeline.extend(sync());
    raw.send(&pipeline).await;
    raw.until_ready().await;
    let answers = raw.until_ready().await;
    assert_eq!(tags(&answers), "1212DDsDDDDsDDsDCDCZ");
    let values: Vec<String> = rows(&answers)
        .into_iter()
        .map(|row| row[0].clone().unwrap())
        .collect();
    assert_eq!(values.join(""), "1212343455");
    // Outside of a block Sync ends portals.
    raw.query("COMMIT").await;
    let mut pipeline = execute("a", 0);
    pipeline.extend(sync());
    raw.send(&pipeline).await;
    assert_eq!(codes(&raw.until_ready().await, b'E'), ["34000"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn cursors_go_forwards_and_may_outlive_their_block() {
    let server = server().await;
    let mut raw = Raw::admin(&server).await;
    let answers = raw
        .query(
            "BEGIN; DECLARE c CURSOR WITH HOLD FOR SELECT * FROM generate_series(1, 4) AS g(i); \
             FETCH 2 FROM c; COMMIT",
        )
        .await;
    assert_eq!(rows(&answers).len(), 2, "{answers:?}");
    let answers = raw.query("MOVE c; FETCH ALL c; FETCH c").await;
    assert_eq!(rows(&answers), [[Some("4".to_owned())]]);
    assert_eq!(codes(&raw.query("FETCH PRIOR c").await, b'E'), ["55000"]);
    assert_eq!(codes(&raw.query("CLOSE c; FETCH c").await, b'E'), ["34000"]);
    // A cursor's query may have parameters.
    let mut pipeline = parse("", "DECLARE p CURSOR WITH HOLD FOR SELECT $1::int + 1");
    pipeline.extend(bind("", "", &["41"], false));
    pipeline.extend(execute("", 0));
    pipeline.extend(sync());
    raw.send(&pipeline).await;
    assert_eq!(tags(&raw.until_ready().await), "12CZ");
    // FETCH has the formats of its own portal, not of the cursor's.
    let mut pipeline = parse("", "FETCH ALL p");
    pipeline.extend(bind("", "", &[], true));
    pipeline.extend(execute("", 0));
    pipeline.extend(sync());
    raw.send(&pipeline).await;
    let answers = raw.until_ready().await;
    assert!(answers[2].body.ends_with(&[0, 0, 0, 42]), "{answers:?}");
    let alone = raw.query("DECLARE d CURSOR FOR SELECT 1").await;
    assert_eq!(codes(&alone, b'E'), ["25P01"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_state_byte_follows_the_block_and_rollback_tells_the_truth() {
    let server = server().await;
    let mut raw = Raw::admin(&server).await;
    assert_eq!(raw.state_after("CREATE TABLE t (a int)").await, b'I');
    assert_eq!(raw.state_after("BEGIN").await, b'T');
    assert_eq!(codes(&raw.query("BEGIN").await, b'N'), ["25001"]);
    assert_eq!(raw.state_after("SAVEPOINT s").await, b'T');
    assert_eq!(raw.state_after("INSERT INTO t VALUES (1)").await, b'T');
    assert_eq!(raw.state_after("SELECT nope").await, b'E');
    assert_eq!(codes(&raw.query("SELECT 1").await, b'E'), ["25P02"]);
    let answers = raw.query("ROLLBACK TO s").await;
    assert_eq!(codes(&answers, b'N'), ["25000"], "{answers:?}");
    assert_eq!(answers.last().unwrap().body, b"T");
    assert_eq!(raw.state_after("COMMIT").await, b'I');
    assert_eq!(codes(&raw.query("COMMIT").await, b'N'), ["25P01"]);
    let count = raw.query("SELECT count(*) FROM t").await;
    assert_eq!(rows(&count), [[Some("1".to_owned())]]);
    let refused = raw.query("BEGIN READ ONLY; INSERT INTO t VALUES (2)").await;
    assert_eq!(codes(&refused, b'E'), ["25006"]);
    raw.query("ROLLBACK").await;
    let answers = raw.query("SET LOCAL application_name = 'x'").await;
    assert_eq!(codes(&answers, b'N'), ["25P01"]);
    let answers = raw.query("DROP TABLE IF EXISTS nowhere").await;
    let notice = answers[0].field(b'M').unwrap();
    assert_eq!(notice, "table \"nowhere\" does not exist, skipping");
    let answers = raw.query("SET application_name = 'me'").await;
    assert!(
        answers
            .iter()
            .any(|a| a.tag == b'S' && a.body == b"application_name\0me\0")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_request_ends_what_runs_and_nothing_else() {
    let server = server().await;
    let mut raw = Raw::admin(&server).await;
    // Far more than can be done in the time of the test.
    let long = "SELECT count(*) FROM generate_series(1, 100000000) a, generate_series(1, 100000) b";
    raw.send(&query(long)).await;
    wait_for("the query runs", PATIENCE, async || {
        let running = server.rows("SELECT count(*) FROM system.queries WHERE state = 'RUNNING' AND statement LIKE '%100000000%' AND door = 'postgres'").await;
        (running[0][0] == "1").then_some(())
    })
    .await;
    let mut packet = 80_877_102_u32.to_be_bytes().to_vec();
    let mut wrong = raw.key.clone();
    wrong[7] ^= 1;
    for key in [&wrong, &raw.key] {
        let mut other = Raw::connect(server.door("postgres")).await;
        packet.truncate(4);
        packet.extend_from_slice(key);
        other.packet(&packet).await;
        assert!(other.answer().await.is_none());
    }
    let answers = raw.until_ready().await;
    assert_eq!(codes(&answers, b'E'), ["57014"]);
    assert_eq!(rows(&raw.query("SELECT 1").await).len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_takes_its_query_along() {
    let server = server().await;
    let mut raw = Raw::admin(&server).await;
    let long = "SELECT count(*) FROM generate_series(1, 100000000) a, generate_series(1, 100001) b";
    raw.send(&query(long)).await;
    let state = async || {
        let found = server
            .rows("SELECT state FROM system.queries WHERE statement LIKE '%100001%' AND door = 'postgres'")
            .await;
        found.first().map(|row| row[0].clone())
    };
    wait_for("the query runs", PATIENCE, async || {
        (state().await.as_deref() == Some("RUNNING")).then_some(())
    })
    .await;
    drop(raw);
    wait_for("the query is cancelled", PATIENCE, async || {
        (state().await.as_deref() == Some("CANCELED")).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn copy_is_all_or_nothing_and_names_the_line() {
    let server = server().await;
    let mut raw = Raw::admin(&server).await;
    raw.query("CREATE TABLE t (a int NOT NULL, b text, c timestamp)")
        .await;
    raw.send(&query("COPY t (a, b) FROM STDIN")).await;
    assert_eq!(raw.answer().await.unwrap().tag, b'G');
    raw.send(&message(b'd', b"1\tx\n2\t")).await;
    raw.send(&message(b'd', b"\\N\n")).await;
    raw.send(&message(b'c', b"")).await;
    let answers = raw.until_ready().await;
    assert_eq!(answers[0].body, b"COPY 2\0");

    raw.send(&query("COPY t FROM STDIN (FORMAT csv)")).await;
    assert_eq!(raw.answer().await.unwrap().tag, b'G');
    raw.send(&message(b'd', b"3,y,2024-01-01 00:00:00\nfour,z,\n"))
        .await;
    raw.send(&message(b'c', b"")).await;
    let answers = raw.until_ready().await;
    assert_eq!(codes(&answers, b'E'), ["22P02"]);
    let context = answers[0].field(b'W').unwrap();
    assert_eq!(context, "COPY t, line 2, column a: \"four\"");

    raw.send(&query("COPY t FROM STDIN")).await;
    raw.send(&message(b'd', b"5\ty\t\\N\n")).await;
    raw.send(&message(b'f', b"no more\0")).await;
    assert_eq!(codes(&raw.until_ready().await, b'E'), ["57014"]);

    raw.send(&query("COPY t (b) FROM STDIN")).await;
    raw.send(&message(b'd', b"without a\n")).await;
    raw.send(&message(b'c', b"")).await;
    assert_eq!(codes(&raw.until_ready().await, b'E'), ["23502"]);

    let answers = raw
        .query(
            "COPY (SELECT a, b FROM t ORDER BY a) TO STDOUT (FORMAT csv, HEADER, FORCE_QUOTE (b))",
        )
        .await;
    let data: Vec<u8> = answers
        .iter()
        .filter(|a| a.tag == b'd')
        .flat_map(|a| a.body.clone())
        .collect();
    assert_eq!(String::from_utf8_lossy(&data), "a,b\n1,\"x\"\n2,\n");
    assert!(tags(&answers).starts_with("Hdddc"), "{}", tags(&answers));
}

#[tokio::test(flavor = "multi_thread")]
async fn binary_copy_comes_back_as_it_went() {
    let server = server().await;
    let mut raw = Raw::admin(&server).await;
    raw.query(
        "CREATE TABLE s AS SELECT i AS a, CAST(i AS numeric(20, 3)) / 8 AS n, 'x' || i AS t, \
         CAST('2024-02-29' AS date) AS d, arrow_cast(NULL, 'Float64') AS f \
         FROM generate_series(1, 20000) AS g(i)",
    )
    .await;
    raw.query("CREATE TABLE c AS SELECT * FROM s WITH NO DATA")
        .await;
    let answers = raw.query("COPY s TO STDOUT (FORMAT binary)").await;
    raw.send(&query("COPY c FROM STDIN (FORMAT binary)")).await;
    assert_eq!(raw.answer().await.unwrap().tag, b'G');
    for answer in answers.iter().filter(|a| a.tag == b'd') {
        raw.send(&message(b'd', &answer.body)).await;
    }
    raw.send(&message(b'c', b"")).await;
    let done = raw.until_ready().await;
    assert_eq!(done[0].body, b"COPY 20000\0", "{done:?}");
    let differ = raw
        .query("SELECT (SELECT count(*) FROM s JOIN c USING (a, n, t, d))")
        .await;
    assert_eq!(rows(&differ), [[Some("20000".to_owned())]]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_sends_much_before_it_reads_is_served() {
    let server = server().await;
    let mut raw = Raw::admin(&server).await;
    let mut pipeline = vec![];
    for _ in 0..2000 {
        pipeline.extend(parse("", "SELECT repeat('x', 2000)"));
        pipeline.extend(bind("", "", &[], false));
        pipeline.extend(execute("", 0));
    }
    pipeline.extend(sync());
    // Writes all of it before it reads anything.
    tokio::time::timeout(PATIENCE * 4, raw.send(&pipeline))
        .await
        .expect("the server does not read while it writes");
    let answers = raw.until_ready().await;
    assert_eq!(rows(&answers).len(), 2000);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_out_of_place_or_too_long_ends_the_connection() {
    let server = ServerOptions::default()
        .set("TARN__POSTGRES__AUTHENTICATION", "password")
        .set("TARN__POSTGRES__MESSAGE_BYTES_MAX", "1048576")
        .start()
        .await;
    for bytes in [
        &b"Q\x00\x20\x00\x00"[..],
        b"S\0\0\x7f\xff",
        b"~\0\0\0\x04",
        b"B\0\0\0\x07xxx",
        b"p\0\0\0\x05x",
    ] {
        let mut raw = Raw::admin(&server).await;
        raw.send(bytes).await;
        let answer = raw.answer().await.unwrap();
        assert_eq!(answer.field(b'S').as_deref(), Some("FATAL"), "{bytes:?}");
        assert_eq!(answer.field(b'C').as_deref(), Some("08P01"), "{bytes:?}");
        assert!(raw.answer().await.is_none(), "{bytes:?}");
    }
    let mut raw = Raw::admin(&server).await;
    raw.send(&message(b'F', b"\0\0\0\x01\0\0\0\0\0\0")).await;
    assert_eq!(codes(&raw.until_ready().await, b'E'), ["0A000"]);
    let answers = raw.query("LISTEN x").await;
    assert_eq!(codes(&answers, b'E'), ["0A000"]);
    assert_eq!(tags(&raw.query("").await), "IZ");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_idles_too_long_or_outlives_the_server_is_told() {
    let server = server().await;
    let mut idle = Raw::admin(&server).await;
    idle.query("SET idle_session_timeout = '200ms'").await;
    let answer = idle.answer().await.unwrap();
    assert_eq!(answer.field(b'C').as_deref(), Some("57P05"));
    assert!(idle.answer().await.is_none());
    let mut last = Raw::admin(&server).await;
    assert!(server.stop().success());
    let answer = last.answer().await.unwrap();
    assert_eq!(answer.field(b'C').as_deref(), Some("57P01"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_is_listed_and_can_be_killed() {
    let server = server().await;
    let mut raw = Raw::admin(&server).await;
    let listed = server
        .rows("SELECT session_id FROM system.sessions WHERE door = 'postgres'")
        .await;
    assert_eq!(listed.len(), 1, "{listed:?}");
    let mut idle = Raw::admin(&server).await;
    server
        .sql(&format!("KILL SESSION '{}'", listed[0][0]))
        .await;
    let answer = raw.answer().await.unwrap();
    assert_eq!(answer.field(b'S').as_deref(), Some("FATAL"));
    assert_eq!(answer.field(b'C').as_deref(), Some("57P01"));
    assert!(raw.answer().await.is_none());
    assert_eq!(rows(&idle.query("SELECT 1").await).len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_that_gives_other_columns_is_refused() {
    let server = server().await;
    let mut raw = Raw::admin(&server).await;
    raw.query("CREATE TABLE t (a int); INSERT INTO t VALUES (1)")
        .await;
    let mut pipeline = parse("s", "SELECT * FROM t");
    pipeline.extend(message(b'D', b"Ss\0"));
    pipeline.extend(sync());
    raw.send(&pipeline).await;
    assert_eq!(tags(&raw.until_ready().await), "1tTZ");
    raw.query("DROP TABLE t; CREATE TABLE t (a text, b int)")
        .await;
    let mut pipeline = bind("", "s", &[], false);
    pipeline.extend(execute("", 0));
    pipeline.extend(sync());
    raw.send(&pipeline).await;
    assert_eq!(codes(&raw.until_ready().await, b'E'), ["0A000"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn values_go_through_binary_unharmed() {
    let server = server().await;
    let mut raw = Raw::admin(&server).await;
    for (ty, text) in [
        ("boolean", "t"),
        ("smallint", "-7"),
        ("bigint", "9223372036854775807"),
        ("double precision", "1.5"),
        ("numeric(20,4)", "1234567890123456.7890"),
        ("text", "h\u{e4}\u{df}"),
        ("bytea", "\\x00ff"),
        ("date", "2024-02-29"),
        ("timestamp", "2024-02-29 12:34:56.789"),
        ("timestamptz", "2024-02-29 12:34:56.789+00"),
        ("interval", "1 year 2 mons 3 days 04:05:06.7"),
        ("uuid", "01234567-89ab-cdef-0123-456789abcdef"),
        ("int[]", "{1,NULL,3}"),
        ("text[]", "{a,\"b c\",NULL}"),
    ] {
        // The value goes in as text and comes out in binary; what came goes in as binary again.
        let sql = format!("SELECT $1::{ty}");
        let mut pipeline = parse("s", &sql);
        pipeline.extend(bind("", "s", &[text], true));
        pipeline.extend(execute("", 0));
        pipeline.extend(sync());
        raw.send(&pipeline).await;
        let answers = raw.until_ready().await;
        let row = answers.iter().find(|a| a.tag == b'D');
        let row = row.unwrap_or_else(|| panic!("{ty}: {:?}", codes(&answers, b'E')));
        let value = &row.body[2..];
        let mut body = b"\0s\0\0\x01\0\x01\0\x01".to_vec();
        body.extend_from_slice(value);
        body.extend([0, 0]);
        let mut pipeline = message(b'B', &body);
        pipeline.extend(execute("", 0));
        pipeline.extend(message(b'C', b"Ss\0"));
        pipeline.extend(sync());
        raw.send(&pipeline).await;
        let answers = raw.until_ready().await;
        assert_eq!(
            rows(&answers),
            [[Some(text.to_owned())]],
            "{ty}: {answers:?}"
        );
    }
}

//! Users, tokens, running queries and sessions, as clients of the HTTP door meet them.

use std::io::{Read as _, Write as _};
use std::process::{Child, Command, Stdio};

use reqwest::StatusCode;
use serde_json::json;
use tarn::client::{Client, ClientError, Collected};
use uuid::Uuid;

use crate::harness::server::{PASSWORD, sql, text};
use crate::harness::{Postgres, Server, ServerOptions, wait_for};

/// A statement that runs until somebody stops it.
const ENDLESS: &str =
    "SELECT count(*) FROM generate_series(1, 1000000) AS a, generate_series(1, 1000000) AS b
                       WHERE a.a * b.b % 7 = 3";

/// Something that ends takes at most this long to do so.
const END_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(20);

fn client(server: &Server, user: &str, password: &str) -> Client {
    Client::new(&server.url(), user, password.into()).unwrap()
}

/// Runs a statement that must be refused, and gives SQLSTATE and HTTP status.
async fn refused(client: &Client, statement: &str) -> (String, u16) {
    match client.query(statement).await {
        Err(ClientError::Server(error)) => (error.code.clone(), error.status),
        Err(error) => panic!("{statement}\nfailed, but not as the server's answer: {error:?}"),
        Ok(answer) => panic!("{statement}\nsucceeded: {:?}", answer.rows()),
    }
}

async fn check_refused(client: &Client, statement: &str, code: &str) {
    assert_eq!(refused(client, statement).await.0, code, "{statement}");
}

/// Checks that this user gets in with this password, or does not.
async fn check_login(server: &Server, user: &str, password: &str, allowed: bool) {
    let client = client(server, user, password);
    if allowed {
        assert_eq!(who(&client).await, user);
    } else {
        assert_eq!(
            refused(&client, "SELECT 1").await,
            ("28P01".to_owned(), 401)
        );
    }
}

async fn who(client: &Client) -> String {
    sql(client, "SELECT current_user").await.scalar().unwrap()
}

fn rows(answer: &Collected) -> Vec<Vec<String>> {
    text(answer.rows())
}

/// Creates a token and gives it.
async fn create_token(client: &Client, statement: &str) -> String {
    let token = rows(&sql(client, statement).await)[0][0].clone();
    assert!(token.starts_with("tarn_pat_"), "{token}");
    token
}

async fn bearer(server: &Server, token: &str) -> (StatusCode, serde_json::Value) {
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let answer = http
        .post(format!("{}/api/v1/sql", server.url()))
        .bearer_auth(token)
        .json(&json!({"statement": "SELECT current_user"}))
        .send()
        .await
        .unwrap();
    (answer.status(), answer.json().await.unwrap())
}

async fn check_users(server: &Server) {
    let admin = server.client();
    let created = sql(
        admin,
        "CREATE USER ann WITH PASSWORD 'first secret' COMMENT 'analyst'",
    )
    .await;
    assert!(created.rows().is_empty());
    check_refused(admin, "CREATE USER ann PASSWORD 'x'", "42710").await;
    sql(admin, "CREATE USER IF NOT EXISTS ann PASSWORD 'ignored'").await;
    check_login(server, "ann", "first secret", true).await;
    check_login(server, "ann", "ignored", false).await;

    let ann = client(server, "ann", "first secret");
    for statement in [
        "CREATE USER eve PASSWORD 'x'",
        "ALTER USER admin PASSWORD 'x'",
        "ALTER USER ann ADMIN",
        "ALTER USER CURRENT_USER VALID UNTIL 'infinity'",
        "DROP USER admin",
        "CREATE TOKEN t FOR admin",
        "SHOW TOKENS FOR admin",
    ] {
        check_refused(&ann, statement, "42501").await;
    }
    let seen = rows(&sql(&ann, "SELECT user_name, comment FROM system.users").await);
    assert_eq!(seen, [["ann", "analyst"]]);
    let seen = rows(
        &sql(
            admin,
            "SELECT user_name, is_admin FROM system.users ORDER BY 1",
        )
        .await,
    );
    assert_eq!(seen, [["admin", "true"], ["ann", "false"]]);

    sql(&ann, "ALTER USER CURRENT_USER PASSWORD 'second secret'").await;
    check_login(server, "ann", "first secret", false).await;
    check_login(server, "ann", "second secret", true).await;
    sql(admin, "ALTER USER ann RENAME TO anna").await;
    check_login(server, "ann", "second secret", false).await;
    check_login(server, "anna", "second secret", true).await;
    sql(admin, "ALTER ROLE anna DISABLE").await;
    check_login(server, "anna", "second secret", false).await;
    sql(admin, "ALTER USER anna ENABLE VALID UNTIL '2001-01-01'").await;
    check_login(server, "anna", "second secret", false).await;
    sql(admin, "ALTER USER anna VALID UNTIL 'infinity' SUPERUSER").await;
    check_login(server, "anna", "second secret", true).await;
    let anna = client(server, "anna", "second secret");
    sql(&anna, "CREATE USER eve").await;
    sql(&anna, "DROP USER eve").await;
    sql(admin, "ALTER USER anna NOADMIN").await;
    check_refused(&anna, "CREATE USER eve", "42501").await;

    for statement in [
        "DROP USER admin",
        "ALTER USER admin DISABLE",
        "ALTER USER admin NOSUPERUSER",
        "ALTER USER admin VALID UNTIL '2999-01-01'",
    ] {
        check_refused(admin, statement, "55006").await;
    }
    check_refused(admin, "DROP USER nobody", "42704").await;
    check_refused(admin, "CREATE USER \"a:b\"", "22023").await;
    check_refused(admin, "CREATE USER x CREATEDB", "0A000").await;
    sql(admin, "DROP USER IF EXISTS nobody, anna").await;
    check_login(server, "anna", "second secret", false).await;
}

async fn check_tokens(server: &Server) {
    let admin = server.client();
    sql(admin, "CREATE SERVICE ACCOUNT robot").await;
    let answer = sql(
        admin,
        "CREATE TOKEN ci FOR robot EXPIRES IN '30 days' COMMENT 'nightly'",
    )
    .await;
    let row = &rows(&answer)[0];
    let (token, rest) = (row[0].clone(), &row[1..3]);
    assert_eq!(rest, ["ci", "robot"]);
    check_login(server, "robot", &token, true).await;
    check_login(server, "admin", &token, false).await;
    check_login(server, "robot", "x", false).await;
    let (status, body) = bearer(server, &token).await;
    assert_eq!(
        (status, &body["rows"]),
        (StatusCode::OK, &json!([["robot"]]))
    );
    let mut wrong = token.clone();
    wrong.pop();
    assert_eq!(bearer(server, &wrong).await.0, StatusCode::UNAUTHORIZED);

    let robot = client(server, "robot", &token);
    let own = create_token(&robot, "CREATE TOKEN own EXPIRES NEVER").await;
    check_refused(&robot, "CREATE TOKEN own", "42710").await;
    check_refused(&robot, "CREATE TOKEN past EXPIRES AT '2001-01-01'", "22023").await;
    let listed = rows(&sql(&robot, "SHOW TOKENS").await);
    let names: Vec<&str> = listed.iter().map(|row| row[1].as_str()).collect();
    assert_eq!(names, ["ci", "own"]);
    assert_eq!(listed[0][2], "nightly");
    assert_eq!(listed[1][4], "NULL", "never expires");
    create_token(admin, "CREATE TOKEN mine").await;
    let all = "SELECT user_name, token_name FROM system.tokens ORDER BY 1, 2";
    assert_eq!(rows(&sql(&robot, all).await).len(), 2);
    assert_eq!(rows(&sql(admin, all).await).len(), 3);
    assert!(!listed.concat().concat().contains("tarn_pat_"));

    check_refused(admin, "REVOKE TOKEN nothing FROM robot", "42704").await;
    sql(admin, "REVOKE TOKEN ci FROM robot").await;
    check_login(server, "robot", &token, false).await;
    assert_eq!(bearer(server, &token).await.0, StatusCode::UNAUTHORIZED);
    check_login(server, "robot", &own, true).await;
    sql(admin, "DROP USER robot").await;
    check_login(server, "robot", &own, false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn users_and_tokens_are_managed_in_sql() {
    let server = ServerOptions::default().start().await;
    check_users(&server).await;
    check_tokens(&server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_servers_on_one_postgresql_know_the_same_users_at_once() {
    let postgres = Postgres::start().await;
    let options = ServerOptions::default().set("TARN__METADATA__URL", postgres.url());
    let server = options.clone().start().await;
    check_users(&server).await;
    check_tokens(&server).await;
    let other = options.start().await;
    sql(server.client(), "CREATE USER ann PASSWORD 'first'").await;
    check_login(&other, "ann", "first", true).await;
    sql(other.client(), "ALTER USER ann PASSWORD 'second'").await;
    check_login(&server, "ann", "first", false).await;
    check_login(&server, "ann", "second", true).await;
    sql(server.client(), "ALTER USER ann DISABLE").await;
    check_login(&other, "ann", "second", false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guesser_must_wait_and_the_others_need_not() {
    let server = ServerOptions::default().start().await;
    let admin = server.client();
    for name in ["ann", "bob"] {
        sql(admin, &format!("CREATE USER {name} PASSWORD 'right'")).await;
    }
    for _ in 0..10 {
        check_login(&server, "ann", "guess", false).await;
    }
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let right = http
        .post(format!("{}/api/v1/sql", server.url()))
        .basic_auth("ann", Some("right"))
        .json(&json!({"statement": "SELECT 1"}))
        .send()
        .await
        .unwrap();
    assert_eq!(right.status(), StatusCode::TOO_MANY_REQUESTS);
    check_login(&server, "bob", "right", true).await;
    check_login(&server, "admin", PASSWORD, true).await;
    let token = create_token(admin, "CREATE TOKEN t FOR ann").await;
    check_login(&server, "ann", &token, true).await;
    // An unknown user is refused in the same way.
    for _ in 0..10 {
        check_login(&server, "nobody", "guess", false).await;
    }
    let unknown = refused(&client(&server, "nobody", "guess"), "SELECT 1").await;
    assert_eq!(unknown.1, 429);
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_are_in_no_history_and_no_log() {
    let mut server = ServerOptions::default().start().await;
    let admin = server.client().clone();
    sql(&admin, "CREATE USER ann PASSWORD 'hunter2'").await;
    sql(&admin, "ALTER USER ann WITH ENCRYPTED PASSWORD $$hunter2$$").await;
    check_refused(
        &admin,
        "CREATE USER bob PASSWORD 'hunter2' 'hunter2'",
        "42601",
    )
    .await;
    check_refused(&admin, "CREATE USER bob PASSWORD 'hunter2", "42601").await;
    let token = create_token(&admin, "CREATE TOKEN t FOR ann").await;
    check_login(&server, "ann", "hunter2x", false).await;
    check_login(&server, "ann", &token, true).await;
    sql(&admin, &format!("SELECT '{token}'")).await;
    let history = sql(&admin, "SELECT statement, error FROM system.queries").await;
    let history = rows(&history).concat().join("\n");
    assert!(
        history.contains("CREATE USER ann PASSWORD '***'"),
        "{history}"
    );
    let process = server.process();
    let logs = format!("{}{}", process.stdout(), process.stderr());
    assert!(logs.contains("user created"), "{logs}");
    let random = token.strip_prefix("tarn_pat_").unwrap();
    for (place, said) in [("history", &history), ("log", &logs)] {
        for secret in ["hunter2", random] {
            assert!(!said.contains(secret), "{secret} is in the {place}: {said}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn queries_are_seen_and_killed_by_their_user_and_administrators_only() {
    let server = ServerOptions::default().start().await;
    let admin = server.client();
    for name in ["ann", "bob"] {
        sql(admin, &format!("CREATE USER {name} PASSWORD 'pw'")).await;
    }
    let (ann, bob) = (client(&server, "ann", "pw"), client(&server, "bob", "pw"));
    for killer in [&ann, admin] {
        let query_id = Uuid::now_v7();
        let of_ann = ann.clone();
        let running =
            tokio::spawn(
                async move { of_ann.execute_as(ENDLESS, query_id).await?.collect().await },
            );
        let id = query_id.to_string();
        let shows = async |client: &Client| {
            let shown = rows(&sql(client, "SHOW QUERIES").await);
            shown.iter().any(|row| row[0] == id)
        };
        wait_for("the query is shown", END_TIMEOUT, async || {
            shows(killer).await.then_some(())
        })
        .await;
        assert!(!shows(&bob).await);
        let own = sql(&bob, "SELECT DISTINCT user_name FROM system.queries").await;
        assert_eq!(rows(&own), [["bob"]]);
        check_refused(&bob, &format!("KILL '{id}'"), "42704").await;
        sql(killer, &format!("KILL QUERY '{id}'")).await;
        let error = running.await.unwrap().unwrap_err();
        assert_eq!(error.code(), "57014", "{error:?}");
        assert!(!shows(admin).await);
    }
    check_refused(admin, "KILL 'nothing'", "42704").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_are_seen_and_killed_by_their_user_and_administrators_only() {
    let server = ServerOptions::default().start().await;
    let admin = server.client();
    sql(admin, "CREATE SCHEMA other").await;
    for name in ["ann", "bob"] {
        sql(admin, &format!("CREATE USER {name} PASSWORD 'pw'")).await;
    }
    let ann = client(&server, "ann", "pw").with_session();
    let bob = client(&server, "bob", "pw");
    sql(&ann, "USE other").await;
    assert_eq!(
        sql(&ann, "SELECT current_schema()").await.scalar().unwrap(),
        "other"
    );
    assert!(rows(&sql(&bob, "SHOW SESSIONS").await).is_empty());
    let shown = rows(&sql(admin, "SHOW SESSIONS").await);
    let [session] = &shown[..] else {
        panic!("{shown:?}")
    };
    assert_eq!(session[1..3], ["ann", "http"]);
    let kill = format!("KILL SESSION '{}'", session[0]);
    check_refused(&bob, &kill, "42704").await;
    sql(admin, &kill).await;
    check_refused(admin, &kill, "42704").await;
    assert_eq!(
        sql(&ann, "SELECT current_schema()").await.scalar().unwrap(),
        "main"
    );
}

/// psql on the PostgreSQL door of a server, without TLS, so that it has to speak SCRAM.
fn psql(server: &Server, user: &str, password: &str) -> Command {
    let address = server.door("postgres");
    let mut command = Command::new("psql");
    command
        .args([
            "-X",
            "-A",
            "-t",
            "-h",
            "127.0.0.1",
            "-d",
            "lake",
            "-U",
            user,
        ])
        .args(["-p", &address.port().to_string()])
        .env("PGSSLMODE", "disable")
        .env("PGPASSWORD", password);
    command
}

/// What psql prints for one statement, and what it complains about.
fn psql_says(server: &Server, user: &str, password: &str, statement: &str) -> (String, String) {
    let output = psql(server, user, password)
        .args(["-c", statement])
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    (text(&output.stdout), text(&output.stderr))
}

/// A psql that has logged in and waits for its user to type; ended when dropped.
struct Typing(Child);

impl Typing {
    fn start(server: &Server, user: &str, password: &str) -> Self {
        let child = psql(server, user, password)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        Self(child.unwrap())
    }

    /// Types a statement, and gives what is said until psql ends.
    fn types_and_ends(mut self, statement: &str) -> String {
        let mut input = self.0.stdin.take().unwrap();
        // If psql has ended already there is nobody to read it.
        let _ = writeln!(input, "{statement}");
        drop(input);
        let mut said = String::new();
        let (mut out, mut err) = (self.0.stdout.take().unwrap(), self.0.stderr.take().unwrap());
        out.read_to_string(&mut said).unwrap();
        err.read_to_string(&mut said).unwrap();
        said
    }
}

impl Drop for Typing {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The sessions on the PostgreSQL door: id and user.
async fn postgres_sessions(server: &Server) -> Vec<Vec<String>> {
    let statement = "SELECT session_id, user_name FROM system.sessions WHERE door = 'postgres'
                     ORDER BY started_at";
    rows(&sql(server.client(), statement).await)
}

async fn wait_for_sessions(server: &Server, count: usize) -> Vec<Vec<String>> {
    let what = format!("{count} sessions are open");
    wait_for(&what, END_TIMEOUT, async || {
        let sessions = postgres_sessions(server).await;
        (sessions.len() == count).then_some(sessions)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn psql_logs_in_by_scram_with_a_password_a_token_and_a_verifier_of_postgresql() {
    let server = ServerOptions::default().start().await;
    let postgres = Postgres::start().await;
    let admin = server.client();
    sql(admin, "CREATE USER ann PASSWORD 'gr\u{fc}n'").await;
    sql(admin, "CREATE SERVICE ACCOUNT robot").await;
    let token = create_token(admin, "CREATE TOKEN t FOR robot").await;
    let user = "SELECT current_user";
    for (name, password) in [("ann", "gr\u{fc}n"), ("robot", &token)] {
        let (said, errors) = psql_says(&server, name, password, user);
        assert_eq!((said.as_str(), errors.as_str()), (name, ""));
    }
    for (name, password) in [("ann", "wrong"), ("nobody", "wrong"), ("ann", &token)] {
        let (_, errors) = psql_says(&server, name, password, user);
        let wanted = format!("password authentication failed for user \"{name}\"");
        assert!(errors.contains(&wanted), "{errors}");
    }
    // What psql's \password sends is made as the server makes it.
    let statements = "SET password_encryption = 'scram-sha-256'; CREATE ROLE ann PASSWORD 'pencil';
                COPY (SELECT rolpassword FROM pg_authid WHERE rolname = 'ann') TO STDOUT";
    let made = Command::new("psql")
        .args(["-X", "-q", "-c", statements, &postgres.url()])
        .output()
        .unwrap();
    let verifier = String::from_utf8(made.stdout).unwrap();
    let verifier = verifier.trim();
    assert!(verifier.starts_with("SCRAM-SHA-256$4096:"), "{verifier}");
    let own = format!("ALTER USER \"ann\" PASSWORD '{verifier}'");
    let (said, errors) = psql_says(&server, "ann", "gr\u{fc}n", &own);
    assert_eq!((said.as_str(), errors.as_str()), ("ALTER ROLE", ""));
    assert_eq!(psql_says(&server, "ann", "pencil", user).0, "ann");
    check_login(&server, "ann", "pencil", true).await;
    check_login(&server, "ann", "gr\u{fc}n", false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_beyond_the_limit_are_refused_and_idle_ones_are_ended() {
    let server = ServerOptions::default()
        .set("TARN__LIMITS__SESSIONS_PER_USER", "2")
        .set("TARN__LIMITS__IDLE_TIMEOUT", "4s")
        .start()
        .await;
    sql(server.client(), "CREATE USER ann PASSWORD 'pw'").await;
    let first = Typing::start(&server, "ann", "pw");
    let _second = Typing::start(&server, "ann", "pw");
    wait_for_sessions(&server, 2).await;
    let (_, errors) = psql_says(&server, "ann", "pw", "SELECT 1");
    assert!(
        errors.contains("2 sessions, which is the limit"),
        "{errors}"
    );
    wait_for_sessions(&server, 0).await;
    let said = first.types_and_ends("SELECT 1;");
    assert!(said.contains("idle for too long"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_killed_disabled_or_revoked_leaves_the_postgresql_door() {
    let server = ServerOptions::default().start().await;
    let admin = server.client();
    for name in ["ann", "bob"] {
        sql(admin, &format!("CREATE USER {name} PASSWORD 'pw'")).await;
    }
    let token = create_token(admin, "CREATE TOKEN t FOR bob").await;
    let ann = Typing::start(&server, "ann", "pw");
    let session = wait_for_sessions(&server, 1).await[0][0].clone();
    sql(admin, &format!("KILL SESSION '{session}'")).await;
    wait_for_sessions(&server, 0).await;
    let said = ann.types_and_ends("SELECT 1;");
    assert!(said.contains("KILL SESSION"), "{said}");

    let ann = Typing::start(&server, "ann", "pw");
    let by_token = Typing::start(&server, "bob", &token);
    let by_password = Typing::start(&server, "bob", "pw");
    wait_for_sessions(&server, 3).await;
    sql(admin, "ALTER USER ann DISABLE").await;
    wait_for_sessions(&server, 2).await;
    let said = ann.types_and_ends("SELECT 1;");
    assert!(said.contains("user or token has changed"), "{said}");
    sql(admin, "REVOKE TOKEN t FROM bob").await;
    let left = wait_for_sessions(&server, 1).await;
    assert_eq!(left[0][1], "bob");
    drop(by_token);
    sql(admin, "DROP USER bob").await;
    wait_for_sessions(&server, 0).await;
    drop(by_password);
}

#[tokio::test(flavor = "multi_thread")]
async fn failed_logins_wait_as_configured() {
    let server = ServerOptions::default()
        .set("TARN__AUTH__PAIR_FAILURES", "2")
        .set("TARN__AUTH__PAIR_REFILL", "1h")
        .set("TARN__AUTH__ADDRESS_FAILURES", "3")
        .set("TARN__AUTH__ADDRESS_REFILL", "1h")
        .start()
        .await;
    assert_eq!(who(server.client()).await, "admin");
    let guess = async |user: &str| {
        let client = client(&server, user, "wrong");
        refused(&client, "SELECT 1").await.1
    };
    assert_eq!([guess("ann").await, guess("ann").await], [401, 401]);
    assert_eq!(guess("ann").await, 429, "the pair's allowance is used up");
    assert_eq!(guess("bob").await, 401);
    assert_eq!(guess("eve").await, 429, "the address's is, too");
    // Who has logged in from here before is known here.
    assert_eq!(who(server.client()).await, "admin");
}

//! The HTTP API as its clients use it: submitted queries, their results in pages and streams, strict
//! input, errors, and its own description.

use std::process::Command;
use std::time::Duration;

use arrow::ipc::reader::StreamReader;
use reqwest::{Method, RequestBuilder, Response, StatusCode};
use serde_json::{Value, json};

use crate::harness::server::{PASSWORD, tarn};
use crate::harness::{START_TIMEOUT, Server, ServerOptions, tool, wait_for};

/// A statement that runs until it is stopped.
const ENDLESS: &str = "SELECT count(*) FROM generate_series(1, 100000000) AS a(n), generate_series(1, 100000) AS b(m)";

/// A user at the HTTP door: `admin` with its password, or somebody with a token.
struct Api {
    http: reqwest::Client,
    url: String,
    token: Option<String>,
}

impl Api {
    fn of(server: &Server) -> Self {
        Self {
            http: reqwest::Client::new(),
            url: server.url(),
            token: None,
        }
    }

    /// A new user, who shows a personal access token.
    async fn of_new_user(server: &Server, name: &str) -> Self {
        server
            .sql(&format!("CREATE USER {name} PASSWORD 'a secret'"))
            .await;
        let token = server.rows(&format!("CREATE TOKEN t FOR {name}")).await;
        Self {
            token: Some(token[0][0].clone()),
            ..Self::of(server)
        }
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.http.request(method, format!("{}{path}", self.url));
        match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request.basic_auth("admin", Some(PASSWORD)),
        }
    }

    async fn get(&self, path: &str) -> Response {
        self.request(Method::GET, path).send().await.unwrap()
    }

    async fn submit(&self, body: Value) -> Response {
        let request = self.request(Method::POST, "/api/v1/queries").json(&body);
        request.send().await.unwrap()
    }

    /// Submits a statement that is accepted, and gives its document.
    async fn accepted(&self, statement: &str) -> Value {
        let response = self.submit(json!({"statement": statement})).await;
        assert_eq!(response.status(), StatusCode::ACCEPTED);
        let location = response.headers()["location"].to_str().unwrap().to_owned();
        let document: Value = response.json().await.unwrap();
        assert_eq!(document["links"]["self"], location);
        document
    }

    /// The document of a query when it has ended.
    async fn ended(&self, id: &str) -> Value {
        let path = format!("/api/v1/queries/{id}?wait_ms=60000");
        let document: Value = self.get(&path).await.json().await.unwrap();
        assert!(
            ["FINISHED", "FAILED", "CANCELED"].contains(&document["state"].as_str().unwrap()),
            "{document}"
        );
        document
    }

    async fn results(&self, id: &str, accept: &str) -> Response {
        let path = format!("/api/v1/queries/{id}/results");
        let request = self.request(Method::GET, &path).header("accept", accept);
        request.send().await.unwrap()
    }
}

fn id(document: &Value) -> String {
    document["id"].as_str().unwrap().to_owned()
}

async fn problem(response: Response) -> Value {
    let kind = response.headers()["content-type"].to_str().unwrap();
    assert!(kind.starts_with("application/problem+json"), "{kind}");
    let status = response.status();
    let problem: Value = response.json().await.unwrap();
    assert_eq!(problem["status"], status.as_u16());
    assert_eq!(problem["code"].as_str().unwrap().len(), 5, "{problem}");
    problem
}

#[tokio::test(flavor = "multi_thread")]
async fn a_submitted_query_is_fetched_in_pages_and_in_every_format() {
    let server = ServerOptions::default().start().await;
    let api = Api::of(&server);
    let query = api
        .accepted("SELECT n, 'row ' || n AS name FROM generate_series(1, 30000) AS s(n) ORDER BY n")
        .await;
    let id = id(&query);
    let ended = api.ended(&id).await;
    assert_eq!(ended["state"], "FINISHED");
    assert_eq!(ended["command"], "SELECT");
    assert_eq!(
        ended["columns"],
        json!([{"name": "n", "type": "bigint"}, {"name": "name", "type": "text"}])
    );
    assert_eq!(ended["results"]["rows"], 30_000);
    assert_eq!(ended["progress"]["rows_out"], 30_000);
    assert!(ended["results"]["bytes"].as_u64().unwrap() > 1000);
    assert!(ended["timings"]["ended_at"].is_string());

    let mut next = Some(format!("/api/v1/queries/{id}/results?limit=7000"));
    let (mut seen, mut pages) = (0, 0);
    while let Some(path) = next {
        let response = api.get(&path).await;
        assert_eq!(response.headers()["tarn-rows-total"], "30000");
        let link = response
            .headers()
            .get("link")
            .map(|l| l.to_str().unwrap().to_owned());
        let page: Value = response.json().await.unwrap();
        for row in page["rows"].as_array().unwrap() {
            seen += 1;
            assert_eq!(row, &json!([seen, format!("row {seen}")]));
        }
        pages += 1;
        next = page["next"].as_str().map(str::to_owned);
        assert_eq!(
            link,
            next.as_ref().map(|next| format!("<{next}>; rel=\"next\""))
        );
    }
    assert_eq!((seen, pages), (30_000, 5));

    let csv = api.results(&id, "text/csv").await.text().await.unwrap();
    assert_eq!(csv.lines().count(), 30_001);
    assert_eq!(csv.lines().nth(1), Some("1,row 1"));
    let lines = api
        .results(&id, "application/x-ndjson")
        .await
        .text()
        .await
        .unwrap();
    assert_eq!(
        lines.lines().last(),
        Some("{\"n\":30000,\"name\":\"row 30000\"}")
    );
    let arrow = api
        .results(&id, "application/vnd.apache.arrow.stream")
        .await;
    let arrow = arrow.bytes().await.unwrap();
    let rows: usize = StreamReader::try_new(arrow.as_ref(), None)
        .unwrap()
        .map(|batch| batch.unwrap().num_rows())
        .sum();
    assert_eq!(rows, 30_000);
    // Beyond the end there is nothing, and no error.
    let beyond = api
        .get(&format!(
            "/api/v1/queries/{id}/results?offset=30000&limit=5"
        ))
        .await;
    assert_eq!(beyond.json::<Value>().await.unwrap()["rows"], json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn statements_without_rows_and_parameters_work_as_submitted_queries() {
    let server = ServerOptions::default().start().await;
    let api = Api::of(&server);
    let created = api.accepted("CREATE TABLE t (id bigint)").await;
    assert_eq!(api.ended(&id(&created)).await["command"], "CREATE TABLE");
    let inserted = api.accepted("INSERT INTO t VALUES (1), (2), (3)").await;
    let inserted = api.ended(&id(&inserted)).await;
    assert_eq!(inserted["affected"], 3, "{inserted}");
    let answer: Value = api
        .results(&id(&inserted), "application/json")
        .await
        .json()
        .await
        .unwrap();
    assert_eq!(answer, json!({"columns": [], "rows": [], "affected": 3}));
    let body = json!({
        "statement": "SELECT id + $1 AS more, CAST($2 AS timestamptz) AS at FROM t ORDER BY 1",
        "parameters": [10, "2026-01-01 00:00:00+00"],
        "properties": {"time_zone": "Europe/Zurich"},
    });
    let query: Value = api.submit(body).await.json().await.unwrap();
    assert_eq!(api.ended(&id(&query)).await["state"], "FINISHED");
    let rows = api.results(&id(&query), "application/json").await;
    let rows = &rows.json::<Value>().await.unwrap()["rows"];
    assert_eq!(rows[0], json!([11, "2026-01-01T01:00:00+01:00"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_key_gives_the_same_query_and_no_second_run() {
    let server = ServerOptions::default().start().await;
    let api = Api::of(&server);
    server.sql("CREATE TABLE t (id bigint)").await;
    let submit = async |statement: &str, key: &str| {
        let request = api.request(Method::POST, "/api/v1/queries");
        let request = request.header("idempotency-key", key);
        request
            .json(&json!({"statement": statement}))
            .send()
            .await
            .unwrap()
    };
    let insert = "INSERT INTO t VALUES (1)";
    let all = futures::future::join_all((0..8).map(|_| submit(insert, "key-1"))).await;
    let mut ids = std::collections::HashSet::new();
    let mut replayed = 0;
    for response in all {
        assert_eq!(response.status(), 202);
        replayed += usize::from(response.headers().contains_key("idempotency-replayed"));
        ids.insert(id(&response.json().await.unwrap()));
    }
    assert_eq!((ids.len(), replayed), (1, 7));
    api.ended(ids.iter().next().unwrap()).await;
    assert_eq!(server.rows("SELECT count(*) FROM t").await, [["1"]]);
    let other = submit("SELECT 2", "key-1").await;
    assert_eq!(other.status(), 422);
    problem(other).await;
    assert_eq!(submit(insert, "key-2").await.status(), 202);
    assert_eq!(submit(insert, "with a space").await.status(), 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_is_watched_and_cancelled_while_it_runs() {
    let server = ServerOptions::default().start().await;
    let api = Api::of(&server);
    let query = id(&api.accepted(ENDLESS).await);
    let path = format!("/api/v1/queries/{query}");
    wait_for("the query runs", START_TIMEOUT, async || {
        let document: Value = api.get(&path).await.json().await.unwrap();
        (document["state"] == "RUNNING").then_some(())
    })
    .await;
    let early = api.results(&query, "application/json").await;
    assert_eq!(early.status(), 409);
    assert!(early.headers().contains_key("retry-after"));
    assert_eq!(problem(early).await["code"], "55000");
    let running: Value = api
        .get("/api/v1/queries?state=RUNNING")
        .await
        .json()
        .await
        .unwrap();
    assert_eq!(running["queries"][0]["id"], query.as_str());

    let cancelled = api.request(Method::DELETE, &path).send().await.unwrap();
    assert_eq!(cancelled.status(), 204);
    let ended = api.ended(&query).await;
    assert_eq!(ended["state"], "CANCELED");
    assert_eq!(ended["error"]["code"], "57014");
    let again = api.request(Method::DELETE, &path).send().await.unwrap();
    assert_eq!(again.status(), 204);
    let state = format!("SELECT state FROM system.queries WHERE query_id = '{query}'");
    assert_eq!(server.rows(&state).await, [["CANCELED"]]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_query_tells_the_error_of_the_synchronous_door() {
    let server = ServerOptions::default().start().await;
    let api = Api::of(&server);
    for statement in ["SELEC 1", "SELECT * FROM nowhere", "SELECT 1 / 0"] {
        let query = id(&api.accepted(statement).await);
        let ended = api.ended(&query).await;
        assert_eq!(ended["state"], "FAILED");
        let fetched = problem(api.results(&query, "application/json").await).await;
        let direct = api
            .request(Method::POST, "/api/v1/sql")
            .json(&json!({"statement": statement}));
        let direct = problem(direct.send().await.unwrap()).await;
        for field in ["code", "detail", "hint", "position", "status", "retryable"] {
            assert_eq!(fetched[field], direct[field], "{statement}: {field}");
            assert_eq!(ended["error"][field], direct[field], "{statement}: {field}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn results_have_a_bound_and_an_end() {
    let server = ServerOptions::default()
        .set("TARN__HTTP__RESULTS_TTL", "2s")
        .set("TARN__HTTP__RESULTS_QUERY_BYTES_MAX", "100000")
        .start()
        .await;
    let api = Api::of(&server);
    let large = "SELECT random() AS r FROM generate_series(1, 1000000)";
    let ended = api.ended(&id(&api.accepted(large).await)).await;
    assert_eq!(ended["state"], "FAILED", "{ended}");
    assert_eq!(ended["error"]["code"], "53200");
    assert!(
        ended["error"]["hint"]
            .as_str()
            .unwrap()
            .contains("results_query_bytes_max")
    );

    let small = id(&api.accepted("SELECT 1 AS one").await);
    api.ended(&small).await;
    let folder = server.data_dir().join("spill/results");
    assert_eq!(api.results(&small, "text/csv").await.status(), 200);
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 1);
    wait_for("the results expire", START_TIMEOUT, async || {
        (std::fs::read_dir(&folder).unwrap().count() == 0).then_some(())
    })
    .await;
    let gone = api.results(&small, "text/csv").await.status();
    assert!(gone == 410 || gone == 404, "{gone}");
}

#[tokio::test(flavor = "multi_thread")]
async fn deleted_results_are_gone_and_a_restart_leaves_none() {
    let server = ServerOptions::default().start().await;
    let api = Api::of(&server);
    let query = id(&api.accepted("SELECT 1 AS one").await);
    api.ended(&query).await;
    let path = format!("/api/v1/queries/{query}");
    let deleted = api.request(Method::DELETE, &path).send().await.unwrap();
    assert_eq!(deleted.status(), 204);
    let gone = api.results(&query, "text/csv").await;
    assert_eq!(gone.status(), 410);
    problem(gone).await;
    let kept = id(&api.accepted("SELECT 2 AS two").await);
    api.ended(&kept).await;
    let results = server.data_dir().join("spill/results");
    assert_eq!(std::fs::read_dir(&results).unwrap().count(), 1);
    let folder = server.folder();
    assert!(server.stop().success());
    let server = ServerOptions::default().start_in(folder).await;
    assert_eq!(std::fs::read_dir(&results).unwrap().count(), 0);
    let api = Api::of(&server);
    assert_eq!(
        api.get(&format!("/api/v1/queries/{kept}")).await.status(),
        404
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_list_is_paged_newest_first_and_shows_statements_of_every_door() {
    let server = ServerOptions::default().start().await;
    let api = Api::of(&server);
    server.sql("SELECT 'direct' AS how").await;
    for n in 0..5 {
        let query = api.accepted(&format!("SELECT {n} AS n")).await;
        api.ended(&id(&query)).await;
    }
    let (mut texts, mut path) = (vec![], "/api/v1/queries?limit=2".to_owned());
    loop {
        let page: Value = api.get(&path).await.json().await.unwrap();
        let queries = page["queries"].as_array().unwrap();
        assert!(queries.len() <= 2);
        texts.extend(
            queries
                .iter()
                .map(|q| q["statement"].as_str().unwrap().to_owned()),
        );
        let Some(cursor) = page["next_cursor"].as_str() else {
            break;
        };
        path = format!("/api/v1/queries?limit=2&cursor={cursor}");
    }
    let submitted: Vec<_> = (0..5).rev().map(|n| format!("SELECT {n} AS n")).collect();
    assert_eq!(texts[..5], submitted[..]);
    assert!(
        texts.iter().any(|text| text.contains("'direct'")),
        "{texts:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_is_its_users_alone_and_an_administrators_to_watch() {
    let server = ServerOptions::default().start().await;
    let admin = Api::of(&server);
    let ann = Api::of_new_user(&server, "ann").await;
    let bob = Api::of_new_user(&server, "bob").await;
    let query = id(&ann.accepted("SELECT 'of ann' AS whose").await);
    assert_eq!(ann.ended(&query).await["user"], "ann");
    let path = format!("/api/v1/queries/{query}");
    for (method, path) in [
        (Method::GET, path.clone()),
        (Method::GET, format!("{path}/results")),
        (Method::DELETE, path.clone()),
    ] {
        let hidden = bob.request(method, &path).send().await.unwrap();
        assert_eq!(hidden.status(), 404, "{path}");
        let hidden = problem(hidden).await;
        let unknown = path.replace(&query, "019ab3c2-7d1e-7a51-a7a5-0b8b7f6e3c11");
        let missing = problem(bob.get(&unknown).await).await;
        assert_eq!(hidden["code"], missing["code"]);
    }
    let list: Value = bob.get("/api/v1/queries").await.json().await.unwrap();
    assert_eq!(list["queries"], json!([]));
    assert_eq!(bob.get("/api/v1/queries?all=true").await.status(), 403);

    assert_eq!(admin.get(&path).await.status(), 200);
    assert_eq!(admin.results(&query, "text/csv").await.status(), 403);
    let all: Value = admin
        .get("/api/v1/queries?all=true")
        .await
        .json()
        .await
        .unwrap();
    let all = all["queries"].as_array().unwrap();
    assert!(
        all.iter()
            .any(|q| q["id"] == query.as_str() && q["user"] == "ann")
    );
    let rows = ann.results(&query, "text/csv").await.text().await.unwrap();
    assert_eq!(rows, "whose\nof ann\n");

    let running = id(&ann.accepted(ENDLESS).await);
    wait_for("the query runs", START_TIMEOUT, async || {
        let path = format!("/api/v1/queries/{running}");
        let document: Value = ann.get(&path).await.json().await.unwrap();
        (document["state"] == "RUNNING").then_some(())
    })
    .await;
    server.sql(&format!("KILL '{running}'")).await;
    assert_eq!(ann.ended(&running).await["state"], "CANCELED");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_guesses_passwords_is_told_when_to_come_back() {
    let server = ServerOptions::default().start().await;
    let http = reqwest::Client::new();
    let url = server.url() + "/api/v1/queries";
    let mut limited = None;
    for _ in 0..200 {
        let response = http.get(&url).basic_auth("ann", Some("wrong")).send();
        let response = response.await.unwrap();
        if response.status() == StatusCode::TOO_MANY_REQUESTS {
            limited = Some(response);
            break;
        }
        assert_eq!(response.status(), 401);
    }
    let limited = limited.expect("200 wrong passwords were checked");
    let seconds = limited.headers()["retry-after"].to_str().unwrap();
    assert!(seconds.parse::<u64>().unwrap() > 0, "{seconds}");
    problem(limited).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_shell_takes_a_token_instead_of_a_password() {
    let server = ServerOptions::default().start().await;
    let ann = Api::of_new_user(&server, "ann").await;
    let shell = |token: &str| {
        let mut command = tarn();
        command
            .args(["sql", "--url", &server.url(), "--format", "csv"])
            .args(["-c", "SELECT current_user AS me"])
            .env("TARN_TOKEN", token);
        command.output().unwrap()
    };
    let good = shell(ann.token.as_ref().unwrap());
    assert_eq!(
        String::from_utf8_lossy(&good.stdout),
        "me\nann\n",
        "{good:?}"
    );
    let bad = shell("tarn_pat_nonsense");
    assert_eq!(bad.status.code(), Some(2), "{bad:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_requests_are_refused_with_the_name_of_what_is_wrong() {
    let server = ServerOptions::default().start().await;
    let api = Api::of(&server);
    for (body, named) in [
        (r#"{"statement": 1}"#, "statement"),
        (r#"{"statement": "SELECT 1", "statment": "x"}"#, "statment"),
        (
            r#"{"statement": "SELECT 1", "statement": "SELECT 2"}"#,
            "duplicate",
        ),
        (
            r#"{"statement": "SELECT 1", "properties": {"schema": 7}}"#,
            "properties.schema",
        ),
        (r#"{"statement": "SELECT 1"} x"#, "trailing"),
        (r#"{"statement": "SELECT 1"#, "EOF"),
        ("", "EOF"),
    ] {
        for path in ["/api/v1/sql", "/api/v1/queries"] {
            let request = api.request(Method::POST, path);
            let request = request.header("content-type", "application/json; charset=utf-8");
            let response = request.body(body).send().await.unwrap();
            assert_eq!(response.status(), 400, "{path} {body}");
            let detail = problem(response).await["detail"].to_string();
            assert!(detail.contains(named), "{body}: {detail}");
        }
    }
    let form = api
        .request(Method::POST, "/api/v1/queries")
        .body("statement=SELECT 1");
    assert_eq!(form.send().await.unwrap().status(), 415);
    let png = api
        .request(Method::POST, "/api/v1/sql")
        .header("accept", "image/png");
    let png = png.json(&json!({"statement": "SELECT 1"}));
    assert_eq!(png.send().await.unwrap().status(), 406);
    for path in [
        "/api/v1/queries?limit=0",
        "/api/v1/queries?limit=501",
        "/api/v1/queries?limt=1",
        "/api/v1/queries?cursor=nonsense",
        "/api/v1/queries?state=RUNING",
        "/api/v1/queries?limit=1&limit=2",
    ] {
        let response = api.get(path).await;
        assert_eq!(response.status(), 400, "{path}");
        problem(response).await;
    }
    for path in [
        "/api/v1/queries/nonsense",
        "/api/v1/queries/%FF",
        "/nowhere",
    ] {
        let response = api.get(path).await;
        assert_eq!(response.status(), 404, "{path}");
        problem(response).await;
    }
    let patched = api
        .request(Method::PATCH, "/api/v1/queries")
        .send()
        .await
        .unwrap();
    assert_eq!(patched.status(), 405);
    for (method, path) in [
        (Method::POST, "/api/v1/queries"),
        (Method::GET, "/api/v1/queries"),
        (Method::GET, "/api/v1/queries/x"),
        (Method::GET, "/api/v1/queries/x/results"),
        (Method::DELETE, "/api/v1/queries/x"),
    ] {
        let request = api.http.request(method, format!("{}{path}", api.url));
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), 401, "{path}");
        let schemes = response.headers().get_all("www-authenticate");
        assert_eq!(schemes.iter().count(), 2, "{path}");
    }
    let headers = api
        .request(Method::GET, "/api/v1/queries")
        .header("x-long", "a".repeat(300_000));
    let refused = headers.send().await;
    assert!(refused.is_err() || refused.unwrap().status() == 431);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_description_is_served_and_its_page_needs_nothing_from_elsewhere() {
    let server = ServerOptions::default().start().await;
    let anyone = reqwest::Client::new();
    let get = async |path: &str| {
        let response = anyone.get(server.url() + path).send().await.unwrap();
        assert_eq!(response.status(), 200, "{path}");
        response.text().await.unwrap()
    };
    let description: Value = serde_json::from_str(&get("/api/v1/openapi.json").await).unwrap();
    assert!(description["openapi"].as_str().unwrap().starts_with("3.1"));
    assert!(description["paths"]["/api/v1/queries/{id}/results"]["get"].is_object());
    let page = get("/api/docs").await;
    let mut assets = 0;
    for part in page.split(['"', '\'']) {
        assert!(
            !part.starts_with("http:") && !part.starts_with("https:") && !part.starts_with("//"),
            "{part}"
        );
        let kind = part.rsplit('.').next();
        if matches!(kind, Some("js" | "css")) {
            let text = get(&format!("/api/docs/{}", part.trim_start_matches("./"))).await;
            assert!(!text.is_empty(), "{part}");
            assets += 1;
        }
    }
    assert!(assets >= 4, "{page}");
    assert!(
        get("/api/docs/swagger-initializer.js")
            .await
            .contains("/api/v1/openapi.json")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn curl_submits_looks_and_fetches() {
    let server = ServerOptions::default().start().await;
    let curl = |arguments: &[&str]| {
        let output = Command::new("curl")
            .args(["--silent", "--fail", "--max-time", "60", "--user"])
            .arg(format!("admin:{PASSWORD}"))
            .args(arguments)
            .output()
            .expect("curl is not installed");
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let url = server.url();
    let submitted = curl(&[
        "--json",
        r#"{"statement": "SELECT 6 * 7 AS answer"}"#,
        &format!("{url}/api/v1/queries"),
    ]);
    let submitted: Value = serde_json::from_str(&submitted).unwrap();
    let results = submitted["links"]["results"].as_str().unwrap();
    let csv = curl(&[
        "--header",
        "accept: text/csv",
        &format!("{url}{results}?wait_ms=30000"),
    ]);
    assert_eq!(csv, "answer\n42\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn schemathesis_finds_nothing_that_the_description_does_not_say() {
    let server = ServerOptions::default().start().await;
    let folder = server.folder();
    let mut command = tokio::process::Command::new(tool("schemathesis"));
    command
        .arg("run")
        .arg(format!("{}/api/v1/openapi.json", server.url()))
        .args(["--auth", &format!("admin:{PASSWORD}")])
        .args(["--checks", "not_a_server_error,response_schema_conformance,content_type_conformance,status_code_conformance,response_headers_conformance"])
        .args(["--phases", "examples,coverage,fuzzing"])
        .args(["--max-time", "60", "--seed", "7", "--request-timeout", "30", "--no-color"])
        .current_dir(folder.path())
        .env("NO_PROXY", "127.0.0.1")
        .kill_on_drop(true);
    let output = tokio::time::timeout(Duration::from_mins(5), command.output())
        .await
        .expect("schemathesis did not end")
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    // A run that tests nothing succeeds, too.
    assert!(
        text.contains("passed") || text.contains("No issues found"),
        "{text}"
    );
    server.sql("SELECT 1").await;
}

//! Four workers on hosts of their own: what is sent between them, how evenly they are loaded, and what happens when
//! one of them is cut off.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::Value;
use tarn::client::{Client, Collected};
use tarn::tpch::{TABLES, check, query};
use uuid::Uuid;

use crate::harness::child::Process;
use crate::harness::namespaces::{Forwarder, Network};
use crate::harness::server::{ALWAYS_DISTRIBUTE, CLUSTER_SECRET, sql, tarn};
use crate::harness::{S3, Server, ServerOptions, skip, wait_for};
use crate::tpch;

const HOSTS: u8 = 4;
const SECRET: &str = "a shared secret of some length";

/// No statement takes longer, whatever is cut off.
const NEVER_LONGER: Duration = Duration::from_mins(1);

/// A coordinator on this machine and a worker on each of four hosts, over one S3. What is first goes first.
struct Cluster {
    server: Server,
    _workers: Vec<Process>,
    _folder: tempfile::TempDir,
    _storage: Forwarder,
    network: Network,
}

impl Cluster {
    /// `None`, loudly, where this process may not make networks.
    async fn start(test: &str, options: ServerOptions) -> Option<Self> {
        let network = match Network::new(HOSTS) {
            Ok(network) => network,
            Err(why) => {
                skip(test, &why);
                return None;
            }
        };
        let s3 = S3::shared().await;
        let storage = Forwarder::start(network.here(), &s3.endpoint())
            .await
            .unwrap();
        let mut options = options
            .s3(&s3)
            .set("TARN__STORAGE__S3__ENDPOINT", storage.endpoint())
            .set(CLUSTER_SECRET, SECRET);
        for door in ["HTTP", "FLIGHT", "POSTGRES"] {
            let address = format!("{}:0", network.here());
            options = options.set(&format!("TARN__LISTEN__{door}"), address);
        }
        let server = options.start().await;
        let folder = tempfile::tempdir().unwrap();
        let workers = (0..HOSTS).map(|host| {
            let place = folder.path().join(host.to_string());
            std::fs::create_dir(&place).unwrap();
            let mut command = tarn();
            command
                .args(["worker", "--coordinator", &server.url()])
                .env(
                    "TARN__LISTEN__WORKER",
                    format!("{}:7073", network.address(host)),
                )
                .env(CLUSTER_SECRET, SECRET)
                .current_dir(&place);
            Process::start("worker", network.on(host, &command), &place)
        });
        let workers = workers.collect();
        server.wait_for_workers(HOSTS.into()).await;
        Some(Self {
            server,
            _workers: workers,
            _folder: folder,
            _storage: storage,
            network,
        })
    }

    async fn client(&self) -> Client {
        let client = self.server.client().with_session();
        sql(&client, ALWAYS_DISTRIBUTE).await;
        client
    }
}

/// Something that is done to the network.
type Act<'a> = Box<dyn Fn() + 'a>;

fn number(value: &Value, name: &str) -> u64 {
    let found = value[name].as_u64();
    found.unwrap_or_else(|| panic!("no {name} in {value}"))
}

/// Checks that the numbers of stages add up and that no stage is skewed without a reason; gives the skewed ones.
fn check_traffic(name: &str, document: &Value) -> Vec<String> {
    let stages = document["Stage Statistics"].as_array().unwrap();
    assert!(!stages.is_empty(), "{name}: {document}");
    let mut sums: BTreeMap<&str, u64> = BTreeMap::new();
    let mut skewed = vec![];
    for stage in stages {
        assert!(number(stage, "Plan Bytes Shipped") > 0, "{name}: {stage}");
        for what in ["Bytes Planned", "Bytes Read", "Plan Bytes Shipped"] {
            *sums.entry(what).or_default() += number(stage, what);
        }
        for what in ["Rows", "Bytes", "Network Bytes"] {
            *sums.entry(what).or_default() += number(&stage["Sent"], what);
        }
        let Some(skew) = stage["Skew"].as_f64() else {
            continue;
        };
        assert!((0.99..=f64::from(HOSTS) + 0.01).contains(&skew), "{stage}");
        let reason = stage["Skew Reason"].as_str();
        if skew > 1.5 {
            let reason = reason.unwrap_or_else(|| panic!("{name}: no reason: {stage}"));
            assert!(!reason.contains("does not tell"), "{name}: {stage}");
            skewed.push(format!(
                "{name}: stage {}: {skew:.2} ({}): {reason}",
                stage["Number"], stage["Skew Measure"]
            ));
        } else {
            assert_eq!(reason, None, "{name}: {stage}");
        }
    }
    for what in ["Bytes Planned", "Bytes Read", "Plan Bytes Shipped"] {
        assert_eq!(number(document, what), sums[what], "{name}: {what}");
        assert!(sums[what] > 0, "{name}: no {what}");
    }
    for what in ["Rows", "Bytes", "Network Bytes"] {
        let all = number(&document["Sent Between Stages"], what);
        assert_eq!(all, sums[what], "{name}: {what}");
        assert!(all > 0, "{name}: no {what}");
    }
    skewed
}

async fn explained(client: &Client, query: &str) -> Value {
    let answer = sql(client, &format!("EXPLAIN (ANALYZE, FORMAT JSON) {query}")).await;
    let document: Value = serde_json::from_str(&answer.scalar().unwrap()).unwrap();
    document[0].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn no_stage_is_skewed_without_a_reason() {
    let name = "no_stage_is_skewed_without_a_reason";
    let Some(cluster) = Cluster::start(name, tpch::options()).await else {
        return;
    };
    for table in TABLES {
        tpch::load(&cluster.server, table).await;
    }
    let client = cluster.client().await;
    let mut skewed = vec![];
    for number in [1, 3, 5, 6, 9, 12, 18] {
        let text = query(number).unwrap();
        let answer = sql(&client, text).await;
        check(number, tpch::SCALE_FACTOR, &answer.batches)
            .unwrap_or_else(|difference| panic!("query {number}: {difference}"));
        let document = explained(&client, text).await;
        skewed.extend(check_traffic(&format!("Q{number}"), &document));
    }
    println!("skewed with a reason:\n{}", skewed.join("\n"));
    // One file of many row groups is spread evenly.
    sql(
        &client,
        "CREATE TABLE big WITH ('write.parquet.row-group-limit' = '20000', 'write.distribution-mode' = 'none') AS SELECT * FROM lineitem",
    )
    .await;
    let document = explained(&client, "SELECT sum(l_quantity), max(l_comment) FROM big").await;
    let skewed = check_traffic("big", &document);
    assert!(skewed.is_empty(), "{skewed:?}");
    // One key with most of the rows is a reason.
    sql(
        &client,
        "CREATE TABLE keys AS SELECT CASE WHEN i % 10 < 8 THEN 0 ELSE i END AS k, i FROM generate_series(1, 400000) AS g(i)",
    )
    .await;
    let join = "SELECT count(*) FROM (SELECT k, row_number() OVER (PARTITION BY k ORDER BY i) AS n FROM keys) AS w WHERE n > 5";
    let document = explained(&client, join).await;
    let skewed = check_traffic("keys", &document);
    assert!(
        skewed.iter().any(|one| one.contains("a frequent one")),
        "{skewed:?}: {document:#}"
    );
}

/// Shuffles, joins and sorts on workers for some seconds.
const LONG: &str = "SELECT count(*), sum(x.i) FROM numbers AS x JOIN numbers AS y ON x.k = y.k WHERE (x.i * y.i) % 7 = 3";

/// Runs [`LONG`] and does `harm` when it runs: the right answer comes, or an error that says that a retry helps.
async fn survives(
    cluster: &Cluster,
    client: &Client,
    right: &Collected,
    later: Duration,
    harm: impl FnOnce(),
) -> (Duration, &'static str) {
    let (runs, id) = (client.clone(), Uuid::now_v7());
    let started = Instant::now();
    let running = tokio::spawn(async move {
        let run = async { runs.execute_as(LONG, id).await?.collect().await };
        tokio::time::timeout(NEVER_LONGER, run).await
    });
    let state = format!("SELECT state FROM system.queries WHERE query_id = '{id}'");
    wait_for("the query runs", NEVER_LONGER, async || {
        let state = cluster.server.sql(&state).await.scalar();
        (state.as_deref() != Some("QUEUED")).then_some(())
    })
    .await;
    tokio::time::sleep(later).await;
    harm();
    let ended = running.await.unwrap();
    let how = match ended.unwrap_or_else(|_| panic!("the query hangs")) {
        Ok(answer) => {
            assert_eq!(answer.rows(), right.rows());
            "answered"
        }
        Err(error) => {
            assert_eq!(error.code(), "57P02", "{error:?}");
            "a retry helps"
        }
    };
    (started.elapsed(), how)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_survives_a_worker_that_is_cut_off() {
    let name = "a_query_survives_a_worker_that_is_cut_off";
    let Some(cluster) = Cluster::start(name, ServerOptions::default()).await else {
        return;
    };
    let client = cluster.client().await;
    sql(
        &client,
        "CREATE TABLE numbers AS SELECT i, i % 1000 AS k, md5(i::text) AS s FROM generate_series(1, 250000) AS g(i)",
    )
    .await;
    let begun = Instant::now();
    let right = sql(&client, LONG).await;
    let usual = begun.elapsed();
    println!("undisturbed: {usual:?}");
    let network = &cluster.network;
    let harms: [(&str, Act<'_>, Act<'_>); 3] = [
        (
            "cable pulled",
            Box::new(|| network.pull(0)),
            Box::new(|| network.plug(0)),
        ),
        (
            "card off",
            Box::new(|| network.card(1, false)),
            Box::new(|| network.card(1, true)),
        ),
        (
            "workers cut off from each other",
            Box::new(|| network.isolate(true)),
            Box::new(|| network.isolate(false)),
        ),
    ];
    for (at, (what, harm, mend)) in harms.iter().enumerate() {
        let later = usual / 4 * u32::try_from(at + 1).unwrap() / 2;
        let (took, how) = survives(&cluster, &client, &right, later, harm).await;
        // Nobody waits for what is cut off.
        let begun = Instant::now();
        let after = tokio::time::timeout(NEVER_LONGER, client.query(LONG)).await;
        match after.unwrap_or_else(|_| panic!("{what}: the next query hangs")) {
            Ok(answer) => assert_eq!(answer.rows(), right.rows(), "{what}"),
            Err(error) => assert_eq!(error.code(), "57P02", "{what}: {error:?}"),
        }
        println!(
            "{what}: {how} after {took:?}, the next one took {:?}",
            begun.elapsed()
        );
        mend();
        cluster.server.wait_for_workers(HOSTS.into()).await;
        let begun = Instant::now();
        let answer = sql(&client, LONG).await;
        assert_eq!(answer.rows(), right.rows(), "{what}");
        println!("mended: {:?}", begun.elapsed());
    }
}

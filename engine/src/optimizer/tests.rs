//! Every order of joins gives the same rows.

use std::fmt::Write as _;
use std::sync::{Arc, Mutex};

use datafusion::arrow::array::{Int64Array, RecordBatch, StringArray};
use datafusion::arrow::datatypes::{DataType, Field, Schema};
use datafusion::arrow::util::display::{ArrayFormatter, FormatOptions};
use datafusion::datasource::MemTable;
use datafusion::execution::SessionStateBuilder;
use datafusion::physical_plan::displayable;
use datafusion::prelude::{SessionConfig, SessionContext};
use proptest::prelude::*;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::joins::{JoinOrder, ordered};
use super::{REPLACED, order};
use datafusion::common::Result;
use datafusion::common::config::ConfigOptions;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_optimizer::optimizer::PhysicalOptimizer;
use datafusion::physical_plan::ExecutionPlan;

const TABLES: usize = 6;

/// The rule with orders drawn at random instead of the cheapest.
#[derive(Debug)]
struct AnyOrder(Mutex<StdRng>);

impl PhysicalOptimizerRule for AnyOrder {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        config: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        ordered(plan, config, &|problem| {
            order::any(problem, &mut *self.0.lock().unwrap())
        })
    }

    fn name(&self) -> &'static str {
        "AnyOrder"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// Rules with `first` in the place of DataFusion's own.
fn rules(
    replacement: &Arc<dyn PhysicalOptimizerRule + Send + Sync>,
) -> Vec<Arc<dyn PhysicalOptimizerRule + Send + Sync>> {
    let rules = PhysicalOptimizer::new().rules.into_iter();
    rules
        .map(|rule| {
            if rule.name() == REPLACED {
                Arc::clone(replacement)
            } else {
                rule
            }
        })
        .collect()
}

fn session(
    replacement: Option<Arc<dyn PhysicalOptimizerRule + Send + Sync>>,
    tables: &[RecordBatch],
    partitions: usize,
) -> SessionContext {
    let config = SessionConfig::new().with_target_partitions(partitions);
    let mut builder = SessionStateBuilder::new()
        .with_default_features()
        .with_config(config);
    if let Some(replacement) = replacement {
        builder = builder.with_physical_optimizer_rules(rules(&replacement));
    }
    let context = SessionContext::new_with_state(builder.build());
    for (number, batch) in tables.iter().enumerate() {
        let table = MemTable::try_new(batch.schema(), vec![vec![batch.clone()]]).unwrap();
        context
            .register_table(format!("t{number}"), Arc::new(table))
            .unwrap();
    }
    context
}

/// Six tables of keys with NULLs and doubles, texts and numbers.
fn tables(random: &mut StdRng) -> Vec<RecordBatch> {
    let schema = Arc::new(Schema::new(vec![
        Field::new("k", DataType::Int64, true),
        Field::new("j", DataType::Int64, true),
        Field::new("s", DataType::Utf8, true),
        Field::new("v", DataType::Int64, false),
    ]));
    let mut table = || {
        let rows = random.random_range(0..9);
        let mut key = |values: i64| {
            let values: Vec<Option<i64>> = (0..rows)
                .map(|_| {
                    random
                        .random_bool(0.85)
                        .then(|| random.random_range(0..values))
                })
                .collect();
            values
        };
        let (k, j, s) = (key(4), key(3), key(3));
        let texts = s
            .into_iter()
            .map(|value| value.map(|value| format!("x{value}")));
        RecordBatch::try_new(
            Arc::clone(&schema),
            vec![
                Arc::new(Int64Array::from(k)),
                Arc::new(Int64Array::from(j)),
                Arc::new(texts.collect::<StringArray>()),
                Arc::new(Int64Array::from_iter_values(0..i64::from(rows))),
            ],
        )
        .unwrap()
    };
    (0..TABLES).map(|_| table()).collect()
}

/// A query that joins some of the tables, with conditions and subqueries.
fn query(random: &mut StdRng) -> String {
    let columns = ["k", "j", "s"];
    let joined = random.random_range(2..=TABLES);
    let mut from = "t0".to_owned();
    for table in 1..joined {
        let column = columns[random.random_range(0..3)];
        let other = random.random_range(0..table);
        write!(
            from,
            " JOIN t{table} ON t{table}.{column} = t{other}.{column}"
        )
        .unwrap();
        if random.random_bool(0.3) {
            let (another, column) = (
                random.random_range(0..table),
                columns[random.random_range(0..3)],
            );
            write!(from, " AND t{table}.{column} = t{another}.{column}").unwrap();
        }
        if random.random_bool(0.2) {
            let another = random.random_range(0..table);
            write!(from, " AND t{table}.k = t{another}.j").unwrap();
        }
        if random.random_bool(0.25) {
            let another = random.random_range(0..table);
            write!(from, " AND t{table}.v <= t{another}.v + 2").unwrap();
        }
    }
    let mut conditions = vec!["true".to_owned()];
    for _ in 0..random.random_range(0..3) {
        let (inner, outer) = (
            random.random_range(0..TABLES),
            random.random_range(0..joined),
        );
        let column = columns[random.random_range(0..3)];
        conditions.push(match random.random_range(0..5) {
            0 => format!("t{outer}.{column} IN (SELECT x.{column} FROM t{inner} x WHERE x.v > 1)"),
            1 => format!("EXISTS (SELECT 1 FROM t{inner} x WHERE x.{column} = t{outer}.{column})"),
            2 => format!("NOT EXISTS (SELECT 1 FROM t{inner} x WHERE x.{column} = t{outer}.{column})"),
            3 => format!(
                "NOT EXISTS (SELECT 1 FROM t{inner} x WHERE x.{column} = t{outer}.{column} AND x.v <> t{outer}.v)"
            ),
            _ => format!("t{outer}.v + t{}.v > 2", random.random_range(0..joined)),
        });
    }
    let wanted: Vec<String> = (0..random.random_range(1..4))
        .map(|_| {
            format!(
                "t{}.{}",
                random.random_range(0..joined),
                columns[random.random_range(0..3)]
            )
        })
        .enumerate()
        .map(|(number, column)| format!("{column} AS c{number}"))
        .collect();
    let wanted = if random.random_bool(0.2) {
        "count(*)".to_owned()
    } else {
        wanted.join(", ")
    };
    format!(
        "SELECT {wanted} FROM {from} WHERE {}",
        conditions.join(" AND ")
    )
}

async fn rows(context: &SessionContext, sql: &str) -> (Vec<String>, String) {
    let frame = context.sql(sql).await.unwrap();
    let plan = frame.create_physical_plan().await.unwrap();
    let shown = displayable(plan.as_ref()).indent(false).to_string();
    let batches = datafusion::physical_plan::collect(plan, context.task_ctx())
        .await
        .unwrap();
    let options = FormatOptions::new().with_null("NULL");
    let mut rows = Vec::new();
    for batch in &batches {
        let columns = batch.columns().iter();
        let columns: Vec<_> = columns
            .map(|column| ArrayFormatter::try_new(column, &options).unwrap())
            .collect();
        rows.extend((0..batch.num_rows()).map(|row| {
            let values = columns.iter().map(|column| column.value(row).to_string());
            values.collect::<Vec<_>>().join("|")
        }));
    }
    rows.sort();
    (rows, shown)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn any_order_gives_the_same_rows(seed: u64, partitions in 1_usize..4) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let mut random = StdRng::seed_from_u64(seed);
            let tables = tables(&mut random);
            let plain = session(None, &tables, partitions);
            let best = session(Some(Arc::new(JoinOrder)), &tables, partitions);
            let any = AnyOrder(Mutex::new(StdRng::seed_from_u64(seed)));
            let any = session(Some(Arc::new(any)), &tables, partitions);
            for _ in 0..4 {
                let sql = query(&mut random);
                let (expected, _) = rows(&plain, &sql).await;
                for other in [&best, &any] {
                    let (got, plan) = rows(other, &sql).await;
                    assert_eq!(got, expected, "{sql}\n{plan}");
                }
            }
        });
    }
}

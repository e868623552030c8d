//! A partitioned join gives the rows that a hash join gives, however little memory it has.

use std::sync::Arc;
use std::time::Duration;

use datafusion::arrow::array::{
    Array, ArrayRef, Int64Array, RecordBatch, StringViewArray, StringViewBuilder,
};
use datafusion::arrow::datatypes::{DataType, Field, Schema};
use datafusion::arrow::util::display::{ArrayFormatter, FormatOptions};
use datafusion::catalog::memory::MemorySourceConfig;
use datafusion::common::{JoinSide, JoinType, NullEquality, Result};
use datafusion::execution::TaskContext;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::logical_expr::Operator;
use datafusion::physical_expr::PhysicalExprRef;
use datafusion::physical_expr::expressions::{BinaryExpr, Column};
use datafusion::physical_plan::empty::EmptyExec;
use datafusion::physical_plan::joins::utils::{ColumnIndex, JoinFilter};
use datafusion::physical_plan::joins::{HashJoinExec, PartitionMode};
use datafusion::physical_plan::{ExecutionPlan, collect, displayable};
use datafusion::prelude::{SessionConfig, SessionContext};
use datafusion_proto::bytes::{
    physical_plan_from_bytes_with_proto_converter, physical_plan_to_bytes_with_proto_converter,
};
use datafusion_proto::physical_plan::DeduplicatingProtoConverter;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::PartitionedJoinExec;
use crate::distribute::TarnCodec;
use crate::memory::{MemoryBudget, MemoryLimits};

const ALL: [JoinType; 10] = [
    JoinType::Inner,
    JoinType::Left,
    JoinType::Right,
    JoinType::Full,
    JoinType::LeftSemi,
    JoinType::RightSemi,
    JoinType::LeftAnti,
    JoinType::RightAnti,
    JoinType::LeftMark,
    JoinType::RightMark,
];

/// Rows of a side: how many, of how many keys, and how many of a hundred keys are NULL.
#[derive(Clone, Copy)]
struct Rows {
    count: usize,
    keys: i64,
    null_percent: u32,
}

fn schema(prefix: &str) -> Arc<Schema> {
    let field = |name: &str, kind| Field::new(format!("{prefix}{name}"), kind, true);
    Arc::new(Schema::new(vec![
        field("k", DataType::Int64),
        field("s", DataType::Utf8View),
        field("v", DataType::Int64),
    ]))
}

/// Batches of `rows`, cut out of larger ones, so that they keep more texts in memory than they have.
fn batches(prefix: &str, rows: Rows, seed: u64) -> Vec<RecordBatch> {
    let mut random = StdRng::seed_from_u64(seed);
    let mut keys = Vec::with_capacity(rows.count);
    let mut texts = StringViewBuilder::new();
    for row in 0..rows.count {
        let is_null = random.random_range(0..100) < rows.null_percent;
        keys.push((!is_null).then(|| random.random_range(0..rows.keys)));
        texts.append_value(format!("{prefix}{row:060}"));
    }
    let values = (0..rows.count).map(|_| random.random_range(0..1000));
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from(keys)),
        Arc::new(texts.finish()),
        Arc::new(values.collect::<Int64Array>()),
    ];
    let all = RecordBatch::try_new(schema(prefix), columns).unwrap();
    (0..rows.count)
        .step_by(500)
        .map(|from| all.slice(from, 500.min(rows.count - from)))
        .collect()
}

fn source(prefix: &str, rows: Rows, seed: u64) -> Arc<dyn ExecutionPlan> {
    MemorySourceConfig::try_new_exec(&[batches(prefix, rows, seed)], schema(prefix), None).unwrap()
}

fn key(prefix: &str) -> PhysicalExprRef {
    Arc::new(Column::new(&format!("{prefix}k"), 0))
}

/// The value on the left is smaller.
fn smaller() -> JoinFilter {
    let fields = ["l", "r"].map(|name| Field::new(name, DataType::Int64, true));
    let column = |at| Arc::new(Column::new(["l", "r"][at], at)) as PhysicalExprRef;
    JoinFilter::new(
        Arc::new(BinaryExpr::new(column(0), Operator::Lt, column(1))),
        [JoinSide::Left, JoinSide::Right]
            .map(|side| ColumnIndex { index: 2, side })
            .to_vec(),
        Arc::new(Schema::new(fields.to_vec())),
    )
}

struct Case {
    left: Arc<dyn ExecutionPlan>,
    right: Arc<dyn ExecutionPlan>,
    filter: Option<JoinFilter>,
    projection: Option<Vec<usize>>,
    null_aware: bool,
}

impl Case {
    fn new(left: Rows, right: Rows) -> Self {
        Self {
            left: source("l", left, 1),
            right: source("r", right, 2),
            filter: None,
            projection: None,
            null_aware: false,
        }
    }

    fn hash_join(&self, join_type: JoinType, nulls: NullEquality) -> Arc<dyn ExecutionPlan> {
        let join = HashJoinExec::try_new(
            Arc::clone(&self.left),
            Arc::clone(&self.right),
            vec![(key("l"), key("r"))],
            self.filter.clone(),
            &join_type,
            self.projection.clone(),
            if self.null_aware {
                PartitionMode::CollectLeft
            } else {
                PartitionMode::Partitioned
            },
            nulls,
            self.null_aware,
        );
        Arc::new(join.unwrap())
    }
}

/// The rows of a plan in order, and what the plan says of a metric.
async fn rows(plan: Arc<dyn ExecutionPlan>, query_bytes: usize) -> Result<Vec<String>> {
    let budget = MemoryBudget::new(MemoryLimits {
        process_bytes: query_bytes * 2,
        query_bytes,
    });
    let runtime = RuntimeEnvBuilder::new()
        .with_memory_pool(budget.pool_of("q"))
        .build_arc()?;
    let config = SessionConfig::new()
        .with_target_partitions(1)
        .with_sort_spill_reservation_bytes(64 << 10)
        .with_sort_in_place_threshold_bytes(0)
        .with_batch_size(1024);
    let task = TaskContext::default()
        .with_session_config(config)
        .with_runtime(Arc::clone(&runtime));
    let batches = collect(plan, Arc::new(task)).await?;
    // Who reads ahead of a merge that has ended stops soon, not at once.
    let given_back = async {
        while budget.reserved() > 0 || runtime.disk_manager.used_disk_space() > 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    let in_time = tokio::time::timeout(Duration::from_secs(20), given_back).await;
    assert!(in_time.is_ok(), "memory or files are kept");
    let options = FormatOptions::default().with_null("NULL");
    let mut rows = Vec::new();
    for batch in &batches {
        let columns = batch.columns().iter();
        let columns = columns.map(|column| ArrayFormatter::try_new(column.as_ref(), &options));
        let columns = columns.collect::<Result<Vec<_>, _>>()?;
        rows.extend((0..batch.num_rows()).map(|row| {
            let values = columns.iter().map(|column| column.value(row).to_string());
            values.collect::<Vec<_>>().join("|")
        }));
    }
    rows.sort_unstable();
    Ok(rows)
}

fn metric(plan: &Arc<dyn ExecutionPlan>, name: &str) -> usize {
    let metrics = plan.metrics().unwrap();
    let sum = metrics.sum(|metric| metric.value().name() == name);
    sum.map_or(0, |sum| sum.as_usize())
}

const MIB: usize = 1 << 20;

/// Both kinds of join give the same rows; gives the partitioned one, which has run.
async fn check(
    case: &Case,
    join_type: JoinType,
    nulls: NullEquality,
    bytes: usize,
) -> Arc<dyn ExecutionPlan> {
    let hash = case.hash_join(join_type, nulls);
    let parted = PartitionedJoinExec::of(&hash).unwrap().unwrap();
    let parted: Arc<dyn ExecutionPlan> = Arc::new(parted);
    let wanted = rows(hash, 1024 * MIB).await.unwrap();
    let given = rows(Arc::clone(&parted), bytes).await;
    let given = given.unwrap_or_else(|error| panic!("{join_type}: {error}"));
    assert_eq!(given.len(), wanted.len(), "{join_type} {nulls:?}");
    assert!(given == wanted, "{join_type} {nulls:?}");
    parted
}

#[tokio::test(flavor = "multi_thread")]
async fn all_kinds_of_joins_give_the_same_rows() {
    let rows = |count| Rows {
        count,
        keys: 6000,
        null_percent: 3,
    };
    let mut case = Case::new(rows(8000), rows(9000));
    for join_type in ALL {
        for nulls in [
            NullEquality::NullEqualsNothing,
            NullEquality::NullEqualsNull,
        ] {
            for filter in [None, Some(smaller())] {
                case.filter = filter;
                let parted = check(&case, join_type, nulls, 4 * MIB).await;
                assert!(metric(&parted, "spill_count") > 0, "{join_type}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_fits_stays_in_memory() {
    let rows = |count| Rows {
        count,
        keys: 1000,
        null_percent: 3,
    };
    let case = Case::new(rows(1000), rows(30_000));
    for join_type in ALL {
        let parted = check(&case, join_type, NullEquality::NullEqualsNothing, 8 * MIB).await;
        assert_eq!(metric(&parted, "spill_count"), 0, "{join_type}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn parts_that_are_too_large_are_parted_again() {
    let rows = |count| Rows {
        count,
        keys: 1 << 40,
        null_percent: 0,
    };
    let case = Case::new(rows(80_000), rows(2000));
    for join_type in [JoinType::Inner, JoinType::Full, JoinType::LeftAnti] {
        let parted = check(&case, join_type, NullEquality::NullEqualsNothing, 4 * MIB).await;
        // Two sides of sixteen parts, and more.
        assert!(metric(&parted, "spill_count") > 32, "{join_type}");
        assert_eq!(metric(&parted, "parts_sorted"), 0, "{join_type}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_of_one_key_are_sorted() {
    let left = Rows {
        count: 20_000,
        keys: 1,
        null_percent: 1,
    };
    let right = Rows {
        count: 40,
        keys: 2,
        null_percent: 5,
    };
    let mut case = Case::new(left, right);
    case.filter = Some(smaller());
    for join_type in ALL {
        case.projection =
            matches!(join_type, JoinType::Inner | JoinType::Full).then(|| vec![5, 1, 0]);
        let parted = check(&case, join_type, NullEquality::NullEqualsNothing, 8 * MIB).await;
        assert_eq!(metric(&parted, "parts_sorted"), 1, "{join_type}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn not_in_knows_null_in_every_part() {
    let left = Rows {
        count: 20_000,
        keys: 30_000,
        null_percent: 2,
    };
    let right = |count, null_percent| Rows {
        count,
        keys: 30_000,
        null_percent,
    };
    // Without NULL, with some, and without rows.
    for (count, null_percent, kept) in [(9000, 0, true), (9000, 1, false), (0, 0, true)] {
        for bytes in [4 * MIB, 512 * MIB] {
            let mut case = Case::new(left, right(count, null_percent));
            case.null_aware = true;
            let hash = case.hash_join(JoinType::LeftAnti, NullEquality::NullEqualsNothing);
            let wanted = rows(hash, 1024 * MIB).await.unwrap();
            assert_eq!(wanted.is_empty(), !kept);
            let nulls = NullEquality::NullEqualsNothing;
            let parted = check(&case, JoinType::LeftAnti, nulls, bytes).await;
            let spilled = metric(&parted, "spill_count") > 0;
            assert_eq!(spilled, bytes == 4 * MIB);
        }
    }
}

#[test]
fn texts_are_copied_only_if_they_keep_others() {
    let column: StringViewArray = (0..100).map(|i| Some(format!("{i:050}"))).collect();
    let column = Arc::new(column.gc()) as ArrayRef;
    let all = RecordBatch::try_from_iter([("s", column)]).unwrap();
    let same = super::side::compact(&all).unwrap();
    assert!(same.column(0).to_data().ptr_eq(&all.column(0).to_data()));
    let part = super::side::compact(&all.slice(10, 5)).unwrap();
    assert_eq!(part, all.slice(10, 5));
    assert!(part.get_array_memory_size() < all.get_array_memory_size() / 4);
}

#[test]
fn workers_get_what_was_planned() {
    let plan = |null_aware: bool| {
        let case = Case {
            left: Arc::new(EmptyExec::new(schema("l"))),
            right: Arc::new(EmptyExec::new(schema("r"))),
            filter: (!null_aware).then(smaller),
            projection: Some(vec![1]),
            null_aware,
        };
        let hash = case.hash_join(JoinType::LeftAnti, NullEquality::NullEqualsNothing);
        let parted = PartitionedJoinExec::of(&hash).unwrap().unwrap();
        Arc::new(parted) as Arc<dyn ExecutionPlan>
    };
    let converter = DeduplicatingProtoConverter {};
    for null_aware in [false, true] {
        let plan = plan(null_aware);
        let shown =
            |plan: &Arc<dyn ExecutionPlan>| displayable(plan.as_ref()).indent(true).to_string();
        assert!(
            shown(&plan).starts_with("PartitionedJoinExec"),
            "{}",
            shown(&plan)
        );
        let bytes =
            physical_plan_to_bytes_with_proto_converter(Arc::clone(&plan), &TarnCodec, &converter);
        let task = SessionContext::new().task_ctx();
        let again = physical_plan_from_bytes_with_proto_converter(
            &bytes.unwrap(),
            task.as_ref(),
            &TarnCodec,
            &converter,
        );
        let again = again.unwrap();
        assert_eq!(shown(&again), shown(&plan));
        assert_eq!(again.schema(), plan.schema());
    }
}

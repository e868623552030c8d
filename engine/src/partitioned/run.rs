//! One stream of a partitioned join while it runs.

use std::collections::VecDeque;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::SortOptions;
use arrow::datatypes::SchemaRef;
use datafusion::common::{DataFusionError, JoinType, Result};
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryLimit, MemoryReservation};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::expressions::{Column, IsNotNullExpr};
use datafusion::physical_expr::{LexOrdering, PhysicalExpr, PhysicalExprRef, PhysicalSortExpr};
use datafusion::physical_plan::coop::CooperativeExec;
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::joins::{HashJoinExec, SortMergeJoinExec};
use datafusion::physical_plan::metrics::{
    BaselineMetrics, Count, ExecutionPlanMetricsSet, MetricBuilder, SpillMetrics,
};
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::spill::get_record_batch_memory_size;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{ExecutionPlan, SpillManager};
use futures::{StreamExt, TryStreamExt};

use super::side::{Part, Parts, Read, Side};
use crate::once::once;

/// One hash table is made of this part of what the statement may hold at most, as a divisor, shared by its streams.
const TABLE_PART: usize = 16;
/// Hash tables may be made of this many bytes however little the statement may hold.
const TABLE_BYTES_MIN: usize = 256 << 10;
/// Without a limit, what is larger than this is written to files.
const TABLE_BYTES_MAX: usize = 256 << 20;
/// Times that rows are parted.
const DEPTH_MAX: usize = 4;
/// Rows of which more than this many tenths stay together when they are parted have few keys.
const STUCK_TENTHS: usize = 8;

/// What one stream needs to know.
pub(super) struct Run {
    join: Arc<HashJoinExec>,
    partition: usize,
    context: Arc<TaskContext>,
    /// Bytes that a hash table may be made of.
    room: usize,
    build: SpillManager,
    probe: SpillManager,
    baseline: BaselineMetrics,
    /// Parts that were joined by sort and merge.
    sorted: Count,
}

/// Rows that may have partners in each other.
struct Pair {
    build: Part,
    probe: Part,
    /// Times that they have been parted.
    depth: usize,
    /// Parting them again would not help.
    stuck: bool,
}

impl Run {
    pub(super) fn new(
        join: &Arc<HashJoinExec>,
        partition: usize,
        context: Arc<TaskContext>,
        metrics: &ExecutionPlanMetricsSet,
    ) -> Self {
        let streams = context.session_config().target_partitions().max(1);
        let room = match context.memory_pool().memory_limit() {
            MemoryLimit::Finite(bytes) => bytes / TABLE_PART / streams,
            _ => TABLE_BYTES_MAX,
        };
        let spill = SpillMetrics::new(metrics, partition);
        let compression = context.session_config().spill_compression();
        let files = |schema: SchemaRef| {
            SpillManager::new(context.runtime_env(), spill.clone(), schema)
                .with_compression_type(compression)
        };
        Self {
            join: Arc::clone(join),
            partition,
            room: room.max(TABLE_BYTES_MIN),
            build: files(join.left().schema()),
            probe: files(join.right().schema()),
            baseline: BaselineMetrics::new(metrics, partition),
            sorted: MetricBuilder::new(metrics).counter("parts_sorted", partition),
            context,
        }
    }

    /// The joined rows.
    pub(super) fn rows(
        self,
        build: SendableRecordBatchStream,
        probe: SendableRecordBatchStream,
    ) -> SendableRecordBatchStream {
        let schema = self.join.schema();
        let output = self.baseline.output_rows().clone();
        let run = Arc::new(self);
        let rows = futures::stream::once(async move { run.begin(build, probe).await });
        let rows = rows.try_flatten().inspect_ok(move |batch| {
            output.add(batch.num_rows());
        });
        Box::pin(RecordBatchStreamAdapter::new(schema, rows))
    }

    async fn begin(
        self: &Arc<Self>,
        build: SendableRecordBatchStream,
        probe: SendableRecordBatchStream,
    ) -> Result<SendableRecordBatchStream> {
        let build_side = self.side(true);
        let build = match build_side.read(build, self.memory("build")).await? {
            Read::Whole(batches, memory) => {
                let build = held(self.join.left().schema(), batches, memory);
                return self.hashed(once(build)?, once(probe)?, self.join.null_aware);
            }
            Read::Parts(parts) => parts,
        };
        let memory = self.memory("probe");
        let probe = self.side(false).part(vec![], probe, &memory, 0).await?;
        drop(memory);
        if self.join.null_aware && probe.nulls > 0 {
            return Ok(self.nothing());
        }
        // Where nothing is asked for, a NULL is not among it; else nobody knows.
        let drop_nulls = self.join.null_aware && probe.rows > 0;
        let pairs = pairs(build, probe, 1, usize::MAX).collect();
        Ok(self.joined(pairs, drop_nulls))
    }

    /// Joins pair after pair.
    fn joined(
        self: &Arc<Self>,
        pairs: VecDeque<Pair>,
        drop_nulls: bool,
    ) -> SendableRecordBatchStream {
        let run = Arc::clone(self);
        let rows = futures::stream::try_unfold((run, pairs), move |(run, mut pairs)| async move {
            while let Some(pair) = pairs.pop_front() {
                if run.is_vain(&pair) {
                    continue;
                }
                if pair.build.bytes > run.room && !pair.stuck && pair.depth < DEPTH_MAX {
                    for pair in run.parted(pair).await?.into_iter().rev() {
                        pairs.push_front(pair);
                    }
                    continue;
                }
                let rows = run.joined_pair(pair, drop_nulls)?;
                return Ok::<_, DataFusionError>(Some((rows, (run, pairs))));
            }
            Ok(None)
        });
        let schema = self.join.schema();
        Box::pin(RecordBatchStreamAdapter::new(schema, rows.try_flatten()))
    }

    /// Whether no row comes of a pair.
    fn is_vain(&self, pair: &Pair) -> bool {
        let (no_build, no_probe) = (pair.build.file.is_none(), pair.probe.file.is_none());
        match self.join.join_type() {
            JoinType::Inner | JoinType::LeftSemi | JoinType::RightSemi => no_build || no_probe,
            JoinType::Left | JoinType::LeftAnti | JoinType::LeftMark => no_build,
            JoinType::Right | JoinType::RightAnti | JoinType::RightMark => no_probe,
            JoinType::Full => no_build && no_probe,
        }
    }

    /// Parts a pair again.
    async fn parted(&self, pair: Pair) -> Result<Vec<Pair>> {
        let all = pair.build.bytes;
        let memory = self.memory("parts");
        let (build_side, probe_side) = (self.side(true), self.side(false));
        let build = stored(&self.build, pair.build)?;
        let build = build_side.part(vec![], build, &memory, pair.depth).await?;
        let probe = stored(&self.probe, pair.probe)?;
        let probe = probe_side.part(vec![], probe, &memory, pair.depth).await?;
        Ok(pairs(build, probe, pair.depth + 1, all).collect())
    }

    fn joined_pair(&self, pair: Pair, drop_nulls: bool) -> Result<SendableRecordBatchStream> {
        let fits = pair.build.bytes <= self.room;
        let mut build = once(stored(&self.build, pair.build)?)?;
        let probe = once(stored(&self.probe, pair.probe)?)?;
        if drop_nulls && let Some((key, _)) = self.join.on().first() {
            let known: PhysicalExprRef = Arc::new(IsNotNullExpr::new(Arc::clone(key)));
            build = Arc::new(FilterExec::try_new(known, build)?);
        }
        if fits {
            self.hashed(build, probe, false)
        } else {
            self.sorted.add(1);
            self.merged(build, probe)
        }
    }

    /// The usual hash join.
    fn hashed(
        &self,
        build: Arc<dyn ExecutionPlan>,
        probe: Arc<dyn ExecutionPlan>,
        null_aware: bool,
    ) -> Result<SendableRecordBatchStream> {
        let join = self.join.builder().reset_state();
        let join = join
            .with_null_aware(null_aware)
            .with_new_children(vec![build, probe])?
            .recompute_properties()
            .build_exec()?;
        self.execute(join)
    }

    /// A join that holds no more in memory than the rows of one key, and not even these.
    fn merged(
        &self,
        build: Arc<dyn ExecutionPlan>,
        probe: Arc<dyn ExecutionPlan>,
    ) -> Result<SendableRecordBatchStream> {
        let (build_keys, probe_keys) = self.keys();
        let on = self.join.on().to_vec();
        let options = vec![SortOptions::default(); on.len()];
        let join: Arc<dyn ExecutionPlan> = Arc::new(SortMergeJoinExec::try_new(
            sorted(build, build_keys)?,
            sorted(probe, probe_keys)?,
            on,
            self.join.filter().cloned(),
            *self.join.join_type(),
            options,
            self.join.null_equality(),
        )?);
        let Some(projection) = &self.join.projection else {
            return self.execute(join);
        };
        let schema = join.schema();
        let columns = projection.iter().map(|at| {
            let name = schema.field(*at).name();
            let column: Arc<dyn PhysicalExpr> = Arc::new(Column::new(name, *at));
            (column, name.clone())
        });
        let columns: Vec<_> = columns.collect();
        self.execute(Arc::new(ProjectionExec::try_new(columns, join)?))
    }

    fn execute(&self, join: Arc<dyn ExecutionPlan>) -> Result<SendableRecordBatchStream> {
        // A join of few rows can give many, without asking for input in between.
        CooperativeExec::new(join).execute(0, Arc::clone(&self.context))
    }

    fn nothing(&self) -> SendableRecordBatchStream {
        let none = futures::stream::empty::<Result<RecordBatch>>();
        Box::pin(RecordBatchStreamAdapter::new(self.join.schema(), none))
    }

    fn side(&self, is_build: bool) -> Side {
        let (build_keys, probe_keys) = self.keys();
        let (keys, files) = if is_build {
            (build_keys, &self.build)
        } else {
            (probe_keys, &self.probe)
        };
        Side {
            keys,
            files: files.clone(),
            batch_size: self.context.session_config().batch_size(),
            room: self.room,
        }
    }

    fn keys(&self) -> (Vec<PhysicalExprRef>, Vec<PhysicalExprRef>) {
        self.join.on().iter().cloned().unzip()
    }

    fn memory(&self, what: &str) -> MemoryReservation {
        MemoryConsumer::new(format!("PartitionedJoin[{}] ({what})", self.partition))
            .with_can_spill(true)
            .register(self.context.memory_pool())
    }
}

/// The parts of both sides in pairs, which come of `all` bytes of the build side.
fn pairs(build: Parts, probe: Parts, depth: usize, all: usize) -> impl Iterator<Item = Pair> {
    let both = build.each.into_iter().zip(probe.each);
    both.map(move |(build, probe)| Pair {
        stuck: build.bytes / STUCK_TENTHS > all / 10,
        build,
        probe,
        depth,
    })
}

/// The rows of a part.
fn stored(files: &SpillManager, part: Part) -> Result<SendableRecordBatchStream> {
    match part.file {
        Some(file) => files.read_spill_as_stream(file, None),
        None => Ok(Box::pin(RecordBatchStreamAdapter::new(
            Arc::clone(files.schema()),
            futures::stream::empty::<Result<RecordBatch>>(),
        ))),
    }
}

/// Batches that are in memory. Each stops being held here when it is taken.
fn held(
    schema: SchemaRef,
    batches: Vec<RecordBatch>,
    memory: MemoryReservation,
) -> SendableRecordBatchStream {
    let rows = futures::stream::iter(batches).map(move |batch| {
        let size = get_record_batch_memory_size(&batch);
        memory.shrink(size.min(memory.size()));
        Ok(batch)
    });
    Box::pin(RecordBatchStreamAdapter::new(schema, rows))
}

fn sorted(
    input: Arc<dyn ExecutionPlan>,
    keys: Vec<PhysicalExprRef>,
) -> Result<Arc<dyn ExecutionPlan>> {
    let keys = keys
        .into_iter()
        .map(|key| PhysicalSortExpr::new(key, SortOptions::default()));
    let order = LexOrdering::new(keys)
        .ok_or_else(|| DataFusionError::Internal("a join without keys".to_owned()))?;
    Ok(Arc::new(SortExec::new(order, input)))
}

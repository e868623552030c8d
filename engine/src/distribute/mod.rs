//! Cuts a physical plan into stages for the workers, or keeps it in this process, and says why.
//!
//! The only module of the engine that names `datafusion_distributed`: another engine underneath
//! would change nothing outside of it. Knows worker URLs, never how workers register.

mod channel;
mod codec;
mod options;
mod placement;
mod session;
mod show;
mod skew;
mod traffic;

use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::common::Result;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfig};
use datafusion::datasource::source::DataSourceExec;
use datafusion::execution::SessionStateBuilder;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::prelude::SessionConfig;
use datafusion_distributed::{
    DesiredTaskCountEvent, DesiredTaskCountEventResponse, DistributedExec, DistributedExt,
    DistributedLeafExec, RouteTasksEvent, RouteTasksEventResponse, ScaleUpLeafNodeEvent,
    ScaleUpLeafNodeEventResponse, SessionStateBuilderExt, WorkerResolver,
};
use url::Url;

pub use channel::ClusterChannels;
pub use codec::TarnCodec;
pub use options::StatementOptions;
pub(crate) use options::spare_copies;
pub(crate) use placement::PlacementSlot;
pub(crate) use placement::human_bytes;
pub(crate) use placement::leaf_bytes;
pub use placement::{Placement, PlacementWish};
pub use session::{FragmentPlan, FragmentWatch, WorkerSession};
pub use show::{PlanShape, ScanTotals};
pub(crate) use show::{metrics_of, render, shape_of, stages_of, with_metrics};
pub(crate) use traffic::{Traffic, traffic_of};

use crate::error::{EngineError, ErrorKind};
use crate::planner::PlacingPlanner;
use crate::scan;

/// A worker, from the moment that it joined until it is gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkerRef {
    /// Where it takes fragments.
    pub url: Url,
    /// Tells it from whoever joins later from the same URL.
    pub joined: u64,
}

/// The workers that may run fragments, as known at this moment.
#[async_trait]
pub trait ClusterView: Debug + Send + Sync {
    /// The active workers (not the draining ones), sorted by URL.
    fn workers(&self) -> Vec<WorkerRef>;

    /// Waits until one of `workers` is lost: killed, silent, or replaced by another process. One that drains and leaves
    /// is not. Returns at once if it is lost already.
    async fn lost(&self, workers: &[WorkerRef]) -> Url;
}

/// The workers of one statement, fixed when it is planned.
#[derive(Clone, Debug, Default)]
pub(crate) struct StatementWorkers {
    /// Sorted.
    pub(crate) urls: Vec<Url>,
    /// The same, in the same order.
    refs: Vec<WorkerRef>,
    cluster: Option<Arc<dyn ClusterView>>,
}

impl StatementWorkers {
    /// The active workers of `cluster` at this moment.
    pub(crate) fn of(cluster: &Arc<dyn ClusterView>) -> Self {
        let refs = cluster.workers();
        Self {
            urls: refs.iter().map(|worker| worker.url.clone()).collect(),
            refs,
            cluster: Some(Arc::clone(cluster)),
        }
    }
}

impl WorkerResolver for StatementWorkers {
    fn get_urls(&self) -> Result<Vec<Url>> {
        Ok(self.urls.clone())
    }
}

/// Makes `builder` plan distributed queries: our codec, channels, leaf and routing rules.
///
/// Set the query planner that makes the single-process plan before calling this.
pub(crate) fn configure(
    builder: SessionStateBuilder,
    channels: &ClusterChannels,
) -> SessionStateBuilder {
    let mut builder = builder
        .with_distributed_user_codec(TarnCodec)
        .with_distributed_channel_resolver(channels.clone())
        .with_distributed_worker_resolver(StatementWorkers::default())
        .with_distributed_option_extension(StatementOptions::default())
        .with_distributed_desired_task_count_handler(desired_task_count)
        .with_distributed_scale_up_leaf_node_handler(scale_up)
        .with_distributed_route_tasks_handler(route)
        .with_distributed_planner();
    if let Some(planner) = builder.query_planner().take() {
        return builder.with_query_planner(Arc::new(PlacingPlanner::new(planner)));
    }
    builder
}

/// Gives one statement its workers and options.
///
/// # Errors
/// If the distributed options are missing from `config`, which [`configure`] puts there.
pub(crate) fn for_statement(
    config: &mut SessionConfig,
    workers: StatementWorkers,
    options: StatementOptions,
    slot: PlacementSlot,
) -> Result<()> {
    let tasks_max = if workers.urls.is_empty() {
        0
    } else {
        workers.urls.len().max(TASKS_MIN)
    };
    config.set_distributed_max_tasks_per_stage(tasks_max)?;
    config.set_distributed_worker_resolver(workers.clone());
    config.set_extension(Arc::new(workers));
    config.options_mut().extensions.insert(options);
    config.set_extension(Arc::new(slot));
    Ok(())
}

/// A stage of one task is folded into its consumer, in the coordinator; so a cluster of one
/// worker runs two tasks on it.
const TASKS_MIN: usize = 2;

/// Bytes of Parquet that one task should at least have to read.
const TASK_BYTES_MIN: u64 = 16 * 1024 * 1024;

fn desired_task_count(
    event: DesiredTaskCountEvent<'_>,
) -> Option<Result<DesiredTaskCountEventResponse>> {
    if !event.plan.children().is_empty() {
        return None;
    }
    let local = event
        .session_config
        .get_extension::<PlacementSlot>()
        .is_none_or(|slot| !slot.get().is_some_and(|p| p.distributed));
    if local {
        return Some(Ok(DesiredTaskCountEventResponse::maximum(1)));
    }
    let bytes = leaf_bytes(event.plan)?;
    let workers = event
        .session_config
        .get_extension::<StatementWorkers>()
        .map_or(1, |w| w.urls.len())
        .max(TASKS_MIN);
    let by_bytes = usize::try_from(bytes.div_ceil(TASK_BYTES_MIN)).unwrap_or(usize::MAX);
    let forced = event
        .session_config
        .get_extension::<PlacementSlot>()
        .is_some_and(|slot| slot.wish() == PlacementWish::Always);
    let tasks = if forced {
        workers
    } else {
        by_bytes.clamp(1, workers)
    };
    Some(Ok(DesiredTaskCountEventResponse::desired(tasks)))
}

fn scale_up(event: ScaleUpLeafNodeEvent<'_>) -> Option<Result<ScaleUpLeafNodeEventResponse>> {
    let Some(scan) = scan::as_scan(event.plan) else {
        return scale_up_files(&event);
    };
    let workers = event.session_config.get_extension::<StatementWorkers>()?;
    let variants = scan::scale_up(
        scan,
        event.task_count,
        &workers.urls,
        event.session_config.target_partitions(),
    );
    Some(variants.and_then(|variants| {
        DistributedLeafExec::try_new(Arc::clone(event.plan), variants)
            .map(|leaf| ScaleUpLeafNodeEventResponse::new(Arc::new(leaf)))
    }))
}

/// Deals the files of a file function to the tasks, split where their format can be.
///
/// The default of `datafusion_distributed` splits what cannot be split, and fails on fewer files
/// than tasks.
fn scale_up_files(
    event: &ScaleUpLeafNodeEvent<'_>,
) -> Option<Result<ScaleUpLeafNodeEventResponse>> {
    let source = event.plan.downcast_ref::<DataSourceExec>()?;
    let files = source.data_source().downcast_ref::<FileScanConfig>()?;
    if files.output_partitioning.is_some() {
        return None;
    }
    let tasks = event.task_count.max(1);
    let wanted = files.file_groups.len().max(1) * tasks;
    let split = match files.file_source.repartitioned(wanted, 0, None, files) {
        Ok(split) => split,
        Err(error) => return Some(Err(error)),
    };
    let dealt = match split {
        Some(split) => deal(&split.file_groups, tasks),
        None if files.output_ordering.is_empty() => deal_whole(files, tasks),
        None => deal(&files.file_groups, tasks),
    };
    let each = dealt.iter().map(Vec::len).max().unwrap_or(0).max(1);
    let variants = dealt.into_iter().map(|mut groups| {
        groups.resize_with(each, || FileGroup::new(vec![]));
        let mut part = files.clone();
        part.file_groups = groups;
        DataSourceExec::from_data_source(part) as Arc<dyn ExecutionPlan>
    });
    let leaf = DistributedLeafExec::try_new(Arc::clone(event.plan), variants);
    Some(leaf.map(|leaf| ScaleUpLeafNodeEventResponse::new(Arc::new(leaf))))
}

/// Neighbours go to one task: of ranges of a file those have rows in which a row group begins, and these are spread out.
fn deal(groups: &[FileGroup], tasks: usize) -> Vec<Vec<FileGroup>> {
    let end = |task: usize| task * groups.len() / tasks;
    (0..tasks)
        .map(|task| groups[end(task)..end(task + 1)].to_vec())
        .collect()
}

/// Files that cannot be cut, spread by their bytes.
fn deal_whole(files: &FileScanConfig, tasks: usize) -> Vec<Vec<FileGroup>> {
    let mut all: Vec<PartitionedFile> = files
        .file_groups
        .iter()
        .flat_map(|group| group.files().iter().cloned())
        .collect();
    all.sort_by_key(|file| std::cmp::Reverse(file.effective_size()));
    let mut dealt: Vec<Vec<FileGroup>> = scan::balance(all, tasks)
        .into_iter()
        .map(|files_of_task| {
            let groups = scan::balance(files_of_task, files.file_groups.len().max(1));
            groups.into_iter().map(FileGroup::new).collect()
        })
        .collect();
    dealt.resize_with(tasks, Vec::new);
    dealt
}

/// Task `i` goes to worker `i` of the sorted list: [`scan::scale_up`] gave it that worker's files.
#[allow(
    clippy::needless_pass_by_value,
    reason = "the handler trait passes the event by value"
)]
fn route(event: RouteTasksEvent<'_>) -> Option<Result<RouteTasksEventResponse>> {
    let workers = event
        .task_ctx
        .session_config()
        .get_extension::<StatementWorkers>()?;
    if workers.urls.is_empty() || event.task_count == 1 {
        return None;
    }
    let urls = (0..event.task_count)
        .map(|task| workers.urls[task % workers.urls.len()].clone())
        .collect();
    Some(Ok(RouteTasksEventResponse::new(urls)))
}

/// The error of a plan one of whose workers is lost, as soon as it is; connections may take longer to tell.
pub(crate) async fn worker_lost(
    config: &SessionConfig,
    plan: &Arc<dyn ExecutionPlan>,
) -> EngineError {
    let workers = config.get_extension::<StatementWorkers>();
    let Some((workers, cluster)) = workers
        .as_ref()
        .and_then(|workers| Some((workers, workers.cluster.as_ref()?)))
    else {
        return std::future::pending().await;
    };
    // As `route` deals tasks; where a single one goes is not ours to say.
    let tasks = || stages_of(plan).into_iter().map(|(_, tasks)| tasks as usize);
    let used = if tasks().any(|tasks| tasks == 1) {
        workers.refs.len()
    } else {
        tasks().max().unwrap_or(0).min(workers.refs.len())
    };
    if used == 0 {
        return std::future::pending().await;
    }
    let url = cluster.lost(&workers.refs[..used]).await;
    EngineError::new(
        ErrorKind::WorkerLost,
        format!("worker {url} was lost while it ran a part of this statement"),
    )
    .with_hint("run the statement again; system.workers lists the workers that are left")
}

/// Whether `plan` runs on workers.
pub(crate) fn is_distributed(plan: &Arc<dyn ExecutionPlan>) -> bool {
    plan.is::<DistributedExec>()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(sizes: &[u64]) -> FileGroup {
        let file = |size: &u64| PartitionedFile::new(format!("{size}.csv"), *size);
        FileGroup::new(sizes.iter().map(file).collect())
    }

    #[test]
    fn neighbouring_ranges_are_dealt_to_one_task_and_each_is_dealt_once() {
        let groups: Vec<FileGroup> = (1..=9).map(|n| group(&[n])).collect();
        let dealt = deal(&groups, 4);
        let sizes: Vec<Vec<u64>> = dealt
            .iter()
            .map(|groups| {
                groups
                    .iter()
                    .map(|g| g.files()[0].effective_size())
                    .collect()
            })
            .collect();
        assert_eq!(sizes, [vec![1, 2], vec![3, 4], vec![5, 6], vec![7, 8, 9]]);
        assert_eq!(deal(&groups[..1], 3).iter().map(Vec::len).sum::<usize>(), 1);
        assert!(deal(&[], 3).iter().all(Vec::is_empty));
    }
}

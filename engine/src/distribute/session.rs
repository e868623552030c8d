//! The session in which a worker runs one task: same functions, same options as the coordinator.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::common::Result;
use datafusion::error::DataFusionError;
use datafusion::execution::SessionState;
use datafusion::physical_plan::ExecutionPlan;
use datafusion_distributed::{
    DistributedExt, WorkerPlanRewriteEvent, WorkerPlanRewriteEventResponse, WorkerQueryContext,
    WorkerSessionBuilder,
};
use tarn_catalog::RangeCache;

use super::show::{ScanTotals, metrics_of};
use super::{ClusterChannels, StatementOptions, TarnCodec};
use crate::functions;
use crate::planner::fit;
use crate::runtime::EngineRuntime;
use crate::wanted::Wanted;

/// A fragment's plan on its worker; can be asked what it has read.
#[derive(Debug)]
pub struct FragmentPlan {
    plan: Arc<dyn ExecutionPlan>,
}

impl FragmentPlan {
    /// What its scans have read so far.
    pub fn totals(&self) -> ScanTotals {
        metrics_of(&self.plan)
    }
}

/// Is told of each fragment: the statement's id and its plan, which lives as long as the fragment.
pub type FragmentWatch = Arc<dyn Fn(&str, &Arc<FragmentPlan>) + Send + Sync>;

/// Builds the sessions of a worker's tasks.
#[derive(Clone)]
pub struct WorkerSession {
    channels: ClusterChannels,
    runtime: EngineRuntime,
    watch: FragmentWatch,
    ranges: Arc<RangeCache>,
}

impl fmt::Debug for WorkerSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WorkerSession").finish_non_exhaustive()
    }
}

impl WorkerSession {
    /// Sessions whose tasks run with the resources of `runtime`, read through `ranges`, reach other workers through
    /// `channels` and are shown to `watch`.
    pub fn new(
        channels: ClusterChannels,
        runtime: EngineRuntime,
        watch: FragmentWatch,
        ranges: RangeCache,
    ) -> Self {
        Self {
            channels,
            runtime,
            watch,
            ranges: Arc::new(ranges),
        }
    }
}

#[async_trait]
impl WorkerSessionBuilder for WorkerSession {
    async fn build_session_state(
        &self,
        context: WorkerQueryContext,
    ) -> Result<SessionState, DataFusionError> {
        let WorkerQueryContext {
            mut builder,
            headers,
        } = context;
        let config = builder.config().get_or_insert_default();
        config.set_distributed_option_extension_from_headers::<StatementOptions>(&headers)?;
        let options = config.options().extensions.get::<StatementOptions>();
        let options = options.cloned().unwrap_or_default();
        options.apply(config);
        config.set_extension(Arc::clone(&self.ranges));
        if let Some(wanted) = Wanted::here() {
            wanted.tell(config);
        }
        self.runtime.fit(config);
        // All tasks of a statement on this worker share its memory.
        let resources = self.runtime.of_query(&options.query_id)?;
        config.set_distributed_user_codec_arc(Arc::new(TarnCodec));
        config.set_distributed_channel_resolver(self.channels.clone());
        let watch = Arc::clone(&self.watch);
        let slot = Arc::new(FragmentSlot::default());
        // The slot lives in the task's own configuration, so it goes when the task goes.
        config.set_extension(Arc::clone(&slot));
        let slot = Arc::downgrade(&slot);
        config.set_distributed_worker_plan_rewrite_handler(
            move |event: WorkerPlanRewriteEvent<'_>| {
                let plan = fit(event.plan)?;
                let fragment = Arc::new(FragmentPlan {
                    plan: Arc::clone(&plan),
                });
                watch(&options.query_id, &fragment);
                if let Some(slot) = slot.upgrade() {
                    slot.keep(fragment);
                }
                Ok(WorkerPlanRewriteEventResponse::new(plan))
            },
        );
        Ok(functions::register(builder.with_runtime_env(resources)).build())
    }
}

/// Keeps a fragment's plan alive for as long as its task.
#[derive(Debug, Default)]
struct FragmentSlot {
    fragment: std::sync::OnceLock<Arc<FragmentPlan>>,
}

impl FragmentSlot {
    fn keep(&self, fragment: Arc<FragmentPlan>) {
        // One fragment in a task: a second call cannot happen.
        let _ = self.fragment.set(fragment);
    }
}

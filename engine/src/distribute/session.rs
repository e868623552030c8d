//! The session in which a worker runs one task: same functions, same options as the coordinator.

use std::sync::Arc;

use async_trait::async_trait;
use datafusion::common::Result;
use datafusion::error::DataFusionError;
use datafusion::execution::SessionState;
use datafusion_distributed::{DistributedExt, WorkerQueryContext, WorkerSessionBuilder};

use super::{ClusterChannels, StatementOptions, TarnCodec};
use crate::functions;

/// Builds the sessions of a worker's tasks.
#[derive(Clone, Debug)]
pub struct WorkerSession {
    channels: ClusterChannels,
}

impl WorkerSession {
    /// Sessions whose tasks reach other workers through `channels`.
    pub fn new(channels: ClusterChannels) -> Self {
        Self { channels }
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
        if let Some(options) = config.options().extensions.get::<StatementOptions>() {
            let options = options.clone();
            options.apply(config);
        }
        config.set_distributed_user_codec_arc(Arc::new(TarnCodec));
        config.set_distributed_channel_resolver(self.channels.clone());
        Ok(functions::register(builder).build())
    }
}

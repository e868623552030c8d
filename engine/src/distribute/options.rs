//! The session options that change results and therefore travel with a plan.
//!
//! Ordinary DataFusion options stay behind when a fragment is sent; these do not.

use datafusion::common::extensions_options;
use datafusion::config::ConfigExtension;
use datafusion::prelude::SessionConfig;

extensions_options! {
    /// Options of one statement, alike in the coordinator and on every worker.
    pub struct StatementOptions {
        /// Id of the statement, for logs.
        pub query_id: String, default = String::new()
        /// Session time zone.
        pub time_zone: String, default = "UTC".to_owned()
        /// Rows in a batch.
        pub batch_size: usize, default = 8192
        /// Parallel streams within a process.
        pub target_partitions: usize, default = 2
        /// Stricter functions and casts.
        pub ansi_mode: bool, default = false
        /// Filter while decoding Parquet.
        pub parquet_pushdown_filters: bool, default = false
        /// Filter while decoding Parquet where that pays.
        pub row_filters_auto: bool, default = false
    }
}

impl ConfigExtension for StatementOptions {
    const PREFIX: &'static str = "tarn";
}

impl StatementOptions {
    /// Sets DataFusion's options from these.
    pub fn apply(&self, config: &mut SessionConfig) {
        let options = config.options_mut();
        options.execution.time_zone = Some(self.time_zone.clone());
        options.execution.enable_ansi_mode = self.ansi_mode;
        options.execution.parquet.pushdown_filters = self.parquet_pushdown_filters;
        *config = std::mem::take(config)
            .with_batch_size(self.batch_size.max(1))
            .with_target_partitions(self.target_partitions.max(1));
    }
}

//! The session options that change results and therefore travel with a plan.
//!
//! Ordinary DataFusion options stay behind when a fragment is sent; these do not.

use datafusion::common::extensions_options;
use datafusion::config::{ConfigExtension, ConfigNonZeroUsize, ConfigOptions};
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
        /// Workers that may take a part when the statement is planned.
        pub workers: usize, default = 0
        /// Stricter functions and casts.
        pub ansi_mode: bool, default = false
        /// Filter while decoding Parquet.
        pub parquet_pushdown_filters: bool, default = false
        /// Filter while decoding Parquet where that pays.
        pub row_filters_auto: bool, default = false
        /// Joins that spill instead of hash joins.
        pub spilling_joins: bool, default = false
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
        // A file for each batch that a shuffle spills: in DataFusion 55.2 its reader waits for ever for the older of two
        // files that several writers have open (apache/datafusion#24883).
        if let Ok(one) = ConfigNonZeroUsize::try_new(1) {
            options.execution.max_spill_file_size_bytes = one;
        }
        if self.spilling_joins {
            spare_copies(config.options_mut());
        }
        *config = std::mem::take(config)
            .with_batch_size(self.batch_size.max(1))
            .with_target_partitions(self.target_partitions.max(1));
    }
}

/// Keeps sorts from copying what they hold together before they merge it: a copy of texts that came through a file or
/// the network counts more than they do, and a sort that has nothing left to spill fails for the difference.
pub(crate) fn spare_copies(options: &mut ConfigOptions) {
    options.execution.sort_in_place_threshold_bytes = 0;
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use datafusion::arrow::array::RecordBatch;
    use datafusion::execution::TaskContext;
    use datafusion::execution::runtime_env::RuntimeEnvBuilder;
    use datafusion::physical_plan::collect;
    use datafusion::prelude::SessionContext;

    use super::*;
    use crate::memory::{MemoryBudget, MemoryLimits};

    /// Source: apache/datafusion#24883.
    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn a_shuffle_that_spills_does_not_wait_for_itself() {
        let options = StatementOptions {
            batch_size: 64,
            ..StatementOptions::default()
        };
        let mut config = SessionConfig::new();
        options.apply(&mut config);
        let context = SessionContext::new_with_config(config);
        let table = "CREATE TABLE t AS SELECT v % 13 AS g, md5(CAST(v % 337 AS varchar)) AS id FROM generate_series(1, 40000) AS s(v)";
        context.sql(table).await.unwrap().collect().await.unwrap();
        for attempt in 0..12 {
            let budget = MemoryBudget::new(MemoryLimits {
                process_bytes: 2 << 20,
                query_bytes: 2 << 20,
            });
            let small = RuntimeEnvBuilder::from_runtime_env(&context.runtime_env())
                .with_memory_pool(budget.pool_of("q"))
                .build_arc()
                .unwrap();
            let query = "SELECT g, count(DISTINCT id) AS n FROM t GROUP BY g";
            let frame = context.sql(query).await.unwrap();
            let task = TaskContext::from(&context.state()).with_runtime(small);
            let plan = frame.create_physical_plan().await.unwrap();
            let running = collect(plan, task.into());
            let ended = tokio::time::timeout(Duration::from_secs(20), running).await;
            let ended = ended.unwrap_or_else(|_| panic!("attempt {attempt} hangs"));
            // Or memory is exhausted, which says so.
            if let Ok(batches) = ended {
                let rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
                assert_eq!(rows, 13);
            }
        }
    }
}

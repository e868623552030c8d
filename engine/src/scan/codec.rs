//! A scan as bytes, for workers of the same version.
//!
//! The file scan goes through DataFusion's own protobuf with the caller's converter, so that a dynamic filter that the
//! scan shares with a join or a `TopK` above it is one filter on the worker too. What protobuf does not carry (facts,
//! defaults, deletes, order) goes beside it. Never a credential: a worker opens stores from its own runtime.

use std::collections::HashMap;
use std::sync::Arc;

use datafusion::catalog::memory::DataSourceExec;
use datafusion::common::{DataFusionError, Result};
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfig, FileSource, ParquetSource};
use datafusion::datasource::source::DataSource;
use datafusion::datasource::table_schema::TableSchema;
use datafusion::execution::TaskContext;
use datafusion::physical_plan::ExecutionPlan;
use datafusion_proto::physical_plan::from_proto::parse_physical_sort_exprs;
use datafusion_proto::physical_plan::to_proto::serialize_physical_sort_exprs;
use datafusion_proto::physical_plan::{
    DefaultPhysicalExtensionCodec, PhysicalPlanDecodeContext, PhysicalProtoConverterExtension,
};
use datafusion_proto::protobuf::{PhysicalPlanNode, PhysicalSortExprNodeCollection};
use prost::Message;

use super::conform::{Evolution, FileConstants};
use super::deletes::{DeleteCache, FileDeletes};
use super::error::ScanError;
use super::layout;
use super::leaf::{IcebergScan, ScanFacts, as_scan};
use super::reads::Reads;
use super::source::IcebergSource;

#[derive(Clone, PartialEq, Message)]
struct ScanMessage {
    #[prost(bytes = "vec", tag = "1")]
    plan: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    extras: Vec<u8>,
    #[prost(bytes = "vec", tag = "3")]
    order: Vec<u8>,
}

#[derive(serde::Serialize, serde::Deserialize)]
struct Extras {
    facts: ScanFacts,
    evolution: Evolution,
    nan_columns: Vec<String>,
    /// By key of the data file in its store.
    deletes: HashMap<String, FileDeletes>,
    /// By key of the data file in its store.
    constants: HashMap<String, FileConstants>,
    /// The last constant column of the plan inside stands for the row number: protobuf has no virtual columns.
    row_number: bool,
    limit: Option<u64>,
    preserve_order: bool,
}

/// Encodes `node` into `buf` if it is a scan of ours; `false` if it is not.
///
/// Functions within the scan's expressions are named, and must be registered where it is decoded.
///
/// # Errors
/// If an expression of the scan cannot be encoded.
pub fn try_encode(
    node: &Arc<dyn ExecutionPlan>,
    buf: &mut Vec<u8>,
    converter: &dyn PhysicalProtoConverterExtension,
) -> Result<bool> {
    let codec = &DefaultPhysicalExtensionCodec {};
    let Some(scan) = as_scan(node) else {
        return Ok(false);
    };
    let source = scan
        .source()
        .ok_or_else(|| broken("its source is not ours"))?;
    let mut config = scan.config().clone();
    config.file_source = Arc::clone(source.parquet());
    config.expr_adapter_factory = None;
    // DataFusion writes a limit in 32 bits; ours goes beside.
    config.limit = None;
    let schema = source.table_schema();
    let row_number = !schema.virtual_columns().is_empty();
    if row_number {
        let constants = schema.table_partition_cols().iter();
        let constants: Vec<_> = constants.chain(schema.virtual_columns()).cloned().collect();
        let flat = TableSchema::builder(Arc::clone(schema.file_schema()))
            .with_table_partition_cols(constants)
            .build();
        config.file_source = layout::with_table_schema(source.parquet(), flat)?;
    }
    let extras = Extras {
        facts: scan.facts().clone(),
        evolution: Evolution::clone(scan.evolution()),
        nan_columns: source.nan_columns().to_vec(),
        deletes: of_files(scan),
        constants: of_files(scan),
        row_number,
        limit: scan.config().limit.map(|limit| limit as u64),
        preserve_order: scan.config().preserve_order,
    };
    let order = match source.order() {
        Some(order) => {
            let exprs = serialize_physical_sort_exprs(order.iter().cloned(), codec, converter)?;
            PhysicalSortExprNodeCollection {
                physical_sort_expr_nodes: exprs,
            }
            .encode_to_vec()
        }
        None => Vec::new(),
    };
    let plan: Arc<dyn ExecutionPlan> = DataSourceExec::from_data_source(config);
    let message = ScanMessage {
        plan: converter
            .execution_plan_to_proto(&plan, codec)?
            .encode_to_vec(),
        extras: serde_json::to_vec(&extras).map_err(|error| broken(&error.to_string()))?,
        order,
    };
    message
        .encode(buf)
        .map_err(|error| broken(&error.to_string()))?;
    Ok(true)
}

/// Decodes what [`try_encode`] wrote.
///
/// # Errors
/// If the bytes are not of this version, or the scan's store is not registered in the runtime of `ctx`.
pub fn try_decode(
    buf: &[u8],
    inputs: &[Arc<dyn ExecutionPlan>],
    ctx: &TaskContext,
    converter: &dyn PhysicalProtoConverterExtension,
) -> Result<Arc<dyn ExecutionPlan>> {
    if !inputs.is_empty() {
        return Err(broken("a scan has no child"));
    }
    let codec = &DefaultPhysicalExtensionCodec {};
    let message = ScanMessage::decode(buf).map_err(|error| broken(&error.to_string()))?;
    let extras: Extras =
        serde_json::from_slice(&message.extras).map_err(|error| broken(&error.to_string()))?;
    let node =
        PhysicalPlanNode::decode(&message.plan[..]).map_err(|error| broken(&error.to_string()))?;
    let context = PhysicalPlanDecodeContext::new(ctx, codec);
    let plan = converter.proto_to_execution_plan(&node, &context)?;
    let mut config = plan
        .downcast_ref::<DataSourceExec>()
        .and_then(|exec| exec.data_source().downcast_ref::<FileScanConfig>())
        .cloned()
        .ok_or_else(|| broken("the plan inside is no file scan"))?;
    config.file_groups = config
        .file_groups
        .into_iter()
        .map(|group| attach(group, &extras))
        .collect();
    let mut parquet = Arc::clone(config.file_source());
    if extras.row_number {
        let flat = parquet.table_schema();
        let Some((number, constants)) = flat.table_partition_cols().split_last() else {
            return Err(broken("it has no row number"));
        };
        let schema = TableSchema::builder(Arc::clone(flat.file_schema()))
            .with_table_partition_cols(constants.to_vec())
            .with_virtual_columns(vec![Arc::clone(number)])
            .build();
        parquet = layout::with_table_schema(&parquet, schema)?;
    }
    let url = &config.object_store_url;
    let reads = Reads::new(ctx.session_config(), url);
    let runtime = ctx.runtime_env();
    let footers = runtime.cache_manager.get_file_metadata_cache();
    let factory = reads.factory(runtime.object_store(url)?, footers);
    parquet = match parquet.downcast_ref::<ParquetSource>() {
        Some(source) => Arc::new(source.clone().with_parquet_file_reader_factory(factory)),
        None => return Err(broken("it reads no Parquet files")),
    };
    let evolution = Arc::new(extras.evolution);
    let files = config.file_groups.iter().flat_map(FileGroup::iter);
    let deletes = DeleteCache::for_files(files, reads);
    let mut source: Arc<dyn FileSource> = Arc::new(IcebergSource::new(
        parquet,
        extras.nan_columns,
        Arc::clone(&evolution),
        deletes,
    ));
    if !message.order.is_empty() {
        let order = PhysicalSortExprNodeCollection::decode(&message.order[..])
            .map_err(|error| broken(&error.to_string()))?
            .physical_sort_expr_nodes;
        let schema = source.table_schema().table_schema();
        let order = parse_physical_sort_exprs(&order, &context, schema, converter)?;
        let properties = config.eq_properties();
        source = source
            .try_pushdown_sort(&order, &properties)?
            .into_inner()
            .unwrap_or(source);
    }
    config.file_source = source;
    config.limit = extras
        .limit
        .map(|limit| usize::try_from(limit).unwrap_or(usize::MAX));
    config.preserve_order = extras.preserve_order;
    let scan = IcebergScan::new(config, Arc::new(extras.facts), evolution);
    Ok(scan.into_plan())
}

/// An extension of the scan's files, by key.
fn of_files<T: Clone + Send + Sync + 'static>(scan: &IcebergScan) -> HashMap<String, T> {
    let with = scan.files().filter_map(|file| {
        let found = file.extension::<T>()?;
        Some((file.object_meta.location.to_string(), found.clone()))
    });
    with.collect()
}

fn attach(group: FileGroup, extras: &Extras) -> FileGroup {
    let files = group.into_inner().into_iter();
    let attached = files.map(|mut file| {
        let key = file.object_meta.location.to_string();
        if let Some(found) = extras.deletes.get(&key) {
            file = file.with_extension(found.clone());
        }
        if let Some(found) = extras.constants.get(&key) {
            file = file.with_extension(found.clone());
        }
        file
    });
    FileGroup::new(attached.collect())
}

fn broken(reason: &str) -> DataFusionError {
    ScanError::Decode {
        reason: reason.to_owned(),
    }
    .into()
}

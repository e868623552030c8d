//! All readers as one source of DataFusion's file scan, and the way of such a scan to a worker.
//!
//! A scan goes through DataFusion's own protobuf as one of CSV, which carries files, columns and projection; what reads
//! the files goes beside it. One of Parquet goes as what it is.

use std::fmt;
use std::sync::Arc;

use datafusion::catalog::memory::DataSourceExec;
use datafusion::common::parsers::CompressionTypeVariant;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{DataFusionError, Result, exec_datafusion_err, internal_err};
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::{
    CsvSource, FileOpenFuture, FileOpener, FileScanConfig, FileSource,
};
use datafusion::datasource::projection::{ProjectionOpener, SplitProjection};
use datafusion::datasource::table_schema::TableSchema;
use datafusion::execution::TaskContext;
use datafusion::physical_expr::projection::ProjectionExprs;
use datafusion::physical_plan::metrics::{Count, ExecutionPlanMetricsSet, MetricBuilder};
use datafusion::physical_plan::{
    DisplayFormatType, ExecutionPlan, PhysicalExpr, apply_expression_roots,
};
use datafusion_proto::physical_plan::{
    DefaultPhysicalExtensionCodec, PhysicalPlanDecodeContext, PhysicalProtoConverterExtension,
};
use datafusion_proto::protobuf::PhysicalPlanNode;
use object_store::ObjectStore;
use prost::Message;
use serde::{Deserialize, Serialize};

use super::named::NamedParquet;
use super::{OneFile, Reader, Wanted};
use crate::files::schema::Rules;

/// How files are read; goes to workers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Reading {
    pub(crate) reader: Reader,
    pub(crate) rules: Rules,
    /// `None` = what the name of each file says.
    compression: Option<String>,
}

impl Reading {
    pub(crate) fn new(
        reader: Reader,
        rules: Rules,
        compression: Option<CompressionTypeVariant>,
    ) -> Self {
        Self {
            reader,
            rules,
            compression: compression.map(|kind| kind.to_string()),
        }
    }

    fn compression(&self) -> Result<Option<CompressionTypeVariant>> {
        let parsed = self.compression.as_deref().map(str::parse).transpose();
        parsed.map_err(|error| exec_datafusion_err!("compression of files: {error:?}"))
    }
}

/// Reads files with one of our readers.
#[derive(Clone)]
pub(crate) struct ReaderSource {
    reading: Arc<Reading>,
    table: TableSchema,
    projection: SplitProjection,
    batch_rows: Option<usize>,
    metrics: ExecutionPlanMetricsSet,
}

impl ReaderSource {
    pub(crate) fn new(reading: Arc<Reading>, table: TableSchema) -> Self {
        Self {
            projection: SplitProjection::unprojected(&table),
            reading,
            table,
            batch_rows: None,
            metrics: ExecutionPlanMetricsSet::new(),
        }
    }
}

/// Rows of a batch if DataFusion does not say.
const BATCH_ROWS: usize = 8192;

impl FileSource for ReaderSource {
    fn create_file_opener(
        &self,
        store: Arc<dyn ObjectStore>,
        config: &FileScanConfig,
        partition: usize,
    ) -> Result<Arc<dyn FileOpener>> {
        let file_schema = self.table.file_schema();
        let opener = Opener {
            reading: Arc::clone(&self.reading),
            compression: self.reading.compression()?.or_else(|| {
                // Whole files are given as they are.
                let whole = self.reading.reader.is_whole();
                whole.then_some(CompressionTypeVariant::UNCOMPRESSED)
            }),
            wanted: Wanted {
                table: Arc::clone(file_schema),
                projected: Arc::new(file_schema.project(&self.projection.file_indices)?),
                rules: Arc::new(self.reading.rules.clone()),
                batch_rows: self.batch_rows.unwrap_or(BATCH_ROWS),
            },
            store,
            root: root_of(config.object_store_url.as_str()),
            bytes: MetricBuilder::new(&self.metrics).counter("bytes_scanned", partition),
        };
        ProjectionOpener::try_new(self.projection.clone(), Arc::new(opener), file_schema)
    }

    fn table_schema(&self) -> &TableSchema {
        &self.table
    }

    fn with_batch_size(&self, batch_size: usize) -> Arc<dyn FileSource> {
        Arc::new(Self {
            batch_rows: Some(batch_size),
            ..self.clone()
        })
    }

    fn try_pushdown_projection(
        &self,
        projection: &ProjectionExprs,
    ) -> Result<Option<Arc<dyn FileSource>>> {
        let merged = self.projection.source.try_merge(projection)?;
        Ok(Some(Arc::new(Self {
            projection: SplitProjection::new(self.table.file_schema(), &merged),
            ..self.clone()
        })))
    }

    fn projection(&self) -> Option<&ProjectionExprs> {
        Some(&self.projection.source)
    }

    fn metrics(&self) -> &ExecutionPlanMetricsSet {
        &self.metrics
    }

    fn file_type(&self) -> &str {
        match self.reading.reader {
            Reader::Parquet => "parquet",
            Reader::Csv(_) => "csv",
            Reader::Json => "json",
            Reader::Avro => "avro",
            Reader::Orc => "orc",
            Reader::Text => "text",
            Reader::Binary => "binary",
        }
    }

    fn supports_repartitioning(&self) -> bool {
        false
    }

    fn fmt_extra(&self, _: DisplayFormatType, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        Ok(())
    }

    fn apply_expressions(
        &self,
        f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        apply_expression_roots(self.projection.source.iter(), f)
    }
}

struct Opener {
    reading: Arc<Reading>,
    compression: Option<CompressionTypeVariant>,
    wanted: Wanted,
    store: Arc<dyn ObjectStore>,
    /// What stands before a key in the name of a file.
    root: String,
    bytes: Count,
}

impl FileOpener for Opener {
    fn open(&self, file: PartitionedFile) -> Result<FileOpenFuture> {
        if file.range.is_some() {
            return internal_err!("files of this kind are read whole");
        }
        let meta = &file.object_meta;
        let name = format!("{}/{}", self.root, meta.location);
        let one = OneFile::new(&self.store, meta, &name, self.compression);
        self.bytes
            .add(usize::try_from(meta.size).unwrap_or(usize::MAX));
        let (reading, wanted) = (Arc::clone(&self.reading), self.wanted.clone());
        Ok(Box::pin(async move {
            super::open(&reading.reader, one, wanted).await
        }))
    }
}

/// What stands before a key, with a slash between, in the name that users know.
pub(super) fn root_of(url: &str) -> String {
    if url.starts_with("file:") {
        String::new()
    } else {
        url.trim_end_matches('/').to_owned()
    }
}

#[derive(Clone, PartialEq, Message)]
struct SourceMessage {
    #[prost(bytes = "vec", tag = "1")]
    plan: Vec<u8>,
    /// Nothing for a scan of Parquet, which DataFusion reads.
    #[prost(bytes = "vec", tag = "2")]
    reading: Vec<u8>,
}

/// Encodes `node` into `buf` if it is a scan with one of our readers; `false` if it is not.
///
/// # Errors
/// If an expression of the scan cannot be encoded.
pub(crate) fn try_encode(
    node: &Arc<dyn ExecutionPlan>,
    buf: &mut Vec<u8>,
    converter: &dyn PhysicalProtoConverterExtension,
) -> Result<bool> {
    let Some(config) = node
        .downcast_ref::<DataSourceExec>()
        .and_then(|exec| exec.data_source().downcast_ref::<FileScanConfig>())
    else {
        return Ok(false);
    };
    let source = config.file_source();
    let mut sent = config.clone();
    let reading = if let Some(parquet) = source.downcast_ref::<NamedParquet>() {
        sent.file_source = Arc::clone(parquet.inner());
        vec![]
    } else if let Some(source) = source.downcast_ref::<ReaderSource>() {
        let carrier = CsvSource::new(source.table.clone());
        let projected = carrier.try_pushdown_projection(&source.projection.source)?;
        sent.file_source = projected.unwrap_or_else(|| Arc::new(carrier));
        serde_json::to_vec(source.reading.as_ref()).map_err(|error| broken(&error.to_string()))?
    } else {
        return Ok(false);
    };
    let plan: Arc<dyn ExecutionPlan> = DataSourceExec::from_data_source(sent);
    let message = SourceMessage {
        plan: converter
            .execution_plan_to_proto(&plan, &DefaultPhysicalExtensionCodec {})?
            .encode_to_vec(),
        reading,
    };
    message
        .encode(buf)
        .map_err(|error| broken(&error.to_string()))?;
    Ok(true)
}

/// Decodes what [`try_encode`] wrote.
///
/// # Errors
/// If the bytes are not of this version.
pub(crate) fn try_decode(
    buf: &[u8],
    inputs: &[Arc<dyn ExecutionPlan>],
    ctx: &TaskContext,
    converter: &dyn PhysicalProtoConverterExtension,
) -> Result<Arc<dyn ExecutionPlan>> {
    if !inputs.is_empty() {
        return Err(broken("a scan of files has no child"));
    }
    let message = SourceMessage::decode(buf).map_err(|error| broken(&error.to_string()))?;
    let node =
        PhysicalPlanNode::decode(&message.plan[..]).map_err(|error| broken(&error.to_string()))?;
    let codec = DefaultPhysicalExtensionCodec {};
    let context = PhysicalPlanDecodeContext::new(ctx, &codec);
    let plan = converter.proto_to_execution_plan(&node, &context)?;
    let mut config = plan
        .downcast_ref::<DataSourceExec>()
        .and_then(|exec| exec.data_source().downcast_ref::<FileScanConfig>())
        .cloned()
        .ok_or_else(|| broken("the plan inside is no file scan"))?;
    let carrier = Arc::clone(config.file_source());
    if message.reading.is_empty() {
        config.file_source = Arc::new(NamedParquet::new(carrier));
        return Ok(DataSourceExec::from_data_source(config));
    }
    let reading: Reading =
        serde_json::from_slice(&message.reading).map_err(|error| broken(&error.to_string()))?;
    let source = ReaderSource::new(Arc::new(reading), carrier.table_schema().clone());
    let projected = match carrier.projection() {
        Some(projection) => {
            let projection = SplitProjection::new(source.table.file_schema(), projection);
            ReaderSource {
                projection,
                ..source
            }
        }
        None => source,
    };
    config.file_source = Arc::new(projected);
    Ok(DataSourceExec::from_data_source(config))
}

fn broken(reason: &str) -> DataFusionError {
    exec_datafusion_err!(
        "cannot decode a scan of files from the wire: {reason}; coordinator and worker must run the same version"
    )
}

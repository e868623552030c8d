//! Our plan nodes on the wire. DataFusion's own nodes are encoded by `datafusion-proto`.

use std::sync::Arc;

use datafusion::common::{Result, not_impl_err};
use datafusion::execution::TaskContext;
use datafusion::physical_plan::ExecutionPlan;
use datafusion_proto::physical_plan::{PhysicalExtensionCodec, PhysicalProtoConverterExtension};

use crate::{files, partitioned, scan, write};

/// First byte of an encoded node: which module decodes the rest.
const TAG_SCAN: u8 = 1;
const TAG_WRITE: u8 = 2;
const TAG_FILES: u8 = 3;
const TAG_EQUALITY: u8 = 4;
const TAG_JOIN: u8 = 5;

/// Encodes and decodes scans, writes, readers of files and joins; the same on coordinator and workers.
#[derive(Debug)]
pub struct TarnCodec;

impl PhysicalExtensionCodec for TarnCodec {
    fn try_decode(
        &self,
        buf: &[u8],
        inputs: &[Arc<dyn ExecutionPlan>],
        ctx: &TaskContext,
        proto_converter: &dyn PhysicalProtoConverterExtension,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        match buf.split_first() {
            Some((&TAG_SCAN, rest)) => scan::try_decode(rest, inputs, ctx, proto_converter),
            Some((&TAG_WRITE, rest)) => write::try_decode(rest, inputs, ctx, proto_converter),
            Some((&TAG_FILES, rest)) => files::try_decode(rest, inputs, ctx, proto_converter),
            Some((&TAG_EQUALITY, rest)) => scan::try_decode_equality(rest, inputs),
            Some((&TAG_JOIN, rest)) => partitioned::try_decode(rest, inputs, ctx, proto_converter),
            _ => not_impl_err!("a plan node that this version of Tarn does not know"),
        }
    }

    fn try_encode(
        &self,
        node: Arc<dyn ExecutionPlan>,
        buf: &mut Vec<u8>,
        proto_converter: &dyn PhysicalProtoConverterExtension,
    ) -> Result<()> {
        let start = buf.len();
        buf.push(TAG_SCAN);
        if scan::try_encode(&node, buf, proto_converter)? {
            return Ok(());
        }
        buf.truncate(start);
        buf.push(TAG_WRITE);
        if write::try_encode(&node, buf, proto_converter)? {
            return Ok(());
        }
        buf.truncate(start);
        buf.push(TAG_FILES);
        if files::try_encode(&node, buf, proto_converter)? {
            return Ok(());
        }
        buf.truncate(start);
        buf.push(TAG_EQUALITY);
        if scan::try_encode_equality(&node, buf)? {
            return Ok(());
        }
        buf.truncate(start);
        buf.push(TAG_JOIN);
        if partitioned::try_encode(&node, buf, proto_converter)? {
            return Ok(());
        }
        buf.truncate(start);
        not_impl_err!("{} cannot be sent to a worker", node.name())
    }
}

//! A partitioned join as bytes, for workers of the same version. Its children travel beside it.

use std::sync::Arc;

use datafusion::common::{DataFusionError, Result};
use datafusion::execution::TaskContext;
use datafusion::physical_plan::empty::EmptyExec;
use datafusion::physical_plan::{ChildrenPropertiesMode, ExecutionPlan, ReplaceChildrenOptions};
use datafusion_proto::physical_plan::{
    DefaultPhysicalExtensionCodec, PhysicalPlanDecodeContext, PhysicalProtoConverterExtension,
};
use datafusion_proto::protobuf::PhysicalPlanNode;
use prost::Message;

use super::exec::PartitionedJoinExec;

/// Encodes `node` into `buf` if it is a partitioned join; `false` if it is not.
///
/// # Errors
/// If an expression of the join cannot be encoded.
pub(crate) fn try_encode(
    node: &Arc<dyn ExecutionPlan>,
    buf: &mut Vec<u8>,
    converter: &dyn PhysicalProtoConverterExtension,
) -> Result<bool> {
    let Some(exec) = node.downcast_ref::<PartitionedJoinExec>() else {
        return Ok(false);
    };
    let children = exec.children().into_iter();
    let children = children.map(|child| {
        let nothing: Arc<dyn ExecutionPlan> = Arc::new(EmptyExec::new(child.schema()));
        nothing
    });
    let join = exec
        .join()
        .builder()
        .with_new_children(children.collect())?;
    let join = join.recompute_properties().build_exec()?;
    let codec = &DefaultPhysicalExtensionCodec {};
    let message = converter.execution_plan_to_proto(&join, codec)?;
    message
        .encode(buf)
        .map_err(|error| broken(&error.to_string()))?;
    Ok(true)
}

/// Decodes what [`try_encode`] wrote, over its children.
///
/// # Errors
/// If the bytes are not of this version.
pub(crate) fn try_decode(
    buf: &[u8],
    inputs: &[Arc<dyn ExecutionPlan>],
    ctx: &TaskContext,
    converter: &dyn PhysicalProtoConverterExtension,
) -> Result<Arc<dyn ExecutionPlan>> {
    let message = PhysicalPlanNode::decode(buf).map_err(|error| broken(&error.to_string()))?;
    let codec = &DefaultPhysicalExtensionCodec {};
    let context = PhysicalPlanDecodeContext::new(ctx, codec);
    let join = converter.proto_to_execution_plan(&message, &context)?;
    let join = PartitionedJoinExec::of(&join)?.ok_or_else(|| broken("it is no hash join"))?;
    let options = ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute);
    Arc::new(join).replace_children(inputs.to_vec(), options)
}

fn broken(reason: &str) -> DataFusionError {
    DataFusionError::Internal(format!("not a partitioned join of this version: {reason}"))
}

//! The node of equality deletes as bytes, for workers of the same version. Its child travels beside it.

use std::sync::Arc;

use datafusion::common::{DataFusionError, Result};
use datafusion::physical_plan::ExecutionPlan;

use super::equality::{EqualityDeleteExec, EqualityDeletes};
use super::error::ScanError;

/// Encodes `node` into `buf` if it is one; `false` if it is not.
///
/// # Errors
/// None that a caller can cause.
pub fn try_encode(node: &Arc<dyn ExecutionPlan>, buf: &mut Vec<u8>) -> Result<bool> {
    let Some(node) = node.downcast_ref::<EqualityDeleteExec>() else {
        return Ok(false);
    };
    serde_json::to_writer(buf, node.deletes().as_ref())
        .map_err(|error| broken(&error.to_string()))?;
    Ok(true)
}

/// Decodes what [`try_encode`] wrote.
///
/// # Errors
/// If the bytes are not of this version.
pub fn try_decode(buf: &[u8], inputs: &[Arc<dyn ExecutionPlan>]) -> Result<Arc<dyn ExecutionPlan>> {
    let [input] = inputs else {
        return Err(broken("equality deletes have one child"));
    };
    let deletes: EqualityDeletes =
        serde_json::from_slice(buf).map_err(|error| broken(&error.to_string()))?;
    let node = EqualityDeleteExec::try_new(Arc::clone(input), Arc::new(deletes))?;
    Ok(Arc::new(node))
}

fn broken(reason: &str) -> DataFusionError {
    ScanError::Decode {
        reason: reason.to_owned(),
    }
    .into()
}

//! The functions that Tarn adds to DataFusion's, alike in the coordinator and on workers.

use datafusion::execution::SessionStateBuilder;

use crate::write;

/// Registers them.
pub(crate) fn register(mut builder: SessionStateBuilder) -> SessionStateBuilder {
    builder
        .scalar_functions()
        .get_or_insert_default()
        .extend(write::functions());
    builder
}

//! A write node as bytes, for workers of the same version. Its child travels beside it.

use std::sync::Arc;

use arrow::datatypes::{Field, Schema};
use datafusion::common::{DataFusionError, Result};
use datafusion::execution::TaskContext;
use datafusion::physical_plan::ExecutionPlan;
use datafusion_proto::physical_plan::PhysicalProtoConverterExtension;
use datafusion_proto::protobuf::Schema as SchemaMessage;
use prost::Message;
use serde::{Deserialize, Serialize};
use tarn_catalog::{ObjectLayout, PartitionField, PartitionSpec, Transform};

use super::error::WriteError;
use super::exec::{IcebergWriteExec, InputNeeds};
use super::options::WriteOptions;
use super::target::{Order, WriteTarget};

#[derive(Clone, PartialEq, Message)]
struct WriteMessage {
    #[prost(bytes = "vec", tag = "1")]
    schema: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    rest: Vec<u8>,
}

#[derive(Serialize, Deserialize)]
struct Rest {
    table: String,
    write_id: String,
    root: String,
    location: String,
    prefix: String,
    spec_id: i32,
    fields: Vec<FieldRest>,
    order: Option<Order>,
    layout: Option<ObjectLayout>,
    options: WriteOptions,
    clustered: bool,
}

#[derive(Serialize, Deserialize)]
struct FieldRest {
    source_id: i32,
    field_id: i32,
    name: String,
    transform: Transform,
    source_column: Option<String>,
    /// The partition value's type, as the type of a column of one schema.
    result_type: Vec<u8>,
}

impl FieldRest {
    fn encode(field: PartitionField) -> Result<Self> {
        let result_type = Schema::new(vec![Field::new("value", field.result_type, true)]);
        let result_type: SchemaMessage = (&result_type).try_into()?;
        Ok(Self {
            source_id: field.source_id,
            field_id: field.field_id,
            name: field.name,
            transform: field.transform,
            source_column: field.source_column,
            result_type: result_type.encode_to_vec(),
        })
    }

    fn decode(self) -> Result<PartitionField> {
        let schema = SchemaMessage::decode(&self.result_type[..])
            .map_err(|error| broken(&error.to_string()))?;
        let schema: Schema = (&schema).try_into()?;
        let value = schema
            .fields()
            .first()
            .ok_or_else(|| broken("a partition field has no type"))?;
        Ok(PartitionField {
            source_id: self.source_id,
            field_id: self.field_id,
            name: self.name,
            transform: self.transform,
            source_column: self.source_column,
            result_type: value.data_type().clone(),
        })
    }
}

/// Encodes `node` into `buf` if it is a write of ours; `false` if it is not.
///
/// # Errors
/// If the table's schema cannot be encoded.
pub fn try_encode(
    node: &Arc<dyn ExecutionPlan>,
    buf: &mut Vec<u8>,
    _converter: &dyn PhysicalProtoConverterExtension,
) -> Result<bool> {
    let Some(write) = node.downcast_ref::<IcebergWriteExec>() else {
        return Ok(false);
    };
    let target = write.target().as_ref().clone();
    let schema: SchemaMessage = target.schema.as_ref().try_into()?;
    let rest = Rest {
        table: target.table,
        write_id: target.write_id,
        root: target.root,
        location: target.location,
        prefix: target.prefix,
        spec_id: target.spec.id,
        fields: target
            .spec
            .fields
            .into_iter()
            .map(FieldRest::encode)
            .collect::<Result<_>>()?,
        order: target.order,
        layout: target.layout,
        options: target.options,
        clustered: write.clustered(),
    };
    let rest = serde_json::to_vec(&rest).map_err(|error| broken(&error.to_string()))?;
    let message = WriteMessage {
        schema: schema.encode_to_vec(),
        rest,
    };
    message
        .encode(buf)
        .map_err(|error| broken(&error.to_string()))?;
    Ok(true)
}

/// Decodes what [`try_encode`] wrote, over its child.
///
/// # Errors
/// If the bytes are not of this version.
pub fn try_decode(
    buf: &[u8],
    inputs: &[Arc<dyn ExecutionPlan>],
    _ctx: &TaskContext,
    _converter: &dyn PhysicalProtoConverterExtension,
) -> Result<Arc<dyn ExecutionPlan>> {
    let [input] = inputs else {
        return Err(broken("a write has one child"));
    };
    let message = WriteMessage::decode(buf).map_err(|error| broken(&error.to_string()))?;
    let schema =
        SchemaMessage::decode(&message.schema[..]).map_err(|error| broken(&error.to_string()))?;
    let schema: Schema = (&schema).try_into()?;
    let rest: Rest =
        serde_json::from_slice(&message.rest).map_err(|error| broken(&error.to_string()))?;
    let target = WriteTarget {
        table: rest.table,
        write_id: rest.write_id,
        root: rest.root,
        location: rest.location,
        prefix: rest.prefix,
        schema: Arc::new(schema),
        spec: PartitionSpec {
            id: rest.spec_id,
            fields: rest
                .fields
                .into_iter()
                .map(FieldRest::decode)
                .collect::<Result<_>>()?,
        },
        order: rest.order,
        layout: rest.layout,
        options: rest.options,
    };
    // What the input had to be like was seen to where the write was planned.
    let needs = InputNeeds {
        clustered: rest.clustered,
        ..InputNeeds::default()
    };
    Ok(Arc::new(IcebergWriteExec::new(
        Arc::clone(input),
        Arc::new(target),
        needs,
    )))
}

fn broken(reason: &str) -> DataFusionError {
    WriteError::Decode {
        reason: reason.to_owned(),
    }
    .into()
}

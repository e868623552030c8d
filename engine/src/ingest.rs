//! Rows that come as a stream from a client into a table: one write, one commit.
//!
//! COPY FROM and Flight's bulk ingest end here. The rows are never all in memory: what the writers
//! have not taken yet holds the sender back. Knows no format that the rows came in.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use datafusion::arrow::datatypes::{Schema, SchemaRef};
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::catalog::streaming::StreamingTable;
use datafusion::common::Column;
use datafusion::datasource::provider_as_source;
use datafusion::error::DataFusionError;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::{Expr, LogicalPlanBuilder, lit};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::PartitionStream;
use datafusion::scalar::ScalarValue;
use futures::StreamExt;
use futures::stream::BoxStream;
use uuid::Uuid;

use crate::distribute::PlacementWish;
use crate::engine::{Engine, Outcome, StatementContext};
use crate::error::{EngineError, ErrorKind};
use crate::planner::WriteNode;
use crate::query::Planned;
use crate::session::Session;
use crate::views::Scope;

/// Name under which the rows stand in a plan.
const INCOMING: &str = "tarn_incoming";

/// Rows on their way into a table.
pub struct Ingest {
    /// The table: one to three parts, as SQL has them after folding.
    pub table: Vec<String>,
    /// The columns that the rows have, in their order; `None` = all of the table's, in its order.
    /// A column that is left out becomes NULL.
    pub columns: Option<Vec<String>>,
    /// Types of the rows; cast to the table's where they differ.
    pub schema: SchemaRef,
    /// The rows. An error in them ends the write and leaves the table as it was.
    pub rows: BoxStream<'static, Result<RecordBatch, EngineError>>,
}

impl fmt::Debug for Ingest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ingest")
            .field("table", &self.table)
            .field("columns", &self.columns)
            .finish_non_exhaustive()
    }
}

impl Engine {
    /// The columns that rows for `table` are to have, in the order of `columns`.
    ///
    /// # Errors
    /// If the table or a column does not exist, or a column is named twice.
    pub async fn ingest_schema(
        &self,
        session: &Session,
        table: &[String],
        columns: Option<&[String]>,
    ) -> Result<SchemaRef, EngineError> {
        let target = self.write_target(session, &table.to_vec()).await?;
        let own = target.table.arrow_schema();
        match columns {
            None => Ok(own),
            Some(columns) => {
                let places = places(&own, columns, &target.table.ident().name)?;
                Ok(Arc::new(own.project(&places)?))
            }
        }
    }

    /// Appends rows to a table in one commit. The affected rows are in the outcome.
    ///
    /// # Errors
    /// As for INSERT; and whatever error the rows bring.
    pub async fn ingest(
        &self,
        session: &Session,
        ingest: Ingest,
        context: &StatementContext,
    ) -> Result<Outcome, EngineError> {
        let target = self.write_target(session, &ingest.table).await?;
        let own = target.table.arrow_schema();
        let places = match &ingest.columns {
            None => (0..own.fields().len()).collect(),
            Some(columns) => places(&own, columns, &target.table.ident().name)?,
        };
        let given = ingest.schema.fields().len();
        if given != places.len() {
            return Err(EngineError::new(
                ErrorKind::Syntax,
                format!("the rows have {given} columns, {} are named", places.len()),
            ));
        }
        let state = self.statement_state(
            session,
            context,
            Some(PlacementWish::Never),
            HashMap::new(),
            Scope::of(self, session, context),
        )?;
        let values = own
            .fields()
            .iter()
            .enumerate()
            .map(|(at, field)| match places.iter().position(|p| *p == at) {
                Some(from) => Ok(Expr::Column(Column::new(
                    Some(INCOMING),
                    ingest.schema.field(from).name(),
                ))
                .alias(field.name())),
                None => Ok(lit(ScalarValue::try_from(field.data_type())?).alias(field.name())),
            })
            .collect::<Result<Vec<_>, DataFusionError>>()?;
        let rows = Incoming::of(&ingest.schema, ingest.rows);
        let source = StreamingTable::try_new(Arc::clone(&ingest.schema), vec![Arc::new(rows)])?;
        let input = LogicalPlanBuilder::scan(INCOMING, provider_as_source(Arc::new(source)), None)?
            .project(values)?
            .build()?;
        let logical = WriteNode::plan(input, target.table.clone(), target.write_id.clone())?;
        let planned = Planned {
            statement: state,
            logical,
        };
        let rows = self.append_planned(&planned, &target, context).await?;
        Ok(Outcome::done("COPY", Some(rows)))
    }

    async fn write_target(
        &self,
        session: &Session,
        table: &Vec<String>,
    ) -> Result<crate::writes::Target, EngineError> {
        self.target(session, table, Uuid::now_v7().to_string())
            .await
    }
}

/// Where each of `columns` stands in `schema`.
fn places(schema: &Schema, columns: &[String], table: &str) -> Result<Vec<usize>, EngineError> {
    let mut places = vec![];
    for column in columns {
        let exact = schema.fields().iter().position(|f| f.name() == column);
        let place = exact.or_else(|| {
            schema
                .fields()
                .iter()
                .position(|f| f.name().eq_ignore_ascii_case(column))
        });
        let Some(place) = place else {
            let names: Vec<String> = schema.fields().iter().map(|f| f.name().clone()).collect();
            return Err(EngineError::new(
                ErrorKind::UndefinedColumn,
                format!("column \"{column}\" of table \"{table}\" does not exist"),
            )
            .with_hint(format!("columns: {}", crate::names::listing(&names, 10))));
        };
        if places.contains(&place) {
            return Err(EngineError::new(
                ErrorKind::Ambiguous,
                format!("column \"{column}\" is named twice"),
            ));
        }
        places.push(place);
    }
    Ok(places)
}

/// The rows as a leaf of a plan; they can be read once.
struct Incoming {
    schema: SchemaRef,
    rows: Mutex<Option<BoxStream<'static, Result<RecordBatch, EngineError>>>>,
}

impl Incoming {
    fn of(schema: &SchemaRef, rows: BoxStream<'static, Result<RecordBatch, EngineError>>) -> Self {
        Self {
            schema: Arc::clone(schema),
            rows: Mutex::new(Some(rows)),
        }
    }
}

impl fmt::Debug for Incoming {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Incoming").finish_non_exhaustive()
    }
}

impl PartitionStream for Incoming {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _context: Arc<TaskContext>) -> SendableRecordBatchStream {
        let mut slot = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        let rows = slot.take().unwrap_or_else(|| {
            let gone = EngineError::internal("rows from a client were read twice");
            futures::stream::iter([Err(gone)]).boxed()
        });
        Box::pin(RecordBatchStreamAdapter::new(
            Arc::clone(&self.schema),
            rows.map(|batch| batch.map_err(DataFusionError::from)),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use datafusion::arrow::datatypes::{DataType, Field};

    #[test]
    fn columns_are_found_in_their_own_order_and_once() {
        let schema = Schema::new(vec![
            Field::new("a", DataType::Int32, true),
            Field::new("B", DataType::Int32, true),
        ]);
        let check = |columns: &[&str]| {
            let columns: Vec<String> = columns.iter().map(|c| (*c).to_owned()).collect();
            places(&schema, &columns, "t").map_err(|e| e.kind)
        };
        assert_eq!(check(&["b", "a"]), Ok(vec![1, 0]));
        assert_eq!(check(&["c"]), Err(ErrorKind::UndefinedColumn));
        assert_eq!(check(&["a", "a"]), Err(ErrorKind::Ambiguous));
    }
}

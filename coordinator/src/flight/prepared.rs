//! Prepared statements of one session, and the parameters that are bound to them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arrow::array::RecordBatch;
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Schema};
use tarn_engine::{EngineError, ErrorKind, PlanSlot, Prepared, ScalarValue};

use super::results::Shape;
use super::tickets::{Handle, handle};

/// Prepared statements of one session at most.
const STATEMENTS_MAX: usize = 1000;
/// Rows of parameters that a query may be bound to at most: it runs once for each.
pub(crate) const BOUND_ROWS_MAX: usize = 10_000;

/// A statement that was prepared, with what is bound to it.
#[derive(Debug)]
pub(crate) struct PreparedStatement {
    /// Its text, with parameters `$1`, `$2`, …
    pub(crate) sql: String,
    /// What it takes and gives.
    pub(crate) prepared: Prepared,
    /// Where its plan is kept from run to run.
    pub(crate) plan: Arc<PlanSlot>,
    /// Rows of parameters for the next run.
    bound: Mutex<Option<Vec<Vec<ScalarValue>>>>,
}

impl PreparedStatement {
    fn lock(&self) -> MutexGuard<'_, Option<Vec<Vec<ScalarValue>>>> {
        self.bound.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Binds rows of parameters, in the place of those that were bound.
    pub(crate) fn bind(&self, rows: Vec<Vec<ScalarValue>>) {
        *self.lock() = Some(rows);
    }

    /// What is bound: a row of parameters for each run, one empty row if it takes none.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidParameter`] if parameters are missing.
    pub(crate) fn bound(&self) -> Result<Vec<Vec<ScalarValue>>, EngineError> {
        if let Some(rows) = self.lock().as_ref() {
            return Ok(rows.clone());
        }
        if self.prepared.parameters.is_empty() {
            return Ok(vec![vec![]]);
        }
        Err(EngineError::new(
            ErrorKind::InvalidParameter,
            format!(
                "the statement takes {} parameters, but none are bound",
                self.prepared.parameters.len()
            ),
        ))
    }

    /// Its parameters as a schema; a parameter of unknown type is text, because drivers cannot bind the type Null.
    pub(crate) fn parameter_schema(&self) -> Schema {
        let fields: Vec<Field> = self
            .prepared
            .parameters
            .iter()
            .enumerate()
            .map(|(at, field)| {
                let ty = field
                    .as_ref()
                    .map(|field| field.data_type())
                    .filter(|ty| **ty != DataType::Null)
                    .map_or(DataType::Utf8, |ty| Shape::Plain.data_type(ty));
                Field::new(format!("${}", at + 1), ty, true)
            })
            .collect();
        Schema::new(fields)
    }
}

/// The rows of a batch of parameters.
///
/// # Errors
/// [`ErrorKind::InvalidParameter`] if the columns are not as many as the statement takes.
pub(crate) fn parameter_rows(
    batch: &RecordBatch,
    expected: usize,
) -> Result<Vec<Vec<ScalarValue>>, EngineError> {
    if batch.num_columns() != expected {
        return Err(EngineError::new(
            ErrorKind::InvalidParameter,
            format!(
                "the statement takes {expected} parameters, but {} are bound",
                batch.num_columns()
            ),
        ));
    }
    let columns = batch
        .columns()
        .iter()
        .map(|column| {
            let plain = Shape::Plain.data_type(column.data_type());
            if plain == *column.data_type() {
                Ok(Arc::clone(column))
            } else {
                cast(column, &plain)
            }
        })
        .collect::<Result<Vec<_>, _>>()
        .map_err(|e| unusable(&e))?;
    (0..batch.num_rows())
        .map(|row| {
            columns
                .iter()
                .map(|column| {
                    ScalarValue::try_from_array(column, row).map_err(|error| unusable(&error))
                })
                .collect()
        })
        .collect()
}

fn unusable(error: &dyn std::fmt::Display) -> EngineError {
    EngineError::new(
        ErrorKind::InvalidParameter,
        format!("a parameter cannot be read: {error}"),
    )
}

/// The prepared statements of one session.
#[derive(Debug, Default)]
pub(crate) struct PreparedStatements(Mutex<HashMap<Handle, Arc<PreparedStatement>>>);

impl PreparedStatements {
    fn lock(&self) -> MutexGuard<'_, HashMap<Handle, Arc<PreparedStatement>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps a statement.
    ///
    /// # Errors
    /// [`ErrorKind::ResourcesExhausted`] if the session has too many.
    pub(crate) fn add(
        &self,
        sql: String,
        prepared: Prepared,
    ) -> Result<(Handle, Arc<PreparedStatement>), EngineError> {
        let mut statements = self.lock();
        if statements.len() >= STATEMENTS_MAX {
            return Err(EngineError::new(
                ErrorKind::ResourcesExhausted,
                format!("the session has {STATEMENTS_MAX} prepared statements"),
            )
            .with_hint("close those that are not needed"));
        }
        let handle = handle();
        let statement = Arc::new(PreparedStatement {
            sql,
            prepared,
            plan: Arc::default(),
            bound: Mutex::default(),
        });
        statements.insert(handle, Arc::clone(&statement));
        Ok((handle, statement))
    }

    pub(crate) fn get(&self, handle: &[u8]) -> Option<Arc<PreparedStatement>> {
        let handle: &Handle = handle.try_into().ok()?;
        self.lock().get(handle).cloned()
    }

    /// Forgets a statement; nothing happens if it is unknown.
    pub(crate) fn close(&self, handle: &[u8]) {
        if let Ok(handle) = <&Handle>::try_from(handle) {
            self.lock().remove(handle);
        }
    }

    pub(crate) fn clear(&self) {
        self.lock().clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{Int64Array, StringViewArray};

    fn statement(parameters: Vec<Option<DataType>>) -> Arc<PreparedStatement> {
        let field = |ty| Arc::new(Field::new("", ty, true));
        let prepared = Prepared {
            command: "SELECT",
            parameters: parameters.into_iter().map(|ty| ty.map(field)).collect(),
            schema: None,
            is_update: false,
            unordered: false,
        };
        let all = PreparedStatements::default();
        let (handle, _) = all.add("SELECT $1".to_owned(), prepared).unwrap();
        all.get(&handle).unwrap()
    }

    #[test]
    fn every_parameter_has_a_type_that_drivers_can_bind() {
        let types = vec![
            None,
            Some(DataType::Null),
            Some(DataType::Utf8View),
            Some(DataType::Int64),
        ];
        let schema = statement(types).parameter_schema();
        let got: Vec<_> = schema.fields().iter().map(|f| f.data_type()).collect();
        let text = &DataType::Utf8;
        assert_eq!(got, [text, text, text, &DataType::Int64]);
    }

    #[test]
    fn parameters_must_be_bound_if_there_are_any() {
        assert_eq!(
            statement(vec![]).bound().unwrap(),
            vec![Vec::<ScalarValue>::new()]
        );
        let takes_one = statement(vec![None]);
        assert!(takes_one.bound().is_err());
        takes_one.bind(vec![vec![ScalarValue::Null]]);
        assert_eq!(takes_one.bound().unwrap().len(), 1);
    }

    #[test]
    fn a_batch_is_a_row_of_parameters_for_each_of_its_rows() {
        let batch = RecordBatch::try_from_iter([
            ("a", Arc::new(Int64Array::from(vec![1, 2])) as _),
            ("b", Arc::new(StringViewArray::from(vec!["x", "y"])) as _),
        ])
        .unwrap();
        let rows = parameter_rows(&batch, 2).unwrap();
        assert_eq!(rows[1][0], ScalarValue::Int64(Some(2)));
        assert_eq!(rows[1][1], ScalarValue::Utf8(Some("y".to_owned())));
        assert!(parameter_rows(&batch, 3).is_err());
    }

    #[test]
    fn prepared_statements_are_bounded() {
        let all = PreparedStatements::default();
        let prepared = Prepared {
            command: "SELECT",
            parameters: vec![],
            schema: None,
            is_update: false,
            unordered: false,
        };
        for _ in 0..STATEMENTS_MAX {
            all.add(String::new(), prepared.clone()).unwrap();
        }
        assert!(all.add(String::new(), prepared).is_err());
    }
}

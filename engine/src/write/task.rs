//! One task of a write: routes rows to the open files of their partitions, and cleans up if it does not finish.
//!
//! Knows partitions and files. Refuses to know plans.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch, UInt32Array};
use arrow::compute::take_record_batch;
use arrow::datatypes::{Field, Schema, SchemaRef};
use arrow::row::{OwnedRow, RowConverter, SortField};
use datafusion::common::{DataFusionError, Result};
use datafusion::execution::memory_pool::MemoryReservation;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::{LexOrdering, PhysicalSortExpr};
use datafusion::physical_plan::metrics::Count;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use tarn_catalog::{Literal, NewDataFile, Transform, literal_at};
use uuid::Uuid;

use super::align::align;
use super::error::WriteError;
use super::file::OpenFile;
use super::metrics::at;
use super::target::{Route, WriteTarget};

/// Files that one task has open at once. Rows of further partitions are sorted and written afterwards.
pub(crate) const OPEN_FILES_MAX: usize = 64;
/// Prefix of the columns that hold partition values of rows that wait.
const VALUE_COLUMN: &str = "__tarn_partition_";

/// Numbers of a task that EXPLAIN ANALYZE shows.
#[derive(Debug, Clone)]
pub(crate) struct TaskCounts {
    pub(crate) rows: Count,
    pub(crate) bytes: Count,
    pub(crate) files: Count,
    /// Rows that waited because too many partitions came at once.
    pub(crate) sorted: Count,
}

/// The state of one task. Dropped before [`Self::finish`], it removes every file it wrote.
pub(crate) struct WriteTask {
    target: Arc<WriteTarget>,
    store: Arc<dyn ObjectStore>,
    routes: Vec<Route>,
    converter: Option<RowConverter>,
    /// Rows of one partition stand together: one file is open at a time.
    clustered: bool,
    open: HashMap<Option<OwnedRow>, OpenFile>,
    closed: Vec<NewDataFile>,
    /// Keys of all files begun, for cleaning up.
    begun: Vec<Path>,
    name: String,
    reservation: MemoryReservation,
    counts: TaskCounts,
}

impl WriteTask {
    /// A task that writes files named `<partition>-<task>-<write id>-<n>.parquet`. The task is named by a random number,
    /// because partitions of one write on two workers have the same number.
    pub(crate) fn new(
        target: Arc<WriteTarget>,
        store: Arc<dyn ObjectStore>,
        partition: usize,
        reservation: MemoryReservation,
        counts: TaskCounts,
        clustered: bool,
    ) -> Result<Self> {
        let task = Uuid::new_v4().as_u64_pair().0;
        let name = format!("{partition:05}-{task:016x}-{}", target.write_id);
        let routes = if target.spec.is_unpartitioned() {
            Vec::new()
        } else {
            target.routes()?
        };
        Ok(Self {
            target,
            store,
            routes,
            converter: None,
            clustered,
            open: HashMap::new(),
            closed: Vec::new(),
            begun: Vec::new(),
            name,
            reservation,
            counts,
        })
    }

    /// Adds rows of the input. Gives back those of partitions that there is no more room for, in the form of
    /// [`Self::waiting_schema`].
    pub(crate) async fn write(&mut self, batch: &RecordBatch) -> Result<Option<RecordBatch>> {
        if batch.num_rows() == 0 {
            return Ok(None);
        }
        let batch = align(batch, &self.target.schema, &self.target.table)?;
        self.counts.rows.add(batch.num_rows());
        if self.routes.is_empty() {
            let nothing = vec![None; self.target.spec.fields.len()];
            self.append(None, &batch, || Ok(nothing)).await?;
            self.settle_memory().await?;
            return Ok(None);
        }
        let values = self.partition_values(&batch)?;
        let waiting = self.route(&batch, &values).await?;
        if waiting.is_empty() {
            return Ok(None);
        }
        self.counts.sorted.add(waiting.len());
        let columns = batch.columns().iter().chain(&values).cloned().collect();
        let all = RecordBatch::try_new(self.waiting_schema(), columns)?;
        Ok(Some(take_record_batch(&all, &UInt32Array::from(waiting))?))
    }

    /// Adds rows that waited, sorted by [`Self::waiting_order`]. From now on one file is open at a time.
    pub(crate) async fn write_waiting(&mut self, batch: &RecordBatch) -> Result<()> {
        self.clustered = true;
        let columns = self.target.schema.fields().len();
        let values = batch.columns()[columns..].to_vec();
        let rows = batch.project(&(0..columns).collect::<Vec<_>>())?;
        let rows = RecordBatch::try_new(Arc::clone(&self.target.schema), rows.columns().to_vec())?;
        self.route(&rows, &values).await?;
        Ok(())
    }

    /// The table's columns, then the partition values.
    pub(crate) fn waiting_schema(&self) -> SchemaRef {
        let values = self.target.spec.fields.iter().enumerate();
        let values = values.map(|(at, field)| {
            let name = format!("{VALUE_COLUMN}{at}");
            Arc::new(Field::new(name, field.result_type.clone(), true))
        });
        let columns = self.target.schema.fields().iter().cloned();
        Arc::new(Schema::new(columns.chain(values).collect::<Vec<_>>()))
    }

    /// Rows of one partition beside each other; `None` if the table has no partitions.
    pub(crate) fn waiting_order(&self) -> Option<LexOrdering> {
        if self.routes.is_empty() || self.clustered {
            return None;
        }
        let first = self.target.schema.fields().len();
        let schema = self.waiting_schema();
        let values = schema.fields().iter().enumerate().skip(first);
        LexOrdering::new(values.map(|(at, field)| {
            PhysicalSortExpr::new_default(Arc::new(Column::new(field.name(), at)))
        }))
    }

    /// Writes rows to the files of their partitions; gives back the numbers of those that there is no room for.
    async fn route(&mut self, batch: &RecordBatch, values: &[ArrayRef]) -> Result<Vec<u32>> {
        let mut waiting = Vec::new();
        for (key, rows) in self.groups(values, batch.num_rows())? {
            let key = Some(key);
            if !self.open.contains_key(&key) {
                if self.clustered {
                    self.close_all().await?;
                } else if self.open.len() >= OPEN_FILES_MAX {
                    waiting.extend(rows);
                    continue;
                }
            }
            let first = rows[0] as usize;
            let part = if rows.len() == batch.num_rows() {
                batch.clone()
            } else {
                take_record_batch(batch, &UInt32Array::from(rows))?
            };
            let table = self.target.table.clone();
            let literals = || {
                let each = values.iter().map(|array| literal_at(array, first));
                each.collect::<Result<Vec<Option<Literal>>, _>>()
                    .map_err(|source| WriteError::Catalog { table, source }.into())
            };
            self.append(key, &part, literals).await?;
        }
        self.settle_memory().await?;
        Ok(waiting)
    }

    fn partition_values(&self, batch: &RecordBatch) -> Result<Vec<ArrayRef>> {
        let fields = self.routes.iter().zip(&self.target.spec.fields);
        fields
            .map(|(route, field)| {
                if route.transform == Transform::Void {
                    return Ok(arrow::array::new_null_array(
                        &field.result_type,
                        batch.num_rows(),
                    ));
                }
                let values = route.transform.apply(&at(batch, &route.path));
                values.map_err(|source| {
                    WriteError::Catalog {
                        table: self.target.table.clone(),
                        source,
                    }
                    .into()
                })
            })
            .collect()
    }

    /// Rows by partition, in the order in which partitions appear.
    fn groups(&mut self, values: &[ArrayRef], rows: usize) -> Result<Vec<(OwnedRow, Vec<u32>)>> {
        let converter = match &mut self.converter {
            Some(converter) => converter,
            none => {
                let fields = values
                    .iter()
                    .map(|array| SortField::new(array.data_type().clone()))
                    .collect();
                none.insert(RowConverter::new(fields)?)
            }
        };
        let keys = converter.convert_columns(values)?;
        let mut places: HashMap<&[u8], usize> = HashMap::new();
        let mut groups: Vec<(OwnedRow, Vec<u32>)> = Vec::new();
        let keys: Vec<_> = keys.iter().collect();
        for (row, key) in keys.iter().enumerate().take(rows) {
            let place = *places.entry(key.as_ref()).or_insert_with(|| {
                groups.push((key.owned(), Vec::new()));
                groups.len() - 1
            });
            groups[place].1.push(u32::try_from(row).unwrap_or(u32::MAX));
        }
        Ok(groups)
    }

    async fn append(
        &mut self,
        key: Option<OwnedRow>,
        batch: &RecordBatch,
        partition: impl FnOnce() -> Result<Vec<Option<Literal>>>,
    ) -> Result<()> {
        if !self.open.contains_key(&key) {
            let partition = partition()?;
            let directory = self.target.spec.path(&partition);
            let name = format!("{}-{:05}.parquet", self.name, self.begun.len());
            let below = self.target.below(&directory, &name);
            let file = OpenFile::create(&self.target, &self.store, &below, partition)?;
            self.begun.push(file.path().clone());
            self.open.insert(key.clone(), file);
        }
        let Some(file) = self.open.get_mut(&key) else {
            return Err(DataFusionError::Internal(
                "a file just opened is gone".to_owned(),
            ));
        };
        file.write(batch).await?;
        if file.bytes() >= self.target.options.target_file_bytes {
            self.close(key).await?;
        }
        Ok(())
    }

    async fn close(&mut self, key: Option<OwnedRow>) -> Result<()> {
        let Some(file) = self.open.remove(&key) else {
            return Ok(());
        };
        let order = self.target.order.as_ref().map(|order| order.id);
        let file = file.close(self.target.spec.id, order).await?;
        self.counts.files.add(1);
        self.counts
            .bytes
            .add(usize::try_from(file.size_bytes).unwrap_or(usize::MAX));
        self.closed.push(file);
        Ok(())
    }

    async fn close_all(&mut self) -> Result<()> {
        let keys: Vec<_> = self.open.keys().cloned().collect();
        for key in keys {
            self.close(key).await?;
        }
        Ok(())
    }

    /// Accounts for buffered rows. A pool that is full makes the largest files store theirs.
    async fn settle_memory(&mut self) -> Result<()> {
        loop {
            let total: usize = self.open.values().map(OpenFile::memory).sum();
            match self.reservation.try_resize(total) {
                Ok(()) => return Ok(()),
                Err(error) => {
                    let largest = self.open.values_mut().max_by_key(|file| file.memory());
                    let Some(file) = largest.filter(|file| file.memory() > 0) else {
                        return Err(error);
                    };
                    let before = file.memory();
                    file.flush().await?;
                    if file.memory() >= before {
                        return Err(error);
                    }
                }
            }
        }
    }

    /// Closes all files. From here on they are the caller's to commit or to delete.
    pub(crate) async fn finish(&mut self) -> Result<Vec<NewDataFile>> {
        self.close_all().await?;
        self.reservation.free();
        self.begun.clear();
        Ok(std::mem::take(&mut self.closed))
    }
}

impl Drop for WriteTask {
    fn drop(&mut self) {
        let begun = std::mem::take(&mut self.begun);
        let open: Vec<OpenFile> = self.open.drain().map(|(_, file)| file).collect();
        if begun.is_empty() {
            return;
        }
        let (store, table) = (Arc::clone(&self.store), self.target.table.clone());
        let cleanup = async move {
            for file in open {
                file.abort().await;
            }
            for path in begun {
                match store.delete(&path).await {
                    Ok(()) | Err(object_store::Error::NotFound { .. }) => {}
                    Err(error) => {
                        tracing::warn!(table, path = %path, %error, "file of a failed write not deleted");
                    }
                }
            }
        };
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            drop(runtime.spawn(cleanup));
        } else {
            let table = &self.target.table;
            tracing::warn!(table, "files of a failed write not deleted: no runtime");
        }
    }
}

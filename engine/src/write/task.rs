//! One task of a write: routes rows to the open files of their partitions, and cleans up if it does not finish.
//!
//! Knows partitions and files. Refuses to know plans.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch, UInt32Array};
use arrow::compute::take_record_batch;
use arrow::row::{OwnedRow, RowConverter, SortField};
use datafusion::common::{DataFusionError, Result};
use datafusion::execution::memory_pool::MemoryReservation;
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

/// Files that one task has open at once. One more partition closes the largest.
pub(crate) const OPEN_FILES_MAX: usize = 64;

/// Numbers of a task that EXPLAIN ANALYZE shows.
#[derive(Debug, Clone)]
pub(crate) struct TaskCounts {
    pub(crate) rows: Count,
    pub(crate) bytes: Count,
    pub(crate) files: Count,
}

/// The state of one task. Dropped before [`Self::finish`], it removes every file it wrote.
pub(crate) struct WriteTask {
    target: Arc<WriteTarget>,
    store: Arc<dyn ObjectStore>,
    routes: Vec<Route>,
    converter: Option<RowConverter>,
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
            open: HashMap::new(),
            closed: Vec::new(),
            begun: Vec::new(),
            name,
            reservation,
            counts,
        })
    }

    /// Adds rows of the input.
    pub(crate) async fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        if batch.num_rows() == 0 {
            return Ok(());
        }
        let batch = align(batch, &self.target.schema, &self.target.table)?;
        self.counts.rows.add(batch.num_rows());
        if self.routes.is_empty() {
            let nothing = vec![None; self.target.spec.fields.len()];
            self.append(None, &batch, || Ok(nothing)).await?;
        } else {
            let values = self.partition_values(&batch)?;
            for (key, rows) in self.groups(&values, batch.num_rows())? {
                let first = rows[0] as usize;
                let part = if rows.len() == batch.num_rows() {
                    batch.clone()
                } else {
                    take_record_batch(&batch, &UInt32Array::from(rows))?
                };
                let literals = || {
                    let each = values.iter().map(|array| literal_at(array, first));
                    each.collect::<Result<Vec<Option<Literal>>, _>>()
                };
                let table = self.target.table.clone();
                let literals =
                    || literals().map_err(|source| WriteError::Catalog { table, source }.into());
                self.append(Some(key), &part, literals).await?;
            }
        }
        self.settle_memory().await
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
            if self.open.len() >= OPEN_FILES_MAX {
                self.close_largest().await?;
            }
            let partition = partition()?;
            let directory = self.target.spec.path(&partition);
            let slash = if directory.is_empty() { "" } else { "/" };
            let below = format!(
                "{directory}{slash}{}-{:05}.parquet",
                self.name,
                self.begun.len()
            );
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
        let file = file.close(self.target.spec.id).await?;
        self.counts.files.add(1);
        self.counts
            .bytes
            .add(usize::try_from(file.size_bytes).unwrap_or(usize::MAX));
        self.closed.push(file);
        Ok(())
    }

    async fn close_largest(&mut self) -> Result<()> {
        let largest = self
            .open
            .iter()
            .max_by_key(|(_, file)| file.bytes())
            .map(|(key, _)| key.clone());
        match largest {
            Some(key) => self.close(key).await,
            None => Ok(()),
        }
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
    pub(crate) async fn finish(mut self) -> Result<Vec<NewDataFile>> {
        while !self.open.is_empty() {
            self.close_largest().await?;
        }
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

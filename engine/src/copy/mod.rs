//! `COPY … TO 'path'`: a query's rows as files of the server, under the allowed roots.
//!
//! The query runs where queries run; this process writes what comes, batch by batch. Files of a folder appear one by
//! one, and those of a COPY that fails or is cancelled are removed. What OVERWRITE replaces goes when all is written.

mod columns;
mod nested;
mod options;
mod tables;
mod target;
mod writer;

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::Arc;

use datafusion::arrow::array::{Array, AsArray, StringArray, UInt32Array};
use datafusion::arrow::compute::take_record_batch;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::arrow::record_batch::{RecordBatch, RecordBatchOptions};
use datafusion::execution::SendableRecordBatchStream;
use futures::StreamExt;
use uuid::Uuid;

use crate::engine::{Engine, Outcome, StatementContext};
use crate::error::{EngineError, ErrorKind};
use crate::files::hive::{NULL_FOLDER, encoded};
use crate::headings::Headings;
use crate::query::{Attempt, run};
use crate::session::Session;
use crate::statement::CopyTo;
use crate::zone::in_zone;
use options::CopyOptions;
use target::{Leftovers, Target};
use writer::OpenFile;

/// Files of one COPY that are written at the same time; of more partitions, those that waited longest are finished.
const OPEN_FILES_MAX: usize = 64;
/// Memory that rows may take which wait for a file of their partition, so that many partitions are not many small files.
const WAITING_BYTES_MAX: usize = 256 << 20;
/// Memory that rows of all open files may take before they are written out.
const MEMORY_BYTES_MAX: usize = 256 << 20;

impl Engine {
    /// Runs `COPY … TO 'path'`.
    pub(crate) async fn copy_to(
        &self,
        session: &Session,
        copy: CopyTo,
        context: &StatementContext,
    ) -> Result<Outcome, EngineError> {
        if !session.is_admin {
            return Err(EngineError::new(
                ErrorKind::Denied,
                "permission denied to COPY to a file of the server",
            )
            .with_hint("an administrator may; COPY … TO STDOUT through the PostgreSQL door, as \\copy of psql does, writes at the client"));
        }
        let options = Arc::new(CopyOptions::of(&copy.target, &copy.options)?);
        let warehouses: Vec<String> = self
            .config
            .catalogs
            .names()
            .iter()
            .filter_map(|name| Some(self.config.catalogs.get(name).ok()?.warehouse().to_owned()))
            .collect();
        let target = target::checked(
            &copy.target,
            options.one_file,
            options.existing,
            &self.config.roots,
            &self.config.stores,
            &warehouses,
        )
        .await?;
        self.refuse_tables_files(&copy.target, &target).await?;
        let mut attempt = Attempt::first();
        loop {
            let mut leftovers = Leftovers::of(&target, options.one_file);
            let written = Box::pin(self.copy_rows(
                session,
                &copy,
                context,
                attempt,
                &options,
                &target,
                &mut leftovers,
            ))
            .await;
            match written {
                Ok(rows) => {
                    leftovers.keep();
                    target.remove_old(&self.config.stores).await?;
                    return Ok(Outcome::done("COPY", Some(rows)));
                }
                Err(error) => {
                    leftovers.remove().await;
                    attempt = attempt.after(error, context)?;
                }
            }
        }
    }

    #[allow(
        clippy::too_many_arguments,
        reason = "one attempt of the function above"
    )]
    async fn copy_rows(
        &self,
        session: &Session,
        copy: &CopyTo,
        context: &StatementContext,
        attempt: Attempt,
        options: &Arc<CopyOptions>,
        target: &Target,
        leftovers: &mut Leftovers,
    ) -> Result<u64, EngineError> {
        let headings = Headings::of(&copy.query);
        let mut planned = self
            .plan(session, copy.query.clone(), context, attempt.placement())
            .await?;
        attempt.prepare(&mut planned.statement);
        let names = headings
            .with_digits(&planned.logical)
            .rename(planned.logical.schema().as_arrow());
        let shaped = columns::shaped(planned.logical, &names, options)?;
        let physical = planned
            .statement
            .state
            .create_physical_plan(&shaped.plan)
            .await?;
        let rows = run(&planned.statement, &physical, context).await?;
        let rows = in_zone(rows, session.settings.get("time_zone"));
        let mut writing = Writing {
            schema: columns::file_schema(&rows.schema(), shaped.columns),
            columns: shaped.columns,
            options: Arc::clone(options),
            target: target.clone(),
            leftovers,
            id: Uuid::now_v7().simple().to_string(),
            open: HashMap::new(),
            waiting: HashMap::new(),
            waiting_bytes: 0,
            begun: 0,
            turn: 0,
        };
        let written = writing.all(rows).await;
        if written.is_err() {
            writing.abort().await;
        }
        written
    }
}

/// Values of partition columns; none is NULL.
type Folders = Vec<Option<String>>;

/// The files of one COPY.
struct Writing<'a> {
    schema: SchemaRef,
    /// Columns that go into files; those after them name folders.
    columns: usize,
    options: Arc<CopyOptions>,
    target: Target,
    leftovers: &'a mut Leftovers,
    /// In the name of each file of a folder.
    id: String,
    /// With the turn of the last rows of each.
    open: HashMap<Folders, (u64, OpenFile)>,
    /// Rows that are in no file yet, with their bytes.
    waiting: HashMap<Folders, (usize, Vec<RecordBatch>)>,
    waiting_bytes: usize,
    begun: usize,
    turn: u64,
}

impl Writing<'_> {
    async fn all(&mut self, mut rows: SendableRecordBatchStream) -> Result<u64, EngineError> {
        let mut count = 0u64;
        while let Some(batch) = rows.next().await {
            let batch = batch?;
            count += batch.num_rows() as u64;
            for (folders, part) in self.parts(&batch)? {
                self.take(folders, part).await?;
            }
        }
        let waiting: Vec<Folders> = self.waiting.keys().cloned().collect();
        for folders in waiting {
            self.store(folders).await?;
        }
        // No rows are a file without rows, so that readers find the columns.
        if self.begun == 0 && self.options.partition_by.is_empty() {
            let file = self.begin(&vec![])?;
            self.finish(file).await?;
        }
        let open: Vec<OpenFile> = self.open.drain().map(|(_, (_, file))| file).collect();
        let mut open = open.into_iter();
        while let Some(file) = open.next() {
            if let Err(error) = self.finish(file).await {
                for file in open {
                    file.abort().await;
                }
                return Err(error);
            }
        }
        Ok(count)
    }

    /// The rows of a batch by their folders, in the order in which they stand.
    fn parts(&self, batch: &RecordBatch) -> Result<Vec<(Folders, RecordBatch)>, EngineError> {
        let mut columns = columns::known_columns(batch)?;
        let folders = columns.split_off(self.columns);
        let size = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        let rows = RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &size)?;
        let folders: Vec<&StringArray> = folders
            .iter()
            .map(|column| {
                column
                    .as_string_opt::<i32>()
                    .ok_or_else(|| EngineError::internal("a folder's value is no text"))
            })
            .collect::<Result<_, _>>()?;
        if folders.is_empty() {
            return Ok(vec![(vec![], rows)]);
        }
        let mut found: HashMap<Vec<Option<&str>>, usize> = HashMap::new();
        let mut places: Vec<Vec<u32>> = vec![];
        for row in 0..batch.num_rows() {
            let key: Vec<Option<&str>> = folders
                .iter()
                .map(|column| column.is_valid(row).then(|| column.value(row)))
                .collect();
            let at = *found.entry(key).or_insert_with(|| {
                places.push(vec![]);
                places.len() - 1
            });
            let row = u32::try_from(row)
                .map_err(|_| EngineError::internal("a batch of more than 2^32 rows"))?;
            places[at].push(row);
        }
        let mut keys: Vec<(usize, Folders)> = found
            .into_iter()
            .map(|(key, at)| (at, key.iter().map(|v| v.map(str::to_owned)).collect()))
            .collect();
        keys.sort_by_key(|(at, _)| *at);
        keys.into_iter()
            .map(|(at, key)| {
                let wanted = UInt32Array::from(std::mem::take(&mut places[at]));
                Ok((key, take_record_batch(&rows, &wanted)?))
            })
            .collect()
    }

    /// Writes rows, or lets them wait for more of their partition.
    async fn take(&mut self, folders: Folders, rows: RecordBatch) -> Result<(), EngineError> {
        if folders.is_empty() {
            return self.write(folders, &rows).await;
        }
        let bytes = rows.get_array_memory_size();
        let (known, waiting) = self.waiting.entry(folders).or_default();
        *known += bytes;
        waiting.push(rows);
        self.waiting_bytes += bytes;
        while self.waiting_bytes > WAITING_BYTES_MAX {
            let most = self.waiting.iter().max_by_key(|(_, (bytes, _))| *bytes);
            let Some(folders) = most.map(|(folders, _)| folders.clone()) else {
                break;
            };
            self.store(folders).await?;
        }
        Ok(())
    }

    /// Writes the rows of a partition that wait.
    async fn store(&mut self, folders: Folders) -> Result<(), EngineError> {
        let Some((bytes, waiting)) = self.waiting.remove(&folders) else {
            return Ok(());
        };
        self.waiting_bytes -= bytes;
        for rows in waiting {
            self.write(folders.clone(), &rows).await?;
        }
        Ok(())
    }

    async fn write(&mut self, folders: Folders, rows: &RecordBatch) -> Result<(), EngineError> {
        self.turn += 1;
        if !self.open.contains_key(&folders) {
            if self.open.len() >= OPEN_FILES_MAX {
                let oldest = self.open.iter().min_by_key(|(_, (turn, _))| *turn);
                if let Some(key) = oldest.map(|(key, _)| key.clone())
                    && let Some((_, file)) = self.open.remove(&key)
                {
                    self.finish(file).await?;
                }
            }
            let file = self.begin(&folders)?;
            self.open.insert(folders.clone(), (self.turn, file));
        }
        let full = match self.open.get_mut(&folders) {
            Some((turn, file)) => {
                *turn = self.turn;
                file.write(rows).await?;
                !self.options.one_file && file.bytes() >= self.options.file_bytes
            }
            None => false,
        };
        if full && let Some((_, file)) = self.open.remove(&folders) {
            self.finish(file).await?;
        }
        let memory: usize = self.open.values().map(|(_, file)| file.memory()).sum();
        if memory > MEMORY_BYTES_MAX {
            let largest = self.open.values_mut().max_by_key(|(_, file)| file.memory());
            if let Some((_, file)) = largest {
                file.flush().await?;
            }
        }
        Ok(())
    }

    fn begin(&mut self, folders: &Folders) -> Result<OpenFile, EngineError> {
        let (path, name) = if self.options.one_file {
            (self.target.key.clone(), self.target.name.clone())
        } else {
            let mut below = String::new();
            for (column, value) in self.options.partition_by.iter().zip(folders) {
                let value = value.as_deref();
                // Writing to a String does not fail.
                let _ = write!(below, "{}={}/", encoded(column), folder(value));
            }
            let _ = write!(
                below,
                "part-{:05}-{}.{}",
                self.begun,
                self.id,
                self.options.ending()
            );
            (
                self.target.below(&below)?,
                format!("{}/{below}", self.target.name),
            )
        };
        self.begun += 1;
        OpenFile::create(&self.target.store, path, name, &self.schema, &self.options)
    }

    async fn finish(&mut self, file: OpenFile) -> Result<(), EngineError> {
        // An upload may end although its answer is lost; a file that was there before stays.
        if !self.options.one_file || self.options.existing == options::Existing::Refuse {
            self.leftovers.add(file.path.clone());
        }
        file.finish().await.map(|_| ())
    }

    async fn abort(&mut self) {
        for (_, (_, file)) in self.open.drain() {
            file.abort().await;
        }
    }
}

impl Drop for Writing<'_> {
    /// Gives up what a cancelled COPY was writing: parts of an upload would stay in a bucket, unseen.
    fn drop(&mut self) {
        let open = std::mem::take(&mut self.open);
        if open.is_empty() {
            return;
        }
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                for (_, (_, file)) in open {
                    file.abort().await;
                }
            });
        }
    }
}

/// The name of a value's folder behind `=`.
fn folder(value: Option<&str>) -> String {
    match value {
        None => NULL_FOLDER.to_owned(),
        // Its name is taken.
        Some(text) if text == NULL_FOLDER => text.replacen('_', "%5F", 1),
        Some(text) => encoded(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::hive::keys_of;

    #[test]
    fn folders_tell_null_from_its_name() {
        for value in [None, Some(NULL_FOLDER), Some(""), Some("a/b c=d%")] {
            let name = format!("/d/k={}/f.csv", folder(value));
            assert_eq!(keys_of(&name), [("k".to_owned(), value.map(str::to_owned))]);
        }
    }
}

//! One side of a partitioned join: in memory while it is small, else in spill files by the hash of its keys.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, GenericByteViewArray, RecordBatch};
use arrow::buffer::Buffer;
use arrow::compute::interleave_record_batch;
use arrow::datatypes::{ByteViewType, DataType};
use datafusion::common::Result;
use datafusion::common::hash_utils::{RandomState, create_hashes};
use datafusion::execution::SendableRecordBatchStream;
use datafusion::execution::memory_pool::MemoryReservation;
use datafusion::execution::spill_file::SpillFile;
use datafusion::physical_expr::PhysicalExprRef;
use datafusion::physical_plan::SpillManager;
use datafusion::physical_plan::spill::get_record_batch_memory_size;
use futures::TryStreamExt;

/// Parts that a side is written in at once. Each is an open file.
pub(super) const PARTS: usize = 16;
/// Rows that are put into parts at once, at most: what each of them is numbered by takes memory too.
const ROWS_WAITING_MAX: usize = 1 << 18;
/// Seeds of the hashes, one for each time that rows are parted: not those of shuffles (0), nor those of hash tables.
const SEED: u64 = 0x7461_726e;
/// Texts may keep this many times their own bytes in memory before they are copied.
const WASTE_MAX: usize = 2;

/// Rows of one side in one part.
pub(super) struct Part {
    /// None if there are no rows.
    pub(super) file: Option<Arc<dyn SpillFile>>,
    /// What the rows take in memory.
    pub(super) bytes: usize,
}

/// A side that was written to files.
pub(super) struct Parts {
    pub(super) each: Vec<Part>,
    pub(super) rows: usize,
    /// Rows whose first key is NULL.
    pub(super) nulls: usize,
}

/// A side that was read.
pub(super) enum Read {
    /// It is in memory, which is held by the reservation.
    Whole(Vec<RecordBatch>, MemoryReservation),
    Parts(Parts),
}

/// How a side is parted.
pub(super) struct Side {
    pub(super) keys: Vec<PhysicalExprRef>,
    pub(super) files: SpillManager,
    /// Rows in a batch.
    pub(super) batch_size: usize,
    /// Bytes that wait in memory at most.
    pub(super) room: usize,
}

impl Side {
    /// Reads `input`: into memory if it fits into the room, else into parts.
    pub(super) async fn read(
        &self,
        mut input: SendableRecordBatchStream,
        memory: MemoryReservation,
    ) -> Result<Read> {
        let mut waiting = Vec::new();
        while let Some(batch) = input.try_next().await? {
            let batch = compact(&batch)?;
            let size = get_record_batch_memory_size(&batch);
            waiting.push(batch);
            if memory.size() + size > self.room || memory.try_grow(size).is_err() {
                return self.part(waiting, input, &memory, 0).await.map(Read::Parts);
            }
        }
        Ok(Read::Whole(waiting, memory))
    }

    /// Writes the rows of `waiting`, which `memory` holds, and those of `input` into parts. `depth` tells how often they have been
    /// parted before.
    pub(super) async fn part(
        &self,
        mut waiting: Vec<RecordBatch>,
        mut input: SendableRecordBatchStream,
        memory: &MemoryReservation,
        depth: usize,
    ) -> Result<Parts> {
        let files = (0..PARTS).map(|_| self.files.create_in_progress_file("PartitionedJoin"));
        let mut files = files.collect::<Result<Vec<_>>>()?;
        let mut sizes = [(0, 0); PARTS];
        let (mut rows, mut nulls) = (0, 0);
        // What was refused in front of this waits already.
        let mut full = !waiting.is_empty();
        let mut more = true;
        while more {
            let mut count: usize = waiting.iter().map(RecordBatch::num_rows).sum();
            while !full && more {
                match input.try_next().await? {
                    None => more = false,
                    Some(batch) => {
                        let size = get_record_batch_memory_size(&batch);
                        full = memory.size() + size > self.room
                            || count + batch.num_rows() > ROWS_WAITING_MAX
                            || memory.try_grow(size).is_err();
                        count += batch.num_rows();
                        waiting.push(batch);
                    }
                }
            }
            rows += count;
            let routed = self.route(&waiting, depth)?;
            nulls += routed.nulls;
            let batches: Vec<&RecordBatch> = waiting.iter().collect();
            for (part, places) in routed.places.iter().enumerate() {
                for places in places.chunks(self.batch_size) {
                    let batch = interleave_record_batch(&batches, places)?;
                    // Texts are copied together as they are written.
                    let bytes = files[part].append_batch(&batch)?;
                    sizes[part] = (sizes[part].0 + places.len(), sizes[part].1 + bytes);
                }
            }
            waiting.clear();
            memory.free();
            full = false;
        }
        let parts = files.iter_mut().zip(sizes).map(|(file, (rows, bytes))| {
            let file = if rows > 0 { file.finish()? } else { None };
            Ok(Part { file, bytes })
        });
        Ok(Parts {
            each: parts.collect::<Result<_>>()?,
            rows,
            nulls,
        })
    }

    /// Which rows go into which part.
    fn route(&self, batches: &[RecordBatch], depth: usize) -> Result<Routed> {
        let mut routed = Routed {
            places: vec![Vec::new(); PARTS],
            nulls: 0,
        };
        let state = RandomState::with_seed(SEED + depth as u64);
        let mut hashes = Vec::new();
        for (at, batch) in batches.iter().enumerate() {
            let keys = self.keys.iter();
            let keys = keys.map(|key| key.evaluate(batch)?.into_array(batch.num_rows()));
            let keys = keys.collect::<Result<Vec<ArrayRef>>>()?;
            routed.nulls += keys.first().map_or(0, Array::logical_null_count);
            hashes.clear();
            hashes.resize(batch.num_rows(), 0);
            create_hashes(&keys, &state, &mut hashes)?;
            for (row, hash) in hashes.iter().enumerate() {
                // The high half: the low bits are those that other users of such hashes look at.
                let part = usize::try_from(hash >> 32).unwrap_or_default() % PARTS;
                routed.places[part].push((at, row));
            }
        }
        Ok(routed)
    }
}

/// Rows by part, as (batch, row).
struct Routed {
    places: Vec<Vec<(usize, usize)>>,
    nulls: usize,
}

/// A batch whose texts do not keep much more in memory than themselves.
pub(super) fn compact(batch: &RecordBatch) -> Result<RecordBatch> {
    let mut changed = false;
    let mut columns = Vec::with_capacity(batch.num_columns());
    for column in batch.columns() {
        let copy: Option<ArrayRef> = match column.data_type() {
            DataType::Utf8View => {
                let views = column.as_string_view();
                wasteful(views).then(|| Arc::new(views.gc()) as ArrayRef)
            }
            DataType::BinaryView => {
                let views = column.as_binary_view();
                wasteful(views).then(|| Arc::new(views.gc()) as ArrayRef)
            }
            _ => None,
        };
        changed |= copy.is_some();
        columns.push(copy.unwrap_or_else(|| Arc::clone(column)));
    }
    Ok(if changed {
        RecordBatch::try_new(batch.schema(), columns)?
    } else {
        batch.clone()
    })
}

fn wasteful<T: ByteViewType>(views: &GenericByteViewArray<T>) -> bool {
    let held: usize = views.data_buffers().iter().map(Buffer::capacity).sum();
    held > WASTE_MAX * views.total_buffer_bytes_used() + views.len()
}

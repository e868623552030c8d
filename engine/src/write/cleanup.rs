//! Removing what a failed write left behind.
//!
//! Tasks remove their own files when they are stopped; this finds those of tasks that could not (a worker that died).

use futures::TryStreamExt;
use object_store::ObjectStoreExt;
use tarn_catalog::{Stores, Table};

/// Where data files of `table` go.
pub fn data_location(table: &Table) -> String {
    table.data_location()
}

/// Deletes the files below `location` that the write `write_id` wrote. Best effort: failures are logged.
///
/// Lists the whole directory, so it is only for writes that failed.
pub async fn remove_files(stores: &Stores, location: &str, write_id: &str) {
    let (store, prefix) = match stores.resolve(location) {
        Ok(found) => found,
        Err(error) => {
            tracing::warn!(location, %error, "files of a failed write not listed");
            return;
        }
    };
    let mut listing = store.list(Some(&prefix));
    loop {
        match listing.try_next().await {
            Ok(Some(object)) => {
                if !object
                    .location
                    .filename()
                    .is_some_and(|name| name.contains(write_id))
                {
                    continue;
                }
                if let Err(error) = store.delete(&object.location).await {
                    tracing::warn!(path = %object.location, %error, "file of a failed write not deleted");
                }
            }
            Ok(None) => return,
            Err(error) => {
                tracing::warn!(location, %error, "files of a failed write not listed");
                return;
            }
        }
    }
}

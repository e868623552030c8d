//! A stateless worker: it joins a coordinator, takes plan fragments, and streams Arrow out.
//!
//! **Invariant: a worker resolves nothing.** Snapshots, files and options come with the fragment;
//! storage keys come sealed when it joins. It knows no catalog, no identity and no client.

mod fragments;
mod join;
mod progress;
mod trust;

pub use fragments::{FragmentServer, Reading};
pub use join::{CacheReport, JoinError, Joined, Membership, WorkerIdentity, join};
pub use progress::{ProgressBoard, StatementProgress};
pub use trust::{Trust, TrustError};

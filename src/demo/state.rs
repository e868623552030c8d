//! What a demo remembers in its data folder: the password, what is loaded.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use rand::Rng;
use rand::distr::Alphanumeric;
use serde::{Deserialize, Serialize};

use super::DemoError;

/// Characters of a generated password: about 140 bits.
const PASSWORD_LENGTH: usize = 24;

/// The state, and where it is kept.
#[derive(Debug, Clone)]
pub(super) struct State {
    path: PathBuf,
    /// Password of `admin`, generated with the folder.
    pub(super) password: String,
    loaded: Option<Loaded>,
}

/// What was loaded completely.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Loaded {
    pub(super) scale_factor: f64,
    /// Rows of each table.
    pub(super) rows: BTreeMap<String, u64>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StateFile {
    password: String,
    loaded: Option<Loaded>,
}

impl State {
    /// Reads the state of a data folder, or begins one.
    pub(super) fn open(data_dir: &Path) -> Result<Self, DemoError> {
        let path = data_dir.join("demo.json");
        let failed = |source| DemoError::State {
            path: path.clone(),
            source,
        };
        match std::fs::read(&path) {
            Ok(bytes) => {
                let file: StateFile = serde_json::from_slice(&bytes)
                    .map_err(io::Error::from)
                    .map_err(failed)?;
                Ok(Self {
                    path,
                    password: file.password,
                    loaded: file.loaded,
                })
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                // The leading letter keeps configuration from reading a number.
                let random = rand::rng()
                    .sample_iter(Alphanumeric)
                    .take(PASSWORD_LENGTH)
                    .map(char::from);
                let password = std::iter::once('t').chain(random).collect();
                let state = Self {
                    path,
                    password,
                    loaded: None,
                };
                state.save()?;
                Ok(state)
            }
            Err(error) => Err(failed(error)),
        }
    }

    /// Whether the tables were loaded at this scale factor.
    pub(super) fn is_loaded(&self, scale_factor: f64) -> bool {
        self.loaded(scale_factor).is_some()
    }

    /// What was loaded, if it was at this scale factor.
    #[expect(
        clippy::float_cmp,
        reason = "the number the user gave, stored and read back"
    )]
    pub(super) fn loaded(&self, scale_factor: f64) -> Option<&Loaded> {
        self.loaded
            .as_ref()
            .filter(|loaded| loaded.scale_factor == scale_factor)
    }

    /// Remembers what is loaded; `None` before a load begins.
    pub(super) fn remember(&self, loaded: Option<Loaded>) -> Result<(), DemoError> {
        Self {
            loaded,
            ..self.clone()
        }
        .save()
    }

    /// Writes the file anew, readable by its owner only.
    fn save(&self) -> Result<(), DemoError> {
        let failed = |source| DemoError::State {
            path: self.path.clone(),
            source,
        };
        let file = StateFile {
            password: self.password.clone(),
            loaded: self.loaded.clone(),
        };
        let bytes = serde_json::to_vec_pretty(&file)
            .map_err(io::Error::from)
            .map_err(failed)?;
        let fresh = self.path.with_extension("json.new");
        write_private(&fresh, &bytes).map_err(failed)?;
        std::fs::rename(&fresh, &self.path).map_err(failed)
    }
}

fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_password_survives_and_is_private() {
        let folder = tempfile::tempdir().unwrap();
        let first = State::open(folder.path()).unwrap();
        let second = State::open(folder.path()).unwrap();
        assert_eq!(first.password, second.password);
        assert_eq!(first.password.len(), PASSWORD_LENGTH + 1);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = std::fs::metadata(folder.path().join("demo.json"))
                .unwrap()
                .permissions()
                .mode();
            assert_eq!(mode & 0o777, 0o600);
        }
    }

    #[test]
    fn only_the_same_scale_factor_counts_as_loaded() {
        let folder = tempfile::tempdir().unwrap();
        let rows = BTreeMap::from([("nation".to_owned(), 25)]);
        let state = State::open(folder.path()).unwrap();
        state
            .remember(Some(Loaded {
                scale_factor: 0.1,
                rows,
            }))
            .unwrap();
        let state = State::open(folder.path()).unwrap();
        assert!(state.is_loaded(0.1) && !state.is_loaded(1.0));
        state.remember(None).unwrap();
        assert!(!State::open(folder.path()).unwrap().is_loaded(0.1));
    }

    #[test]
    fn a_damaged_state_is_named() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("demo.json"), b"{").unwrap();
        let error = State::open(folder.path()).unwrap_err().to_string();
        assert!(
            error.contains("demo.json") && error.contains("start afresh"),
            "{error}"
        );
    }
}

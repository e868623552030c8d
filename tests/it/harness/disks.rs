//! Small disks: file systems in memory, mounted for one test.
//!
//! Needs root. Each is unmounted with its value, and its folder is its owner's.

use std::path::{Path, PathBuf};
use std::process::Command;

/// A disk of few bytes, mounted on a folder.
#[derive(Debug)]
pub(crate) struct SmallDisk {
    folder: PathBuf,
}

impl SmallDisk {
    /// Mounts `bytes` on `folder`, which is made.
    ///
    /// # Errors
    /// Why this process may not, in words.
    pub(crate) fn on(folder: &Path, bytes: u64) -> Result<Self, String> {
        std::fs::create_dir_all(folder).unwrap();
        let size = format!("size={bytes},mode=0755");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &size, "tarn-test"]);
        run(mount.arg(folder))?;
        Ok(Self {
            folder: folder.to_owned(),
        })
    }

    /// The folder.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Bytes that are in use.
    pub(crate) fn used(&self) -> u64 {
        let mut df = Command::new("df");
        df.args(["--block-size=1", "--output=used"]);
        let said = run(df.arg(&self.folder)).unwrap();
        let used = said.lines().nth(1).unwrap_or_default().trim();
        used.parse().unwrap_or_else(|_| panic!("{said}"))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // A process that still has a file open there keeps nobody from ending.
        let mut unmount = Command::new("umount");
        let _ = run(unmount.arg("--lazy").arg(&self.folder));
    }
}

fn run(command: &mut Command) -> Result<String, String> {
    let output = command
        .output()
        .map_err(|error| format!("{command:?}: {error}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(format!("{command:?}: {}", said.trim()))
}

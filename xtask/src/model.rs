//! What the rules look at: crates with the names they depend on, and source files.
//!
//! Reads `cargo metadata` and the files; decides nothing.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;

/// A workspace as the rules see it. Paths are relative to its root, with `/`.
#[derive(Debug, Default)]
pub(crate) struct Workspace {
    /// Every member.
    pub(crate) crates: Vec<Crate>,
    /// Every Rust source file of the members, in path order.
    pub(crate) files: Vec<SourceFile>,
}

/// One member of the workspace.
#[derive(Debug)]
pub(crate) struct Crate {
    /// Package name, e.g. `tarn-catalog`.
    pub(crate) name: String,
    /// Its `Cargo.toml`.
    pub(crate) manifest: String,
    /// Everything it names in any dependency table, of any kind and target.
    pub(crate) dependencies: Vec<Dependency>,
    /// Whether it has `[lints] workspace = true`.
    pub(crate) inherits_lints: bool,
}

/// One line of a dependency table.
#[derive(Debug)]
pub(crate) struct Dependency {
    /// The package's own name, whatever it is renamed to.
    pub(crate) name: String,
    /// 1-based line in the manifest.
    pub(crate) line: usize,
}

/// One Rust file.
#[derive(Debug)]
pub(crate) struct SourceFile {
    /// Path from the workspace root.
    pub(crate) path: String,
    /// Its whole text.
    pub(crate) text: String,
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    manifest_path: PathBuf,
    dependencies: Vec<PackageDependency>,
}

#[derive(Deserialize)]
struct PackageDependency {
    name: String,
    rename: Option<String>,
}

/// Reads the workspace whose root is `root`.
///
/// # Errors
/// If cargo cannot read the manifests, or a file cannot be read.
pub(crate) fn load(root: &Path) -> Result<Workspace> {
    let root = root
        .canonicalize()
        .with_context(|| format!("cannot open {}", root.display()))?;
    let metadata = cargo_metadata(&root)?;
    let mut workspace = Workspace::default();
    let folders: Vec<PathBuf> = metadata
        .packages
        .iter()
        .map(|package| folder(&package.manifest_path))
        .collect();
    for package in &metadata.packages {
        workspace.crates.push(load_crate(&root, package)?);
    }
    for folder in &folders {
        // The root package owns only its own folders, not those of other members.
        let nested: Vec<&Path> = folders
            .iter()
            .filter(|other| *other != folder && other.starts_with(folder))
            .map(PathBuf::as_path)
            .collect();
        collect_sources(&root, folder, &nested, &mut workspace.files)?;
    }
    workspace
        .files
        .sort_by(|left, right| left.path.cmp(&right.path));
    Ok(workspace)
}

fn cargo_metadata(root: &Path) -> Result<Metadata> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args([
            "metadata",
            "--no-deps",
            "--offline",
            "--format-version",
            "1",
        ])
        .current_dir(root)
        .output()
        .context("cannot run cargo metadata")?;
    if !output.status.success() {
        bail!(
            "cargo metadata failed in {}:\n{}",
            root.display(),
            String::from_utf8_lossy(&output.stderr)
        );
    }
    serde_json::from_slice(&output.stdout).context("cargo metadata printed something unexpected")
}

fn folder(manifest: &Path) -> PathBuf {
    manifest.parent().map(Path::to_path_buf).unwrap_or_default()
}

fn load_crate(root: &Path, package: &Package) -> Result<Crate> {
    let text = read(&package.manifest_path)?;
    let table: toml::Table = toml::from_str(&text)
        .with_context(|| format!("cannot read {}", package.manifest_path.display()))?;
    let inherits_lints = table
        .get("lints")
        .and_then(|lints| lints.get("workspace"))
        .and_then(toml::Value::as_bool)
        .unwrap_or(false);
    let dependencies = package
        .dependencies
        .iter()
        .map(|dependency| Dependency {
            name: dependency.name.clone(),
            line: dependency_line(
                &text,
                dependency.rename.as_deref().unwrap_or(&dependency.name),
            ),
        })
        .collect();
    Ok(Crate {
        name: package.name.clone(),
        manifest: relative(root, &package.manifest_path),
        dependencies,
        inherits_lints,
    })
}

/// The 1-based line that names `key` in one of the dependency tables of `manifest`.
fn dependency_line(manifest: &str, key: &str) -> usize {
    let mut in_table = false;
    for (index, line) in manifest.lines().enumerate() {
        let line = line.trim();
        if let Some(header) = line.strip_prefix('[') {
            let header = header.trim_end_matches(']');
            in_table = header.ends_with("dependencies") && header != "workspace.dependencies";
            if header.contains("dependencies.") && header.ends_with(&format!(".{key}")) {
                return index + 1;
            }
        } else if in_table
            && line
                .strip_prefix(key)
                .is_some_and(|rest| rest.trim_start().starts_with(['=', '.']))
        {
            return index + 1;
        }
    }
    1
}

fn collect_sources(
    root: &Path,
    folder: &Path,
    nested: &[&Path],
    files: &mut Vec<SourceFile>,
) -> Result<()> {
    let entries =
        fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))?;
    for entry in entries {
        let entry = entry.with_context(|| format!("cannot list {}", folder.display()))?;
        let (path, name) = (entry.path(), entry.file_name());
        let name = name.to_string_lossy();
        let kind = entry
            .file_type()
            .with_context(|| format!("cannot look at {}", path.display()))?;
        if kind.is_dir() {
            let skipped = name.starts_with('.') || name == "target" || name == "node_modules";
            if !skipped && !nested.contains(&path.as_path()) {
                collect_sources(root, &path, nested, files)?;
            }
        } else if kind.is_file() && path.extension().is_some_and(|extension| extension == "rs") {
            files.push(SourceFile {
                path: relative(root, &path),
                text: read(&path)?,
            });
        }
    }
    Ok(())
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

fn relative(root: &Path, path: &Path) -> String {
    path.strip_prefix(root)
        .unwrap_or(path)
        .to_string_lossy()
        .replace('\\', "/")
}

#[cfg(test)]
mod tests {
    use super::*;

    const MANIFEST: &str = "[package]\nname = \"arrow\"\n\n[workspace.dependencies]\narrow = \"59\"\n\n[dependencies]\n\
                            arrow-flight = \"59\"\narrow.workspace = true\n\n[target.'cfg(unix)'.dev-dependencies.nix]\nversion = \"1\"\n";

    #[test]
    fn a_dependency_is_found_on_its_own_line() {
        assert_eq!(dependency_line(MANIFEST, "arrow"), 9);
        assert_eq!(dependency_line(MANIFEST, "arrow-flight"), 8);
        assert_eq!(dependency_line(MANIFEST, "nix"), 11);
    }

    #[test]
    fn this_workspace_loads_with_itself_in_it() {
        let workspace = load(Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()).unwrap();
        assert!(workspace.crates.iter().any(|member| member.name == "xtask"));
        let own = workspace
            .files
            .iter()
            .filter(|file| file.path == "xtask/src/model.rs")
            .count();
        assert_eq!(own, 1, "each file belongs to one crate");
    }
}

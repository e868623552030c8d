//! `read_parquet`, `read_csv` and `read_json`: files as tables, under the allowed roots only.
//!
//! The calls are found in a parsed statement and replaced by names of tables that are made here,
//! before planning, because reading a file's schema takes I/O. Everything outside the roots is
//! refused before any I/O; symbolic links are followed before the check.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use datafusion::catalog::{Session as PlanSession, TableProvider};
use datafusion::common::GetExt;
use datafusion::common::parsers::CompressionTypeVariant;
use datafusion::datasource::file_format::FileFormat;
use datafusion::datasource::file_format::csv::CsvFormat;
use datafusion::datasource::file_format::file_compression_type::FileCompressionType;
use datafusion::datasource::file_format::json::JsonFormat;
use datafusion::datasource::file_format::parquet::ParquetFormat;
use datafusion::datasource::listing::{
    ListingOptions, ListingTable, ListingTableConfig, ListingTableUrl,
};
use datafusion::sql::sqlparser::ast::{
    self, FunctionArg, FunctionArgExpr, Ident, ObjectName, ObjectNamePart, TableAlias, TableFactor,
    Value, VisitMut, VisitorMut,
};

use futures::{FutureExt, StreamExt};
use object_store::ObjectStoreExt;

use crate::error::{EngineError, ErrorKind};
use crate::parser::fold_name;

/// Catalog name under which the tables of file functions are known to the planner.
pub(crate) const FILES_CATALOG: &str = "tarn_files";
const FILES_SCHEMA: &str = "files";
/// Local files checked one by one for a glob; more are refused.
const FILES_MAX: usize = 100_000;

/// A Parquet file begins with 4 bytes and ends with 8. Source: Parquet format, "File Format".
const PARQUET_BYTES_MIN: u64 = 12;
/// Length of the footer and `PAR1`.
const PARQUET_END_BYTES: u64 = 8;

/// Where file functions may read.
#[derive(Clone, Debug, Default)]
pub struct AllowedRoots {
    local: Vec<PathBuf>,
    remote: Vec<String>,
}

impl AllowedRoots {
    /// Takes the configured roots: absolute directories or `s3://bucket/prefix`.
    ///
    /// # Errors
    /// If a local root does not exist or a root is neither form.
    pub fn new(roots: &[String]) -> Result<Self, EngineError> {
        let mut out = Self::default();
        for root in roots {
            if let Some(rest) = root.strip_prefix("s3a://") {
                out.remote
                    .push(format!("s3://{}", rest.trim_end_matches('/')));
            } else if root.starts_with("s3://") {
                out.remote.push(root.trim_end_matches('/').to_owned());
            } else {
                let path = root.strip_prefix("file://").unwrap_or(root);
                let canonical = Path::new(path).canonicalize().map_err(|e| {
                    EngineError::new(
                        ErrorKind::InvalidParameter,
                        format!("[storage] allowed_roots: \"{root}\": {e}"),
                    )
                })?;
                out.local.push(canonical);
            }
        }
        Ok(out)
    }

    /// Checks that tables may be put at `location`: in `warehouse` or in an allowed root.
    ///
    /// # Errors
    /// [`ErrorKind::Denied`] elsewhere.
    pub(crate) fn check_location(
        &self,
        location: &str,
        warehouse: &str,
    ) -> Result<(), EngineError> {
        let plain = |text: &str| {
            let text = text.replacen("s3a://", "s3://", 1);
            let text = text.strip_prefix("file://").unwrap_or(&text);
            text.trim_end_matches('/').to_owned()
        };
        let wanted = plain(location);
        let clean = !wanted.split('/').any(|part| part == ".." || part == ".");
        let inside = |root: &str| {
            wanted
                .strip_prefix(root)
                .is_some_and(|rest| rest.starts_with('/'))
        };
        let local = self.local.iter().map(|p| p.display().to_string());
        let roots = local.chain(self.remote.iter().cloned());
        if clean && (inside(&plain(warehouse)) || roots.into_iter().any(|root| inside(&root))) {
            return Ok(());
        }
        Err(EngineError::new(
            ErrorKind::Denied,
            format!("tables may not be put at \"{location}\""),
        )
        .with_hint(format!(
            "use a location in the warehouse ({warehouse}) or in one of [storage] allowed_roots, or leave it out"
        )))
    }

    fn refused(&self, path: &str) -> EngineError {
        let mut roots: Vec<String> = self
            .local
            .iter()
            .map(|p| p.display().to_string())
            .chain(self.remote.iter().cloned())
            .collect();
        roots.sort();
        let roots = if roots.is_empty() {
            "none are configured".to_owned()
        } else {
            roots.join(", ")
        };
        EngineError::new(
            ErrorKind::Denied,
            format!("\"{path}\" is outside the allowed roots"),
        )
        .with_hint(format!(
            "[storage] allowed_roots says what file functions may read: {roots}"
        ))
    }
}

/// One call found in a statement.
#[derive(Clone, Debug)]
pub(crate) struct FileCall {
    /// Name of the table that stands for it.
    pub(crate) table: String,
    function: String,
    paths: Vec<String>,
    options: HashMap<String, String>,
}

/// Replaces every file function in `statement` by a table name and returns the calls.
///
/// # Errors
/// [`ErrorKind::InvalidParameter`] for arguments that are not a path and named options.
pub(crate) fn extract(statement: &mut ast::Statement) -> Result<Vec<FileCall>, EngineError> {
    let mut finder = Finder { calls: vec![] };
    match VisitMut::visit(statement, &mut finder) {
        ControlFlow::Break(error) => Err(error),
        ControlFlow::Continue(()) => Ok(finder.calls),
    }
}

struct Finder {
    calls: Vec<FileCall>,
}

impl VisitorMut for Finder {
    type Break = EngineError;

    fn pre_visit_query(&mut self, query: &mut ast::Query) -> ControlFlow<EngineError> {
        if query.locks.is_empty() {
            ControlFlow::Continue(())
        } else {
            ControlFlow::Break(EngineError::unsupported("SELECT … FOR UPDATE or SHARE"))
        }
    }

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<EngineError> {
        if matches!(
            factor,
            TableFactor::Table {
                sample: Some(_),
                ..
            }
        ) {
            return ControlFlow::Break(EngineError::unsupported("TABLESAMPLE"));
        }
        let TableFactor::Table {
            name,
            alias,
            args: args @ Some(_),
            ..
        } = factor
        else {
            return ControlFlow::Continue(());
        };
        let function = fold_name(name).join(".");
        if !["read_parquet", "read_csv", "read_json"].contains(&function.as_str()) {
            return ControlFlow::Continue(());
        }
        let table = format!("{function}_{}", self.calls.len());
        let call = match args.as_ref().map(|a| call(&function, &table, &a.args)) {
            Some(Ok(call)) => call,
            Some(Err(error)) => return ControlFlow::Break(error),
            None => return ControlFlow::Continue(()),
        };
        self.calls.push(call);
        let part = |text: &str| ObjectNamePart::Identifier(Ident::with_quote('"', text));
        *name = ObjectName(vec![part(FILES_CATALOG), part(FILES_SCHEMA), part(&table)]);
        *args = None;
        if alias.is_none() {
            *alias = Some(TableAlias {
                explicit: true,
                name: Ident::new(function),
                columns: vec![],
                at: None,
            });
        }
        ControlFlow::Continue(())
    }
}

fn call(function: &str, table: &str, args: &[FunctionArg]) -> Result<FileCall, EngineError> {
    let usage = || {
        EngineError::new(
            ErrorKind::InvalidParameter,
            format!("{function} takes a path, or an array of paths, and named options"),
        )
        .with_hint(format!("as in {function}('s3://bucket/data/*.ext')"))
    };
    let mut out = FileCall {
        table: table.to_owned(),
        function: function.to_owned(),
        paths: vec![],
        options: HashMap::new(),
    };
    for arg in args {
        match arg {
            FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) if out.paths.is_empty() => {
                out.paths = path_list(expr).ok_or_else(usage)?;
            }
            FunctionArg::Named { name, arg, .. }
            | FunctionArg::ExprNamed {
                name: ast::Expr::Identifier(name),
                arg,
                ..
            } => {
                let FunctionArgExpr::Expr(expr) = arg else {
                    return Err(usage());
                };
                let value = literal_text(expr).ok_or_else(usage)?;
                out.options.insert(name.value.to_lowercase(), value);
            }
            _ => return Err(usage()),
        }
    }
    if out.paths.is_empty() {
        return Err(usage());
    }
    Ok(out)
}

fn path_list(expr: &ast::Expr) -> Option<Vec<String>> {
    match expr {
        ast::Expr::Array(array) => array.elem.iter().map(literal_text).collect(),
        other => literal_text(other).map(|path| vec![path]),
    }
}

fn literal_text(expr: &ast::Expr) -> Option<String> {
    let ast::Expr::Value(value) = expr else {
        return None;
    };
    match &value.value {
        Value::SingleQuotedString(text)
        | Value::EscapedStringLiteral(text)
        | Value::Number(text, _) => Some(text.clone()),
        Value::Boolean(flag) => Some(flag.to_string()),
        _ => None,
    }
}

/// Makes the table of one call: checks the paths, reads the schema.
///
/// # Errors
/// [`ErrorKind::Denied`] outside the roots, [`ErrorKind::FileNotFound`] if nothing matches,
/// [`ErrorKind::Corrupt`] for a file that is not what the function reads.
pub(crate) async fn open(
    call: &FileCall,
    roots: &AllowedRoots,
    state: &dyn PlanSession,
) -> Result<Arc<dyn TableProvider>, EngineError> {
    let mut urls = vec![];
    for path in &call.paths {
        urls.push(checked_url(path, roots)?);
    }
    let (format, extension) = format_of(call)?;
    let directory = urls.iter().all(|u| u.as_str().ends_with('/'));
    let options = ListingOptions::new(format).with_file_extension(if directory {
        extension
    } else {
        String::new()
    });
    let described = describe(call);
    let mut config = ListingTableConfig::new_with_multi_paths(urls).with_listing_options(options);
    let listed = config.table_paths.clone();
    // The Parquet reader panics in debug builds on some files that are not Parquet.
    let inferred = AssertUnwindSafe(config.infer_schema(state))
        .catch_unwind()
        .await;
    config = match inferred {
        Ok(Ok(config)) => config,
        failed => {
            if call.function == "read_parquet" {
                check_parquet(&listed, state).await?;
            }
            let error = match failed {
                Ok(Err(error)) => EngineError::from(error),
                _ => EngineError::new(ErrorKind::Corrupt, "a file cannot be read"),
            };
            return Err(explain(error, &described));
        }
    };
    if config
        .file_schema
        .as_ref()
        .is_none_or(|schema| schema.fields().is_empty())
    {
        return Err(EngineError::new(
            ErrorKind::FileNotFound,
            format!("{described}: no file matches, or the files are empty"),
        ));
    }
    Ok(Arc::new(ListingTable::try_new(config)?))
}

/// Finds the file that is not Parquet, among many.
///
/// # Errors
/// [`ErrorKind::Corrupt`], naming the file; or what reading its end met.
async fn check_parquet(
    urls: &[ListingTableUrl],
    state: &dyn PlanSession,
) -> Result<(), EngineError> {
    for url in urls {
        let store = state.runtime_env().object_store(url)?;
        let mut found = url.list_all_files(state, store.as_ref(), "").await?;
        while let Some(file) = found.next().await {
            let file = file?;
            let corrupt = |why: &str| {
                EngineError::new(
                    ErrorKind::Corrupt,
                    format!("\"{}\" is not a Parquet file: {why}", file.location),
                )
                .with_hint("was it cut short, or is it of another format?")
            };
            if file.size < PARQUET_BYTES_MIN {
                return Err(corrupt(&format!("it has {} bytes", file.size)));
            }
            let end = store
                .get_range(&file.location, file.size - PARQUET_END_BYTES..file.size)
                .await
                .map_err(datafusion::error::DataFusionError::from)?;
            let (length, magic) = end.split_at(4);
            if magic != b"PAR1" {
                return Err(corrupt("it does not end with PAR1"));
            }
            let length = length
                .iter()
                .rev()
                .fold(0u64, |sum, byte| sum << 8 | u64::from(*byte));
            if length + PARQUET_BYTES_MIN > file.size {
                return Err(corrupt("its footer is larger than the file"));
            }
        }
    }
    Ok(())
}

fn describe(call: &FileCall) -> String {
    format!("{}('{}')", call.function, call.paths.join("', '"))
}

fn explain(error: EngineError, described: &str) -> EngineError {
    let kind = match error.kind {
        ErrorKind::Internal | ErrorKind::InvalidParameter | ErrorKind::TypeMismatch => {
            ErrorKind::Corrupt
        }
        other => other,
    };
    EngineError {
        kind,
        message: format!("{described}: {}", error.message),
        ..error
    }
}

fn checked_url(path: &str, roots: &AllowedRoots) -> Result<ListingTableUrl, EngineError> {
    let bad = |e: datafusion::error::DataFusionError| {
        EngineError::new(ErrorKind::InvalidParameter, format!("\"{path}\": {e}"))
    };
    if path.starts_with("s3://") || path.starts_with("s3a://") {
        let path = path.replacen("s3a://", "s3://", 1);
        let inside = !path.split('/').any(|part| part == "..")
            && roots.remote.iter().any(|root| {
                path == *root
                    || path
                        .strip_prefix(root.as_str())
                        .is_some_and(|r| r.starts_with('/'))
            });
        if !inside {
            return Err(roots.refused(&path));
        }
        return ListingTableUrl::parse(&path).map_err(bad);
    }
    let local = path.strip_prefix("file://").unwrap_or(path);
    if path.contains("://") && !path.starts_with("file://") {
        return Err(EngineError::new(
            ErrorKind::InvalidParameter,
            format!("\"{path}\": this scheme is not supported; use s3:// or an absolute path"),
        ));
    }
    if !local.starts_with('/') {
        return Err(
            EngineError::new(ErrorKind::Denied, format!("\"{path}\" is not absolute")).with_hint(
                "the server's working directory is not yours; give an absolute path or s3://",
            ),
        );
    }
    check_local(local, roots)?;
    ListingTableUrl::parse(local).map_err(bad)
}

/// Follows links, then checks every file that a local path or glob stands for.
fn check_local(path: &str, roots: &AllowedRoots) -> Result<(), EngineError> {
    let inside = |p: &Path| roots.local.iter().any(|root| p.starts_with(root));
    let has_glob = path.contains(['*', '?', '[']);
    // What is before the first glob character decides before anything is listed.
    let fixed: PathBuf = Path::new(path)
        .components()
        .take_while(|c| !c.as_os_str().to_string_lossy().contains(['*', '?', '[']))
        .collect();
    let missing = |p: &Path| {
        // A path outside the roots must not tell whether it exists.
        let lexically_inside = roots.local.iter().any(|root| p.starts_with(root))
            && !p.components().any(|c| c.as_os_str() == "..");
        if lexically_inside {
            EngineError::new(
                ErrorKind::FileNotFound,
                format!("file \"{path}\" does not exist"),
            )
        } else {
            roots.refused(path)
        }
    };
    let canonical = fixed.canonicalize().map_err(|_| missing(&fixed))?;
    if !inside(&canonical) {
        return Err(roots.refused(path));
    }
    let pattern = if has_glob {
        path.to_owned()
    } else if canonical.is_dir() {
        format!("{}/**/*", path.trim_end_matches('/'))
    } else {
        return Ok(());
    };
    let found = glob::glob(&pattern)
        .map_err(|e| EngineError::new(ErrorKind::InvalidParameter, format!("\"{path}\": {e}")))?;
    let mut count = 0;
    for entry in found {
        let entry = entry
            .map_err(|e| EngineError::new(ErrorKind::StorageDenied, format!("\"{path}\": {e}")))?;
        count += 1;
        if count > FILES_MAX {
            return Err(EngineError::new(
                ErrorKind::InvalidParameter,
                format!("\"{path}\" stands for more than {FILES_MAX} files"),
            )
            .with_hint("name a narrower path"));
        }
        let real = entry.canonicalize().map_err(|_| missing(&entry))?;
        if !inside(&real) {
            return Err(roots.refused(&entry.display().to_string()));
        }
    }
    if count == 0 {
        return Err(EngineError::new(
            ErrorKind::FileNotFound,
            format!("no file matches \"{path}\""),
        ));
    }
    Ok(())
}

fn format_of(call: &FileCall) -> Result<(Arc<dyn FileFormat>, String), EngineError> {
    let mut options = call.options.clone();
    let compression = compression_of(call, options.remove("compression"))?;
    let sample = match options.remove("sample_size") {
        Some(text) => Some(
            text.parse::<usize>()
                .map_err(|_| option_error(call, "sample_size", "a number of rows"))?,
        ),
        None => None,
    };
    let suffix = compression.get_ext();
    let made: (Arc<dyn FileFormat>, String) = match call.function.as_str() {
        "read_parquet" => (Arc::new(ParquetFormat::default()), ".parquet".to_owned()),
        "read_csv" => {
            let mut format = CsvFormat::default()
                .with_has_header(true)
                .with_file_compression_type(compression);
            if let Some(rows) = sample {
                format = format.with_schema_infer_max_rec(rows);
            }
            for (key, value) in options.drain() {
                format = csv_option(call, format, &key, &value)?;
            }
            (Arc::new(format), format!(".csv{suffix}"))
        }
        _ => {
            let mut format = JsonFormat::default().with_file_compression_type(compression);
            if let Some(rows) = sample {
                format = format.with_schema_infer_max_rec(rows);
            }
            if let Some(kind) = options.remove("format") {
                format = match kind.as_str() {
                    "array" => format.with_newline_delimited(false),
                    "newline_delimited" | "ndjson" => format.with_newline_delimited(true),
                    _ => {
                        return Err(option_error(
                            call,
                            "format",
                            "'newline_delimited' or 'array'",
                        ));
                    }
                };
            }
            (Arc::new(format), format!(".json{suffix}"))
        }
    };
    if let Some(key) = options.keys().next() {
        return Err(EngineError::new(
            ErrorKind::InvalidParameter,
            format!("{} has no option \"{key}\"", call.function),
        )
        .with_hint(match call.function.as_str() {
            "read_parquet" => "it takes a path only",
            "read_csv" => "options: header, delim, quote, escape, comment, nullstr, compression, sample_size, newlines_in_values",
            _ => "options: format, compression, sample_size",
        }));
    }
    Ok(made)
}

fn option_error(call: &FileCall, key: &str, wanted: &str) -> EngineError {
    EngineError::new(
        ErrorKind::InvalidParameter,
        format!("{}: option {key} takes {wanted}", call.function),
    )
}

fn csv_option(
    call: &FileCall,
    format: CsvFormat,
    key: &str,
    value: &str,
) -> Result<CsvFormat, EngineError> {
    let byte = || match value.as_bytes() {
        [byte] => Ok(*byte),
        b"\\t" => Ok(b'\t'),
        _ => Err(option_error(call, key, "one ASCII character")),
    };
    let flag = || match value.to_lowercase().as_str() {
        "true" | "on" | "1" => Ok(true),
        "false" | "off" | "0" => Ok(false),
        _ => Err(option_error(call, key, "true or false")),
    };
    Ok(match key {
        "header" => format.with_has_header(flag()?),
        "delim" | "delimiter" | "sep" => format.with_delimiter(byte()?),
        "quote" => format.with_quote(byte()?),
        "escape" => format.with_escape(Some(byte()?)),
        "comment" => format.with_comment(Some(byte()?)),
        "newlines_in_values" => format.with_newlines_in_values(flag()?),
        "nullstr" | "null" => format.with_null_regex(Some(format!("^{}$", escape_regex(value)))),
        _ => {
            return Err(EngineError::new(
                ErrorKind::InvalidParameter,
                format!("read_csv has no option \"{key}\""),
            )
            .with_hint("options: header, delim, quote, escape, comment, nullstr, compression, sample_size, newlines_in_values"));
        }
    })
}

fn escape_regex(text: &str) -> String {
    text.chars().fold(String::new(), |mut out, c| {
        if !c.is_alphanumeric() {
            out.push('\\');
        }
        out.push(c);
        out
    })
}

fn compression_of(
    call: &FileCall,
    named: Option<String>,
) -> Result<FileCompressionType, EngineError> {
    let text = if let Some(text) = named {
        text.to_lowercase()
    } else {
        let path = call.paths.first().map_or("", String::as_str);
        let last = path.rsplit('.').next().unwrap_or("");
        if ["gz", "zst", "bz2", "xz"].contains(&last) {
            last.to_owned()
        } else {
            String::new()
        }
    };
    let variant = match text.as_str() {
        "" | "none" => CompressionTypeVariant::UNCOMPRESSED,
        "gz" | "gzip" => CompressionTypeVariant::GZIP,
        "zst" | "zstd" => CompressionTypeVariant::ZSTD,
        "bz2" | "bzip2" => CompressionTypeVariant::BZIP2,
        "xz" => CompressionTypeVariant::XZ,
        _ => {
            return Err(option_error(
                call,
                "compression",
                "gzip, zstd, bzip2, xz or none",
            ));
        }
    };
    Ok(FileCompressionType::from(variant))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_refused(path: &str, roots: &AllowedRoots) {
        let error = checked_url(path, roots).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Denied, "{path}: {error}");
    }

    #[test]
    fn tables_are_put_into_the_warehouse_or_the_roots_only() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().display().to_string();
        let roots = AllowedRoots::new(&[root.clone(), "s3://bucket/data".to_owned()]).unwrap();
        let check = |location: &str| roots.check_location(location, "file:///wh").is_ok();
        assert!(check("file:///wh/main/t"));
        assert!(check("/wh/t"));
        assert!(check(&format!("{root}/t")));
        assert!(check("s3a://bucket/data/t"));
        assert!(!check("/etc/x"));
        assert!(!check("/wh"));
        assert!(!check("/wh/../etc"));
        assert!(!check("/whx/t"));
        assert!(!check("s3://bucket/database/t"));
    }

    #[test]
    fn nothing_outside_the_roots_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let inside = dir.path().join("in");
        std::fs::create_dir(&inside).unwrap();
        std::fs::write(dir.path().join("secret.csv"), "a\n1\n").unwrap();
        std::fs::write(inside.join("ok.csv"), "a\n1\n").unwrap();
        let root = inside.display().to_string();
        let roots = AllowedRoots::new(&[root.clone(), "s3://bucket/data".to_owned()]).unwrap();
        assert!(checked_url(&format!("{root}/ok.csv"), &roots).is_ok());
        assert!(checked_url("s3://bucket/data/x.parquet", &roots).is_ok());
        check_refused("/etc/hostname", &roots);
        check_refused("/nonexistent/file", &roots);
        check_refused(&format!("{root}/../secret.csv"), &roots);
        check_refused(&format!("{}/*.csv", dir.path().display()), &roots);
        check_refused("s3://bucket/database/x", &roots);
        check_refused("s3://bucket/data/../x", &roots);
        check_refused("s3://other/data/x", &roots);
        std::os::unix::fs::symlink(dir.path().join("secret.csv"), inside.join("link.csv")).unwrap();
        check_refused(&format!("{root}/link.csv"), &roots);
        check_refused(&format!("{root}/*.csv"), &roots);
    }

    #[test]
    fn calls_are_found_with_options_and_replaced() {
        let crate::parser::Statement::Query(mut statement) = crate::parser::parse(
            "SELECT * FROM read_csv('/a/b.csv.gz', delim => ';', header => false) WHERE 1 IN (SELECT 1 FROM read_parquet(['/x', '/y']) p)",
        )
        .unwrap() else {
            panic!("not a query")
        };
        let calls = extract(&mut statement).unwrap();
        assert_eq!(calls.len(), 2);
        assert_eq!(calls[0].options["delim"], ";");
        assert_eq!(calls[1].paths, ["/x", "/y"]);
        assert!(!statement.to_string().contains("read_csv("));
    }
}

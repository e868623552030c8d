//! Columns in the names of folders: `year=2024/month=05/…`.
//!
//! Source: Hive's layout as DuckDB and Spark read it. Knows names of files, opens none.

use datafusion::arrow::datatypes::{DataType, Field, FieldRef, TimeUnit};
use datafusion::scalar::ScalarValue;
use std::sync::Arc;

use super::guess::Guess;
use super::listing::Found;
use super::options::ReadOptions;
use crate::error::{EngineError, ErrorKind};

/// The folder of rows whose value is NULL. Source: Hive, `hive.exec.default.partition.name`.
pub(crate) const NULL_FOLDER: &str = "__HIVE_DEFAULT_PARTITION__";

/// Columns that folders give, and their values for each file.
#[derive(Clone, Debug, Default)]
pub(crate) struct Partitions {
    /// One for each key, outermost first.
    pub(crate) fields: Vec<FieldRef>,
    /// For each file, the value of each field.
    pub(crate) values: Vec<Vec<ScalarValue>>,
}

/// The `key=value` folders of a file's name, outermost first; the value of NULL's folder is none.
pub(crate) fn keys_of(name: &str) -> Vec<(String, Option<String>)> {
    let folders = name.rsplit_once('/').map_or("", |(folders, _)| folders);
    let pairs = folders.split('/').filter_map(|part| part.split_once('='));
    pairs
        .filter(|(key, _)| !key.is_empty())
        .map(|(key, value)| (decoded(key), (value != NULL_FOLDER).then(|| decoded(value))))
        .collect()
}

/// `%2F` and its like as the characters they stand for; as it is if they stand for no text.
fn decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let pair = bytes
            .get(at + 1..at + 3)
            .and_then(|pair| std::str::from_utf8(pair).ok())
            .filter(|pair| pair.bytes().all(|b| b.is_ascii_hexdigit()))
            .and_then(|pair| u8::from_str_radix(pair, 16).ok());
        if let (b'%', Some(value)) = (byte, pair) {
            out.push(value);
            at += 3;
        } else {
            out.push(byte);
            at += 1;
        }
    }
    String::from_utf8(out).unwrap_or_else(|_| text.to_owned())
}

/// What may not stand in the name of a folder, as writers of Hive's layout escape it.
pub(crate) fn encoded(text: &str) -> String {
    use std::fmt::Write as _;
    let mut out = String::new();
    for c in text.chars() {
        if c.is_control() || "\"#%'*/:=?\\{}[]^".contains(c) {
            let mut bytes = [0; 4];
            for byte in c.encode_utf8(&mut bytes).bytes() {
                // Writing to a String does not fail.
                let _ = write!(out, "%{byte:02X}");
            }
        } else {
            out.push(c);
        }
    }
    out
}

/// Finds the partition columns of `files`.
///
/// # Errors
/// [`ErrorKind::InvalidParameter`] if they are asked for and a file has other keys than the first, or a value
/// does not fit a type that was given.
pub(crate) fn partitions(
    files: &[Found],
    options: &ReadOptions,
    function: &str,
) -> Result<Partitions, EngineError> {
    if options.hive == Some(false) || files.is_empty() {
        return Ok(Partitions {
            fields: vec![],
            values: vec![vec![]; files.len()],
        });
    }
    let keys: Vec<_> = files.iter().map(|file| keys_of(&file.name)).collect();
    let Some(first) = common_keys(files, &keys, options, function)? else {
        return Ok(Partitions {
            fields: vec![],
            values: vec![vec![]; files.len()],
        });
    };
    let mut out = Partitions {
        fields: vec![],
        values: vec![Vec::with_capacity(first.len()); files.len()],
    };
    for (at, name) in first.iter().enumerate() {
        let texts = || keys.iter().map(|keys| keys[at].1.as_deref());
        let given = options.hive_types.iter().find(|(known, _)| known == name);
        let ty = match given {
            Some((_, ty)) => ty.clone(),
            None if options.hive_autocast => {
                let mut guess = Guess::of_folders();
                texts().flatten().for_each(|text| guess.see(text));
                guess.data_type()
            }
            None => DataType::Utf8,
        };
        for (file, text) in texts().enumerate() {
            let value = value(text, &ty).ok_or_else(|| {
                EngineError::new(
                    ErrorKind::InvalidParameter,
                    format!(
                        "{function}: folder {name}={} of \"{}\" is no {}",
                        text.unwrap_or(NULL_FOLDER),
                        files[file].name,
                        crate::types::sql_type_name(&ty)
                    ),
                )
            })?;
            out.values[file].push(value);
        }
        let nullable = texts().any(|text| text.is_none());
        out.fields.push(Arc::new(Field::new(name, ty, nullable)));
    }
    Ok(out)
}

/// The keys that the folders of all files have; none if they differ and are not asked for.
fn common_keys(
    files: &[Found],
    keys: &[Vec<(String, Option<String>)>],
    options: &ReadOptions,
    function: &str,
) -> Result<Option<Vec<String>>, EngineError> {
    let names = |keys: &[(String, Option<String>)]| -> Vec<String> {
        keys.iter().map(|(key, _)| key.clone()).collect()
    };
    let first = names(&keys[0]);
    let twice = first
        .iter()
        .enumerate()
        .find(|(at, key)| first[..*at].contains(key));
    let differs = keys.iter().position(|keys| names(keys) != first);
    if options.hive.is_none() && (differs.is_some() || twice.is_some()) {
        return Ok(None);
    }
    if let Some((_, key)) = twice {
        return Err(EngineError::new(
            ErrorKind::InvalidParameter,
            format!(
                "{function}: \"{}\" has two folders for \"{key}\"",
                files[0].name
            ),
        )
        .with_hint("hive_partitioning => false reads the files without these columns"));
    }
    if let Some(at) = differs {
        let list = |keys: &[String]| match keys {
            [] => "none".to_owned(),
            keys => keys.join(", "),
        };
        return Err(EngineError::new(
            ErrorKind::InvalidParameter,
            format!(
                "{function}: folders of \"{}\" give the columns ({}), those of \"{}\" ({})",
                files[at].name,
                list(&names(&keys[at])),
                files[0].name,
                list(&first)
            ),
        )
        .with_hint("hive_partitioning => false reads the files without these columns"));
    }
    if first.is_empty() && options.hive == Some(true) {
        return Err(EngineError::new(
            ErrorKind::InvalidParameter,
            format!(
                "{function}: \"{}\" is in no folder key=value",
                files[0].name
            ),
        ));
    }
    if let Some((unknown, _)) = options
        .hive_types
        .iter()
        .find(|(name, _)| !first.contains(name))
    {
        return Err(EngineError::new(
            ErrorKind::InvalidParameter,
            format!(
                "{function}: hive_types names \"{unknown}\", and the folders give ({})",
                first.join(", ")
            ),
        ));
    }
    Ok(Some(first))
}

/// The partition columns of `files`, found as far as all of them have the same.
///
/// # Errors
/// As [`partitions`].
pub(crate) fn found(files: &[Found], function: &str) -> Result<Partitions, EngineError> {
    partitions(files, &ReadOptions::of_parquet(), function)
}

/// A folder's value in the column's type; none if it is not one.
pub(crate) fn value(text: Option<&str>, ty: &DataType) -> Option<ScalarValue> {
    let Some(text) = text else {
        return ScalarValue::try_from(ty).ok();
    };
    let value = ScalarValue::Utf8(Some(text.to_owned()));
    match ty {
        DataType::Utf8 => Some(value),
        DataType::Timestamp(TimeUnit::Microsecond, _) | DataType::Date32 => {
            let parsed = value.cast_to(ty).ok()?;
            (!parsed.is_null()).then_some(parsed)
        }
        _ => {
            let parsed = ScalarValue::try_from_string(text.to_owned(), ty).ok()?;
            (!parsed.is_null()).then_some(parsed)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use object_store::ObjectMeta;

    fn options() -> ReadOptions {
        ReadOptions::of_parquet()
    }

    fn files(names: &[&str]) -> Vec<Found> {
        let found = |name: &&str| Found {
            name: (*name).to_owned(),
            meta: ObjectMeta {
                location: name.trim_start_matches('/').into(),
                last_modified: chrono::DateTime::UNIX_EPOCH,
                size: 1,
                e_tag: None,
                version: None,
            },
        };
        names.iter().map(found).collect()
    }

    #[test]
    fn folders_are_columns_of_the_types_that_fit_all_files() {
        let files = files(&[
            "/d/y=2024/day=2024-05-01/s=a%2Fb/f.csv",
            "/d/y=7/day=__HIVE_DEFAULT_PARTITION__/s=1/f.csv",
        ]);
        let found = partitions(&files, &options(), "f").unwrap();
        let types: Vec<_> = found.fields.iter().map(|f| f.data_type().clone()).collect();
        assert_eq!(types, [DataType::Int64, DataType::Date32, DataType::Utf8]);
        assert_eq!(found.values[0][0], ScalarValue::Int64(Some(2024)));
        assert_eq!(found.values[0][2], ScalarValue::from("a/b"));
        assert_eq!(found.values[1][0], ScalarValue::Int64(Some(7)));
        assert!(found.values[1][1].is_null() && found.fields[1].is_nullable());
        assert!(!found.fields[0].is_nullable());
    }

    #[test]
    fn keys_that_differ_are_columns_only_if_asked_for_and_then_refused() {
        let files = files(&["/d/a=1/f.csv", "/d/b=1/f.csv"]);
        assert!(
            partitions(&files, &options(), "f")
                .unwrap()
                .fields
                .is_empty()
        );
        let asked = ReadOptions {
            hive: Some(true),
            ..options()
        };
        let error = partitions(&files, &asked, "f").unwrap_err();
        assert!(error.message.contains("/d/b=1/f.csv"), "{error}");
    }

    #[test]
    fn a_value_that_does_not_fit_its_given_type_is_refused() {
        let asked = ReadOptions {
            hive_types: vec![("a".to_owned(), DataType::Int32)],
            ..options()
        };
        let good = partitions(&files(&["/d/a=1/f.csv"]), &asked, "f").unwrap();
        assert_eq!(good.values[0][0], ScalarValue::Int32(Some(1)));
        let error = partitions(&files(&["/d/a=x/f.csv"]), &asked, "f").unwrap_err();
        assert!(error.message.contains("a=x"), "{error}");
    }

    #[test]
    fn names_of_folders_come_back_as_they_went() {
        for text in ["a b", "ä/ö", "100%", "x=y", "%41", ""] {
            assert_eq!(decoded(&encoded(text)), text);
        }
        assert_eq!(decoded("50%"), "50%");
        assert_eq!(decoded("%zz"), "%zz");
    }
}

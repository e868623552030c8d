//! The references that are made from the code: `tarn docs sql` and `tarn docs config`.
//!
//! `cargo xtask docs --check` fails when the pages in `docs/` differ from what is printed here.

use std::fmt::Write as _;

use clap::ValueEnum;
use tarn_engine::{SETTINGS, SettingKind, function_names, metadata_table_names, procedures};

use crate::config::REFERENCE;

/// Which reference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Which {
    /// Statements, functions, settings.
    Sql,
    /// Configuration keys.
    Config,
}

/// The text of a reference, in Markdown.
pub fn text(which: Which) -> String {
    match which {
        Which::Sql => sql(),
        Which::Config => configuration(),
    }
}

const GENERATED: &str =
    "<!-- Made by `cargo xtask docs --write`; edit src/reference.rs or the code it reads. -->\n\n";

fn configuration() -> String {
    let mut out = format!(
        "# Configuration\n\n{GENERATED}\
         Defaults < TOML file (`--config`) < variables < flags. The variable of the key `a.b.c` is\n\
         `TARN__A__B__C`, e.g. `TARN__CATALOG__LAKE__WAREHOUSE=s3://bucket/prefix`. Unknown keys are\n\
         errors; everything is checked before a socket opens.\n\n\
         | key | default | what it does |\n|---|---|---|\n"
    );
    for key in REFERENCE {
        let default = if key.default.is_empty() {
            "none"
        } else {
            key.default
        };
        row(
            &mut out,
            &[&format!("`{}`", key.name), default, key.description],
        );
    }
    out
}

fn row(out: &mut String, cells: &[&str]) {
    let cells: Vec<String> = cells.iter().map(|c| c.replace('|', "\\|")).collect();
    // Writing to a String does not fail.
    let _ = writeln!(out, "| {} |", cells.join(" | "));
}

/// Statements that are not plain queries: form and meaning.
const STATEMENTS: &[(&str, &str)] = &[
    (
        "SELECT …, VALUES …, WITH … SELECT …",
        "Everything that DataFusion has: joins (also lateral), aggregates with FILTER and GROUPING SETS, windows, set operations, recursive CTEs, nested types.",
    ),
    (
        "… FROM t FOR VERSION AS OF id | 'branch or tag', t FOR TIMESTAMP AS OF time, t@branch",
        "The table as it was. A snapshot, a tag or a time is read with the columns of its time, a branch with those of now. FOR SYSTEM_VERSION and FOR SYSTEM_TIME say the same.",
    ),
    (
        "EXPLAIN [ANALYZE] [VERBOSE] [(FORMAT TREE | TEXT | JSON)] statement",
        "The plan, where it runs and why. ANALYZE runs it and adds rows, bytes, files pruned and times of every stage, bytes planned, read, shipped and shuffled, and how uneven its tasks were and why.",
    ),
    (
        "CREATE SCHEMA [IF NOT EXISTS] [catalog.]schema [WITH (key = value, …)]",
        "A new schema (Iceberg namespace).",
    ),
    (
        "DROP SCHEMA [IF EXISTS] schema [, …] [CASCADE | RESTRICT]",
        "CASCADE drops its tables and views, too; RESTRICT, the default, refuses a schema that is not empty.",
    ),
    (
        "CREATE [TEMP] TABLE [IF NOT EXISTS] t (column type [NOT NULL] [PRIMARY KEY] [COMMENT 'text'], …, [PRIMARY KEY (…)]) | (LIKE u) [PARTITIONED BY (…)] [ORDER BY (…)] [WITH (…)] [LOCATION 'url'] [COMMENT 'text']",
        "An empty Iceberg table, format version 2 unless `format-version` says otherwise. A primary key is noted (Iceberg identifier fields), not checked; its columns are NOT NULL.",
    ),
    (
        "CREATE [TEMP] TABLE [IF NOT EXISTS] t [PARTITIONED BY (…)] [ORDER BY (…)] [WITH (…)] AS query [WITH NO DATA], SELECT … INTO [TEMP] t …",
        "The table appears with its rows, or not at all. A temporary one belongs to the session (schema `pg_temp`), comes before others of its name, and goes with the session.",
    ),
    (
        "CREATE [OR REPLACE] [TEMP] VIEW [IF NOT EXISTS] v [(column [COMMENT 'text'], …)] [COMMENT 'text'] AS query",
        "An Iceberg view. Its names are looked up when it is read, in the schemas it was made with: it follows tables that are replaced, and says which column is missing when they no longer fit.",
    ),
    (
        "DROP VIEW [IF EXISTS] v [, …]",
        "CASCADE and RESTRICT are taken and change nothing: nothing hangs on a view.",
    ),
    (
        "ALTER VIEW v AS query, ALTER VIEW [IF EXISTS] v RENAME TO w | SET SCHEMA s | SET (…) | RESET (…)",
        "AS gives it another query and keeps its comment and properties. ALTER TABLE does the rest as well.",
    ),
    (
        "INSERT INTO t [(columns)] query | VALUES …",
        "Columns left out are NULL. One snapshot for each statement.",
    ),
    (
        "DROP TABLE [IF EXISTS] t [, …] [PURGE]",
        "PURGE deletes the files, too. CASCADE and RESTRICT are taken and change nothing: views that read the table stay, and work again once there is a table of the name.",
    ),
    (
        "TRUNCATE [TABLE] t [, …], DELETE FROM t [WHERE true]",
        "Every row goes in one commit of metadata; earlier snapshots keep their files.",
    ),
    (
        "ALTER TABLE [IF EXISTS] t RENAME TO u | SET SCHEMA s | SET (key = value, …) | RESET (key, …)",
        "The files stay where they are. `SET ('format-version' = '3')` upgrades the table.",
    ),
    (
        "ALTER TABLE [IF EXISTS] t WRITE ORDERED BY column [ASC | DESC] [NULLS FIRST | LAST] [, …] | WRITE UNORDERED",
        "How the rows of files written from now on are sorted. See docs/writing.md.",
    ),
    (
        "ALTER TABLE [IF EXISTS] t ADD COLUMN c type | DROP COLUMN c | RENAME COLUMN c TO d | ALTER COLUMN c TYPE type | ALTER COLUMN c SET NOT NULL | DROP NOT NULL [, …]",
        "One commit of a new schema; no file is rewritten. Types widen: integer to bigint, real to double precision, numeric to more digits of the same scale. NOT NULL is set if no row has a NULL. What is inside of columns is named by its path: `ADD COLUMN s.b int`, `RENAME COLUMN s.a TO c`, `DROP COLUMN l.element.x`, `ALTER COLUMN m.value TYPE bigint`; `element` is what an array holds, `key` and `value` what a map does. Keys of maps stay as they are.",
    ),
    (
        "COMMENT ON TABLE t | VIEW v | COLUMN t.c | SCHEMA s IS 'text' | NULL",
        "NULL removes the comment.",
    ),
    (
        "ANALYZE [t], VACUUM [t]",
        "Nothing: statistics are exact with every commit.",
    ),
    (
        "DESCRIBE t, SHOW COLUMNS FROM t",
        "Columns, types, partitioning, comments.",
    ),
    (
        "SHOW CATALOGS | SCHEMAS [FROM catalog] | TABLES [FROM schema] | VIEWS [FROM schema] [LIKE 'pattern']",
        "Names; TABLES lists views, too.",
    ),
    (
        "SHOW CREATE TABLE t, SHOW CREATE VIEW v",
        "The statement that makes such a table or view.",
    ),
    (
        "COPY t [(columns)] | (query) TO 'path' [(FORMAT parquet | csv | json | arrow, PARTITION_BY (columns), …)]",
        "Rows as files of the server, for administrators; see files.md. COPY … FROM STDIN and TO STDOUT are the PostgreSQL door's.",
    ),
    ("SHOW FUNCTIONS [LIKE 'pattern']", "Function names."),
    (
        "USE [catalog.]schema, USE CATALOG catalog",
        "Where unqualified names are looked up.",
    ),
    (
        "SET setting = value, SET TIME ZONE 'zone', RESET setting | ALL, SHOW setting | ALL",
        "Session settings; the list below is all there is.",
    ),
];

fn sql() -> String {
    let mut out = format!(
        "# SQL reference\n\n{GENERATED}\
         PostgreSQL's dialect and names. Unquoted names fold to lower case; a quoted name is found exactly,\n\
         then case-insensitively if unique. A table is `catalog.schema.table`; a session starts in\n\
         `lake.main`.\n\n## Statements\n\n| statement | what it does |\n|---|---|\n"
    );
    for (form, meaning) in STATEMENTS {
        row(&mut out, &[&format!("`{form}`"), meaning]);
    }
    out.push_str(
        "\n## Partition transforms\n\n\
         `column` (identity), `year(c)`, `month(c)`, `day(c)`, `hour(c)`, `bucket(n, c)`, `truncate(n, c)`,\n\
         `void(c)`; each may be named with `AS name`. `ORDER BY` takes them too, with direction and NULLS FIRST or LAST.\n\
         Source: Iceberg spec, \"Partition Transforms\".\n\n\
         ## Types\n\n\
         `boolean`, `smallint` (kept as `integer`), `integer`, `bigint`, `real`, `double precision`,\n\
         `numeric(p, s)` to 38 digits (`numeric` alone is `numeric(38, 10)` in a table), `text` (`varchar`, `char`:\n\
         a cast to a length cuts, a column does not check it; CREATE TABLE says so in a notice), `bytea`, `uuid`, `date`, `time`, `timestamp`, `timestamptz` (microseconds;\n\
         `timestamp(9)` nanoseconds, in tables of format version 3), `fixed(n)`, `type[]`, `struct<name: type, …>`,\n\
         `map<type, type>`. What each is to Iceberg, Arrow, PostgreSQL and JSON: docs/types.md.\n\n\
         ## File functions\n\n\
         `read_parquet(path)`, `read_csv(path, option => value, …)`, `read_json`, `read_avro`, `read_orc`, `read_text`,\n\
         `read_binary_file` in FROM. A path is an absolute path, a folder, a glob, `s3://bucket/key`, or an array of these,\n\
         under `storage.allowed_roots`. Options, COPY to files and files that become a table's: [files.md](files.md).\n\n\
         ## Metadata tables\n\n",
    );
    let names: Vec<String> = metadata_table_names()
        .map(|name| format!("`\"t${name}\"`"))
        .collect();
    out.push_str(&names.join(", "));
    out.push_str(
        " say of the table `t` what its metadata says, with the columns of Iceberg's own metadata tables. \
         They too take `FOR VERSION AS OF` and `@branch`. Bounds and metrics are shown as text.\n\n\
         ## Procedures\n\n| call | what it does |\n|---|---|\n",
    );
    for (usage, about) in procedures() {
        row(&mut out, &[&format!("`CALL {usage}`"), about]);
    }
    out.push_str(
        "\nArguments are literals, by position or as `name => value`; a table is named in a text. `CALL catalog.system.…` looks \
         names up in that catalog.\n\n\
         ## System views\n\n\
         `system.queries`, `system.workers`, `system.settings`, and `information_schema.tables`, `columns`,\n\
         `schemata`, `views`, `routines`, `parameters` of the session's catalog.\n\n\
         ## Settings\n\n| setting | values | default | what it does |\n|---|---|---|---|\n",
    );
    for setting in SETTINGS {
        let values = match setting.kind {
            SettingKind::Text => "text".to_owned(),
            SettingKind::TimeZone => "IANA name or offset".to_owned(),
            SettingKind::Duration => "milliseconds, or with ms, s, min, h".to_owned(),
            SettingKind::Boolean => "on, off".to_owned(),
            SettingKind::Integer(min, max) => format!("{min} to {max}"),
            SettingKind::Word(words) => words.join(", "),
            SettingKind::Schema => "schema".to_owned(),
            SettingKind::Signed(min, max) => format!("{min} to {max}"),
            SettingKind::DateStyle => "ISO, with MDY, DMY or YMD".to_owned(),
            SettingKind::Encoding => "UTF8".to_owned(),
            SettingKind::Fixed => "cannot be set".to_owned(),
        };
        let default = if setting.default.is_empty() {
            "empty"
        } else {
            setting.default
        };
        row(
            &mut out,
            &[
                &format!("`{}`", setting.name),
                &values,
                default,
                setting.description,
            ],
        );
    }
    out.push_str("\n## Functions\n\n");
    let names: Vec<String> = function_names().iter().map(|n| format!("`{n}`")).collect();
    out.push_str(&names.join(", "));
    out.push('\n');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_setting_and_key_is_in_its_reference() {
        let sql = text(Which::Sql);
        for setting in SETTINGS {
            assert!(sql.contains(&format!("`{}`", setting.name)));
        }
        let config = text(Which::Config);
        for key in REFERENCE {
            assert!(config.contains(&format!("`{}`", key.name)));
        }
    }
}

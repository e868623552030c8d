//! The backslash commands: what they are, and what each one does.
//!
//! Those that ask the server are SQL statements written here; nothing is
//! known that SQL could not ask.

use std::fmt::Write;

use super::complete::quote;
use super::format::{Expanded, Format};

/// One command for help and completion.
pub(crate) struct Command {
    pub(crate) name: &'static str,
    arguments: &'static str,
    help: &'static str,
}

/// Every command, in the order of the help.
pub(crate) const COMMANDS: &[Command] = &[
    Command {
        name: "\\d",
        arguments: "[NAME]",
        help: "columns of a table; without a name, the tables",
    },
    Command {
        name: "\\dt",
        arguments: "[SCHEMA.][TABLE]",
        help: "tables of this schema, or by pattern (* for any)",
    },
    Command {
        name: "\\dn",
        arguments: "",
        help: "schemas of this catalog",
    },
    Command {
        name: "\\l",
        arguments: "",
        help: "catalogs",
    },
    Command {
        name: "\\sf",
        arguments: "NAME",
        help: "the CREATE TABLE statement of a table",
    },
    Command {
        name: "\\c",
        arguments: "CATALOG[.SCHEMA]",
        help: "change where names are looked up",
    },
    Command {
        name: "\\timing",
        arguments: "[on|off]",
        help: "show how long statements take",
    },
    Command {
        name: "\\x",
        arguments: "[on|off|auto]",
        help: "show one value a line",
    },
    Command {
        name: "\\format",
        arguments: "FORMAT",
        help: "table, csv, json or ndjson",
    },
    Command {
        name: "\\limit",
        arguments: "ROWS",
        help: "rows that a table shows; 0 for all",
    },
    Command {
        name: "\\i",
        arguments: "FILE",
        help: "run a script",
    },
    Command {
        name: "\\?",
        arguments: "",
        help: "this help",
    },
    Command {
        name: "\\q",
        arguments: "",
        help: "leave (or Ctrl-D)",
    },
];

const HELP_END: &str = "
Statements end with a semicolon and may span lines. Ctrl-C cancels a running statement.
  SELECT …                      SHOW CATALOGS | SCHEMAS | TABLES
  CREATE TABLE … AS SELECT …    DESCRIBE table
  INSERT INTO … SELECT …        EXPLAIN [ANALYZE] SELECT …
  SELECT * FROM read_parquet('/path/*.parquet');
";

/// What a command asks the shell to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Action {
    /// Run this statement and show its result as a table.
    Query(String),
    /// Run this statement for its effect.
    Change(String),
    Timing(Option<bool>),
    Expanded(Option<Expanded>),
    Format(Format),
    Limit(u64),
    Include(String),
    Help,
    Quit,
}

/// Whether a word without a backslash is understood as a command.
pub(crate) fn is_word_command(input: &str) -> bool {
    let word = input.trim_end_matches(';').trim();
    ["help", "quit", "exit"]
        .iter()
        .any(|command| word.eq_ignore_ascii_case(command))
}

/// Understands a command line.
///
/// # Errors
/// What is wrong with it, in words.
pub(crate) fn parse(line: &str, schema: &str) -> Result<Action, String> {
    let line = line.trim().trim_end_matches(';').trim_end();
    let (name, argument) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    let argument = argument.trim();
    let required = |what: &str| {
        if argument.is_empty() {
            Err(format!("{name} needs {what}"))
        } else {
            Ok(argument.to_owned())
        }
    };
    match name.to_ascii_lowercase().as_str() {
        "\\d" if argument.is_empty() => Ok(Action::Query(tables("", schema))),
        "\\d" => Ok(Action::Query(format!("DESCRIBE {argument}"))),
        "\\dt" => Ok(Action::Query(tables(argument, schema))),
        "\\dn" => Ok(Action::Query("SHOW SCHEMAS".to_owned())),
        "\\l" => Ok(Action::Query("SHOW CATALOGS".to_owned())),
        "\\sf" | "\\d+" => Ok(Action::Query(format!(
            "SHOW CREATE TABLE {}",
            required("a table")?
        ))),
        "\\c" => Ok(Action::Change(use_statement(&required("a catalog")?))),
        "\\timing" => Ok(Action::Timing(match argument {
            "" => None,
            argument => Some(switch(argument)?),
        })),
        "\\x" => Ok(Action::Expanded(match argument {
            "" => None,
            "auto" => Some(Expanded::Auto),
            argument => Some(if switch(argument)? {
                Expanded::Always
            } else {
                Expanded::Never
            }),
        })),
        "\\format" => clap::ValueEnum::from_str(&required("table, csv, json or ndjson")?, true)
            .map(Action::Format)
            .map_err(|_| {
                format!("no format \"{argument}\"; there are table, csv, json and ndjson")
            }),
        "\\limit" => required("a number of rows")?
            .parse()
            .map(Action::Limit)
            .map_err(|_| format!("\\limit needs a number of rows, not \"{argument}\"")),
        "\\i" => Ok(Action::Include(required("a file")?)),
        "\\?" | "\\h" | "\\help" | "help" => Ok(Action::Help),
        "\\q" | "\\quit" | "quit" | "exit" => Ok(Action::Quit),
        _ => Err(format!("no command {name}; \\? lists them")),
    }
}

/// What `\?` shows.
pub(crate) fn help() -> String {
    let mut text = String::new();
    for Command {
        name,
        arguments,
        help,
    } in COMMANDS
    {
        let usage = format!("{name} {arguments}");
        let _ = writeln!(text, "  {usage:<26}  {help}");
    }
    text + HELP_END
}

/// `USE` for `catalog` or `catalog.schema`.
pub(crate) fn use_statement(place: &str) -> String {
    let (catalog, schema) = place.split_once('.').unwrap_or((place, "main"));
    format!(
        "USE {}.{}",
        quote(catalog.trim_matches('"')),
        quote(schema.trim_matches('"'))
    )
}

fn switch(argument: &str) -> Result<bool, String> {
    match argument {
        "on" => Ok(true),
        "off" => Ok(false),
        other => Err(format!("on or off is expected, not \"{other}\"")),
    }
}

/// Lists tables: of `schema`, or by `[schema.]table` with `*` for anything.
fn tables(pattern: &str, schema: &str) -> String {
    let (schema, table) = match pattern.split_once('.') {
        Some((schema, table)) => (schema, table),
        None if pattern == "*" => ("*", "*"),
        None => (schema, pattern),
    };
    let like = |pattern: &str| {
        let escaped = pattern
            .replace('\'', "''")
            .replace('\\', "\\\\")
            .replace('_', "\\_");
        escaped.replace('*', "%")
    };
    let table = if table.is_empty() { "*" } else { table };
    let system = if schema == "*" {
        " AND table_schema NOT IN ('information_schema', 'system')"
    } else {
        ""
    };
    format!(
        "SELECT table_schema AS schema, table_name AS name, table_type AS type FROM information_schema.tables \
         WHERE table_schema LIKE '{}' AND table_name LIKE '{}'{system} ORDER BY 1, 2",
        like(schema),
        like(table)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_parse(line: &str, expected: Result<Action, &str>) {
        assert_eq!(
            parse(line, "main"),
            expected.map_err(str::to_owned),
            "{line}"
        );
    }

    #[test]
    fn commands_become_actions() {
        check_parse("\\q", Ok(Action::Quit));
        check_parse("exit;", Ok(Action::Quit));
        check_parse(
            "\\d a.\"B\"",
            Ok(Action::Query("DESCRIBE a.\"B\"".to_owned())),
        );
        check_parse("\\c crm", Ok(Action::Change("USE crm.main".to_owned())));
        check_parse(
            "\\c crm.Sales",
            Ok(Action::Change("USE crm.\"Sales\"".to_owned())),
        );
        check_parse("\\x", Ok(Action::Expanded(None)));
        check_parse("\\x auto", Ok(Action::Expanded(Some(Expanded::Auto))));
        check_parse("\\timing off", Ok(Action::Timing(Some(false))));
        check_parse("\\format CSV", Ok(Action::Format(Format::Csv)));
        check_parse("\\limit 0", Ok(Action::Limit(0)));
        check_parse("\\i a b.sql", Ok(Action::Include("a b.sql".to_owned())));
    }

    #[test]
    fn mistakes_are_explained() {
        check_parse("\\nope", Err("no command \\nope; \\? lists them"));
        check_parse("\\c", Err("\\c needs a catalog"));
        check_parse(
            "\\limit x",
            Err("\\limit needs a number of rows, not \"x\""),
        );
        check_parse(
            "\\timing maybe",
            Err("on or off is expected, not \"maybe\""),
        );
    }

    #[test]
    fn table_patterns_are_quoted() {
        let Ok(Action::Query(statement)) = parse("\\dt o'x_*", "main") else {
            panic!()
        };
        assert!(
            statement.contains(r"table_schema LIKE 'main' AND table_name LIKE 'o''x\_%'"),
            "{statement}"
        );
        let Ok(Action::Query(statement)) = parse("\\dt *", "main") else {
            panic!()
        };
        assert!(
            statement.contains("LIKE '%' AND table_name LIKE '%' AND table_schema NOT IN"),
            "{statement}"
        );
    }

    #[test]
    fn help_names_every_command() {
        let help = help();
        assert!(COMMANDS.iter().all(|command| help.contains(command.name)));
    }
}

//! The rules of `cargo xtask tidy`: which crate may know whom, and how a file looks.
//!
//! Pure: a function from a [`Workspace`] to its breaches. The table is that of
//! `CONTRIBUTING.md`, section "Crates know little".

use std::collections::BTreeMap;
use std::fmt;

use crate::code::{is_word, without_text};
use crate::model::{Crate, SourceFile, Workspace};

/// A file has at most this many lines before its tests.
const FILE_LINES_MAX: usize = 800;

/// Which members each member may depend on.
const ARROWS: &[(&str, &[&str])] = &[
    ("tarn-proto", &[]),
    ("tarn-catalog", &[]),
    ("tarn-control", &[]),
    ("tarn-engine", &["tarn-catalog", "tarn-proto"]),
    ("tarn-worker", &["tarn-engine", "tarn-proto"]),
    (
        "tarn-coordinator",
        &["tarn-engine", "tarn-control", "tarn-catalog", "tarn-proto"],
    ),
    (
        "tarn",
        &[
            "tarn-proto",
            "tarn-catalog",
            "tarn-control",
            "tarn-engine",
            "tarn-worker",
            "tarn-coordinator",
        ],
    ),
    ("xtask", &[]),
    ("tarn-fuzz", &["tarn-coordinator"]),
];

/// A family of published crates and the members that may depend on it.
struct Family {
    name: &'static str,
    members: &'static [&'static str],
    why: &'static str,
}

/// The first family that matches a dependency decides, so the narrow ones come first.
const FAMILIES: &[Family] = &[
    Family {
        name: "datafusion-distributed",
        members: &["tarn-engine", "tarn-worker"],
        why: "the distributed engine hides behind engine::distribute and one module of worker",
    },
    Family {
        name: "datafusion",
        members: &["tarn-engine", "tarn-worker", "tarn-coordinator", "tarn"],
        why: "plans are the engine's business: catalog knows only Iceberg, control only identities",
    },
    Family {
        name: "iceberg",
        members: &["tarn-catalog"],
        why: "it is a metadata library with an older Arrow of its own, which never leaves catalog",
    },
    Family {
        name: "arrow",
        members: &[
            "tarn-catalog",
            "tarn-engine",
            "tarn-worker",
            "tarn-coordinator",
            "tarn",
        ],
        why: "control knows no data, and wire types are converted by hand where they enter",
    },
    Family {
        name: "parquet",
        members: &[
            "tarn-catalog",
            "tarn-engine",
            "tarn-worker",
            "tarn-coordinator",
            "tarn",
        ],
        why: "control knows no data, and wire types are converted by hand where they enter",
    },
    Family {
        name: "axum",
        members: &["tarn-coordinator", "tarn-worker", "tarn"],
        why: "the engine, the catalog and control serve no sockets",
    },
    Family {
        name: "anyhow",
        members: &["tarn", "xtask"],
        why: "a library says what went wrong in types, each with a code",
    },
    Family {
        name: "clap",
        members: &["tarn", "xtask"],
        why: "only a binary reads a command line",
    },
    Family {
        name: "sqlx",
        members: &["tarn-catalog", "tarn-control"],
        why: "the metadata database is reached through catalog and control",
    },
];

/// Generated code does not inherit the workspace's lints.
const WITHOUT_LINTS: &[&str] = &["tarn-proto"];

/// One breach of a rule, with where it is and what to do.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Violation {
    file: String,
    line: usize,
    problem: String,
    action: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "{}:{}: {}\n    {}",
            self.file, self.line, self.problem, self.action
        )
    }
}

/// Every breach in `workspace`, crates first, then files in path order.
pub(crate) fn check(workspace: &Workspace) -> Vec<Violation> {
    let mut violations = Vec::new();
    for member in &workspace.crates {
        check_arrows(member, &mut violations);
        check_lints(member, &mut violations);
    }
    for file in &workspace.files {
        check_opening(file, &mut violations);
        check_length(file, &mut violations);
        check_code(file, &mut violations);
    }
    check_worker_module(&workspace.files, &mut violations);
    violations
}

fn check_arrows(member: &Crate, violations: &mut Vec<Violation>) {
    let at = |line: usize, problem: String, action: String| Violation {
        file: member.manifest.clone(),
        line,
        problem,
        action,
    };
    let Some((_, allowed)) = ARROWS.iter().find(|(name, _)| *name == member.name) else {
        violations.push(at(
            1,
            format!(
                "crate {:?} has no row in the table of who may know whom",
                member.name
            ),
            "say what it may know in ARROWS of xtask/src/rules.rs and in CONTRIBUTING.md"
                .to_owned(),
        ));
        return;
    };
    for dependency in &member.dependencies {
        let name = dependency.name.as_str();
        if ARROWS.iter().any(|(known, _)| *known == name) {
            if !allowed.contains(&name) {
                let known = if allowed.is_empty() {
                    "no other crate".to_owned()
                } else {
                    allowed.join(", ")
                };
                violations.push(at(
                    dependency.line,
                    format!("crate {:?} must not depend on {name:?}; it may know {known}", member.name),
                    "move the code to the side that may know the other, or ask through a trait of its own".to_owned(),
                ));
            }
        } else if let Some(family) = FAMILIES.iter().find(|family| belongs(name, family.name))
            && !family.members.contains(&member.name.as_str())
        {
            violations.push(at(
                dependency.line,
                format!(
                    "crate {:?} must not depend on {name:?}: {}",
                    member.name, family.why
                ),
                format!(
                    "use it in {} and hand on a type of ours",
                    family.members.join(" or ")
                ),
            ));
        }
    }
}

/// Whether package `name` is `family` itself or one of its parts (`arrow-schema`).
fn belongs(name: &str, family: &str) -> bool {
    name.strip_prefix(family)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with(['-', '_']))
}

fn check_lints(member: &Crate, violations: &mut Vec<Violation>) {
    if !member.inherits_lints && !WITHOUT_LINTS.contains(&member.name.as_str()) {
        violations.push(Violation {
            file: member.manifest.clone(),
            line: 1,
            problem: format!(
                "crate {:?} does not inherit the workspace's lints",
                member.name
            ),
            action: "add\n    [lints]\n    workspace = true".to_owned(),
        });
    }
}

fn check_opening(file: &SourceFile, violations: &mut Vec<Violation>) {
    let opening = file.text.lines().next().unwrap_or_default();
    let says_something = opening
        .strip_prefix("//!")
        .is_some_and(|rest| !rest.trim().is_empty());
    if !says_something {
        violations.push(Violation {
            file: file.path.clone(),
            line: 1,
            problem: "the file does not open with what it is for".to_owned(),
            action: "begin with `//! …`: what it is for and what it refuses to know".to_owned(),
        });
    }
}

fn check_length(file: &SourceFile, violations: &mut Vec<Violation>) {
    // A module of nothing but tests may be as long as it takes.
    if file.path.ends_with("/tests.rs") || file.path.contains("/tests/") {
        return;
    }
    let lines = file
        .text
        .lines()
        .take_while(|line| *line != "#[cfg(test)]")
        .count();
    if lines > FILE_LINES_MAX {
        violations.push(Violation {
            file: file.path.clone(),
            line: FILE_LINES_MAX + 1,
            problem: format!("{lines} lines before the tests; the limit is {FILE_LINES_MAX}"),
            action: "split it along the nouns in it".to_owned(),
        });
    }
}

fn check_code(file: &SourceFile, violations: &mut Vec<Violation>) {
    let code = without_text(&file.text);
    for (index, line) in code.lines().enumerate() {
        for (problem, action) in line_breaches(&file.path, line) {
            violations.push(Violation {
                file: file.path.clone(),
                line: index + 1,
                problem: problem.to_owned(),
                action: action.to_owned(),
            });
        }
    }
}

/// What is wrong with one line of code, and what to do about it.
fn line_breaches(path: &str, line: &str) -> Vec<(&'static str, &'static str)> {
    let mut breaches = Vec::new();
    if line.contains("#[ignore") {
        breaches.push((
            "a test is switched off",
            "make it pass, or delete it with the reason in the commit",
        ));
    }
    if names_macro(line, "todo") || names_macro(line, "unimplemented") {
        breaches.push((
            "unfinished code",
            "write it, or refuse the case with an error that says what to do",
        ));
    }
    if names_iceberg(line) && !path.starts_with("catalog/") {
        breaches.push((
            "the crate `iceberg` is named outside catalog",
            "use the types of tarn_catalog; add there what is missing",
        ));
    }
    if has_word(line, "datafusion_distributed") && !may_distribute(path) {
        breaches.push((
            "`datafusion_distributed` is named outside engine::distribute and worker",
            "go through tarn_engine::distribute",
        ));
    }
    breaches
}

fn may_distribute(path: &str) -> bool {
    module(path, "engine/src/") == Some("distribute") || path.starts_with("worker/src/")
}

/// The top module of `path` below `folder`: `distribute` for `distribute/plan.rs` and `distribute.rs`.
fn module<'a>(path: &'a str, folder: &str) -> Option<&'a str> {
    let first = path.strip_prefix(folder)?.split('/').next()?;
    Some(first.strip_suffix(".rs").unwrap_or(first))
}

fn check_worker_module(files: &[SourceFile], violations: &mut Vec<Violation>) {
    let mut modules: BTreeMap<&str, (&str, usize)> = BTreeMap::new();
    for file in files {
        let Some(module) = module(&file.path, "worker/src/") else {
            continue;
        };
        let code = without_text(&file.text);
        if let Some(line) = code
            .lines()
            .position(|line| has_word(line, "datafusion_distributed"))
        {
            modules.entry(module).or_insert((&file.path, line + 1));
        }
    }
    let names: Vec<&str> = modules.keys().copied().collect();
    for (path, line) in modules.values().skip(1) {
        violations.push(Violation {
            file: (*path).to_owned(),
            line: *line,
            problem: format!(
                "worker names `datafusion_distributed` in several modules: {}",
                names.join(", ")
            ),
            action: "keep it in one of them".to_owned(),
        });
    }
}

/// Whether `line` imports the crate `iceberg` or starts a path with it; a module
/// of that name inside another crate is not meant.
fn names_iceberg(line: &str) -> bool {
    words(line, "iceberg").any(|(before, after)| {
        let leading = before
            .strip_suffix("::")
            .filter(|rest| !rest.ends_with(|c| is_word(c) || c == '>'));
        let before = leading.unwrap_or(before);
        let imported = before.ends_with("use ") || before.ends_with("extern crate ");
        !before.ends_with("::") && (imported || after.starts_with("::"))
    })
}

fn names_macro(line: &str, name: &str) -> bool {
    words(line, name).any(|(_, after)| after.starts_with('!') && !after.starts_with("!="))
}

fn has_word(line: &str, word: &str) -> bool {
    words(line, word).next().is_some()
}

/// What is before and after each occurrence of `word` as a whole word.
fn words<'a>(line: &'a str, word: &'a str) -> impl Iterator<Item = (&'a str, &'a str)> {
    line.match_indices(word).filter_map(move |(at, _)| {
        let (before, after) = (&line[..at], &line[at + word.len()..]);
        (!before.ends_with(is_word) && !after.starts_with(is_word)).then_some((before, after))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Dependency;

    fn member(name: &str, dependencies: &[&str]) -> Crate {
        let dependencies = dependencies
            .iter()
            .enumerate()
            .map(|(index, name)| Dependency {
                name: (*name).to_owned(),
                line: index + 10,
            })
            .collect();
        Crate {
            name: name.to_owned(),
            manifest: format!("{name}/Cargo.toml"),
            dependencies,
            inherits_lints: true,
        }
    }

    fn check_crate(name: &str, dependency: &str) -> Vec<Violation> {
        check(&Workspace {
            crates: vec![member(name, &["serde", dependency])],
            files: Vec::new(),
        })
    }

    fn check_file(path: &str, text: &str) -> Vec<String> {
        let files = vec![SourceFile {
            path: path.to_owned(),
            text: text.to_owned(),
        }];
        let found = check(&Workspace {
            crates: Vec::new(),
            files,
        });
        found
            .into_iter()
            .map(|violation| format!("{}: {}", violation.line, violation.problem))
            .collect()
    }

    #[test]
    fn every_forbidden_arrow_between_members_is_found() {
        let forbidden = [
            ("tarn-proto", "tarn-catalog"),
            ("tarn-catalog", "tarn-engine"),
            ("tarn-control", "tarn-catalog"),
            ("tarn-engine", "tarn-control"),
            ("tarn-engine", "tarn-coordinator"),
            ("tarn-worker", "tarn-coordinator"),
            ("tarn-worker", "tarn-control"),
            ("tarn-coordinator", "tarn-worker"),
            ("tarn-catalog", "tarn"),
            ("xtask", "tarn-engine"),
        ];
        for (from, to) in forbidden {
            let found = check_crate(from, to);
            assert_eq!(found.len(), 1, "{from} -> {to}: {found:?}");
            assert_eq!(found[0].line, 11, "the line of the second dependency");
            assert!(
                found[0].problem.contains(from) && found[0].problem.contains(to),
                "{}",
                found[0]
            );
        }
    }

    #[test]
    fn every_forbidden_arrow_to_a_published_crate_is_found() {
        let forbidden = [
            ("tarn-catalog", "datafusion"),
            ("tarn-control", "datafusion-common"),
            ("tarn-engine", "iceberg"),
            ("tarn", "iceberg-catalog-rest"),
            ("tarn-control", "arrow"),
            ("tarn-control", "arrow-schema"),
            ("tarn-control", "parquet"),
            ("tarn-control", "iceberg"),
            ("tarn-engine", "axum"),
            ("tarn-engine", "clap"),
            ("tarn-coordinator", "datafusion-distributed"),
            ("tarn-engine", "sqlx"),
            ("tarn-catalog", "anyhow"),
        ];
        for (from, to) in forbidden {
            assert_eq!(check_crate(from, to).len(), 1, "{from} -> {to}");
        }
    }

    #[test]
    fn allowed_arrows_pass() {
        let allowed = [
            ("tarn-engine", "tarn-catalog"),
            ("tarn-engine", "datafusion-distributed"),
            ("tarn-worker", "tarn-engine"),
            ("tarn-coordinator", "tarn-control"),
            ("tarn", "tarn-worker"),
            ("tarn-catalog", "iceberg"),
            ("tarn-catalog", "arrow"),
            ("tarn-control", "sqlx"),
            ("tarn-catalog", "arrowhead"),
        ];
        for (from, to) in allowed {
            assert_eq!(check_crate(from, to), Vec::new(), "{from} -> {to}");
        }
    }

    #[test]
    fn a_crate_without_a_row_is_refused() {
        let found = check_crate("tarn-utils", "serde");
        assert_eq!(found.len(), 1);
        assert!(found[0].action.contains("ARROWS"), "{}", found[0]);
    }

    #[test]
    fn a_crate_without_the_lints_is_refused_unless_generated() {
        let mut crates = vec![member("tarn-engine", &[]), member("tarn-proto", &[])];
        for member in &mut crates {
            member.inherits_lints = false;
        }
        let found = check(&Workspace {
            crates,
            files: Vec::new(),
        });
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].file, "tarn-engine/Cargo.toml");
    }

    #[test]
    fn iceberg_is_named_in_catalog_only() {
        for line in [
            "use iceberg::spec::Schema;",
            "use ::iceberg::spec;",
            "let a: iceberg::Error;",
            "extern crate iceberg;",
        ] {
            let text = format!("//! a\n{line}\n");
            assert_eq!(check_file("engine/src/scan.rs", &text).len(), 1, "{line}");
            assert_eq!(
                check_file("catalog/src/scan.rs", &text),
                Vec::<String>::new(),
                "{line}"
            );
        }
        for line in [
            "let iceberg = 1;",
            "// iceberg::spec",
            "f(\"iceberg::spec\")",
            "self.iceberg_type::<A>()",
        ] {
            let text = format!("//! a\n{line}\n");
            assert_eq!(
                check_file("engine/src/scan.rs", &text),
                Vec::<String>::new(),
                "{line}"
            );
        }
    }

    #[test]
    fn the_distributed_engine_is_named_in_two_modules_only() {
        let text = "//! a\nuse datafusion_distributed::Worker;\n";
        assert_eq!(
            check_file("engine/src/distribute.rs", text),
            Vec::<String>::new()
        );
        assert_eq!(
            check_file("engine/src/distribute/plan.rs", text),
            Vec::<String>::new()
        );
        assert_eq!(
            check_file("worker/src/fragment.rs", text),
            Vec::<String>::new()
        );
        assert_eq!(check_file("engine/src/session.rs", text).len(), 1);
        assert_eq!(check_file("engine/src/redistribute.rs", text).len(), 1);
        assert_eq!(check_file("src/main.rs", text).len(), 1);
    }

    #[test]
    fn a_second_module_of_worker_may_not_name_it() {
        let file = |path: &str| SourceFile {
            path: path.to_owned(),
            text: "//! a\n\nuse datafusion_distributed::Worker;\n".to_owned(),
        };
        let one = vec![
            file("worker/src/fragment.rs"),
            file("worker/src/fragment/wire.rs"),
        ];
        assert_eq!(
            check(&Workspace {
                crates: Vec::new(),
                files: one
            }),
            Vec::new()
        );
        let two = vec![file("worker/src/fragment.rs"), file("worker/src/server.rs")];
        let found = check(&Workspace {
            crates: Vec::new(),
            files: two,
        });
        assert_eq!(found.len(), 1);
        assert_eq!(
            (found[0].file.as_str(), found[0].line),
            ("worker/src/server.rs", 3)
        );
    }

    #[test]
    fn a_file_opens_with_what_it_is_for() {
        assert_eq!(check_file("src/a.rs", "//! Reads.\n"), Vec::<String>::new());
        assert_eq!(check_file("src/a.rs", "use std::fs;\n").len(), 1);
        assert_eq!(check_file("src/a.rs", "//!\n").len(), 1);
        assert_eq!(check_file("src/a.rs", "").len(), 1);
    }

    #[test]
    fn only_the_lines_before_the_tests_count() {
        let long = format!("//! a\n{}", "fn f() {}\n".repeat(FILE_LINES_MAX));
        assert_eq!(check_file("src/a.rs", &long).len(), 1);
        let tested = format!(
            "//! a\n#[cfg(test)]\n{}",
            "fn f() {}\n".repeat(FILE_LINES_MAX)
        );
        assert_eq!(check_file("src/a.rs", &tested), Vec::<String>::new());
        assert_eq!(check_file("src/a/tests.rs", &long), Vec::<String>::new());
    }

    #[test]
    fn switched_off_tests_and_unfinished_code_are_found() {
        assert_eq!(
            check_file("src/a.rs", "//! a\n#[ignore]\nfn f() {}\n"),
            ["2: a test is switched off"]
        );
        assert_eq!(
            check_file("src/a.rs", "//! a\n#[ignore = \"slow\"]\n").len(),
            1
        );
        assert_eq!(
            check_file("src/a.rs", "//! a\nfn f() { todo!() }\n"),
            ["2: unfinished code"]
        );
        assert_eq!(
            check_file("src/a.rs", "//! a\nfn f() { unimplemented!(\"x\") }\n").len(),
            1
        );
        assert_eq!(
            check_file("src/a.rs", "//! a\n// todo!\nif todo != 1 {}\n"),
            Vec::<String>::new()
        );
    }
}

//! Functions of regular expressions that DataFusion does not have: `regexp_matches`, `regexp_split_to_array`,
//! `regexp_split_to_table`, `regexp_substr`, `regexp_count` and `regexp_instr` with all arguments; and `string_to_table`, which splits by a text.
//!
//! What gives several rows gives a list here, which the statement unnests. Knows values only.

use std::collections::HashMap;
use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, Int32Builder, Int64Array, ListBuilder, StringArray, StringBuilder,
};
use datafusion::arrow::datatypes::{DataType, Field, Int64Type};
use datafusion::common::{Result, plan_err};
use datafusion::error::DataFusionError;
use datafusion::functions::utils::make_scalar_function;
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use regex::{Captures, Regex, RegexBuilder};

use crate::error::{EngineError, ErrorKind, with_class};

/// Bytes of a compiled expression at most.
const COMPILED_BYTES_MAX: usize = 10 << 20;

/// The functions, for every process of the cluster.
pub(super) fn functions() -> Vec<Arc<ScalarUDF>> {
    Kind::ALL
        .into_iter()
        .map(|kind| {
            let signature = Signature::user_defined(Volatility::Immutable);
            Arc::new(ScalarUDF::from(Function { kind, signature }))
        })
        .collect()
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Kind {
    Matches,
    SplitToArray,
    SplitToTable,
    Substr,
    StringToTable,
    Count,
    Instr,
}

impl Kind {
    const ALL: [Self; 7] = [
        Self::Matches,
        Self::SplitToArray,
        Self::SplitToTable,
        Self::Substr,
        Self::StringToTable,
        Self::Count,
        Self::Instr,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Matches => "regexp_matches",
            Self::SplitToArray => "regexp_split_to_array",
            Self::SplitToTable => "regexp_split_to_table",
            Self::Substr => "regexp_substr",
            Self::StringToTable => "string_to_table",
            Self::Count => "regexp_count",
            Self::Instr => "regexp_instr",
        }
    }

    /// The types of its arguments, `t`ext or `i`nteger, and how many there must be.
    fn takes(self) -> (&'static str, usize) {
        match self {
            Self::Substr => ("ttiiti", 2),
            Self::Count => ("ttit", 2),
            Self::Instr => ("ttiiiti", 2),
            Self::Matches | Self::SplitToArray | Self::SplitToTable | Self::StringToTable => {
                ("ttt", 2)
            }
        }
    }
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Function {
    kind: Kind,
    signature: Signature,
}

impl ScalarUDFImpl for Function {
    fn name(&self) -> &str {
        self.kind.name()
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        let (takes, least) = self.kind.takes();
        let fits = |(ty, wanted): (&DataType, u8)| match wanted {
            b't' => {
                matches!(
                    ty,
                    DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View | DataType::Null
                )
            }
            _ => ty.is_integer() || ty.is_null(),
        };
        let count = types.len();
        if count < least || count > takes.len() || !types.iter().zip(takes.bytes()).all(fits) {
            return plan_err!("{} does not take such arguments", self.name());
        }
        Ok(takes
            .bytes()
            .take(count)
            .map(|wanted| match wanted {
                b't' => DataType::Utf8,
                _ => DataType::Int64,
            })
            .collect())
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        let list = |item| DataType::List(Arc::new(Field::new_list_field(item, true)));
        Ok(match self.kind {
            Kind::Matches => list(list(DataType::Utf8)),
            Kind::SplitToArray | Kind::SplitToTable | Kind::StringToTable => list(DataType::Utf8),
            Kind::Substr => DataType::Utf8,
            Kind::Count | Kind::Instr => DataType::Int32,
        })
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let each = |arrays: &[ArrayRef]| evaluated(self.kind, arrays);
        make_scalar_function(each, vec![])(&args.args)
    }
}

/// The arguments of one row.
struct Row<'a> {
    texts: Vec<Option<&'a str>>,
    numbers: Vec<Option<i64>>,
}

fn evaluated(kind: Kind, arrays: &[ArrayRef]) -> Result<ArrayRef> {
    let rows = arrays.first().map_or(0, Array::len);
    let texts: Vec<Option<&StringArray>> = arrays
        .iter()
        .map(|array| array.as_string_opt::<i32>())
        .collect();
    let numbers: Vec<Option<&Int64Array>> = arrays
        .iter()
        .map(|array| array.as_primitive_opt::<Int64Type>())
        .collect();
    let row = |at: usize| Row {
        texts: texts
            .iter()
            .map(|array| array.filter(|a| a.is_valid(at)).map(|a| a.value(at)))
            .collect(),
        numbers: numbers
            .iter()
            .map(|array| array.filter(|a| a.is_valid(at)).map(|a| a.value(at)))
            .collect(),
    };
    // All but the delimiter and the text for NULL make the result NULL.
    let strict = if kind == Kind::StringToTable {
        1
    } else {
        arrays.len()
    };
    let is_null = |at: usize| arrays.iter().take(strict).any(|array| array.is_null(at));
    let mut known = Compiled::default();
    match kind {
        Kind::Matches => {
            let mut out = ListBuilder::new(ListBuilder::new(StringBuilder::new()));
            for at in 0..rows {
                if !is_null(at) {
                    for found in matches(&mut known, &row(at))? {
                        for part in found {
                            out.values().values().append_option(part);
                        }
                        out.values().append(true);
                    }
                }
                out.append(!is_null(at));
            }
            Ok(Arc::new(out.finish()))
        }
        Kind::SplitToArray | Kind::SplitToTable | Kind::StringToTable => {
            let mut out = ListBuilder::new(StringBuilder::new());
            for at in 0..rows {
                if !is_null(at) {
                    let row = row(at);
                    let parts = match kind {
                        Kind::StringToTable => pieces(&row),
                        _ => split(kind, &mut known, &row)?,
                    };
                    for part in parts {
                        out.values().append_option(part);
                    }
                }
                out.append(!is_null(at));
            }
            Ok(Arc::new(out.finish()))
        }
        Kind::Count | Kind::Instr => {
            let mut out = Int32Builder::with_capacity(rows);
            for at in 0..rows {
                if is_null(at) {
                    out.append_null();
                } else if kind == Kind::Count {
                    out.append_value(count(&mut known, &row(at))?);
                } else {
                    out.append_value(place(&mut known, &row(at))?);
                }
            }
            Ok(Arc::new(out.finish()))
        }
        Kind::Substr => {
            let mut out = StringBuilder::new();
            for at in 0..rows {
                if is_null(at) {
                    out.append_null();
                } else {
                    out.append_option(substr(&mut known, &row(at))?);
                }
            }
            Ok(Arc::new(out.finish()))
        }
    }
}

/// Expressions that were compiled already, by text and flags.
#[derive(Default)]
struct Compiled {
    known: HashMap<(String, String), Regex>,
}

impl Compiled {
    fn regex(&mut self, pattern: &str, flags: &str) -> Result<Regex> {
        let key = (pattern.to_owned(), flags.to_owned());
        if let Some(regex) = self.known.get(&key) {
            return Ok(regex.clone());
        }
        let regex = compiled(pattern, flags)?;
        self.known.insert(key, regex.clone());
        Ok(regex)
    }
}

/// A regular expression with PostgreSQL's flags. Source: PostgreSQL, "ARE Embedded-Option Letters".
fn compiled(pattern: &str, flags: &str) -> Result<Regex> {
    let mut text = pattern.to_owned();
    let (mut insensitive, mut expanded, mut dot, mut lines) = (false, false, true, false);
    for flag in flags.chars() {
        match flag {
            'g' | 'b' | 'e' | 't' => {}
            'i' => insensitive = true,
            'c' => insensitive = false,
            'x' => expanded = true,
            's' => (dot, lines) = (true, false),
            'n' | 'm' => (dot, lines) = (false, true),
            'p' => (dot, lines) = (false, false),
            'w' => (dot, lines) = (true, true),
            'q' => text = regex::escape(pattern),
            other => {
                return Err(refused(format!(
                    "invalid regular expression option: \"{other}\""
                )));
            }
        }
    }
    RegexBuilder::new(&text)
        .case_insensitive(insensitive)
        .ignore_whitespace(expanded)
        .dot_matches_new_line(dot)
        .multi_line(lines)
        .size_limit(COMPILED_BYTES_MAX)
        .build()
        .map_err(|error| {
            let kind = ErrorKind::InvalidRegex;
            let message = format!("invalid regular expression: {error}");
            with_class(EngineError::new(kind, message).into(), kind)
        })
}

fn refused(message: String) -> DataFusionError {
    let kind = ErrorKind::InvalidParameter;
    with_class(EngineError::new(kind, message).into(), kind)
}

impl<'a> Row<'a> {
    fn text(&self, at: usize) -> &'a str {
        self.texts.get(at).copied().flatten().unwrap_or("")
    }

    fn number(&self, at: usize, default: i64) -> i64 {
        self.numbers.get(at).copied().flatten().unwrap_or(default)
    }
}

/// What `regexp_match` gives for one match: its groups, or all of it.
fn groups<'a>(found: &Captures<'a>) -> Vec<Option<&'a str>> {
    let first = usize::from(found.len() > 1);
    (first..found.len())
        .map(|at| found.get(at).map(|part| part.as_str()))
        .collect()
}

fn matches<'a>(known: &mut Compiled, row: &Row<'a>) -> Result<Vec<Vec<Option<&'a str>>>> {
    let (text, flags) = (row.text(0), row.text(2));
    let regex = known.regex(row.text(1), flags)?;
    let most = if flags.contains('g') { usize::MAX } else { 1 };
    let found = regex.captures_iter(text).take(most);
    Ok(found.map(|found| groups(&found)).collect())
}

/// Matches of nothing at either end and right after another match do not split.
fn split<'a>(kind: Kind, known: &mut Compiled, row: &Row<'a>) -> Result<Vec<Option<&'a str>>> {
    let (text, flags) = (row.text(0), row.text(2));
    if flags.contains('g') {
        return Err(refused(format!(
            "{}() does not support the \"global\" option",
            kind.name()
        )));
    }
    let regex = known.regex(row.text(1), flags)?;
    let (mut parts, mut start) = (vec![], 0);
    for found in regex.find_iter(text) {
        let is_empty = found.is_empty();
        if is_empty && (found.start() == 0 || found.start() == text.len() || found.start() == start)
        {
            continue;
        }
        parts.push(Some(&text[start..found.start()]));
        start = found.end();
    }
    parts.push(Some(&text[start..]));
    Ok(parts)
}

/// What to look for, and from which byte on.
struct Search<'a> {
    regex: Regex,
    text: &'a str,
    /// `None` behind the end.
    from: Option<usize>,
}

impl<'a> Search<'a> {
    /// With the start in argument 2 and flags in argument `flags`; the other `numbers` are bounded below.
    fn new(
        kind: Kind,
        known: &mut Compiled,
        row: &Row<'a>,
        flags: usize,
        numbers: &[(&str, i64, i64)],
    ) -> Result<Self> {
        let (text, start) = (row.text(0), row.number(2, 1));
        for (name, value, least) in [("start", start, 1)].iter().chain(numbers) {
            if value < least {
                return Err(refused(format!(
                    "invalid value for parameter \"{name}\": {value}"
                )));
            }
        }
        let flags = row.text(flags);
        if flags.contains('g') {
            return Err(refused(format!(
                "{}() does not support the \"global\" option",
                kind.name()
            )));
        }
        let ends = text.char_indices().map(|(at, _)| at).chain([text.len()]);
        Ok(Self {
            regex: known.regex(row.text(1), flags)?,
            text,
            from: { ends }.nth(whole(start - 1)),
        })
    }

    /// The matches, from the start on.
    fn found(&self) -> Vec<Captures<'a>> {
        let (mut found, mut from) = (vec![], self.from);
        while let Some(at) = from
            && let Some(captures) = self.regex.captures_at(self.text, at)
        {
            from = captures.get(0).and_then(|all| {
                let next = self.text[all.end()..].chars().next();
                match (all.is_empty(), next) {
                    (true, next) => next.map(|c| all.end() + c.len_utf8()),
                    (false, _) => Some(all.end()),
                }
            });
            found.push(captures);
        }
        found
    }
}

fn whole(number: i64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

fn substr<'a>(known: &mut Compiled, row: &Row<'a>) -> Result<Option<&'a str>> {
    let (nth, group) = (row.number(3, 1), row.number(5, 0));
    let numbers = [("n", nth, 1), ("subexpr", group, 0)];
    let search = Search::new(Kind::Substr, known, row, 4, &numbers)?;
    let found = search.found().into_iter().nth(whole(nth - 1));
    Ok(found.and_then(|found| found.get(whole(group)).map(|part| part.as_str())))
}

fn count(known: &mut Compiled, row: &Row<'_>) -> Result<i32> {
    let search = Search::new(Kind::Count, known, row, 3, &[])?;
    Ok(i32::try_from(search.found().len()).unwrap_or(i32::MAX))
}

/// The place of a match, in characters from 1: of its first, or of what follows it; 0 if there is none.
fn place(known: &mut Compiled, row: &Row<'_>) -> Result<i32> {
    let (nth, end, group) = (row.number(3, 1), row.number(4, 0), row.number(6, 0));
    let numbers = [
        ("n", nth, 1),
        ("endoption", end, 0),
        ("endoption", 1 - end, 0),
        ("subexpr", group, 0),
    ];
    let search = Search::new(Kind::Instr, known, row, 5, &numbers)?;
    let found = search.found().into_iter().nth(whole(nth - 1));
    let part = found.and_then(|found| found.get(whole(group)));
    let Some(part) = part else { return Ok(0) };
    let at = if end == 1 { part.end() } else { part.start() };
    let before = search.text[..at].chars().count();
    Ok(i32::try_from(before + 1).unwrap_or(i32::MAX))
}

/// `string_to_table(text, delimiter, text of NULL)`. Source: PostgreSQL, `text_to_table`.
fn pieces<'a>(row: &Row<'a>) -> Vec<Option<&'a str>> {
    let text = row.text(0);
    let null = row.texts.get(2).copied().flatten();
    let shown = |part: &'a str| Some(part).filter(|part| Some(*part) != null);
    match row.texts.get(1).copied().flatten() {
        _ if text.is_empty() => vec![],
        None => {
            let ends = text
                .char_indices()
                .map(|(at, c)| &text[at..at + c.len_utf8()]);
            ends.map(shown).collect()
        }
        Some("") => vec![shown(text)],
        Some(delimiter) => text.split(delimiter).map(shown).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row<'a>(texts: &[&'a str]) -> Row<'a> {
        Row {
            texts: texts.iter().copied().map(Some).collect(),
            numbers: vec![],
        }
    }

    fn check_split(texts: &[&str], wanted: &[&str]) {
        let parts = split(Kind::SplitToArray, &mut Compiled::default(), &row(texts)).unwrap();
        let parts: Vec<&str> = parts.into_iter().flatten().collect();
        assert_eq!(parts, wanted, "{texts:?}");
    }

    #[test]
    fn texts_are_split_as_postgresql_splits_them() {
        check_split(&["the quick  fox", "\\s+"], &["the", "quick", "fox"]);
        check_split(&["the fox", "\\s*"], &["t", "h", "e", "f", "o", "x"]);
        check_split(&["abc", ""], &["a", "b", "c"]);
        check_split(&["", ","], &[""]);
        check_split(&[",a,,", ","], &["", "a", "", ""]);
        check_split(&["aXbxc", "x", "i"], &["a", "b", "c"]);
        let global = row(&["a", "b", "g"]);
        assert!(split(Kind::SplitToTable, &mut Compiled::default(), &global).is_err());
    }

    #[test]
    fn every_match_gives_its_groups() {
        let found =
            |texts: &[&'static str]| matches(&mut Compiled::default(), &row(texts)).unwrap();
        assert_eq!(found(&["foobar", "b."]), [[Some("ba")]]);
        assert_eq!(found(&["abab", "(a)(x)?", "g"]), [[Some("a"), None]; 2]);
        assert!(found(&["abc", "x"]).is_empty());
        assert!(compiled("a", "z").is_err() && compiled("(", "").is_err());
    }

    #[test]
    fn a_part_is_found_by_number_and_group() {
        let found = |texts: &[&'static str], numbers: [i64; 3]| {
            let [start, nth, group] = numbers.map(Some);
            let numbers = vec![None, None, start, nth, None, group];
            let mut row = row(texts);
            row.texts.splice(2..2, [None, None]);
            row.numbers = numbers;
            substr(&mut Compiled::default(), &row).unwrap()
        };
        assert_eq!(found(&["a,bä,c", "[^,]+"], [1, 2, 0]), Some("bä"));
        assert_eq!(found(&["a,bä,c", "[^,]+"], [5, 1, 0]), Some("c"));
        assert_eq!(
            found(&["ABCDEFGHI", "(c..)(...)", "i"], [1, 1, 2]),
            Some("FGH")
        );
        assert_eq!(found(&["abc", "z"], [1, 1, 0]), None);
        assert_eq!(found(&["abc", "b"], [9, 1, 0]), None);
    }

    #[test]
    fn a_delimiter_may_be_none() {
        let check = |texts: Vec<Option<&'static str>>, wanted: &[Option<&str>]| {
            let row = Row {
                texts,
                numbers: vec![],
            };
            assert_eq!(pieces(&row), wanted);
        };
        check(vec![Some("a,b"), Some(",")], &[Some("a"), Some("b")]);
        check(vec![Some("äb"), None], &[Some("ä"), Some("b")]);
        check(vec![Some("a,b"), Some(",")], &[Some("a"), Some("b")]);
        check(vec![Some("a,b"), Some(","), Some("b")], &[Some("a"), None]);
        check(vec![Some("a"), Some("")], &[Some("a")]);
        check(vec![Some(""), Some(",")], &[]);
    }
}

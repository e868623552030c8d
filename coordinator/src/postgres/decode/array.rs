//! Array literals: `{1,NULL,"a b"}`, `{{1,2},{3,4}}`, `[2:3]={…}`.
//!
//! Source: PostgreSQL 15, "Array Input and Output Syntax".

use std::sync::Arc;

use arrow::array::{ArrayRef, ListArray};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::datatypes::{DataType, FieldRef};

use super::Bad;
use super::text;

/// Reads array literals whose items `item` describes.
pub(super) fn from_text(
    values: &[Option<&str>],
    item: &FieldRef,
    zone: &str,
) -> Result<ArrayRef, Bad> {
    let mut lengths = Vec::with_capacity(values.len());
    let mut items: Vec<Option<String>> = vec![];
    let nested = matches!(item.data_type(), DataType::List(_));
    for (row, value) in values.iter().enumerate() {
        let found = match value {
            None => vec![],
            Some(text) => split(text, nested).map_err(|bad| bad.at(row))?,
        };
        lengths.push(found.len());
        items.extend(found);
    }
    let texts: Vec<Option<&str>> = items.iter().map(Option::as_deref).collect();
    let owner = |position: usize| {
        let mut end = 0;
        lengths
            .iter()
            .position(|length| {
                end += length;
                position < end
            })
            .unwrap_or(0)
    };
    let read = text::from_text(&texts, item.data_type(), zone).map_err(|mut bad| {
        bad.row = owner(bad.row);
        bad
    })?;
    let nulls = values.iter().map(Option::is_some).collect::<NullBuffer>();
    let list = ListArray::try_new(
        Arc::clone(item),
        OffsetBuffer::from_lengths(lengths.iter().copied()),
        read,
        Some(nulls).filter(|nulls| nulls.null_count() > 0),
    );
    Ok(Arc::new(
        list.map_err(|error| Bad::new("22P02", error.to_string()))?,
    ))
}

/// `ty`, if it is an array's, as it fits a literal: with as many dimensions, and digits for all its numerics.
pub(super) fn fitting_text(ty: &DataType, literal: &str) -> DataType {
    let braces = literal
        .trim_start()
        .strip_prefix('[')
        .and_then(|bounds| bounds.split_once('='))
        .map_or(literal, |(_, braces)| braces);
    let opening = braces
        .chars()
        .take_while(|c| *c == '{' || c.is_ascii_whitespace())
        .filter(|c| *c == '{')
        .count();
    let items = braces
        .split(['{', '}', ',', '"'])
        .map(str::trim)
        .filter(|item| !item.is_empty() && !item.eq_ignore_ascii_case("null"));
    fitting(ty, opening, items)
}

/// `ty`, if it is an array's, with `dimensions` dimensions and digits for all `numbers`.
pub(super) fn fitting<'a>(
    ty: &DataType,
    dimensions: usize,
    numbers: impl Iterator<Item = &'a str>,
) -> DataType {
    if !matches!(ty, DataType::List(_)) || !(1..=DIMENSIONS_MAX).contains(&dimensions) {
        return ty.clone();
    }
    let mut leaf = ty;
    while let DataType::List(item) = leaf {
        leaf = item.data_type();
    }
    let leaf = text::exact_decimals(leaf, numbers);
    (0..dimensions).fold(leaf, |ty, _| DataType::new_list(ty, true))
}

/// Most dimensions of an array. Source: PostgreSQL, `MAXDIM`.
pub(super) const DIMENSIONS_MAX: usize = 6;

/// The items of a literal; those of a nested one stay literals.
fn split(literal: &str, nested: bool) -> Result<Vec<Option<String>>, Bad> {
    let bad = || {
        Bad::new(
            "22P02",
            format!("malformed array literal: \"{}\"", super::short(literal)),
        )
    };
    let mut text = literal.trim();
    // Bounds are given up: lists of Arrow begin at 1.
    if text.starts_with('[') {
        text = text.split_once('=').ok_or_else(bad)?.1.trim_start();
    }
    let inner = text
        .strip_prefix('{')
        .and_then(|text| text.strip_suffix('}'))
        .ok_or_else(bad)?;
    if inner.trim().is_empty() {
        return Ok(vec![]);
    }
    let mut items = vec![];
    let mut chars = inner.chars().peekable();
    loop {
        while chars.peek().is_some_and(char::is_ascii_whitespace) {
            chars.next();
        }
        let mut item = String::new();
        let mut quoted = false;
        // What stands before is kept as it is: the last escaped character.
        let mut floor = 0;
        match chars.peek() {
            Some('{') if nested => braces(&mut chars, &mut item).ok_or_else(bad)?,
            Some('"') => {
                chars.next();
                quoted = true;
                loop {
                    match chars.next().ok_or_else(bad)? {
                        '"' => break,
                        '\\' => item.push(chars.next().ok_or_else(bad)?),
                        c => item.push(c),
                    }
                }
            }
            _ => loop {
                match chars.peek() {
                    None | Some(',') => break,
                    Some('{' | '}' | '"') => return Err(bad()),
                    Some('\\') => {
                        chars.next();
                        item.push(chars.next().ok_or_else(bad)?);
                        floor = item.len();
                    }
                    Some(c) => {
                        item.push(*c);
                        chars.next();
                    }
                }
            },
        }
        if !quoted {
            let kept = item.trim_end().len().max(floor);
            item.truncate(kept);
            if item.is_empty() {
                return Err(bad());
            }
        }
        let null = !quoted && floor == 0 && item.eq_ignore_ascii_case("null");
        items.push((!null).then_some(item));
        while chars.peek().is_some_and(char::is_ascii_whitespace) {
            chars.next();
        }
        match chars.next() {
            None => return Ok(items),
            Some(',') => {}
            Some(_) => return Err(bad()),
        }
    }
}

/// Takes a whole `{…}`.
fn braces(chars: &mut std::iter::Peekable<std::str::Chars<'_>>, item: &mut String) -> Option<()> {
    let mut depth = 0_usize;
    let mut quoted = false;
    loop {
        let c = chars.next()?;
        item.push(c);
        match c {
            '\\' => item.push(chars.next()?),
            '"' => quoted = !quoted,
            '{' if !quoted => depth += 1,
            '}' if !quoted => {
                depth -= 1;
                if depth == 0 {
                    return Some(());
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(literal: &str, nested: bool, wanted: &[Option<&str>]) {
        let got = split(literal, nested).unwrap();
        let got: Vec<Option<&str>> = got.iter().map(Option::as_deref).collect();
        assert_eq!(got, wanted, "{literal}");
    }

    #[test]
    fn literals_are_split_as_postgresql_does() {
        check(
            " { a b , \"c,d\" ,null, \"NULL\" , \\N }",
            false,
            &[Some("a b"), Some("c,d"), None, Some("NULL"), Some("N")],
        );
        check("[0:1]={1,2}", false, &[Some("1"), Some("2")]);
        check("{{1,\"}\"},{2}}", true, &[Some("{1,\"}\"}"), Some("{2}")]);
        for bad in [
            "", "{", "1,2", "{1,}", "{,1}", "{\"a}", "{a}b", "{a\"b\"}", "[1:2]", "{{1}}",
        ] {
            assert!(split(bad, false).is_err(), "{bad}");
        }
    }
}

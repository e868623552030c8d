//! Lists as PostgreSQL's arrays: `{1,NULL}`, lists of lists as arrays of several dimensions.
//!
//! Lists in a list may differ in length, which PostgreSQL's arrays cannot: in text they are written as they are, in
//! binary they are refused. Knows the layout of arrays; values are [`Cell`]'s.

use arrow::array::{Array, ArrayRef, AsArray, ListArray};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::datatypes::{DataType, Field, FieldRef};
use tarn_engine::pg_type_of;

use super::cell::{Cell, Put, canonical};
use super::{Format, Style};
use crate::postgres::fault::Fault;

/// `typmod` of a type whose digits nobody declared.
const NO_TYPMOD: i32 = -1;

/// Types that are vectors, not arrays: they count from 0 and have no braces in text.
fn is_vector(field: &Field) -> bool {
    matches!(pg_type_of(field).name, "int2vector" | "oidvector")
}

/// Whether the items of `item`'s type are dimensions of one array.
fn is_dimension(item: &Field) -> bool {
    matches!(item.data_type(), DataType::List(_)) && !is_vector(item)
}

/// The field of a list's items. A note of the list's own type tells that of its items, too.
fn item_field(item: &FieldRef, field: &Field) -> Field {
    let list = pg_type_of(field);
    let plain = item.as_ref().clone();
    let own = pg_type_of(&plain);
    let named = match list.name {
        "oidvector" => Some("oid"),
        "int2vector" => None,
        name if is_dimension(&plain) => {
            Some(name).filter(|name| *name != own.name || list.typmod != own.typmod)
        }
        name => name.strip_prefix('_').filter(|name| *name != own.name),
    };
    match named {
        Some(name) => {
            let mut metadata = plain.metadata().clone();
            metadata.insert(tarn_engine::PG_TYPE_KEY.to_owned(), name.to_owned());
            plain.with_metadata(metadata)
        }
        None => plain,
    }
}

/// The items of a list that are no lists. Numbers whose digits nobody declared have no zeros at their end: PostgreSQL's
/// have each a scale of its own.
fn items_of(
    values: &ArrayRef,
    item: &Field,
    list: &Field,
    format: Format,
    style: Style,
) -> Result<Cell, Fault> {
    let is_decimal = matches!(
        values.data_type(),
        DataType::Decimal128(..) | DataType::Decimal256(..)
    );
    if is_decimal && pg_type_of(list).declared() == NO_TYPMOD {
        Cell::of_bare_numbers(values, format)
    } else {
        Cell::of(values, item, format, style)
    }
}

fn values_of(list: &ListArray) -> Result<ArrayRef, Fault> {
    canonical(list.values()).map_err(|error| Fault::error("XX000", error.to_string()))
}

/// Writes lists in text.
pub(super) fn text(
    list: &ListArray,
    item: &FieldRef,
    field: &Field,
    style: Style,
) -> Result<Put, Fault> {
    let item = item_field(item, field);
    let items = items_of(&values_of(list)?, &item, field, Format::Text, style)?;
    let offsets = list.offsets().clone();
    let vector = is_vector(field);
    let dimension = is_dimension(&item);
    Ok(Box::new(move |row, out| {
        let (from, to) = range(&offsets, row);
        if !vector {
            out.push(b'{');
        }
        for at in from..to {
            if at > from {
                out.push(if vector { b' ' } else { b',' });
            }
            if items.is_null(at) {
                out.extend_from_slice(b"NULL");
                continue;
            }
            let start = out.len();
            items.put(at, out)?;
            if !dimension && needs_quotes(&out[start..]) {
                quote_item(out, start);
            }
        }
        if !vector {
            out.push(b'}');
        }
        Ok(())
    }))
}

fn range(offsets: &[i32], row: usize) -> (usize, usize) {
    let at = |index: usize| {
        offsets
            .get(index)
            .and_then(|offset| usize::try_from(*offset).ok())
            .unwrap_or(0)
    };
    (at(row), at(row + 1))
}

/// Whether an item of an array would be read as something else. Source: PostgreSQL, `array_out`.
fn needs_quotes(item: &[u8]) -> bool {
    item.is_empty()
        || item.eq_ignore_ascii_case(b"null")
        || item.iter().any(|b| {
            matches!(b, b'"' | b'\\' | b'{' | b'}' | b',') || b.is_ascii_whitespace() || *b == 0x0b
        })
}

fn quote_item(out: &mut Vec<u8>, start: usize) {
    let item = out.split_off(start);
    out.push(b'"');
    for byte in item {
        if matches!(byte, b'"' | b'\\') {
            out.push(b'\\');
        }
        out.push(byte);
    }
    out.push(b'"');
}

/// The lists of one dimension.
struct Level {
    offsets: OffsetBuffer<i32>,
    nulls: Option<NullBuffer>,
}

/// Writes lists in binary.
pub(super) fn binary(
    list: &ListArray,
    item: &FieldRef,
    field: &Field,
    style: Style,
) -> Result<Put, Fault> {
    let always = is_vector(field);
    let mut levels = vec![];
    let mut list = list.clone();
    let mut field = field.clone();
    let mut item = item_field(item, &field);
    let values = loop {
        levels.push(Level {
            offsets: list.offsets().clone(),
            nulls: list.nulls().cloned(),
        });
        let values = values_of(&list)?;
        match (values.as_list_opt::<i32>(), item.data_type().clone()) {
            (Some(inner), DataType::List(below)) if is_dimension(&item) => {
                list = inner.clone();
                field = item;
                item = item_field(&below, &field);
            }
            _ => break values,
        }
    };
    let oid = pg_type_of(&item).oid;
    let items = items_of(&values, &item, &field, Format::Binary, style)?;
    let first = i32::from(!always);
    Ok(Box::new(move |row, out| {
        let (lengths, from, to) = dimensions(&levels, row)?;
        let is_empty = from == to && !always;
        let has_null = (from..to).any(|at| items.is_null(at));
        let count = if is_empty { 0 } else { lengths.len() };
        out.extend(size(count)?.to_be_bytes());
        out.extend(i32::from(has_null).to_be_bytes());
        out.extend(oid.to_be_bytes());
        if is_empty {
            return Ok(());
        }
        for length in &lengths {
            out.extend(size(*length)?.to_be_bytes());
            out.extend(first.to_be_bytes());
        }
        (from..to).try_for_each(|at| items.put_sized(at, out))
    }))
}

fn size(count: usize) -> Result<i32, Fault> {
    i32::try_from(count).map_err(|_| Fault::error("54000", "an array has too many items"))
}

/// The lengths of the dimensions of a row's array, the outermost first, and where its items are.
fn dimensions(levels: &[Level], row: usize) -> Result<(Vec<usize>, usize, usize), Fault> {
    let ragged = || {
        Fault::error(
            "2202E",
            "lists of different lengths in one list are no array of PostgreSQL",
        )
        .with_hint("ask for the column as text, or write to_json(column)")
    };
    let (mut from, mut to) = (row, row + 1);
    let mut lengths = Vec::with_capacity(levels.len());
    for level in levels {
        let mut common = None;
        for at in from..to {
            let (start, end) = range(&level.offsets, at);
            let is_null = level.nulls.as_ref().is_some_and(|nulls| nulls.is_null(at));
            if is_null || *common.get_or_insert(end - start) != end - start {
                return Err(ragged());
            }
        }
        lengths.push(common.unwrap_or(0));
        if from < to {
            (from, to) = (
                range(&level.offsets, from).0,
                range(&level.offsets, to - 1).1,
            );
        } else {
            to = from;
        }
    }
    Ok((lengths, from, to))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Decimal128Array, Int32Array};
    use arrow::datatypes::Int32Type;

    use super::*;

    fn nested(inner: ListArray, lengths: &[usize]) -> ArrayRef {
        let item = Arc::new(Field::new_list_field(inner.data_type().clone(), true));
        let offsets = OffsetBuffer::from_lengths(lengths.iter().copied());
        Arc::new(ListArray::new(item, offsets, Arc::new(inner), None))
    }

    fn written(array: &ArrayRef, row: usize, format: Format) -> Result<Vec<u8>, Fault> {
        let field = Field::new("c", array.data_type().clone(), true);
        let mut out = vec![];
        Cell::of(array, &field, format, Style::default())?.put(row, &mut out)?;
        Ok(out)
    }

    fn check_text(array: &ArrayRef, row: usize, wanted: &str) {
        let text = written(array, row, Format::Text).unwrap();
        assert_eq!(String::from_utf8(text).unwrap(), wanted);
    }

    #[test]
    fn lists_of_lists_are_arrays_of_two_dimensions() {
        let inner = ListArray::from_iter_primitive::<Int32Type, _, _>([
            Some(vec![Some(9)]),
            Some(vec![Some(1), Some(2)]),
            Some(vec![Some(3), None]),
        ]);
        let array = nested(inner, &[1, 2, 0]);
        check_text(&array, 1, "{{1,2},{3,NULL}}");
        check_text(&array, 2, "{}");
        let mut wanted: Vec<u8> = [2_i32, 1, 23, 2, 1, 2, 1]
            .iter()
            .flat_map(|word| word.to_be_bytes())
            .collect();
        for value in 1..=3_i32 {
            wanted.extend(4_i32.to_be_bytes());
            wanted.extend(value.to_be_bytes());
        }
        wanted.extend((-1_i32).to_be_bytes());
        assert_eq!(written(&array, 1, Format::Binary).unwrap(), wanted);
        let empty = written(&array, 2, Format::Binary).unwrap();
        assert_eq!(empty, [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 23]);
    }

    #[test]
    fn lists_of_different_lengths_are_refused_in_binary_only() {
        let inner = ListArray::from_iter_primitive::<Int32Type, _, _>([
            Some(vec![Some(1), Some(2)]),
            Some(vec![Some(3)]),
            None,
        ]);
        let array = nested(inner, &[2, 1]);
        check_text(&array, 0, "{{1,2},{3}}");
        check_text(&array, 1, "{NULL}");
        for row in [0, 1] {
            let fault = written(&array, row, Format::Binary).unwrap_err();
            assert!(matches!(fault, Fault::Error(notice) if notice.code == "2202E"));
        }
    }

    #[test]
    fn numerics_of_lists_have_no_zeros_that_nobody_asked_for() {
        let list = |digits, scale, values: Vec<i128>| -> ArrayRef {
            let values = Decimal128Array::from(values);
            let values = values.with_precision_and_scale(digits, scale).unwrap();
            let item = Arc::new(Field::new_list_field(values.data_type().clone(), true));
            let offsets = OffsetBuffer::from_lengths([values.len()]);
            Arc::new(ListArray::new(item, offsets, Arc::new(values), None))
        };
        let plain = list(
            38,
            10,
            vec![15_000_000_000, 22_500_000_000, 1_000_000_000_000],
        );
        check_text(&plain, 0, "{1.5,2.25,100}");
        let declared = list(12, 2, vec![150, 225]);
        check_text(&declared, 0, "{1.50,2.25}");
        let bytes = written(&list(38, 10, vec![15_000_000_000]), 0, Format::Binary).unwrap();
        assert_eq!(bytes[24..], [0, 2, 0, 0, 0, 0, 0, 1, 0, 1, 0x13, 0x88]);
    }

    #[test]
    fn a_vector_counts_from_zero_and_has_no_braces() {
        let values = Arc::new(Int32Array::from(vec![1, 2]));
        let item = Arc::new(Field::new_list_field(DataType::Int32, true));
        let list = ListArray::new(item, OffsetBuffer::from_lengths([2]), values, None);
        let metadata = [(tarn_engine::PG_TYPE_KEY.to_owned(), "int2vector".to_owned())];
        let field = Field::new("c", list.data_type().clone(), true).with_metadata(metadata.into());
        let array: ArrayRef = Arc::new(list);
        let mut out = vec![];
        let cell = Cell::of(&array, &field, Format::Text, Style::default()).unwrap();
        cell.put(0, &mut out).unwrap();
        assert_eq!(out, b"1 2");
    }
}

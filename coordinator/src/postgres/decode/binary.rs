//! Values in binary. Source: PostgreSQL 15, receive functions of the types (`numeric_recv`,
//! `array_recv`, `interval_recv`).

use std::borrow::Cow;
use std::fmt::Write;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, ArrowPrimitiveType, BinaryViewArray, BooleanArray, FixedSizeBinaryBuilder, ListArray,
    PrimitiveArray,
};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::compute::cast;
use arrow::datatypes::{
    DataType, Date32Type, FieldRef, Float32Type, Float64Type, Int16Type, Int32Type, Int64Type,
    IntervalMonthDayNano, IntervalMonthDayNanoType, IntervalUnit, Time64MicrosecondType, TimeUnit,
    TimestampMicrosecondType, UInt32Type,
};
use tarn_engine::printing::DAY_MICROS;
use tarn_engine::sql_type_name;

use super::array::{self, DIMENSIONS_MAX};
use super::text::from_text;
use super::{Bad, text_of};
use crate::postgres::encode::{EPOCH_DAYS, EPOCH_MICROS};

/// Reads binary values of `ty`.
///
/// # Errors
/// The first [`Bad`] value, with its row.
pub(crate) fn from_binary(values: &[Option<&[u8]>], ty: &DataType) -> Result<ArrayRef, Bad> {
    Ok(match ty {
        DataType::Utf8View
        | DataType::Utf8
        | DataType::LargeUtf8
        | DataType::Null
        | DataType::Struct(_)
        | DataType::Map(..) => {
            let texts = values
                .iter()
                .enumerate()
                .map(|(row, value)| {
                    value
                        .map(|b| utf8(b).map_err(|bad| bad.at(row)))
                        .transpose()
                })
                .collect::<Result<Vec<_>, Bad>>()?;
            from_text(&texts, ty, "UTC")?
        }
        DataType::Boolean => {
            let flags = values.iter().enumerate().map(|(row, value)| match value {
                None => Ok(None),
                Some([flag]) => Ok(Some(*flag != 0)),
                Some(_) => Err(Bad::bytes("boolean").at(row)),
            });
            Arc::new(flags.collect::<Result<BooleanArray, Bad>>()?)
        }
        DataType::Int16 => {
            fixed::<Int16Type, 2>(values, "smallint", |b| Some(i16::from_be_bytes(b)))?
        }
        DataType::Int32 => {
            fixed::<Int32Type, 4>(values, "integer", |b| Some(i32::from_be_bytes(b)))?
        }
        DataType::Int64 => {
            fixed::<Int64Type, 8>(values, "bigint", |b| Some(i64::from_be_bytes(b)))?
        }
        // An oid has four bytes; other columns of this type are told to clients as bigint.
        DataType::UInt32 if values.iter().flatten().any(|bytes| bytes.len() == 8) => {
            fixed::<UInt32Type, 8>(values, "oid", |b| i64::from_be_bytes(b).try_into().ok())?
        }
        DataType::UInt32 => fixed::<UInt32Type, 4>(values, "oid", |b| Some(u32::from_be_bytes(b)))?,
        DataType::Float32 => {
            fixed::<Float32Type, 4>(values, "real", |b| Some(f32::from_be_bytes(b)))?
        }
        DataType::Float64 => {
            fixed::<Float64Type, 8>(values, "double precision", |b| Some(f64::from_be_bytes(b)))?
        }
        DataType::Decimal128(..) | DataType::Decimal256(..) => numerics(values, ty)?,
        DataType::Date32 => fixed::<Date32Type, 4>(values, "date", |b| {
            i32::from_be_bytes(b)
                .checked_add(EPOCH_DAYS)
                .filter(|days| finite(i64::from(*days) * 86_400))
        })?,
        DataType::Time64(TimeUnit::Microsecond) => {
            fixed::<Time64MicrosecondType, 8>(values, "time", |b| {
                Some(i64::from_be_bytes(b)).filter(|micros| (0..DAY_MICROS).contains(micros))
            })?
        }
        DataType::Timestamp(unit, zone) => timestamps(values, *unit, zone.as_ref())?,
        DataType::Interval(IntervalUnit::MonthDayNano) => {
            fixed::<IntervalMonthDayNanoType, 16>(values, "interval", |b| {
                let micros = i64::from_be_bytes(*b.first_chunk()?);
                let days = i32::from_be_bytes(*b[8..].first_chunk()?);
                let months = i32::from_be_bytes(*b[12..].first_chunk()?);
                Some(IntervalMonthDayNano::new(
                    months,
                    days,
                    micros.checked_mul(1000)?,
                ))
            })?
        }
        DataType::BinaryView => Arc::new(values.iter().collect::<BinaryViewArray>()),
        DataType::Binary | DataType::LargeBinary => {
            let bytes: ArrayRef = Arc::new(values.iter().collect::<BinaryViewArray>());
            cast(&bytes, ty).map_err(|error| Bad::new("22P03", error.to_string()))?
        }
        DataType::FixedSizeBinary(16) => uuids(values)?,
        DataType::List(item) => lists(values, item)?,
        DataType::Dictionary(_, value) => {
            let array = from_binary(values, value)?;
            cast(&array, ty).map_err(|error| Bad::new("22P03", error.to_string()))?
        }
        other => {
            return Err(Bad::new(
                "0A000",
                format!(
                    "binary input of type {} is not supported",
                    sql_type_name(other)
                ),
            ));
        }
    })
}

fn timestamps(
    values: &[Option<&[u8]>],
    unit: TimeUnit,
    zone: Option<&Arc<str>>,
) -> Result<ArrayRef, Bad> {
    let array = fixed_array::<TimestampMicrosecondType, 8>(values, "timestamp", |b| {
        i64::from_be_bytes(b)
            .checked_add(EPOCH_MICROS)
            .filter(|micros| finite(micros.div_euclid(1_000_000)))
    })?;
    let array: ArrayRef = Arc::new(array.with_timezone_opt(zone.cloned()));
    if unit == TimeUnit::Microsecond {
        return Ok(array);
    }
    let ty = DataType::Timestamp(unit, zone.cloned());
    cast(&array, &ty).map_err(|error| Bad::new("22008", error.to_string()))
}

fn uuids(values: &[Option<&[u8]>]) -> Result<ArrayRef, Bad> {
    let mut out = FixedSizeBinaryBuilder::with_capacity(values.len(), 16);
    for (row, value) in values.iter().enumerate() {
        match value {
            None => out.append_null(),
            Some(bytes) => out
                .append_value(bytes)
                .map_err(|_| Bad::bytes("uuid").at(row))?,
        }
    }
    Ok(Arc::new(out.finish()))
}

/// Whether a moment is one that dates can be calculated with; infinity is not.
fn finite(seconds: i64) -> bool {
    // The years -262000 to 262000.
    seconds.abs() < 262_000 * 31_556_952
}

fn utf8(bytes: &[u8]) -> Result<&str, Bad> {
    std::str::from_utf8(bytes)
        .ok()
        .filter(|text| !text.contains('\0'))
        .ok_or_else(|| Bad::new("22021", "invalid byte sequence for encoding \"UTF8\""))
}

fn fixed_array<T: ArrowPrimitiveType, const N: usize>(
    values: &[Option<&[u8]>],
    ty: &str,
    read: impl Fn([u8; N]) -> Option<T::Native>,
) -> Result<PrimitiveArray<T>, Bad> {
    values
        .iter()
        .enumerate()
        .map(|(row, value)| match value {
            None => Ok(None),
            Some(bytes) => <[u8; N]>::try_from(*bytes)
                .ok()
                .and_then(&read)
                .map(Some)
                .ok_or_else(|| Bad::bytes(ty).at(row)),
        })
        .collect()
}

fn fixed<T: ArrowPrimitiveType, const N: usize>(
    values: &[Option<&[u8]>],
    ty: &str,
    read: impl Fn([u8; N]) -> Option<T::Native>,
) -> Result<ArrayRef, Bad> {
    Ok(Arc::new(fixed_array::<T, N>(values, ty, read)?))
}

fn numerics(values: &[Option<&[u8]>], ty: &DataType) -> Result<ArrayRef, Bad> {
    let texts = values
        .iter()
        .enumerate()
        .map(|(row, value)| {
            value
                .map(|b| numeric_text(b).map_err(|bad| bad.at(row)))
                .transpose()
        })
        .collect::<Result<Vec<_>, Bad>>()?;
    let texts: Vec<Option<&str>> = texts.iter().map(Option::as_deref).collect();
    from_text(&texts, ty, "UTC")
}

/// The text of a binary numeric, for a decimal type.
pub(super) fn exact_decimal(ty: &DataType, bytes: &[u8]) -> Option<String> {
    matches!(ty, DataType::Decimal128(..) | DataType::Decimal256(..))
        .then(|| numeric_text(bytes).ok())
        .flatten()
}

/// Groups that a numeric may have on either side of its point.
const GROUPS_MAX: i32 = 250;

/// Count, weight, sign and scale, then groups of four digits.
fn numeric_text(bytes: &[u8]) -> Result<String, Bad> {
    let bad = || Bad::bytes("numeric");
    let words: Vec<u16> = bytes
        .chunks_exact(2)
        .map(|pair| u16::from_be_bytes([pair[0], pair[1]]))
        .collect();
    let [count, weight, sign, scale, groups @ ..] = &words[..] else {
        return Err(bad());
    };
    if !bytes.len().is_multiple_of(2)
        || usize::from(*count) != groups.len()
        || groups.iter().any(|group| *group > 9999)
    {
        return Err(bad());
    }
    let weight = i32::from(i16::from_be_bytes(weight.to_be_bytes()));
    if !(-GROUPS_MAX..=GROUPS_MAX).contains(&weight) || groups.len() > 250 || *scale > 1000 {
        return Err(Bad::range("numeric", "…"));
    }
    let group = |place: i32| {
        usize::try_from(weight - place)
            .ok()
            .and_then(|at| groups.get(at))
            .copied()
            .unwrap_or(0)
    };
    let mut text = String::new();
    match sign {
        0 => {}
        0x4000 => text.push('-'),
        0xc000 => return Err(Bad::range("numeric", "NaN")),
        0xd000 | 0xf000 => return Err(Bad::range("numeric", "Infinity")),
        _ => return Err(bad()),
    }
    if weight < 0 {
        text.push('0');
    }
    for place in (0..=weight).rev() {
        let _ = write!(text, "{:04}", group(place));
    }
    let scale = usize::from(*scale);
    if scale > 0 {
        text.push('.');
        let point = text.len();
        let mut place = -1;
        while text.len() - point < scale {
            let _ = write!(text, "{:04}", group(place));
            place -= 1;
        }
        text.truncate(point + scale);
    }
    Ok(text)
}

/// The lengths of an array's dimensions, and its items.
struct Parts<'a> {
    lengths: Vec<usize>,
    items: Vec<Option<Cow<'a, [u8]>>>,
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Result<[u8; N], Bad> {
    let (first, rest) = bytes
        .split_first_chunk::<N>()
        .ok_or_else(|| Bad::bytes("array"))?;
    *bytes = rest;
    Ok(*first)
}

fn parts(bytes: &[u8]) -> Result<Parts<'_>, Bad> {
    let bad = || Bad::bytes("array");
    let mut rest = bytes;
    let dimensions = usize::try_from(u32::from_be_bytes(take(&mut rest)?)).map_err(|_| bad())?;
    let _has_null: [u8; 4] = take(&mut rest)?;
    let item_oid = u32::from_be_bytes(take(&mut rest)?);
    if dimensions > DIMENSIONS_MAX {
        return Err(bad());
    }
    let mut lengths = vec![];
    for _ in 0..dimensions {
        let length = usize::try_from(u32::from_be_bytes(take(&mut rest)?)).map_err(|_| bad())?;
        let _first: [u8; 4] = take(&mut rest)?;
        lengths.push(length);
    }
    let count = lengths
        .iter()
        .try_fold(usize::from(dimensions > 0), |product, length| {
            product.checked_mul(*length)
        })
        // Each item has a length of its own.
        .filter(|count| *count <= rest.len() / 4)
        .ok_or_else(bad)?;
    let mut items = Vec::with_capacity(count);
    for _ in 0..count {
        let length = i32::from_be_bytes(take(&mut rest)?);
        if length == -1 {
            items.push(None);
            continue;
        }
        let length = usize::try_from(length).map_err(|_| bad())?;
        let (item, after) = rest.split_at_checked(length).ok_or_else(bad)?;
        items.push(Some(text_of(item_oid, item)?));
        rest = after;
    }
    if !rest.is_empty() {
        return Err(bad());
    }
    if items.is_empty() {
        lengths.clear();
    }
    Ok(Parts { lengths, items })
}

/// `ty`, if it is an array's, as it fits a value: with as many dimensions, and digits for all its numerics.
pub(super) fn fitting_array(ty: &DataType, bytes: &[u8]) -> Result<DataType, Bad> {
    if !matches!(ty, DataType::List(_)) {
        return Ok(ty.clone());
    }
    let found = parts(bytes)?;
    let mut leaf = ty;
    while let DataType::List(item) = leaf {
        leaf = item.data_type();
    }
    let texts = if matches!(leaf, DataType::Decimal128(..)) {
        let items = found.items.iter().flatten();
        items
            .map(|item| numeric_text(item))
            .collect::<Result<_, _>>()?
    } else {
        vec![]
    };
    let texts = texts.iter().map(String::as_str);
    Ok(array::fitting(ty, found.lengths.len(), texts))
}

fn lists(values: &[Option<&[u8]>], item: &FieldRef) -> Result<ArrayRef, Bad> {
    let depth = depth(item.data_type());
    let mut leaves: Vec<Option<Cow<'_, [u8]>>> = vec![];
    let mut owners = vec![];
    // Lengths of the lists at each depth, the outermost first.
    let mut levels: Vec<Vec<usize>> = vec![vec![]; depth];
    for (row, value) in values.iter().enumerate() {
        let found = match value {
            None => Parts {
                lengths: vec![],
                items: vec![],
            },
            Some(bytes) => parts(bytes).map_err(|bad| bad.at(row))?,
        };
        if found.lengths.is_empty() {
            levels[0].push(0);
            continue;
        }
        if found.lengths.len() != depth {
            let dimensions = found.lengths.len();
            return Err(Bad::new(
                "2202E",
                format!("an array of {dimensions} dimensions where {depth} are wanted"),
            )
            .at(row));
        }
        let mut count = 1;
        for (level, length) in levels.iter_mut().zip(&found.lengths) {
            level.extend(std::iter::repeat_n(*length, count));
            count *= length;
        }
        owners.extend(std::iter::repeat_n(row, found.items.len()));
        leaves.extend(found.items);
    }
    let mut field = Arc::clone(item);
    let mut fields = vec![Arc::clone(item)];
    while let DataType::List(inner) = field.data_type() {
        fields.push(Arc::clone(inner));
        field = Arc::clone(inner);
    }
    let leaves: Vec<Option<&[u8]>> = leaves.iter().map(Option::as_deref).collect();
    let mut array = from_binary(&leaves, field.data_type()).map_err(|mut bad| {
        bad.row = owners.get(bad.row).copied().unwrap_or(0);
        bad
    })?;
    for (at, (level, field)) in levels.iter().zip(&fields).enumerate().rev() {
        let nulls = values.iter().map(Option::is_some).collect::<NullBuffer>();
        let nulls = Some(nulls).filter(|nulls| at == 0 && nulls.null_count() > 0);
        let offsets = OffsetBuffer::from_lengths(level.iter().copied());
        let list = ListArray::try_new(Arc::clone(field), offsets, array, nulls);
        array = Arc::new(list.map_err(|error| Bad::new("22P03", error.to_string()))?);
    }
    Ok(array)
}

fn depth(ty: &DataType) -> usize {
    match ty {
        DataType::List(inner) => 1 + depth(inner.data_type()),
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::datatypes::Field;
    use arrow::util::display::array_value_to_string;

    #[test]
    fn numerics_are_read_from_postgresqls_groups() {
        for (words, wanted) in [
            (&[0_u16, 0, 0, 2][..], "0000.00"),
            (&[2, 0, 0x4000, 4, 1234, 5678], "-1234.5678"),
            (&[1, 1, 0, 0, 1], "00010000"),
            (&[1, 0xfffe, 0, 5, 1000], "0.00001"),
        ] {
            let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_be_bytes()).collect();
            assert_eq!(numeric_text(&bytes).unwrap(), wanted);
        }
        let nan = [0, 0, 0, 0, 0xc0, 0, 0, 0];
        assert_eq!(numeric_text(&nan).unwrap_err().code, "22003");
        assert!(numeric_text(&[0, 1, 0, 0, 0, 0, 0, 0]).is_err());
        assert!(numeric_text(&[0, 1, 0, 0, 0, 0, 0, 0, 0x27, 0x10]).is_err());
    }

    #[test]
    fn arrays_of_two_dimensions_become_lists_of_lists() {
        let mut bytes = vec![];
        for word in [2_i32, 0, 23, 2, 1, 2, 1] {
            bytes.extend(word.to_be_bytes());
        }
        for value in [1_i32, 2, 3, 4] {
            bytes.extend(4_i32.to_be_bytes());
            bytes.extend(value.to_be_bytes());
        }
        let inner = Arc::new(Field::new_list_field(DataType::Int32, true));
        let outer = DataType::List(Arc::new(Field::new_list_field(DataType::List(inner), true)));
        let array = from_binary(&[Some(&bytes), None], &outer).unwrap();
        assert_eq!(
            array_value_to_string(&array, 0).unwrap(),
            "[[1, 2], [3, 4]]"
        );
        assert!(array.is_null(1));
        let flat = DataType::new_list(DataType::Int32, true);
        assert_eq!(
            from_binary(&[Some(&bytes)], &flat).unwrap_err().code,
            "2202E"
        );
    }

    #[test]
    fn an_array_that_claims_many_items_allocates_none() {
        let mut bytes = vec![];
        for word in [3_i32, 0, 23, i32::MAX, 1, i32::MAX, 1, i32::MAX, 1] {
            bytes.extend(word.to_be_bytes());
        }
        assert!(from_binary(&[Some(&bytes)], &DataType::new_list(DataType::Int32, true)).is_err());
    }
}

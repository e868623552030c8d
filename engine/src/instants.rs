//! Instants in formats that say offsets from UTC in hours and minutes: JSON and CSV.
//!
//! Clocks of many places once differed from UTC by some seconds too, as Monrovia's did by 44 minutes and 30 seconds until
//! 1972. RFC 3339 has no such offset, and one that is cut makes another instant of it: these are written in
//! UTC.

use std::collections::HashMap;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, make_array};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, FieldRef, Int64Type, TimeUnit};
use datafusion::arrow::error::ArrowError;
use datafusion::arrow::json::writer::{Encoder, EncoderFactory, EncoderOptions, NullableEncoder};
use datafusion::arrow::util::display::{ArrayFormatter, FormatOptions};

use crate::temporal::seconds_ahead;

/// Seconds since 1970 from when on no zone has had seconds in its offset: Liberia dropped them last, in January 1972.
/// Source: the time zone database.
const WHOLE_MINUTES_SINCE: i64 = 64_000_000;

const FORMAT: FormatOptions<'static> = FormatOptions::new();

/// The rows of instants whose offset has seconds, with their text in UTC; none of an array of another type.
///
/// # Errors
/// If Arrow cannot show a value.
pub fn odd_offsets(array: &dyn Array) -> Result<HashMap<usize, String>, ArrowError> {
    let mut odd = HashMap::new();
    let DataType::Timestamp(unit, Some(zone)) = array.data_type() else {
        return Ok(odd);
    };
    if zone.starts_with(['+', '-']) || zone.eq_ignore_ascii_case("utc") {
        return Ok(odd);
    }
    let per_second = match unit {
        TimeUnit::Second => 1,
        TimeUnit::Millisecond => 1_000,
        TimeUnit::Microsecond => 1_000_000,
        TimeUnit::Nanosecond => 1_000_000_000,
    };
    let array: ArrayRef = make_array(array.to_data());
    let numbers = cast(&array, &DataType::Int64)?;
    for (row, number) in numbers.as_primitive::<Int64Type>().iter().enumerate() {
        let Some(second) = number.map(|number| number.div_euclid(per_second)) else {
            continue;
        };
        if second >= WHOLE_MINUTES_SINCE || seconds_ahead(zone, second) % 60 == 0 {
            continue;
        }
        let utc = DataType::Timestamp(*unit, Some("UTC".into()));
        let one = cast(&array.slice(row, 1), &utc)?;
        let text = ArrayFormatter::try_new(one.as_ref(), &FORMAT)?;
        odd.insert(row, text.value(0).try_to_string()?);
    }
    Ok(odd)
}

/// Writes instants so that they read back exactly.
#[derive(Debug)]
pub struct Instants;

impl EncoderFactory for Instants {
    fn make_default_encoder<'a>(
        &self,
        _: &'a FieldRef,
        array: &'a dyn Array,
        _: &'a EncoderOptions,
    ) -> Result<Option<NullableEncoder<'a>>, ArrowError> {
        let odd = odd_offsets(array)?;
        if odd.is_empty() {
            return Ok(None);
        }
        let plain = ArrayFormatter::try_new(array, &FORMAT)?;
        let encoder = Box::new(Texts { odd, plain });
        Ok(Some(NullableEncoder::new(encoder, array.nulls().cloned())))
    }
}

struct Texts<'a> {
    odd: HashMap<usize, String>,
    plain: ArrayFormatter<'a>,
}

impl Encoder for Texts<'_> {
    fn encode(&mut self, row: usize, out: &mut Vec<u8>) {
        let text = match self.odd.get(&row) {
            Some(text) => text.clone(),
            None => self.plain.value(row).to_string(),
        };
        crate::printing::put_json_text(out, &text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use datafusion::arrow::array::TimestampMicrosecondArray;

    #[test]
    fn only_offsets_with_seconds_are_shown_in_utc() {
        // 1900-01-01 and 2024-01-01, midnight UTC.
        let values = vec![
            Some(-2_208_988_800_000_000),
            None,
            Some(1_704_067_200_000_000),
        ];
        let array = TimestampMicrosecondArray::from(values).with_timezone("Africa/Monrovia");
        let odd = odd_offsets(&array).unwrap();
        assert_eq!(odd.len(), 1);
        assert_eq!(odd[&0], "1900-01-01T00:00:00Z");
    }
}

//! Property tests: what is said of a file equals a model of its rows.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch, StructArray};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use tarn_catalog::{Literal, literals_to_array};

use super::metrics::{Collected, FileMetrics};
use super::options::WriteOptions;
use crate::scan::lake::field;

/// A column's type and its values.
type Values = (DataType, Vec<Option<Literal>>);

/// The order of the Iceberg spec: floats with all their zeros and NaNs, text and binary by bytes.
fn order(a: &Literal, b: &Literal) -> Ordering {
    use Literal as L;
    match (a, b) {
        (L::Boolean(a), L::Boolean(b)) => a.cmp(b),
        (L::Int(a), L::Int(b)) | (L::Date(a), L::Date(b)) => a.cmp(b),
        (L::Long(a), L::Long(b))
        | (L::Time(a), L::Time(b))
        | (L::Timestamp(a), L::Timestamp(b))
        | (L::TimestampTz(a), L::TimestampTz(b))
        | (L::TimestampNs(a), L::TimestampNs(b))
        | (L::TimestampTzNs(a), L::TimestampTzNs(b)) => a.cmp(b),
        (L::Float(a), L::Float(b)) => a.total_cmp(b),
        (L::Double(a), L::Double(b)) => a.total_cmp(b),
        (L::Decimal { unscaled: a, .. }, L::Decimal { unscaled: b, .. }) => a.cmp(b),
        (L::String(a), L::String(b)) => a.as_bytes().cmp(b.as_bytes()),
        (L::Fixed(a), L::Fixed(b)) | (L::Binary(a), L::Binary(b)) => a.cmp(b),
        (a, b) => panic!("{a:?} and {b:?} are of two types"),
    }
}

fn of<S>(ty: DataType, value: S) -> BoxedStrategy<Values>
where
    S: Strategy<Value = Literal> + 'static,
{
    vec(option::weighted(0.8, value), 0..20)
        .prop_map(move |values| (ty.clone(), values))
        .boxed()
}

/// Floats as they come, with those that are special often.
fn double() -> impl Strategy<Value = f64> {
    prop_oneof![
        any::<f64>(),
        Just(0.0),
        Just(-0.0),
        Just(f64::NAN),
        Just(-f64::NAN),
        Just(f64::INFINITY),
        Just(f64::NEG_INFINITY),
    ]
}

/// Texts around the width of bounds, with characters of one to four bytes and the last ones of all.
fn text() -> impl Strategy<Value = String> {
    let letter = prop_oneof![
        Just('a'),
        Just('\u{7f}'),
        Just('ß'),
        Just('\u{d7ff}'),
        Just('\u{ffff}'),
        Just('\u{10ffff}'),
        any::<char>()
    ];
    vec(letter, 0..24).prop_map(|letters| letters.into_iter().collect())
}

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    vec(prop_oneof![Just(0xff), any::<u8>()], 0..24)
}

fn values() -> impl Strategy<Value = Values> {
    let (us, ns) = (TimeUnit::Microsecond, TimeUnit::Nanosecond);
    let utc = || Some("UTC".into());
    let decimal = |unscaled| Literal::Decimal {
        unscaled,
        precision: 38,
        scale: 4,
    };
    let largest = 10_i128.pow(38) - 1;
    prop_oneof![
        of(DataType::Boolean, any::<bool>().prop_map(Literal::Boolean)),
        of(DataType::Int32, any::<i32>().prop_map(Literal::Int)),
        of(DataType::Int64, any::<i64>().prop_map(Literal::Long)),
        #[allow(clippy::cast_possible_truncation)]
        of(
            DataType::Float32,
            double().prop_map(|value| Literal::Float(value as f32))
        ),
        of(DataType::Float64, double().prop_map(Literal::Double)),
        of(
            DataType::Decimal128(38, 4),
            (-largest..=largest).prop_map(decimal)
        ),
        of(DataType::Date32, any::<i32>().prop_map(Literal::Date)),
        of(
            DataType::Time64(us),
            (0..86_400_000_000_i64).prop_map(Literal::Time)
        ),
        of(
            DataType::Timestamp(us, None),
            any::<i64>().prop_map(Literal::Timestamp)
        ),
        of(
            DataType::Timestamp(us, utc()),
            any::<i64>().prop_map(Literal::TimestampTz)
        ),
        of(
            DataType::Timestamp(ns, None),
            any::<i64>().prop_map(Literal::TimestampNs)
        ),
        of(
            DataType::Timestamp(ns, utc()),
            any::<i64>().prop_map(Literal::TimestampTzNs)
        ),
        of(DataType::Utf8View, text().prop_map(Literal::String)),
        of(DataType::BinaryView, bytes().prop_map(Literal::Binary)),
        of(
            DataType::FixedSizeBinary(16),
            any::<[u8; 16]>().prop_map(|bytes| Literal::Fixed(bytes.to_vec()))
        ),
    ]
}

fn collected(schema: &Schema, mode: &str, batches: &[ArrayRef]) -> Collected {
    let properties =
        HashMap::from([("write.metadata.metrics.default".to_owned(), mode.to_owned())]);
    let options = WriteOptions::of(&properties).expect("a valid mode");
    let mut metrics = FileMetrics::new(schema, &options).expect("metrics of these types");
    for column in batches {
        let batch = RecordBatch::try_new(Arc::new(schema.clone()), vec![Arc::clone(column)])
            .expect("a column of the schema");
        metrics.update(&batch).expect("metrics of these values");
    }
    metrics.collect().expect("metrics of these values")
}

/// What the metrics must be, of all values that are neither NULL nor NaN.
fn check(values: &[Option<Literal>], found: &Collected, id: i32, width: Option<usize>) {
    let nulls = values.iter().filter(|value| value.is_none()).count() as u64;
    let nans = values.iter().flatten().filter(|value| value.is_nan());
    assert_eq!(found.value_counts[&id], values.len() as u64);
    assert_eq!(found.null_counts[&id], nulls);
    if let Some(counted) = found.nan_counts.get(&id) {
        assert_eq!(*counted, nans.count() as u64);
    } else {
        assert_eq!(nans.count(), 0);
    }
    let known: Vec<&Literal> = values.iter().flatten().filter(|v| !v.is_nan()).collect();
    let least = known.iter().min_by(|a, b| order(a, b));
    let greatest = known.iter().max_by(|a, b| order(a, b));
    let (lower, upper) = (found.lower_bounds.get(&id), found.upper_bounds.get(&id));
    let (Some(least), Some(greatest)) = (least, greatest) else {
        assert_eq!((lower, upper), (None, None), "no value, no bound");
        return;
    };
    let lower = lower.expect("a value has a lower bound");
    let length = |value: &Literal| match value {
        Literal::String(text) => text.chars().count(),
        Literal::Binary(bytes) => bytes.len(),
        _ => 0,
    };
    let fits = |value: &Literal| width.is_none_or(|width| length(value) <= width);
    if fits(least) {
        assert_eq!(lower, *least);
    } else {
        assert!(order(lower, least) == Ordering::Less && fits(lower));
    }
    match upper {
        Some(upper) if fits(greatest) => assert_eq!(upper, *greatest),
        Some(upper) => assert!(order(upper, greatest) == Ordering::Greater && fits(upper)),
        // Only what cannot be cut upwards may be without.
        None => assert!(!fits(greatest) && is_highest(greatest, width.unwrap_or(0))),
    }
}

/// Whether the first `width` characters or bytes are the last ones that there are.
fn is_highest(value: &Literal, width: usize) -> bool {
    match value {
        Literal::String(text) => text.chars().take(width).all(|c| c == char::MAX),
        Literal::Binary(bytes) => bytes.iter().take(width).all(|byte| *byte == u8::MAX),
        _ => false,
    }
}

proptest! {
    #[test]
    fn counts_and_bounds_are_those_of_the_rows(
        (ty, values) in values(),
        cut in any::<proptest::sample::Index>(),
        mode in prop_oneof![Just(None), Just(Some(3)), Just(Some(16))],
    ) {
        let schema = Schema::new(vec![field("c", ty.clone(), true, 7)]);
        // In two batches, of which one may be empty.
        let (first, second) = values.split_at(cut.index(values.len() + 1));
        let batches = [first, second].map(|part| {
            literals_to_array(&ty, part.iter().map(Option::as_ref)).expect("values of the type")
        });
        let text = mode.map_or_else(|| "full".to_owned(), |width| format!("truncate({width})"));
        check(&values, &collected(&schema, &text, &batches), 7, mode);
        let counts = collected(&schema, "counts", &batches);
        prop_assert!(counts.lower_bounds.is_empty() && counts.upper_bounds.is_empty());
        prop_assert_eq!(counts.value_counts[&7], values.len() as u64);
        let none = collected(&schema, "none", &batches);
        prop_assert!(none.value_counts.is_empty() && none.null_counts.is_empty());
    }

    #[test]
    fn what_is_in_a_null_struct_does_not_count(
        (ty, values) in values(),
        seed in any::<u64>(),
    ) {
        let valid: Vec<bool> = (0..values.len()).map(|row| seed >> (row % 64) & 1 == 1).collect();
        let child = field("c", ty.clone(), true, 8);
        let array = literals_to_array(&ty, values.iter().map(Option::as_ref))
            .expect("values of the type");
        let rows = array.len();
        let parent = StructArray::try_new_with_length(
            vec![child.clone()].into(),
            vec![array],
            Some(NullBuffer::from(valid.clone())),
            rows,
        )
        .expect("a struct");
        let nested = DataType::Struct(vec![child].into());
        let schema = Schema::new(vec![Field::new("s", nested, true)]);
        let found = collected(&schema, "full", &[Arc::new(parent)]);
        let seen: Vec<Option<Literal>> = values
            .into_iter()
            .zip(valid)
            .map(|(value, valid)| value.filter(|_| valid))
            .collect();
        check(&seen, &found, 8, None);
    }
}

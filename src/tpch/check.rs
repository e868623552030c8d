//! Compares a result with the known answer of a TPC-H query.
//!
//! Pure: takes Arrow batches, returns the first difference. Stricter than the
//! specification, which allows 1 % on averages and ratios: everything that
//! SQL defines exactly (counts, sums of decimals, strings, dates) must be equal,
//! and quotients must agree to the last digit that the result shows.

use arrow::array::{Array, ArrayRef, RecordBatch};
use arrow::datatypes::DataType;
use arrow::util::display::{ArrayFormatter, FormatOptions};

/// Output columns that the `ORDER BY` of each query sorts by. Rows equal in
/// all of them may come in any order.
const SORT_KEYS: [&[usize]; super::QUERY_COUNT as usize] = [
    &[0, 1],
    &[0, 2, 1, 3],
    &[1, 2],
    &[0],
    &[1],
    &[],
    &[0, 1, 2],
    &[0],
    &[0, 1],
    &[2],
    &[1],
    &[0],
    &[1, 0],
    &[],
    &[0],
    &[3, 0, 1, 2],
    &[],
    &[4, 3],
    &[],
    &[0],
    &[1, 0],
    &[0],
];

/// Output columns that are quotients, by query: the only ones whose digits
/// depend on how an engine divides.
const QUOTIENTS: [(u8, &[usize]); 4] = [(1, &[6, 7, 8]), (8, &[1]), (14, &[0]), (17, &[0])];

/// Decimal places that a quotient must show for the comparison to mean anything.
const QUOTIENT_SCALE_MIN: i8 = 4;

/// Distance of quotients below which an answer, computed in doubles, may be wrong itself.
const QUOTIENT_DISTANCE: f64 = 1e-12;

/// Relative distance that rounding in IEEE doubles explains.
const DOUBLE_TOLERANCE: f64 = 1e-9;

/// How the values of one result column are compared.
#[derive(Clone, Copy, PartialEq)]
enum Comparison {
    /// Character by character.
    Text,
    /// As exact decimal numbers.
    Exact,
    /// As numbers at most this far apart.
    Within(f64),
    /// As doubles.
    Double,
}

/// One row, formatted; `None` is NULL.
type Row = Vec<Option<String>>;

/// Checks the result of a TPC-H query against the known answer.
///
/// `scale_factor` is `"0.01"`, `"0.1"` or `"1"`. Row order must be the query's
/// `ORDER BY`; rows that it leaves tied may swap.
///
/// # Errors
/// The first difference in words, or that no answer is known.
pub fn check(query: u8, scale_factor: &str, batches: &[RecordBatch]) -> Result<(), String> {
    let answer = super::answer(query, scale_factor).ok_or_else(|| {
        format!("no answer of query {query} is known at scale factor {scale_factor}")
    })?;
    compare(query, answer, batches)
}

fn compare(query: u8, answer: &str, batches: &[RecordBatch]) -> Result<(), String> {
    let mut lines = answer.lines();
    let names: Vec<&str> = lines.next().unwrap_or_default().split('|').collect();
    let expected: Vec<Row> = lines.map(parse_row).collect();
    let got_rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
    if expected.len() != got_rows {
        return Err(format!("expected {} rows, got {got_rows}", expected.len()));
    }
    let Some(first) = batches.first() else {
        return Ok(());
    };
    if first.num_columns() != names.len() {
        return Err(format!(
            "expected {} columns, got {}",
            names.len(),
            first.num_columns()
        ));
    }
    let comparisons = first
        .columns()
        .iter()
        .enumerate()
        .map(|(column, array)| comparison(query, column, array.data_type()))
        .collect::<Result<Vec<_>, _>>()
        .map_err(|(column, why)| format!("column \"{}\": {why}", names[column]))?;
    let got = format_rows(batches)?;

    let keys = SORT_KEYS[usize::from(query) - 1];
    let mut start = 0;
    while start < expected.len() {
        let end = start + tied(&expected[start..], keys);
        let group = Group {
            first_row: start,
            expected: &expected[start..end],
            got: &got[start..end],
        };
        group.compare(&names, &comparisons)?;
        start = end;
    }
    Ok(())
}

/// How many leading rows agree in all sort keys.
fn tied(rows: &[Row], keys: &[usize]) -> usize {
    let same = |row: &&Row| keys.iter().all(|key| row[*key] == rows[0][*key]);
    rows.iter().take_while(same).count()
}

/// Rows that the `ORDER BY` leaves in any order, expected and got.
struct Group<'a> {
    first_row: usize,
    expected: &'a [Row],
    got: &'a [Row],
}

impl Group<'_> {
    fn compare(&self, names: &[&str], comparisons: &[Comparison]) -> Result<(), String> {
        let mut left: Vec<&Row> = self.got.iter().collect();
        for (offset, expected) in self.expected.iter().enumerate() {
            let found = left
                .iter()
                .position(|got| difference(expected, got, comparisons).is_none());
            if let Some(position) = found {
                left.swap_remove(position);
                continue;
            }
            let row = self.first_row + offset;
            let got = &self.got[offset];
            let column = difference(expected, got, comparisons).unwrap_or_default();
            return Err(format!(
                "row {}, column \"{}\": expected {}, got {}",
                row + 1,
                names[column],
                shown(expected[column].as_ref()),
                shown(got[column].as_ref())
            ));
        }
        Ok(())
    }
}

fn shown(value: Option<&String>) -> &str {
    value.map_or("NULL", String::as_str)
}

/// The first column in which two rows differ.
fn difference(expected: &Row, got: &Row, comparisons: &[Comparison]) -> Option<usize> {
    comparisons.iter().enumerate().position(|(column, how)| {
        !match (&expected[column], &got[column]) {
            (Some(expected), Some(got)) => equal(expected, got, *how),
            (None, None) => true,
            // The answers write an empty string and NULL alike.
            (None, Some(got)) => *how == Comparison::Text && got.is_empty(),
            (Some(_), None) => false,
        }
    })
}

fn equal(expected: &str, got: &str, how: Comparison) -> bool {
    let distance = || Some((expected.parse::<f64>().ok()? - got.parse::<f64>().ok()?).abs());
    match how {
        Comparison::Text => expected == got,
        Comparison::Exact => canonical(expected) == canonical(got),
        Comparison::Within(tolerance) => distance().is_some_and(|distance| distance <= tolerance),
        Comparison::Double => distance().is_some_and(|distance| {
            let size = expected.parse::<f64>().map_or(0.0, f64::abs);
            distance <= DOUBLE_TOLERANCE * size.max(1.0)
        }),
    }
}

/// A decimal number without the zeros that carry no value: `1.50` is `1.5`.
fn canonical(number: &str) -> &str {
    let number = if number.contains('.') {
        number.trim_end_matches('0').trim_end_matches('.')
    } else {
        number
    };
    if number == "-0" { "0" } else { number }
}

fn comparison(query: u8, column: usize, ty: &DataType) -> Result<Comparison, (usize, String)> {
    let quotient = QUOTIENTS
        .iter()
        .any(|(number, columns)| *number == query && columns.contains(&column));
    match ty {
        DataType::Float32 | DataType::Float64 => Ok(Comparison::Double),
        DataType::Decimal128(_, scale) if quotient && *scale < QUOTIENT_SCALE_MIN => Err((
            column,
            format!("a quotient shows only {scale} decimal places"),
        )),
        // One unit in the last place, where engines round or cut; or what the answers, which are doubles, do not tell.
        DataType::Decimal128(_, scale) if quotient => {
            let unit = 10f64.powi(-i32::from(*scale)) * 1.001;
            Ok(Comparison::Within(unit.max(QUOTIENT_DISTANCE)))
        }
        ty if ty.is_numeric() => Ok(Comparison::Exact),
        _ => Ok(Comparison::Text),
    }
}

fn parse_row(line: &str) -> Row {
    line.split('|')
        .map(|field| (!field.is_empty()).then(|| field.to_owned()))
        .collect()
}

fn format_rows(batches: &[RecordBatch]) -> Result<Vec<Row>, String> {
    let options = FormatOptions::new();
    let mut rows = Vec::new();
    for batch in batches {
        let columns = batch
            .columns()
            .iter()
            .map(|array: &ArrayRef| Ok((array, ArrayFormatter::try_new(array, &options)?)))
            .collect::<Result<Vec<_>, arrow::error::ArrowError>>()
            .map_err(|error| error.to_string())?;
        for row in 0..batch.num_rows() {
            rows.push(
                columns
                    .iter()
                    .map(|(array, format)| {
                        array.is_valid(row).then(|| format.value(row).to_string())
                    })
                    .collect(),
            );
        }
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Date32Array, Decimal128Array, Float64Array, Int64Array, StringArray};

    use super::*;

    /// Query 3 at scale factor 0.01, as the answer has it.
    fn query_3(mut edit: impl FnMut(usize, &mut Vec<String>)) -> RecordBatch {
        let mut rows: Vec<Vec<String>> = crate::tpch::answer(3, "0.01")
            .unwrap()
            .lines()
            .skip(1)
            .map(|line| line.split('|').map(str::to_owned).collect())
            .collect();
        for (index, row) in rows.iter_mut().enumerate() {
            edit(index, row);
        }
        rows.retain(|row| !row.is_empty());
        let column = |index: usize| rows.iter().map(move |row: &Vec<String>| row[index].clone());
        let dates = column(2).map(|date| {
            let date = date.parse::<chrono::NaiveDate>().unwrap();
            arrow::datatypes::Date32Type::from_naive_date(date)
        });
        RecordBatch::try_from_iter([
            (
                "l_orderkey",
                Arc::new(Int64Array::from_iter_values(
                    column(0).map(|v| v.parse().unwrap()),
                )) as ArrayRef,
            ),
            (
                "revenue",
                Arc::new(
                    Decimal128Array::from_iter_values(
                        column(1).map(|v| v.replace('.', "").parse::<i128>().unwrap()),
                    )
                    .with_precision_and_scale(38, 4)
                    .unwrap(),
                ),
            ),
            (
                "o_orderdate",
                Arc::new(Date32Array::from_iter_values(dates)),
            ),
            (
                "o_shippriority",
                Arc::new(Int64Array::from_iter_values(
                    column(3).map(|v| v.parse().unwrap()),
                )),
            ),
        ])
        .unwrap()
    }

    #[test]
    fn the_answer_itself_passes_whole_or_in_pieces() {
        let batch = query_3(|_, _| ());
        assert_eq!(
            check(3, "0.01", &[batch.slice(0, 4), batch.slice(4, 6)]),
            Ok(())
        );
        assert_eq!(check(3, "0.01", &[batch]), Ok(()));
    }

    #[test]
    fn a_changed_digit_fails() {
        let batch = query_3(|index, row| {
            if index == 2 {
                row[1] = row[1].replace("263768.3414", "263768.3415");
            }
        });
        assert_eq!(
            check(3, "0.01", &[batch]).unwrap_err(),
            "row 3, column \"revenue\": expected 263768.3414, got 263768.3415"
        );
    }

    #[test]
    fn a_missing_row_fails() {
        let batch = query_3(|index, row| {
            if index == 9 {
                row.clear();
            }
        });
        assert_eq!(
            check(3, "0.01", &[batch]).unwrap_err(),
            "expected 10 rows, got 9"
        );
        assert!(check(3, "0.01", &[]).is_err());
    }

    #[test]
    fn rows_out_of_order_fail() {
        let batch = query_3(|_, _| ());
        let swapped = [batch.slice(1, 1), batch.slice(0, 1), batch.slice(2, 8)];
        assert!(check(3, "0.01", &swapped).is_err());
    }

    #[test]
    fn tied_rows_may_swap_but_not_differ() {
        let answer = "ps_partkey|value\n7|5.00\n8|5.00\n9|4.00\n";
        let batch = |keys: [i64; 3]| {
            let values = Decimal128Array::from_iter_values([500, 500, 400])
                .with_precision_and_scale(15, 2)
                .unwrap();
            RecordBatch::try_from_iter([
                (
                    "ps_partkey",
                    Arc::new(Int64Array::from_iter_values(keys)) as ArrayRef,
                ),
                ("value", Arc::new(values)),
            ])
            .unwrap()
        };
        assert_eq!(compare(11, answer, &[batch([7, 8, 9])]), Ok(()));
        assert_eq!(compare(11, answer, &[batch([8, 7, 9])]), Ok(()));
        assert!(compare(11, answer, &[batch([8, 8, 9])]).is_err());
        assert!(compare(11, answer, &[batch([7, 9, 8])]).is_err());
    }

    #[test]
    fn quotients_agree_to_the_last_digit_shown() {
        let decimal = |unscaled: i128, scale: i8| {
            let array = Decimal128Array::from_iter_values([unscaled])
                .with_precision_and_scale(38, scale)
                .unwrap();
            vec![
                RecordBatch::try_from_iter([("promo_revenue", Arc::new(array) as ArrayRef)])
                    .unwrap(),
            ]
        };
        assert_eq!(check(14, "1", &decimal(16_380_778, 6)), Ok(()));
        assert_eq!(check(14, "1", &decimal(16_380_779, 6)), Ok(()));
        assert!(check(14, "1", &decimal(16_380_781, 6)).is_err());
        assert!(
            check(14, "1", &decimal(1638, 2))
                .unwrap_err()
                .contains("decimal places")
        );
        let double = |value: f64| {
            let array = Arc::new(Float64Array::from(vec![value])) as ArrayRef;
            vec![RecordBatch::try_from_iter([("promo_revenue", array)]).unwrap()]
        };
        assert_eq!(check(14, "1", &double(16.380_778_626_395_54)), Ok(()));
        assert!(check(14, "1", &double(16.380_79)).is_err());
    }

    #[test]
    fn null_equals_the_empty_field_only() {
        let batch = |value: Option<&str>| {
            let array = Arc::new(StringArray::from(vec![value])) as ArrayRef;
            vec![RecordBatch::try_from_iter([("avg_yearly", array)]).unwrap()]
        };
        let empty = Arc::new(Float64Array::from(vec![None])) as ArrayRef;
        let null = RecordBatch::try_from_iter([("avg_yearly", empty)]).unwrap();
        assert_eq!(check(17, "0.01", std::slice::from_ref(&null)), Ok(()));
        assert!(check(17, "0.1", &[null]).is_err());
        assert!(check(17, "0.01", &batch(Some("0"))).is_err());
    }

    #[test]
    fn other_scale_factors_have_no_answer() {
        assert!(check(1, "10", &[]).unwrap_err().contains("no answer"));
    }
}

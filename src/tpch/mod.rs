//! TPC-H: the 22 queries, known answers, and the comparison with a result.
//!
//! The demo and the integration tests judge Tarn by it. Answers come from
//! outside (see `README.md` beside this file); nothing here runs a query or
//! knows how one is run.

mod check;
pub mod data;

pub use check::check;

/// The eight tables, smallest first.
pub const TABLES: [&str; 8] = [
    "region", "nation", "supplier", "customer", "part", "partsupp", "orders", "lineitem",
];

/// How many queries there are: they are numbered from 1.
pub const QUERY_COUNT: u8 = 22;

macro_rules! files {
    ($prefix:literal, $suffix:literal) => {
        files!($prefix, $suffix,
            "01" "02" "03" "04" "05" "06" "07" "08" "09" "10" "11"
            "12" "13" "14" "15" "16" "17" "18" "19" "20" "21" "22")
    };
    ($prefix:literal, $suffix:literal, $($number:literal)*) => {
        [$(include_str!(concat!($prefix, $number, $suffix))),*]
    };
}

static QUERIES: [&str; QUERY_COUNT as usize] = files!("queries/q", ".sql");
static ANSWERS_0_01: [&str; QUERY_COUNT as usize] = files!("answers/sf0.01/q", ".csv");
static ANSWERS_0_1: [&str; QUERY_COUNT as usize] = files!("answers/sf0.1/q", ".csv");
static ANSWERS_1: [&str; QUERY_COUNT as usize] = files!("answers/sf1/q", ".csv");

/// The text of a query, without the closing semicolon; unqualified table names.
pub fn query(number: u8) -> Option<&'static str> {
    let text = pick(&QUERIES, number)?.trim_end();
    Some(text.strip_suffix(';').unwrap_or(text))
}

/// The known answer: a header line, then one line a row, fields separated by
/// `|`, NULL as an empty field. `None` when nobody outside has published one
/// for that scale factor (`"0.01"`, `"0.1"` and `"1"` have them).
pub fn answer(number: u8, scale_factor: &str) -> Option<&'static str> {
    pick(answers(scale_factor)?, number)
}

/// Whether the answers of a scale factor are known.
pub fn has_answers(scale_factor: &str) -> bool {
    answers(scale_factor).is_some()
}

fn answers(scale_factor: &str) -> Option<&'static [&'static str]> {
    match scale_factor {
        "0.01" => Some(&ANSWERS_0_01),
        "0.1" => Some(&ANSWERS_0_1),
        "1" | "1.0" => Some(&ANSWERS_1),
        _ => None,
    }
}

fn pick(files: &[&'static str], number: u8) -> Option<&'static str> {
    files.get(usize::from(number).checked_sub(1)?).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_query_has_a_text_and_three_answers() {
        for number in 1..=QUERY_COUNT {
            let text = query(number).unwrap();
            assert!(
                text.contains("FROM") && !text.ends_with(';'),
                "query {number}"
            );
            for scale_factor in ["0.01", "0.1", "1"] {
                assert!(answer(number, scale_factor).unwrap().lines().count() > 1);
            }
        }
        assert_eq!(query(0), None);
        assert_eq!(query(23), None);
        assert_eq!(answer(1, "10"), None);
    }
}

//! Dates, times and intervals as PostgreSQL has them: functions, operators, text forms, order.
//!
//! DataFusion's own differ in types and results, and reach from 1677 to 2262 only where they count nanoseconds. All here
//! counts microseconds, and nanoseconds are cut to them (`units`).

mod arithmetic;
mod civil;
mod errors;
mod fields;
mod function;
mod input;
mod make;
mod now;
mod number_pattern;
mod order;
mod pattern;
mod pruning;
mod reading;
mod series;
mod spans;
mod sums;
mod syntax;
mod template;
mod text;
mod trunc;
mod units;
mod zones;

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use datafusion::logical_expr::ScalarUDF;

pub(crate) use arithmetic::TemporalArithmetic;
pub(crate) use civil::date_of;
pub(crate) use order::{DatesBesideTimestamps, IntervalOrder};
pub(crate) use pruning::CompareDays;
pub(crate) use spans::interval;
pub(crate) use sums::wrap as wrap_aggregates;
pub(crate) use syntax::rewrite;
pub use text::Moments;
pub(crate) use text::{literal, local, printed, prints, read, reads};
pub(crate) use units::{cast_down, moved, moves};
pub(crate) use zones::seconds_ahead;

/// Every function, by name, as plans call it where no session is at hand.
static FUNCTIONS: LazyLock<HashMap<&'static str, Arc<ScalarUDF>>> = LazyLock::new(|| {
    all()
        .into_iter()
        .map(|function| (function.known_as(), function.udf()))
        .collect()
});

fn all() -> Vec<function::Function> {
    let mut all = arithmetic::functions();
    all.extend(fields::functions());
    all.extend(make::functions());
    all.extend(now::functions());
    all.extend(pattern::functions());
    all.extend(series::functions());
    all.extend(text::functions());
    all.extend(trunc::functions());
    all
}

/// The functions, for the processes that may meet them in a plan.
pub(crate) fn functions() -> Vec<Arc<ScalarUDF>> {
    FUNCTIONS
        .values()
        .cloned()
        .chain(now::moments())
        .chain(units::functions())
        .collect()
}

/// The names that statements may call.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    FUNCTIONS
        .keys()
        .copied()
        .filter(|name| !name.starts_with("tarn_"))
        .chain(now::NAMES.map(|(name, _)| name))
}

/// The function `name`, if it is one of these.
fn named(name: &str) -> Option<Arc<ScalarUDF>> {
    FUNCTIONS.get(name).cloned()
}

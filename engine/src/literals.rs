//! Text as dates and times, read as leniently as PostgreSQL reads it.
//!
//! Arrow wants `2024-01-01 10:00:00`; people write `2024-01-01 10:00` or `2024-1-1`. Literals that are
//! cast, by the user or by the planner, are completed before they are read. Other text is not.

use datafusion::arrow::datatypes::DataType;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::expr::{Cast, TryCast};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::{Expr, LogicalPlan};
use datafusion::optimizer::AnalyzerRule;

/// Completes literals that are cast to dates and times.
#[derive(Debug)]
pub(crate) struct CompleteLiterals;

impl AnalyzerRule for CompleteLiterals {
    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        plan.transform_up_with_subqueries(|node| {
            // The text of a literal may be the name of its column, which must stay.
            let names = NamePreserver::new(&node);
            node.map_expressions(|expr| {
                let name = names.save(&expr);
                let done = expr.transform_up(|expr| Ok(completed(expr)))?;
                Ok(done.update_data(|expr| name.restore(expr)))
            })
        })
        .map(|done| done.data)
    }

    fn name(&self) -> &'static str {
        "complete_literals"
    }
}

fn completed(expr: Expr) -> Transformed<Expr> {
    let (Expr::Cast(Cast { expr: inner, field }) | Expr::TryCast(TryCast { expr: inner, field })) =
        &expr
    else {
        return Transformed::no(expr);
    };
    let Expr::Literal(value, _) = inner.as_ref() else {
        return Transformed::no(expr);
    };
    let Some(Some(text)) = value.try_as_str() else {
        return Transformed::no(expr);
    };
    let whole = match field.data_type() {
        DataType::Date32 | DataType::Date64 => date(text.trim()),
        DataType::Timestamp(..) => timestamp(text.trim()),
        DataType::Time32(_) | DataType::Time64(_) => time(text.trim()),
        _ => None,
    };
    let Some(whole) = whole.filter(|whole| whole != text) else {
        return Transformed::no(expr);
    };
    let literal = |text| Box::new(Expr::Literal(ScalarValue::Utf8View(Some(text)), None));
    Transformed::yes(match expr {
        Expr::Cast(cast) => Expr::Cast(Cast {
            expr: literal(whole),
            ..cast
        }),
        Expr::TryCast(cast) => Expr::TryCast(TryCast {
            expr: literal(whole),
            ..cast
        }),
        other => other,
    })
}

/// `2024-1-1` as `2024-01-01`.
fn date(text: &str) -> Option<String> {
    let parts: Vec<&str> = text.split('-').collect();
    let [year, month, day] = parts[..] else {
        return None;
    };
    let short = |part: &str| matches!(part.len(), 1 | 2) && digits(part);
    (year.len() == 4 && digits(year) && short(month) && short(day))
        .then(|| format!("{year}-{month:0>2}-{day:0>2}"))
}

/// `10:00` as `10:00:00`, `9:05:01.5` as `09:05:01.5`.
fn time(text: &str) -> Option<String> {
    let parts: Vec<&str> = text.split(':').collect();
    let short = |part: &str| matches!(part.len(), 1 | 2) && digits(part);
    match parts[..] {
        [hour, minute] if short(hour) && minute.len() == 2 && digits(minute) => {
            Some(format!("{hour:0>2}:{minute}:00"))
        }
        [hour, minute, second]
            if short(hour)
                && minute.len() == 2
                && digits(minute)
                && second.starts_with(|c: char| c.is_ascii_digit()) =>
        {
            Some(format!("{hour:0>2}:{minute}:{second}"))
        }
        _ => None,
    }
}

/// A date, or a date and a time with or without a zone.
fn timestamp(text: &str) -> Option<String> {
    let Some(at) = text.find([' ', 'T', 't']) else {
        return date(text);
    };
    let (day, rest) = (&text[..at], text[at + 1..].trim_start());
    let end = rest
        .find(|c: char| !(c.is_ascii_digit() || matches!(c, ':' | '.')))
        .unwrap_or(rest.len());
    let (clock, zone) = rest.split_at(end);
    let separator = &text[at..=at];
    Some(format!(
        "{}{separator}{}{}",
        date(day)?,
        time(clock)?,
        zone.trim()
    ))
}

fn digits(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, wanted: &str) {
        assert_eq!(timestamp(text).as_deref(), Some(wanted), "{text}");
    }

    #[test]
    fn what_people_write_is_completed() {
        check("2024-01-01 10:00", "2024-01-01 10:00:00");
        check("2024-1-1 9:05:01.5", "2024-01-01 09:05:01.5");
        check("2024-01-01T10:00+02", "2024-01-01T10:00:00+02");
        check("2024-01-01 10:00:00 +02:00", "2024-01-01 10:00:00+02:00");
        check(
            "2024-01-01 10:00:00 Europe/Paris",
            "2024-01-01 10:00:00Europe/Paris",
        );
        check("2024-1-1", "2024-01-01");
        assert_eq!(time("10:00").as_deref(), Some("10:00:00"));
    }

    #[test]
    fn other_text_is_left_to_the_reader() {
        assert_eq!(timestamp("noon"), None);
        assert_eq!(timestamp("2024-01-01 noon"), None);
        assert_eq!(date("20240101"), None);
    }
}

//! Templates of dates and times as PostgreSQL writes them (`YYYY-MM-DD HH24:MI:SS.US`), as DataFusion reads them.
//!
//! Only literal templates of `to_char`, `to_date` and `to_timestamp`; one with words that are not known stays.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Expr, FunctionArg, FunctionArgExpr, FunctionArguments, Statement, Value, VisitMut, VisitorMut,
};

use crate::parser::fold_name;

/// Words of a template, longer ones first. Source: PostgreSQL, "Data Type Formatting Functions".
const WORDS: [(&str, &str); 29] = [
    ("FMMonth", "%B"),
    ("FMDay", "%A"),
    ("FMMM", "%-m"),
    ("FMDD", "%-d"),
    ("FMHH24", "%-H"),
    ("Month", "%B"),
    ("YYYY", "%Y"),
    ("IYYY", "%G"),
    ("HH24", "%H"),
    ("HH12", "%I"),
    ("DDD", "%j"),
    ("Mon", "%b"),
    ("Day", "%A"),
    ("YY", "%y"),
    ("MM", "%m"),
    ("DD", "%d"),
    ("Dy", "%a"),
    ("HH", "%I"),
    ("MI", "%M"),
    ("SS", "%S"),
    ("US", "%6f"),
    ("MS", "%3f"),
    ("AM", "%p"),
    ("PM", "%p"),
    ("IW", "%V"),
    ("ID", "%u"),
    ("TZ", "%Z"),
    ("OF", "%:z"),
    ("FM", ""),
];

/// Rewrites every template.
pub(super) fn rewrite(statement: &mut Statement) {
    let _ = VisitMut::visit(statement, &mut Rewriter);
}

struct Rewriter;

impl VisitorMut for Rewriter {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        let Expr::Function(function) = expr else {
            return ControlFlow::Continue(());
        };
        let name = fold_name(&function.name).pop().unwrap_or_default();
        if !matches!(name.as_str(), "to_char" | "to_date" | "to_timestamp") {
            return ControlFlow::Continue(());
        }
        let FunctionArguments::List(list) = &mut function.args else {
            return ControlFlow::Continue(());
        };
        if let [
            _,
            FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::Value(value))),
        ] = list.args.as_mut_slice()
            && let Value::SingleQuotedString(template) = &mut value.value
            && let Some(known) = translated(template)
        {
            *template = known;
        }
        ControlFlow::Continue(())
    }
}

/// The template in the other language; none if it is not one of PostgreSQL's.
fn translated(template: &str) -> Option<String> {
    if template.contains('%') {
        return None;
    }
    let mut out = String::new();
    let mut rest = template;
    let mut words = 0;
    while let Some(c) = rest.chars().next() {
        let word = WORDS.iter().find(|(word, _)| {
            let upper = word
                .chars()
                .all(|c| c.is_ascii_uppercase() || c.is_ascii_digit());
            rest.starts_with(word) || (upper && rest.starts_with(word.to_lowercase().as_str()))
        });
        if let Some((word, code)) = word {
            out.push_str(code);
            rest = &rest[word.len()..];
            words += 1;
        } else if c == '"' {
            let (text, after) = rest[1..].split_once('"')?;
            out.push_str(text);
            rest = after;
        } else if c.is_alphanumeric() && !matches!(c, 'T' | 'Z') {
            return None;
        } else {
            out.push(c);
            rest = &rest[c.len_utf8()..];
        }
    }
    (words > 0).then_some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_are_translated_and_strange_ones_stay() {
        let check = |template: &str, wanted: Option<&str>| {
            assert_eq!(translated(template).as_deref(), wanted, "{template}");
        };
        check("YYYY-MM-DD HH24:MI:SS.US", Some("%Y-%m-%d %H:%M:%S.%6f"));
        check("yyyy-mm", Some("%Y-%m"));
        check("DD Mon YYYY", Some("%d %b %Y"));
        check("YYYY\"Q\"", Some("%YQ"));
        check("%Y-%m", None);
        check("999.99", None);
    }
}

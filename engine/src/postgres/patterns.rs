//! `LIKE … ESCAPE`: the escape character becomes the backslash, the only one that DataFusion knows.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{Expr, Statement, Value, VisitMut, VisitorMut};

use super::expression;

/// Rewrites every pattern with an escape character of its own.
pub(super) fn rewrite(statement: &mut Statement) {
    let _ = VisitMut::visit(statement, &mut Rewriter);
}

struct Rewriter;

impl VisitorMut for Rewriter {
    type Break = ();

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        let (Expr::Like {
            pattern,
            escape_char,
            ..
        }
        | Expr::ILike {
            pattern,
            escape_char,
            ..
        }) = expr
        else {
            return ControlFlow::Continue(());
        };
        let Some(escape) = escape_char else {
            return ControlFlow::Continue(());
        };
        let Value::SingleQuotedString(escape) = &escape.value else {
            return ControlFlow::Continue(());
        };
        if escape == "\\" {
            return ControlFlow::Continue(());
        }
        let quoted = escape.replace('\'', "''");
        if let Some(new) = expression(&format!("tarn_like({pattern}, '{quoted}')")) {
            **pattern = new;
            *escape_char = None;
        }
        ControlFlow::Continue(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::check;

    #[test]
    fn an_escape_character_is_translated() {
        check(
            "SELECT x LIKE 'pg/_%' ESCAPE '/', x LIKE 'a' ESCAPE '\\'",
            "SELECT x LIKE tarn_like('pg/_%', '/'), x LIKE 'a' ESCAPE '\\'",
        );
    }
}

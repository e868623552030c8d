//! The dialect in which all SQL is read: PostgreSQL's as sqlparser has it, less what makes nested calls
//! cost twice as much with each level.

use std::any::TypeId;

use datafusion::sql::sqlparser::ast::{BinaryOperator, Expr, UnaryOperator};
use datafusion::sql::sqlparser::dialect::{Dialect, Precedence};
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::parser::{Parser, ParserError};

const POSTGRESQL: datafusion::sql::sqlparser::dialect::PostgreSqlDialect =
    datafusion::sql::sqlparser::dialect::PostgreSqlDialect {};

/// PostgreSQL's dialect; named arguments have names, not expressions.
#[derive(Debug, Default)]
pub(crate) struct PostgreSqlDialect {
    /// Whether `FOR SYSTEM_TIME AS OF` may stand behind a table. Only where a statement has it: `at` and `before` are
    /// no aliases then.
    pub(crate) table_versions: bool,
}

impl Dialect for PostgreSqlDialect {
    /// The parser asks in places which dialect it has.
    fn dialect(&self) -> TypeId {
        POSTGRESQL.dialect()
    }

    /// As expressions, each argument would be parsed twice, and its arguments four times.
    fn supports_named_fn_args_with_expr_name(&self) -> bool {
        false
    }

    /// `{'name': 'type'}`, as in options of file functions.
    fn supports_dictionary_syntax(&self) -> bool {
        true
    }

    fn supports_table_versioning(&self) -> bool {
        self.table_versions
    }

    fn identifier_quote_style(&self, identifier: &str) -> Option<char> {
        POSTGRESQL.identifier_quote_style(identifier)
    }

    fn is_delimited_identifier_start(&self, ch: char) -> bool {
        POSTGRESQL.is_delimited_identifier_start(ch)
    }

    fn is_identifier_start(&self, ch: char) -> bool {
        POSTGRESQL.is_identifier_start(ch)
    }

    fn is_identifier_part(&self, ch: char) -> bool {
        POSTGRESQL.is_identifier_part(ch)
    }

    fn supports_unicode_string_literal(&self) -> bool {
        POSTGRESQL.supports_unicode_string_literal()
    }

    fn is_reserved_for_identifier(&self, kw: Keyword) -> bool {
        POSTGRESQL.is_reserved_for_identifier(kw)
    }

    fn is_custom_operator_part(&self, ch: char) -> bool {
        POSTGRESQL.is_custom_operator_part(ch)
    }

    /// `BETWEEN SYMMETRIC`, which is BETWEEN with its bounds in either order; `IS [NOT] DISTINCT FROM`, whose right side
    /// ends before AND and OR.
    fn parse_infix(
        &self,
        parser: &mut Parser,
        expr: &Expr,
        _precedence: u8,
    ) -> Option<Result<Expr, ParserError>> {
        let same =
            parser.parse_keywords(&[Keyword::IS, Keyword::NOT, Keyword::DISTINCT, Keyword::FROM]);
        if same || parser.parse_keywords(&[Keyword::IS, Keyword::DISTINCT, Keyword::FROM]) {
            let right = parser.parse_subexpr(self.prec_value(Precedence::Is));
            return Some(right.map(|right| {
                let (left, right) = (Box::new(expr.clone()), Box::new(right));
                if same {
                    Expr::IsNotDistinctFrom(left, right)
                } else {
                    Expr::IsDistinctFrom(left, right)
                }
            }));
        }
        let negated = parser.parse_keywords(&[Keyword::NOT, Keyword::BETWEEN, Keyword::SYMMETRIC]);
        if !negated && !parser.parse_keywords(&[Keyword::BETWEEN, Keyword::SYMMETRIC]) {
            return None;
        }
        Some(symmetric(parser, expr, negated))
    }

    fn get_next_precedence(&self, parser: &Parser) -> Option<Result<u8, ParserError>> {
        POSTGRESQL.get_next_precedence(parser)
    }

    fn supports_filter_during_aggregation(&self) -> bool {
        POSTGRESQL.supports_filter_during_aggregation()
    }

    fn supports_group_by_expr(&self) -> bool {
        POSTGRESQL.supports_group_by_expr()
    }

    fn prec_value(&self, prec: Precedence) -> u8 {
        POSTGRESQL.prec_value(prec)
    }

    fn allow_extract_custom(&self) -> bool {
        POSTGRESQL.allow_extract_custom()
    }

    fn allow_extract_single_quotes(&self) -> bool {
        POSTGRESQL.allow_extract_single_quotes()
    }

    fn supports_create_index_with_clause(&self) -> bool {
        POSTGRESQL.supports_create_index_with_clause()
    }

    fn supports_explain_with_utility_options(&self) -> bool {
        POSTGRESQL.supports_explain_with_utility_options()
    }

    fn supports_listen_notify(&self) -> bool {
        POSTGRESQL.supports_listen_notify()
    }

    fn supports_factorial_operator(&self) -> bool {
        POSTGRESQL.supports_factorial_operator()
    }

    fn supports_bitwise_shift_operators(&self) -> bool {
        POSTGRESQL.supports_bitwise_shift_operators()
    }

    fn supports_comment_on(&self) -> bool {
        POSTGRESQL.supports_comment_on()
    }

    fn supports_load_extension(&self) -> bool {
        POSTGRESQL.supports_load_extension()
    }

    fn supports_named_fn_args_with_colon_operator(&self) -> bool {
        POSTGRESQL.supports_named_fn_args_with_colon_operator()
    }

    fn supports_empty_projections(&self) -> bool {
        POSTGRESQL.supports_empty_projections()
    }

    fn supports_nested_comments(&self) -> bool {
        POSTGRESQL.supports_nested_comments()
    }

    fn supports_string_escape_constant(&self) -> bool {
        POSTGRESQL.supports_string_escape_constant()
    }

    fn supports_numeric_literal_underscores(&self) -> bool {
        POSTGRESQL.supports_numeric_literal_underscores()
    }

    fn supports_array_typedef_with_brackets(&self) -> bool {
        POSTGRESQL.supports_array_typedef_with_brackets()
    }

    fn supports_geometric_types(&self) -> bool {
        POSTGRESQL.supports_geometric_types()
    }

    fn supports_set_names(&self) -> bool {
        POSTGRESQL.supports_set_names()
    }

    fn supports_alter_column_type_using(&self) -> bool {
        POSTGRESQL.supports_alter_column_type_using()
    }

    fn supports_notnull_operator(&self) -> bool {
        POSTGRESQL.supports_notnull_operator()
    }

    fn supports_interval_options(&self) -> bool {
        POSTGRESQL.supports_interval_options()
    }

    fn supports_insert_table_alias(&self) -> bool {
        POSTGRESQL.supports_insert_table_alias()
    }

    fn supports_create_table_like_parenthesized(&self) -> bool {
        POSTGRESQL.supports_create_table_like_parenthesized()
    }

    fn supports_select_wildcard_with_alias(&self) -> bool {
        POSTGRESQL.supports_select_wildcard_with_alias()
    }

    fn supports_comma_separated_trim(&self) -> bool {
        POSTGRESQL.supports_comma_separated_trim()
    }

    fn supports_xml_expressions(&self) -> bool {
        POSTGRESQL.supports_xml_expressions()
    }

    fn supports_comment_optimizer_hint(&self) -> bool {
        POSTGRESQL.supports_comment_optimizer_hint()
    }
}

/// Most characters of what BETWEEN SYMMETRIC compares: all of it is written twice.
const SYMMETRIC_LENGTH_MAX: usize = 4096;

/// The rest of `expr BETWEEN SYMMETRIC low AND high`.
fn symmetric(parser: &mut Parser, expr: &Expr, negated: bool) -> Result<Expr, ParserError> {
    let Expr::Between {
        expr, low, high, ..
    } = parser.parse_between(expr.clone(), false)?
    else {
        return Err(ParserError::ParserError("BETWEEN was expected".to_owned()));
    };
    let length: usize = [&expr, &low, &high]
        .map(|part| part.to_string().len())
        .iter()
        .sum();
    if length > SYMMETRIC_LENGTH_MAX {
        return Err(ParserError::ParserError(format!(
            "BETWEEN SYMMETRIC compares more than {SYMMETRIC_LENGTH_MAX} characters of expressions"
        )));
    }
    let between = |low: &Expr, high: &Expr| Expr::Between {
        expr: expr.clone(),
        negated: false,
        low: Box::new(low.clone()),
        high: Box::new(high.clone()),
    };
    let either = Expr::Nested(Box::new(Expr::BinaryOp {
        left: Box::new(between(&low, &high)),
        op: BinaryOperator::Or,
        right: Box::new(between(&high, &low)),
    }));
    Ok(if negated {
        Expr::Nested(Box::new(Expr::UnaryOp {
            op: UnaryOperator::Not,
            expr: Box::new(either),
        }))
    } else {
        either
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, Instant};

    #[test]
    fn nested_calls_cost_no_more_than_their_length() {
        let start = Instant::now();
        for open in ["abs(", "make_array(", "coalesce(NULL, ", "greatest(1, "] {
            let sql = format!("SELECT {}1{}", open.repeat(40), ")".repeat(40));
            Parser::parse_sql(&PostgreSqlDialect::default(), &sql).unwrap();
        }
        // Doubling with each level, this would take days.
        assert!(start.elapsed() < Duration::from_secs(10));
    }

    #[test]
    fn named_arguments_are_still_named() {
        let sql = "SELECT make_interval(days => 10, hours := 2)";
        Parser::parse_sql(&PostgreSqlDialect::default(), sql).unwrap();
    }

    #[test]
    fn bounds_of_a_symmetric_between_stand_in_either_order() {
        let sql = "SELECT a NOT BETWEEN SYMMETRIC b + 1 AND 2 AND c";
        let Ok(crate::parser::Statement::Query(found)) = crate::parser::parse(sql) else {
            panic!("{sql} is no query")
        };
        assert_eq!(
            found.to_string(),
            "SELECT (NOT (a BETWEEN b + 1 AND 2 OR a BETWEEN 2 AND b + 1)) AND c"
        );
        // Each level would be twice as long as the one inside.
        let mut nested = "1".to_owned();
        for _ in 0..60 {
            nested = format!("(1 BETWEEN SYMMETRIC {nested} AND 2)::int");
        }
        assert!(crate::parser::parse(&format!("SELECT {nested}")).is_err());
    }
}

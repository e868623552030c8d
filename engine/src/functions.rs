//! The functions that Tarn adds to DataFusion's.
//!
//! Those of [`register`] are alike in the coordinator and on workers; those of [`of_session`] answer
//! for one session and are constants by the time a plan is made.

use std::ops::ControlFlow;
use std::sync::Arc;

use datafusion::arrow::compute::cast;
use datafusion::arrow::compute::kernels::length::length;
use datafusion::arrow::datatypes::DataType;
use datafusion::common::{Result, exec_err};
use datafusion::execution::{SessionState, SessionStateBuilder};
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use datafusion::scalar::ScalarValue;
use datafusion::sql::sqlparser::ast::{self, VisitMut, VisitorMut};

use crate::casts;
use crate::checked;
use crate::files;
use crate::grouping;
use crate::inference::OpenOperands;
use crate::integers::IntegerLiterals;
use crate::intervals::{self, IntervalArithmetic};
use crate::maps::MapAccess;
use crate::parser::fold;
use crate::pg_catalog;
use crate::session::Session;
use crate::single;
use crate::temporal::{self, TemporalArithmetic};
use crate::unknowns::UnknownLiterals;
use crate::values;
use crate::write;

/// Registers the functions that any process of the cluster may meet in a plan.
pub(crate) fn register(mut builder: SessionStateBuilder) -> SessionStateBuilder {
    builder.scalar_functions().get_or_insert_default().extend(
        write::functions()
            .into_iter()
            .chain(grouping::functions())
            .chain(checked::functions())
            .chain(pg_catalog::sets::functions())
            .chain(pg_catalog::plain::functions())
            .chain(casts::functions())
            .chain(values::functions())
            .chain(intervals::functions())
            .chain(temporal::functions())
            .chain([Arc::new(ScalarUDF::from(OctetLength::new()))]),
    );
    let aggregates = builder.aggregate_functions().get_or_insert_default();
    aggregates.push(single::function());
    aggregates.extend(values::aggregates());
    builder
        .window_functions()
        .get_or_insert_default()
        .extend(values::windows());
    temporal::wrap_aggregates(builder.aggregate_functions().get_or_insert_default());
    let planners = builder.expr_planners().get_or_insert_default();
    planners.insert(0, Arc::new(MapAccess));
    planners.insert(0, Arc::new(UnknownLiterals));
    planners.insert(0, Arc::new(IntervalArithmetic));
    planners.splice(0..0, values::planners());
    planners.insert(0, Arc::new(TemporalArithmetic));
    planners.insert(0, Arc::new(IntegerLiterals));
    planners.insert(0, Arc::new(OpenOperands));
    builder
}

/// Calls functions of single values that stand in the arguments of others by their own names.
///
/// Under another name the planner wraps a call in an alias, and the type of an alias costs twice that of what it
/// holds: twenty such calls in each other would be planned for minutes.
pub(crate) fn by_own_names(statement: &mut ast::Statement, state: &SessionState) {
    let mut namer = OwnNames { state, depth: 0 };
    // Nothing breaks off the visit.
    let _ = VisitMut::visit(statement, &mut namer);
}

struct OwnNames<'a> {
    state: &'a SessionState,
    depth: usize,
}

impl VisitorMut for OwnNames<'_> {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &mut ast::Expr) -> ControlFlow<()> {
        let ast::Expr::Function(call) = expr else {
            return ControlFlow::Continue(());
        };
        let known = self.state.scalar_functions();
        if self.depth > 0
            && let [ast::ObjectNamePart::Identifier(name)] = &mut call.name.0[..]
            && let Some(function) = known.get(&fold(name))
            && function.name() != name.value
            && let Some(own) = known.get(function.name())
            && Arc::ptr_eq(function, own)
        {
            *name = ast::Ident::with_quote('"', own.name());
        }
        self.depth += 1;
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut ast::Expr) -> ControlFlow<()> {
        if matches!(expr, ast::Expr::Function(_)) {
            self.depth -= 1;
        }
        ControlFlow::Continue(())
    }
}

/// `current_schema()` and its like for one session.
pub(crate) fn of_session(session: &Session) -> Vec<Arc<ScalarUDF>> {
    [
        ("current_catalog", &session.catalog),
        ("current_database", &session.catalog),
        ("current_schema", &session.schema),
        ("current_user", &session.user),
        ("session_user", &session.user),
        ("user", &session.user),
    ]
    .into_iter()
    .map(|(name, value)| {
        Arc::new(ScalarUDF::from(Answer {
            name,
            value: value.clone(),
            signature: Signature::nullary(Volatility::Stable),
        }))
    })
    .collect()
}

/// A function without arguments that answers with one text.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Answer {
    name: &'static str,
    value: String,
    signature: Signature,
}

impl ScalarUDFImpl for Answer {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Utf8View)
    }

    fn invoke_with_args(&self, _: ScalarFunctionArgs) -> Result<ColumnarValue> {
        Ok(ColumnarValue::Scalar(ScalarValue::Utf8View(Some(
            self.value.clone(),
        ))))
    }
}

/// `octet_length` of text and, unlike DataFusion's, of binary values.
#[derive(Debug, PartialEq, Eq, Hash)]
struct OctetLength {
    signature: Signature,
}

impl OctetLength {
    fn new() -> Self {
        let types = vec![
            DataType::Utf8View,
            DataType::Utf8,
            DataType::LargeUtf8,
            DataType::BinaryView,
            DataType::Binary,
            DataType::LargeBinary,
        ];
        Self {
            signature: Signature::uniform(1, types, Volatility::Immutable),
        }
    }
}

impl ScalarUDFImpl for OctetLength {
    fn name(&self) -> &'static str {
        "octet_length"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Int32)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let arrays = ColumnarValue::values_to_arrays(&args.args)?;
        let [array] = &arrays[..] else {
            return exec_err!("octet_length takes one argument");
        };
        let lengths = length(array.as_ref())?;
        Ok(ColumnarValue::Array(cast(&lengths, &DataType::Int32)?))
    }
}

/// Every function that a statement may call, sorted.
pub(crate) fn names(state: &SessionState) -> Vec<String> {
    let own = of_session(&Session::new("", "", ""));
    let mut names: Vec<String> = state
        .scalar_functions()
        .keys()
        .chain(state.aggregate_functions().keys())
        .chain(state.window_functions().keys())
        .filter(|name| !name.starts_with("tarn_"))
        .cloned()
        .chain(own.iter().map(|f| f.name().to_owned()))
        .chain(values::names())
        .chain(temporal::names().map(str::to_owned))
        .chain(files::function_names().map(str::to_owned))
        .chain(pg_catalog::function_names().map(str::to_owned))
        .chain(
            pg_catalog::plain::NAMES
                .iter()
                .map(|name| (*name).to_owned()),
        )
        .chain(
            pg_catalog::sets::SETS
                .iter()
                .map(|(name, _)| (*name).to_owned()),
        )
        .collect();
    names.sort();
    names.dedup();
    names
}

/// Every function that a statement may call, sorted, without a running engine.
pub fn function_names() -> Vec<String> {
    names(&SessionStateBuilder::new().with_default_features().build())
}

//! What all functions of dates and times have in common: how they are called and registered.
//!
//! A function is a name, the types that it makes of its arguments' and the code that makes an array of arrays. Knows
//! DataFusion's functions, no meaning.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, StringViewArray};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, IntervalUnit, TimeUnit};
use datafusion::common::config::ConfigOptions;
use datafusion::common::{Result, ScalarValue, exec_err, plan_err};
use datafusion::logical_expr::preimage::PreimageResult;
use datafusion::logical_expr::simplify::SimplifyContext;
use datafusion::logical_expr::{
    ColumnarValue, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    Volatility,
};

use super::zones::Zone;

pub(super) const DATE: DataType = DataType::Date32;
pub(super) const TIME: DataType = DataType::Time64(TimeUnit::Microsecond);
pub(super) const TIMESTAMP: DataType = DataType::Timestamp(TimeUnit::Microsecond, None);
pub(super) const INTERVAL: DataType = DataType::Interval(IntervalUnit::MonthDayNano);
pub(super) const TEXT: DataType = DataType::Utf8View;

/// The session's zone where none has been said.
const UTC: &str = "UTC";

/// A timestamp with time zone in `zone`.
pub(super) fn zoned_type(zone: &str) -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some(zone.into()))
}

/// What PostgreSQL has for an Arrow type: one unit each.
pub(super) fn common(ty: &DataType) -> DataType {
    match ty {
        DataType::Date64 => DATE,
        DataType::Time32(_) | DataType::Time64(_) => TIME,
        DataType::Timestamp(_, zone) => DataType::Timestamp(TimeUnit::Microsecond, zone.clone()),
        DataType::Interval(_) | DataType::Duration(_) => INTERVAL,
        DataType::Utf8 | DataType::LargeUtf8 => TEXT,
        other => other.clone(),
    }
}

/// What a type is called in errors.
pub(super) fn type_name(ty: &DataType) -> String {
    crate::types::sql_type_name(ty)
}

/// What the types of a call are made of.
pub(super) struct Types<'a> {
    pub(super) args: &'a [DataType],
    /// Arguments that are literals.
    pub(super) literals: &'a [Option<&'a ScalarValue>],
    pub(super) zone: &'a str,
}

impl Types<'_> {
    /// The text of argument `at`, if it is a literal.
    pub(super) fn text(&self, at: usize) -> Option<&str> {
        self.literals.get(at)?.as_ref()?.try_as_str().flatten()
    }
}

/// One call: arguments as arrays of one length.
pub(super) struct Call<'a> {
    pub(super) args: Vec<ArrayRef>,
    given: &'a [ColumnarValue],
    pub(super) rows: usize,
    pub(super) result: &'a DataType,
    pub(super) zone: &'a str,
}

impl Call<'_> {
    /// The text of argument `at`, if it is the same in all rows.
    pub(super) fn text(&self, at: usize) -> Option<&str> {
        match self.given.get(at)? {
            ColumnarValue::Scalar(value) => value.try_as_str().flatten(),
            ColumnarValue::Array(_) => None,
        }
    }

    /// The same call with other arguments.
    pub(super) fn with(&self, args: Vec<ArrayRef>) -> Call<'_> {
        Call {
            args,
            given: &[],
            ..*self
        }
    }

    /// Argument `at` as texts.
    pub(super) fn texts(&self, at: usize) -> Result<StringViewArray> {
        let texts = cast(self.arg(at)?, &TEXT)?;
        Ok(texts.as_string_view().clone())
    }

    pub(super) fn arg(&self, at: usize) -> Result<&ArrayRef> {
        if let Some(array) = self.args.get(at) {
            Ok(array)
        } else {
            exec_err!("an argument is missing")
        }
    }

    /// The zone of argument `at`, or the session's.
    pub(super) fn zone_of(&self, at: usize) -> Result<Zone> {
        match self.arg(at)?.data_type() {
            DataType::Timestamp(_, Some(zone)) => Zone::of_type(zone),
            _ => Zone::of_type(self.zone),
        }
    }

    /// Whether an argument is NULL in `row`.
    pub(super) fn is_null(&self, row: usize) -> bool {
        self.args.iter().any(|array| array.is_null(row))
    }
}

/// Makes types of the arguments that a function takes; an error if it does not take them.
pub(super) type Coerce = fn(&[DataType], &str) -> Option<Vec<DataType>>;
/// The type of the result.
pub(super) type Typed = fn(&Types<'_>) -> Result<DataType>;
/// The result.
pub(super) type Run = fn(&Call<'_>) -> Result<ArrayRef>;

/// A function of dates and times.
#[derive(Clone)]
pub(super) struct Function {
    name: &'static str,
    coerce: Coerce,
    typed: Typed,
    run: Run,
    /// The session's zone.
    zone: Arc<str>,
    signature: Signature,
    shown: Option<&'static str>,
    strict: bool,
    aliases: Vec<String>,
}

impl Function {
    pub(super) fn new(name: &'static str, coerce: Coerce, typed: Typed, run: Run) -> Self {
        Self {
            name,
            coerce,
            typed,
            run,
            zone: UTC.into(),
            signature: Signature::user_defined(Volatility::Immutable),
            shown: None,
            strict: true,
            aliases: vec![],
        }
    }

    /// Its result hangs on the session's zone or on the moment.
    pub(super) fn stable(mut self) -> Self {
        self.signature.volatility = Volatility::Stable;
        self
    }

    /// Its result is another one each time.
    pub(super) fn volatile(mut self) -> Self {
        self.signature.volatility = Volatility::Volatile;
        self
    }

    /// It is an operator and is shown as one.
    pub(super) fn operator(mut self, sign: &'static str) -> Self {
        self.shown = Some(sign);
        self
    }

    /// Its result may be NULL though no argument is.
    pub(super) fn nullable(mut self) -> Self {
        self.strict = false;
        self
    }

    /// It is known by another name, too.
    pub(super) fn alias(mut self, name: &str) -> Self {
        self.aliases.push(name.to_owned());
        self
    }

    pub(super) fn known_as(&self) -> &'static str {
        self.name
    }

    pub(super) fn udf(self) -> Arc<ScalarUDF> {
        Arc::new(ScalarUDF::from(self))
    }
}

impl std::fmt::Debug for Function {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Function").field(&self.name).finish()
    }
}

impl PartialEq for Function {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Function {}

impl Hash for Function {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

impl ScalarUDFImpl for Function {
    fn name(&self) -> &str {
        self.name
    }

    // Else DataFusion's own would stay known by the other name and come back under the first.
    fn aliases(&self) -> &[String] {
        &self.aliases
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn display_name(&self, args: &[Expr]) -> Result<String> {
        if let (Some(sign), [left, right]) = (self.shown, args) {
            return Ok(format!("{left} {sign} {right}"));
        }
        let args: Vec<String> = args.iter().map(ToString::to_string).collect();
        Ok(format!("{}({})", self.name, args.join(",")))
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        let common: Vec<DataType> = types.iter().map(common).collect();
        let Some(wanted) = (self.coerce)(&common, &self.zone) else {
            let types: Vec<String> = types.iter().map(type_name).collect();
            return plan_err!(
                "No function matches {}({})",
                self.name.trim_start_matches("tarn_"),
                types.join(", ")
            );
        };
        // Text stays of its own kind: a literal that is cast is no literal any more.
        Ok(wanted
            .into_iter()
            .zip(types)
            .map(|(wanted, given)| match (wanted, given) {
                (TEXT, DataType::Utf8 | DataType::LargeUtf8) => given.clone(),
                (wanted, _) => wanted,
            })
            .collect())
    }

    fn return_type(&self, args: &[DataType]) -> Result<DataType> {
        (self.typed)(&Types {
            args,
            literals: &[],
            zone: &self.zone,
        })
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        let types: Vec<DataType> = args
            .arg_fields
            .iter()
            .map(|field| field.data_type().clone())
            .collect();
        let ty = (self.typed)(&Types {
            args: &types,
            literals: args.scalar_arguments,
            zone: &self.zone,
        })?;
        let nullable = !self.strict || args.arg_fields.iter().any(|field| field.is_nullable());
        Ok(Arc::new(Field::new(self.name, ty, nullable)))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let single = args
            .args
            .iter()
            .all(|arg| matches!(arg, ColumnarValue::Scalar(_)));
        let rows = if single { 1 } else { args.number_rows };
        let arrays = args
            .args
            .iter()
            .map(|arg| arg.to_array(rows))
            .collect::<Result<Vec<_>>>()?;
        let zone = args.config_options.execution.time_zone.as_deref();
        let call = Call {
            args: arrays,
            given: &args.args,
            rows,
            result: args.return_field.data_type(),
            zone: zone.unwrap_or(&self.zone),
        };
        let out = (self.run)(&call)?;
        if single && self.signature.volatility != Volatility::Volatile {
            return Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&out, 0)?));
        }
        Ok(ColumnarValue::Array(out))
    }

    fn with_updated_config(&self, config: &ConfigOptions) -> Option<ScalarUDF> {
        let zone = config.execution.time_zone.as_deref().unwrap_or(UTC);
        Some(ScalarUDF::from(Self {
            zone: zone.into(),
            ..self.clone()
        }))
    }

    fn preimage(
        &self,
        args: &[Expr],
        literal: &Expr,
        info: &SimplifyContext,
    ) -> Result<PreimageResult> {
        if matches!(self.name, "extract" | "date_part") {
            return super::fields::preimage(args, literal, info);
        }
        Ok(PreimageResult::None)
    }
}

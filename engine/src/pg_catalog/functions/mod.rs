//! PostgreSQL's functions about the catalogs, the session and the server.
//!
//! Each is a row of a table: a name, what it takes, what it gives, and a Rust function over one row. They answer
//! from a [`CatalogContext`] and so stay in the process that made the plan.

mod array_text;
mod backends;
mod describe;
mod names;
pub(crate) mod plain;
mod privileges;
mod regs;
mod server;
pub(crate) mod sets;
mod sizes;
mod standard;

use std::collections::HashSet;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::{Arc, LazyLock};

use datafusion::arrow::array::{Array, AsArray};
use datafusion::arrow::datatypes::{DataType, FieldRef, Int64Type, UInt32Type};
use datafusion::common::{Result, ScalarValue, plan_err};
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    Volatility,
};

use super::context::CatalogContext;
use super::rows::{Column, Val};
use super::shape::column;
use super::types::pg_type_of;

pub(super) use describe::type_text;
pub(crate) use regs::RegCasts;
pub(crate) use server::{note_start, setting_value};

/// What an argument may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Take {
    /// Text.
    Text,
    /// An oid.
    Oid,
    /// A whole number.
    Int,
    /// A truth value.
    Bool,
    /// An object by oid or by name, as `regclass` is.
    Named,
    /// Anything; only its type counts.
    Type,
}

/// The value of an argument in one row.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Arg<'a> {
    Null,
    Text(&'a str),
    Oid(u32),
    Int(i64),
    Bool(bool),
}

impl Arg<'_> {
    /// The text, or none.
    pub(super) fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The oid, or 0.
    pub(super) fn oid(&self) -> u32 {
        match self {
            Self::Oid(oid) => *oid,
            _ => 0,
        }
    }

    /// The number, or none.
    pub(super) fn int(&self) -> Option<i64> {
        match self {
            Self::Int(number) => Some(*number),
            _ => None,
        }
    }
}

type Call = fn(&CatalogContext, &[Arg<'_>]) -> Result<Val<'static>>;

/// One function.
pub(super) struct Definition {
    pub(super) name: &'static str,
    /// The lists of arguments that it takes.
    pub(super) takes: &'static [&'static [Take]],
    /// Name of the type that it gives.
    pub(super) gives: &'static str,
    /// Whether NULL in gives NULL out.
    pub(super) strict: bool,
    /// Whether it does something, and so is called once a row, when the statement runs.
    pub(super) acts: bool,
    pub(super) call: Call,
}

/// A strict function.
const fn strict(
    name: &'static str,
    takes: &'static [&'static [Take]],
    gives: &'static str,
    call: Call,
) -> Definition {
    Definition {
        name,
        takes,
        gives,
        strict: true,
        acts: false,
        call,
    }
}

/// A function that is called for NULL, too.
const fn lenient(
    name: &'static str,
    takes: &'static [&'static [Take]],
    gives: &'static str,
    call: Call,
) -> Definition {
    Definition {
        name,
        takes,
        gives,
        strict: false,
        acts: false,
        call,
    }
}

/// A strict function that does something.
const fn acting(
    name: &'static str,
    takes: &'static [&'static [Take]],
    gives: &'static str,
    call: Call,
) -> Definition {
    Definition {
        acts: true,
        ..strict(name, takes, gives, call)
    }
}

fn definitions() -> impl Iterator<Item = &'static Definition> {
    backends::DEFINITIONS
        .iter()
        .chain(describe::DEFINITIONS)
        .chain(names::DEFINITIONS)
        .chain(privileges::DEFINITIONS)
        .chain(regs::DEFINITIONS)
        .chain(server::DEFINITIONS)
        .chain(sizes::DEFINITIONS)
        .chain(standard::DEFINITIONS)
}

/// The functions that answer from `context`.
pub(crate) fn of_context(context: &Arc<CatalogContext>) -> Vec<Arc<ScalarUDF>> {
    definitions()
        .map(|definition| Arc::new(ScalarUDF::from(CatalogFunction::new(definition, context))))
        .collect()
}

/// The names of these functions, but for those that only plans name.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    definitions()
        .map(|definition| definition.name)
        .filter(|name| !name.starts_with("tarn_"))
}

/// Whether `name` is one of these functions.
pub(crate) fn is_ours(name: &str) -> bool {
    static NAMES: LazyLock<HashSet<&'static str>> =
        LazyLock::new(|| definitions().map(|definition| definition.name).collect());
    NAMES.contains(name)
}

/// A [`Definition`] as DataFusion calls it.
struct CatalogFunction {
    definition: &'static Definition,
    context: Arc<CatalogContext>,
    signature: Signature,
}

impl CatalogFunction {
    fn new(definition: &'static Definition, context: &Arc<CatalogContext>) -> Self {
        Self {
            definition,
            context: Arc::clone(context),
            signature: Signature::user_defined(if definition.acts {
                Volatility::Volatile
            } else {
                Volatility::Stable
            }),
        }
    }
}

impl fmt::Debug for CatalogFunction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CatalogFunction")
            .field("name", &self.definition.name)
            .finish_non_exhaustive()
    }
}

impl PartialEq for CatalogFunction {
    fn eq(&self, other: &Self) -> bool {
        self.definition.name == other.definition.name && Arc::ptr_eq(&self.context, &other.context)
    }
}

impl Eq for CatalogFunction {}

impl Hash for CatalogFunction {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.definition.name.hash(state);
    }
}

/// The type that an argument of type `ty` becomes, if it can be taken. `loose` takes what only a cast makes fit.
fn fit(take: Take, ty: &DataType, loose: bool) -> Option<DataType> {
    let integer = ty.is_integer();
    let text = matches!(
        ty,
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View
    );
    let null = ty.is_null();
    match take {
        Take::Text if text || null || loose => Some(DataType::Utf8),
        Take::Oid if integer || null || (loose && text) => Some(DataType::UInt32),
        Take::Int if integer || null || (loose && (text || ty.is_numeric())) => {
            Some(DataType::Int64)
        }
        Take::Bool if *ty == DataType::Boolean || null || (loose && text) => {
            Some(DataType::Boolean)
        }
        Take::Named if integer => Some(DataType::UInt32),
        Take::Named if text || null => Some(DataType::Utf8),
        Take::Type => Some(ty.clone()),
        _ => None,
    }
}

impl ScalarUDFImpl for CatalogFunction {
    fn name(&self) -> &str {
        self.definition.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(column("", self.definition.gives, true).data_type().clone())
    }

    fn return_field_from_args(&self, _: ReturnFieldArgs) -> Result<FieldRef> {
        Ok(Arc::new(column(
            self.definition.name,
            self.definition.gives,
            true,
        )))
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        for loose in [false, true] {
            let found = self.definition.takes.iter().find_map(|takes| {
                let fits = takes
                    .iter()
                    .zip(types)
                    .map(|(take, ty)| fit(*take, ty, loose));
                let fits: Option<Vec<_>> = fits.collect();
                fits.filter(|_| takes.len() == types.len())
            });
            if let Some(found) = found {
                return Ok(found);
            }
        }
        plan_err!(
            "function {}({}) does not exist",
            self.definition.name,
            types
                .iter()
                .map(crate::types::sql_type_name)
                .collect::<Vec<_>>()
                .join(", ")
        )
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let mut all = args.args.iter();
        let scalar =
            !self.definition.acts && all.all(|arg| matches!(arg, ColumnarValue::Scalar(_)));
        let count = if scalar { 1 } else { args.number_rows };
        let arrays = args
            .args
            .iter()
            .map(|arg| arg.to_array(count))
            .collect::<Result<Vec<_>>>()?;
        let types = args.arg_fields.iter().map(|field| pg_type_of(field).oid);
        let types: Vec<u32> = types.collect();
        let by_type = self
            .definition
            .takes
            .iter()
            .any(|takes| takes.contains(&Take::Type));
        let mut out = Column::new(&column("", self.definition.gives, true));
        let mut row_args = Vec::with_capacity(arrays.len());
        for row in 0..count {
            row_args.clear();
            for (array, ty) in arrays.iter().zip(&types) {
                row_args.push(if by_type {
                    Arg::Oid(*ty)
                } else {
                    value(array.as_ref(), row)
                });
            }
            let null = self.definition.strict && row_args.contains(&Arg::Null);
            out.push(if null {
                Val::Null
            } else {
                (self.definition.call)(&self.context, &row_args)?
            })?;
        }
        let array = out.finish();
        if let (true, Some(list)) = (scalar, array.as_list_opt::<i32>()) {
            // Keeps the field of the items.
            return Ok(ColumnarValue::Scalar(ScalarValue::List(Arc::new(
                list.clone(),
            ))));
        }
        if scalar {
            return Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(
                &array, 0,
            )?));
        }
        Ok(ColumnarValue::Array(array))
    }
}

/// The argument in one row of its array.
fn value(array: &dyn Array, row: usize) -> Arg<'_> {
    if array.is_null(row) {
        return Arg::Null;
    }
    match array.data_type() {
        DataType::Utf8 => Arg::Text(array.as_string::<i32>().value(row)),
        DataType::LargeUtf8 => Arg::Text(array.as_string::<i64>().value(row)),
        DataType::Utf8View => Arg::Text(array.as_string_view().value(row)),
        DataType::UInt32 => Arg::Oid(array.as_primitive::<UInt32Type>().value(row)),
        DataType::Int64 => Arg::Int(array.as_primitive::<Int64Type>().value(row)),
        DataType::Boolean => Arg::Bool(array.as_boolean().value(row)),
        _ => Arg::Null,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_is_defined_twice() {
        let mut names: Vec<&str> = definitions().map(|d| d.name).collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
    }

    #[test]
    fn an_object_is_taken_by_oid_or_by_name() {
        assert_eq!(
            fit(Take::Named, &DataType::Int64, false),
            Some(DataType::UInt32)
        );
        assert_eq!(
            fit(Take::Named, &DataType::Utf8View, false),
            Some(DataType::Utf8)
        );
        assert_eq!(fit(Take::Oid, &DataType::Utf8, false), None);
        assert_eq!(
            fit(Take::Oid, &DataType::Utf8, true),
            Some(DataType::UInt32)
        );
    }
}

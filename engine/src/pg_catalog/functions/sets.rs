//! Functions that give several rows, as lists: a statement unnests them.
//!
//! They know nothing but their arguments and so run anywhere.

use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, Int64Builder, ListArray, StringArray, StructArray,
};
use datafusion::arrow::buffer::{NullBuffer, OffsetBuffer};
use datafusion::arrow::compute::{cast, concat};
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Fields};
use datafusion::common::{Result, ScalarValue, exec_err, plan_err};
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

use crate::pg_catalog::relations::KEYWORDS;

/// The functions whose lists are unnested, with the columns that a row of each has.
pub(crate) const SETS: &[(&str, &[&str])] = &[
    ("_pg_expandarray", &["x", "n"]),
    (
        "aclexplode",
        &["grantor", "grantee", "privilege_type", "is_grantable"],
    ),
    ("generate_subscripts", &[]),
    (
        "pg_get_keywords",
        &["word", "catcode", "barelabel", "catdesc", "baredesc"],
    ),
    ("pg_options_to_table", &["option_name", "option_value"]),
    ("regexp_matches", &[]),
    ("regexp_split_to_table", &[]),
    ("string_to_table", &[]),
];

/// Every function of this module.
pub(crate) fn functions() -> Vec<Arc<ScalarUDF>> {
    [
        Set::ExpandArray,
        Set::AclExplode,
        Set::Subscripts,
        Set::Keywords,
        Set::Options,
        Set::OrEmpty,
    ]
    .into_iter()
    .map(|set| {
        let signature = match set {
            Set::Keywords => Signature::nullary(Volatility::Immutable),
            Set::Subscripts => Signature::variadic_any(Volatility::Immutable),
            _ => Signature::any(1, Volatility::Immutable),
        };
        Arc::new(ScalarUDF::from(SetFunction { set, signature }))
    })
    .collect()
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Set {
    ExpandArray,
    AclExplode,
    Subscripts,
    Keywords,
    Options,
    /// The list, or an empty one for NULL.
    OrEmpty,
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct SetFunction {
    set: Set,
    signature: Signature,
}

fn text(name: &str) -> Field {
    Field::new(name, DataType::Utf8, true)
}

fn list(item: DataType) -> DataType {
    DataType::List(Arc::new(Field::new_list_field(item, true)))
}

/// The item of a list type.
fn item(ty: &DataType) -> Result<FieldRef> {
    match ty {
        DataType::List(item) | DataType::LargeList(item) => Ok(Arc::clone(item)),
        DataType::Null => Ok(Arc::new(Field::new_list_field(DataType::Int64, true))),
        other => plan_err!(
            "an array is expected, not {}",
            crate::types::sql_type_name(other)
        ),
    }
}

impl ScalarUDFImpl for SetFunction {
    fn name(&self) -> &'static str {
        match self.set {
            Set::ExpandArray => "_pg_expandarray",
            Set::AclExplode => "aclexplode",
            Set::Subscripts => "generate_subscripts",
            Set::Keywords => "pg_get_keywords",
            Set::Options => "pg_options_to_table",
            Set::OrEmpty => "tarn_or_empty",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        let fields = match self.set {
            Set::OrEmpty => return Ok(DataType::List(item(&types[0])?)),
            Set::ExpandArray => {
                let item = item(&types[0])?;
                Fields::from(vec![
                    item.as_ref().clone().with_name("x").with_nullable(true),
                    Field::new("n", DataType::Int64, true),
                ])
            }
            Set::AclExplode => Fields::from(vec![
                Field::new("grantor", DataType::UInt32, true),
                Field::new("grantee", DataType::UInt32, true),
                text("privilege_type"),
                Field::new("is_grantable", DataType::Boolean, true),
            ]),
            Set::Subscripts => return Ok(list(DataType::Int64)),
            Set::Keywords => ["word", "catcode", "barelabel", "catdesc", "baredesc"]
                .into_iter()
                .map(text)
                .collect(),
            Set::Options => ["option_name", "option_value"]
                .into_iter()
                .map(text)
                .collect(),
        };
        Ok(list(DataType::Struct(fields)))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let ty = args.return_field.data_type().clone();
        let count = args.number_rows;
        if self.set == Set::Keywords {
            let list = keywords(&ty)?;
            return Ok(ColumnarValue::Scalar(ScalarValue::List(Arc::new(list))));
        }
        let Some(first) = args.args.first() else {
            return exec_err!("{} takes an array", self.name());
        };
        let array = first.to_array(count)?;
        let lists = match array.data_type() {
            DataType::List(_) => array.as_list::<i32>().clone(),
            _ => return Ok(ColumnarValue::Scalar(ScalarValue::try_new_null(&ty)?)),
        };
        let out = match self.set {
            Set::ExpandArray => expand(&lists, &ty)?,
            Set::Subscripts => subscripts(&lists, &ty)?,
            Set::Options => options(&lists, &ty)?,
            Set::OrEmpty => {
                let (item, _) = item_field(&ty)?;
                let lengths = (0..lists.len()).map(|row| {
                    if lists.is_null(row) {
                        0
                    } else {
                        lists.value(row).len()
                    }
                });
                let offsets = OffsetBuffer::from_lengths(lengths);
                ListArray::try_new(item, offsets, items(&lists)?, None)?
            }
            // Nobody has been granted anything: no list has items.
            Set::AclExplode | Set::Keywords => {
                return Ok(ColumnarValue::Scalar(ScalarValue::try_new_null(&ty)?));
            }
        };
        Ok(ColumnarValue::Array(Arc::new(out)))
    }
}

fn item_field(ty: &DataType) -> Result<(FieldRef, Fields)> {
    if let DataType::List(item) = ty {
        match item.data_type() {
            DataType::Struct(fields) => Ok((Arc::clone(item), fields.clone())),
            _ => Ok((Arc::clone(item), Fields::empty())),
        }
    } else {
        exec_err!("a list is expected")
    }
}

/// The places of the items of every list, from 1, and where each list ends.
fn places(lists: &ListArray) -> (ArrayRef, OffsetBuffer<i32>, Option<NullBuffer>) {
    let mut numbers = Int64Builder::new();
    let lengths: Vec<usize> = (0..lists.len())
        .map(|row| {
            if lists.is_null(row) {
                0
            } else {
                lists.value(row).len()
            }
        })
        .collect();
    for length in &lengths {
        for number in (1_i64..).take(*length) {
            numbers.append_value(number);
        }
    }
    let offsets = OffsetBuffer::from_lengths(lengths);
    (Arc::new(numbers.finish()), offsets, lists.nulls().cloned())
}

/// The items of every list, one list after the other.
fn items(lists: &ListArray) -> Result<ArrayRef> {
    let parts: Vec<ArrayRef> = (0..lists.len())
        .filter(|row| lists.is_valid(*row))
        .map(|row| lists.value(row))
        .collect();
    if parts.is_empty() {
        return Ok(lists.values().slice(0, 0));
    }
    let parts: Vec<&dyn Array> = parts.iter().map(AsRef::as_ref).collect();
    Ok(concat(&parts)?)
}

fn expand(lists: &ListArray, ty: &DataType) -> Result<ListArray> {
    let (item, fields) = item_field(ty)?;
    let (numbers, offsets, nulls) = places(lists);
    let rows = StructArray::try_new(fields, vec![items(lists)?, numbers], None)?;
    Ok(ListArray::try_new(item, offsets, Arc::new(rows), nulls)?)
}

fn subscripts(lists: &ListArray, ty: &DataType) -> Result<ListArray> {
    let (item, _) = item_field(ty)?;
    let (numbers, offsets, nulls) = places(lists);
    Ok(ListArray::try_new(item, offsets, numbers, nulls)?)
}

/// `name=value` texts as pairs.
fn options(lists: &ListArray, ty: &DataType) -> Result<ListArray> {
    let (item, fields) = item_field(ty)?;
    let (_, offsets, nulls) = places(lists);
    let items = cast(&items(lists)?, &DataType::Utf8)?;
    let texts = items.as_string::<i32>();
    let pairs = texts
        .iter()
        .map(|text| text.map(|text| text.split_once('=').unwrap_or((text, ""))));
    let names: StringArray = pairs
        .clone()
        .map(|pair| pair.map(|(name, _)| name))
        .collect();
    let values: StringArray = pairs.map(|pair| pair.map(|(_, value)| value)).collect();
    let rows = StructArray::try_new(fields, vec![Arc::new(names), Arc::new(values)], None)?;
    Ok(ListArray::try_new(item, offsets, Arc::new(rows), nulls)?)
}

fn keywords(ty: &DataType) -> Result<ListArray> {
    let (item, fields) = item_field(ty)?;
    let columns: Vec<ArrayRef> = (0..fields.len())
        .map(|at| {
            let texts: StringArray = KEYWORDS.iter().map(|word| Some(word[at])).collect();
            Arc::new(texts) as ArrayRef
        })
        .collect();
    let rows = StructArray::try_new(fields, columns, None)?;
    let offsets = OffsetBuffer::from_lengths([KEYWORDS.len()]);
    Ok(ListArray::try_new(item, offsets, Arc::new(rows), None)?)
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::array::ListArray;
    use datafusion::arrow::datatypes::Int32Type;

    use super::*;

    #[test]
    fn every_item_has_its_place_and_null_has_none() {
        let lists = ListArray::from_iter_primitive::<Int32Type, _, _>([
            Some(vec![Some(7), Some(8)]),
            None,
            Some(vec![Some(9)]),
        ]);
        let (numbers, offsets, nulls) = places(&lists);
        assert_eq!(numbers.len(), 3);
        assert_eq!(offsets.as_ref(), &[0, 2, 2, 3]);
        assert_eq!(nulls.map(|nulls| nulls.null_count()), Some(1));
        assert_eq!(items(&lists).unwrap().len(), 3);
    }
}

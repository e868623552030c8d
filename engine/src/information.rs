//! `information_schema`: the SQL standard's views about one catalog, as PostgreSQL has them.
//!
//! Built from metadata when a statement names one, then read as a table in memory. Knows nothing of
//! how names become tables.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::array::{
    ArrayRef, AsArray, BooleanArray, Int32Array, RecordBatch, StringArray,
};
use datafusion::arrow::compute::filter_record_batch;
use datafusion::arrow::datatypes::{DataType, Field, TimeUnit};
use datafusion::catalog::information_schema::InformationSchemaProvider;
use datafusion::catalog::{
    CatalogProvider, CatalogProviderList, MemTable, MemorySchemaProvider, SchemaProvider,
    TableProvider,
};
use datafusion::error::Result as DfResult;
use datafusion::execution::TaskContext;
use datafusion::logical_expr::TableType;
use datafusion::physical_plan::collect;
use datafusion::prelude::SessionContext;
use futures::{StreamExt, TryStreamExt};
use tarn_catalog::{Catalog, ErrorCode, Namespace, TableIdent};

use crate::error::EngineError;
use crate::resolve::{
    INFORMATION_SCHEMA, SYSTEM_SCHEMA, StatementCatalogs, namespace_of, undefined_table,
};
use crate::scan::IcebergTableProvider;
use crate::types::sql_type_name;

/// Tables loaded at once for `information_schema.columns`.
const LOAD_CONCURRENCY_MAX: usize = 16;
/// A view about DataFusion's own settings, which are not Tarn's.
const HIDDEN_VIEW: &str = "df_settings";

/// Builds the asked-for view of `information_schema` over one catalog, as PostgreSQL does for one
/// database, and reads it into memory.
pub(crate) async fn view(
    view: &StatementCatalogs,
    catalog: &dyn Catalog,
    name: &str,
) -> DfResult<Arc<dyn TableProvider>> {
    let shown = [
        "tables",
        "columns",
        "schemata",
        "views",
        "routines",
        "parameters",
    ];
    if !shown.contains(&name.to_lowercase().as_str()) {
        let all: Vec<String> = shown.iter().map(|n| (*n).to_owned()).collect();
        return Err(undefined_table(
            catalog.name(),
            &namespace_of(INFORMATION_SCHEMA),
            name,
            &all,
        )
        .into());
    }
    let folded = name.to_lowercase();
    let with_columns = folded == "columns";
    let listed = ListedCatalog::read(view, catalog, with_columns).await?;
    if with_columns {
        let batch = columns(catalog.name(), &listed).await?;
        return Ok(Arc::new(MemTable::try_new(
            batch.schema(),
            vec![vec![batch]],
        )?));
    }
    let context = SessionContext::new();
    let list: Arc<dyn CatalogProviderList> = Arc::new(OneCatalog {
        name: catalog.name().to_owned(),
        catalog: Arc::new(listed),
    });
    let provider = InformationSchemaProvider::new(list);
    let Some(table) = provider.table(&folded).await? else {
        return Err(EngineError::internal(format!("information_schema.{name} is missing")).into());
    };
    let plan = table.scan(&context.state(), None, &[], None).await?;
    let batches = collect(plan, Arc::new(TaskContext::from(&context.state()))).await?;
    let batches = batches
        .iter()
        .map(without_hidden)
        .collect::<DfResult<Vec<_>>>()?;
    Ok(Arc::new(MemTable::try_new(table.schema(), vec![batches])?))
}

/// Leaves out the view that DataFusion adds and we do not show.
fn without_hidden(batch: &RecordBatch) -> DfResult<RecordBatch> {
    let text = |name: &str| {
        batch
            .column_by_name(name)
            .and_then(|column| column.as_string_opt::<i32>())
    };
    let (Some(schemas), Some(tables)) = (text("table_schema"), text("table_name")) else {
        return Ok(batch.clone());
    };
    let shown: BooleanArray = schemas
        .iter()
        .zip(tables)
        .map(|(schema, table)| {
            Some(schema != Some(INFORMATION_SCHEMA) || table != Some(HIDDEN_VIEW))
        })
        .collect();
    Ok(filter_record_batch(batch, &shown)?)
}

/// `information_schema.columns` of everything listed, with the types' SQL names.
async fn columns(catalog: &str, listed: &ListedCatalog) -> DfResult<RecordBatch> {
    let mut rows = ColumnRows::default();
    for (schema, provider) in &listed.schemas {
        let mut names = provider.table_names();
        names.sort_unstable();
        for table in names {
            if let Some(found) = provider.table(&table).await? {
                for (field, position) in found.schema().fields().iter().zip(1..) {
                    rows.push(catalog, schema, &table, position, field);
                }
            }
        }
    }
    rows.finish()
}

/// How many digits the values of a type have. Source: PostgreSQL, "columns" of the information
/// schema.
#[derive(Debug, Default, PartialEq, Eq)]
struct Digits {
    precision: Option<i32>,
    radix: Option<i32>,
    scale: Option<i32>,
    datetime: Option<i32>,
}

impl Digits {
    fn of(ty: &DataType) -> Self {
        let number = |precision: i32, radix: i32, scale: Option<i32>| Self {
            precision: Some(precision),
            radix: Some(radix),
            scale,
            datetime: None,
        };
        let moment = |digits: i32| Self {
            datetime: Some(digits),
            ..Self::default()
        };
        match ty {
            DataType::Int8 | DataType::Int16 | DataType::UInt8 => number(16, 2, Some(0)),
            DataType::Int32 | DataType::UInt16 => number(32, 2, Some(0)),
            DataType::Int64 | DataType::UInt32 => number(64, 2, Some(0)),
            DataType::UInt64 => number(20, 10, Some(0)),
            DataType::Float16 | DataType::Float32 => number(24, 2, None),
            DataType::Float64 => number(53, 2, None),
            DataType::Decimal32(p, s)
            | DataType::Decimal64(p, s)
            | DataType::Decimal128(p, s)
            | DataType::Decimal256(p, s) => number(i32::from(*p), 10, Some(i32::from(*s))),
            DataType::Date32 | DataType::Date64 => moment(0),
            DataType::Timestamp(TimeUnit::Nanosecond, _) => moment(9),
            DataType::Timestamp(..)
            | DataType::Time32(_)
            | DataType::Time64(_)
            | DataType::Interval(_)
            | DataType::Duration(_) => moment(6),
            DataType::Dictionary(_, value) => Self::of(value),
            _ => Self::default(),
        }
    }
}

/// The rows of `information_schema.columns`, column by column.
#[derive(Debug, Default)]
struct ColumnRows {
    catalog: Vec<String>,
    schema: Vec<String>,
    table: Vec<String>,
    column: Vec<String>,
    position: Vec<i32>,
    nullable: Vec<&'static str>,
    data_type: Vec<String>,
    precision: Vec<Option<i32>>,
    radix: Vec<Option<i32>>,
    scale: Vec<Option<i32>>,
    datetime: Vec<Option<i32>>,
}

impl ColumnRows {
    fn push(&mut self, catalog: &str, schema: &str, table: &str, position: i32, field: &Field) {
        let digits = Digits::of(field.data_type());
        self.catalog.push(catalog.to_owned());
        self.schema.push(schema.to_owned());
        self.table.push(table.to_owned());
        self.column.push(field.name().clone());
        self.position.push(position);
        self.nullable
            .push(if field.is_nullable() { "YES" } else { "NO" });
        self.data_type.push(sql_type_name(field.data_type()));
        self.precision.push(digits.precision);
        self.radix.push(digits.radix);
        self.scale.push(digits.scale);
        self.datetime.push(digits.datetime);
    }

    fn finish(self) -> DfResult<RecordBatch> {
        let count = self.position.len();
        let texts = |values: Vec<String>| Arc::new(StringArray::from(values)) as ArrayRef;
        let numbers = |values: Vec<Option<i32>>| Arc::new(Int32Array::from(values)) as ArrayRef;
        let no_text = || Arc::new(StringArray::new_null(count)) as ArrayRef;
        let nullable: ArrayRef = Arc::new(StringArray::from(self.nullable));
        let position: ArrayRef = Arc::new(Int32Array::from(self.position));
        Ok(RecordBatch::try_from_iter_with_nullable([
            ("table_catalog", texts(self.catalog), false),
            ("table_schema", texts(self.schema), false),
            ("table_name", texts(self.table), false),
            ("column_name", texts(self.column), false),
            ("ordinal_position", position, false),
            ("column_default", no_text(), true),
            ("is_nullable", nullable, false),
            ("data_type", texts(self.data_type), false),
            ("character_maximum_length", numbers(vec![None; count]), true),
            ("character_octet_length", numbers(vec![None; count]), true),
            ("numeric_precision", numbers(self.precision), true),
            ("numeric_precision_radix", numbers(self.radix), true),
            ("numeric_scale", numbers(self.scale), true),
            ("datetime_precision", numbers(self.datetime), true),
            ("interval_type", no_text(), true),
        ])?)
    }
}

#[derive(Debug)]
struct OneCatalog {
    name: String,
    catalog: Arc<ListedCatalog>,
}

impl CatalogProviderList for OneCatalog {
    fn register_catalog(
        &self,
        _name: String,
        _catalog: Arc<dyn CatalogProvider>,
    ) -> Option<Arc<dyn CatalogProvider>> {
        None
    }

    fn catalog_names(&self) -> Vec<String> {
        vec![self.name.clone()]
    }

    fn catalog(&self, name: &str) -> Option<Arc<dyn CatalogProvider>> {
        (name == self.name).then(|| Arc::clone(&self.catalog) as _)
    }
}

/// A catalog's names, read at one time.
#[derive(Debug)]
struct ListedCatalog {
    schemas: BTreeMap<String, Arc<dyn SchemaProvider>>,
}

impl ListedCatalog {
    async fn read(
        view: &StatementCatalogs,
        catalog: &dyn Catalog,
        with_columns: bool,
    ) -> Result<Self, EngineError> {
        let mut schemas: BTreeMap<String, Arc<dyn SchemaProvider>> = BTreeMap::new();
        for namespace in catalog.list_namespaces().await? {
            let names = catalog.list_tables(&namespace).await?;
            let tables = if with_columns {
                load_all(view, catalog, &namespace, &names).await?
            } else {
                BTreeMap::new()
            };
            schemas.insert(
                namespace.to_string(),
                Arc::new(ListedSchema { names, tables }),
            );
        }
        let system = MemorySchemaProvider::new();
        for name in view.system.names() {
            if let Some(batch) = view.system.read(name)? {
                let table = MemTable::try_new(batch.schema(), vec![vec![]])?;
                system.register_table((*name).to_owned(), Arc::new(table))?;
            }
        }
        schemas.insert(SYSTEM_SCHEMA.to_owned(), Arc::new(system));
        Ok(Self { schemas })
    }
}

/// Loads the tables of a schema side by side. One that cannot be read is left out, so that a
/// broken table does not hide the others; reading it by name says what is wrong.
async fn load_all(
    view: &StatementCatalogs,
    catalog: &dyn Catalog,
    namespace: &Namespace,
    names: &[String],
) -> Result<BTreeMap<String, Arc<dyn TableProvider>>, EngineError> {
    futures::stream::iter(names.iter().cloned().map(|name| async move {
        let ident = TableIdent {
            namespace: namespace.clone(),
            name: name.clone(),
        };
        match catalog.load_table(&ident).await {
            Ok(table) => {
                let snapshot = table.current_snapshot();
                let provider = IcebergTableProvider::new(table, snapshot, view.cache.clone());
                Ok(Some((name, Arc::new(provider) as Arc<dyn TableProvider>)))
            }
            Err(error) if error.code() == ErrorCode::StorageUnavailable => Err(error.into()),
            Err(error) => {
                tracing::warn!(table = %ident, %error, "table left out of information_schema");
                Ok(None)
            }
        }
    }))
    .buffer_unordered(LOAD_CONCURRENCY_MAX)
    .try_filter_map(|found| async move { Ok(found) })
    .try_collect()
    .await
}

impl CatalogProvider for ListedCatalog {
    fn schema_names(&self) -> Vec<String> {
        self.schemas.keys().cloned().collect()
    }

    fn schema(&self, name: &str) -> Option<Arc<dyn SchemaProvider>> {
        self.schemas.get(name).cloned()
    }
}

#[derive(Debug)]
struct ListedSchema {
    names: Vec<String>,
    tables: BTreeMap<String, Arc<dyn TableProvider>>,
}

#[async_trait]
impl SchemaProvider for ListedSchema {
    fn table_names(&self) -> Vec<String> {
        self.names.clone()
    }

    async fn table(&self, name: &str) -> DfResult<Option<Arc<dyn TableProvider>>> {
        Ok(self.tables.get(name).cloned())
    }

    async fn table_type(&self, name: &str) -> DfResult<Option<TableType>> {
        Ok(self
            .names
            .iter()
            .any(|n| n == name)
            .then_some(TableType::Base))
    }

    fn table_exist(&self, name: &str) -> bool {
        self.names.iter().any(|n| n == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_digits(ty: &DataType, wanted: [Option<i32>; 4]) {
        let digits = Digits::of(ty);
        let found = [
            digits.precision,
            digits.radix,
            digits.scale,
            digits.datetime,
        ];
        assert_eq!(found, wanted, "{ty}");
    }

    #[test]
    fn digits_are_as_in_postgresql() {
        check_digits(&DataType::Int16, [Some(16), Some(2), Some(0), None]);
        check_digits(&DataType::Int32, [Some(32), Some(2), Some(0), None]);
        check_digits(&DataType::Int64, [Some(64), Some(2), Some(0), None]);
        check_digits(&DataType::Float32, [Some(24), Some(2), None, None]);
        check_digits(&DataType::Float64, [Some(53), Some(2), None, None]);
        let decimal = DataType::Decimal128(15, 2);
        check_digits(&decimal, [Some(15), Some(10), Some(2), None]);
        let timestamp = DataType::Timestamp(TimeUnit::Microsecond, None);
        check_digits(&timestamp, [None, None, None, Some(6)]);
        check_digits(&DataType::Utf8View, [None; 4]);
    }

    #[test]
    fn columns_have_sql_type_names() {
        let mut rows = ColumnRows::default();
        let id = Field::new("id", DataType::Int32, false);
        let name = Field::new("name", DataType::Utf8View, true);
        rows.push("lake", "main", "t", 1, &id);
        rows.push("lake", "main", "t", 2, &name);
        let batch = rows.finish().unwrap();
        let types = batch.column_by_name("data_type").unwrap();
        let types: Vec<_> = types.as_string::<i32>().iter().flatten().collect();
        assert_eq!(types, ["integer", "text"]);
    }

    #[test]
    fn the_settings_of_datafusion_are_not_listed() {
        let batch = RecordBatch::try_from_iter([
            (
                "table_schema",
                Arc::new(StringArray::from(vec![
                    INFORMATION_SCHEMA,
                    INFORMATION_SCHEMA,
                    "main",
                ])) as ArrayRef,
            ),
            (
                "table_name",
                Arc::new(StringArray::from(vec!["tables", HIDDEN_VIEW, HIDDEN_VIEW])) as ArrayRef,
            ),
        ])
        .unwrap();
        let shown = without_hidden(&batch).unwrap();
        let schemas = shown.column(0).as_string::<i32>();
        assert_eq!(
            schemas.iter().flatten().collect::<Vec<_>>(),
            [INFORMATION_SCHEMA, "main"]
        );
    }
}

//! Views beside tables.

use super::*;

fn view_creation(name: &str, sql: &str, columns: &[&str]) -> ViewCreation {
    let fields: Vec<_> = columns
        .iter()
        .map(|column| Field::new(*column, DataType::Int64, true))
        .collect();
    ViewCreation {
        ident: Lake::ident(name),
        definition: ViewDefinition {
            schema: Arc::new(Schema::new(fields)),
            sql: sql.to_owned(),
            default_catalog: "lake".to_owned(),
            default_namespace: Namespace::new("main"),
            notes: HashMap::new(),
        },
        properties: HashMap::new(),
    }
}

#[tokio::test]
async fn views_and_tables_share_names_and_are_listed_apart() {
    let lake = Lake::new().await;
    let catalog = &lake.catalog;
    lake.table("t", &[]).await;
    catalog
        .create_view(view_creation("v", "SELECT 1 AS a", &["a"]))
        .await
        .unwrap();
    let main = Namespace::new("main");
    assert_eq!(catalog.list_tables(&main).await.unwrap(), ["t"]);
    assert_eq!(catalog.list_views(&main).await.unwrap(), ["v"]);
    let mut entries = catalog.list_entries().await.unwrap();
    entries.sort_by_key(|entry| entry.ident.clone());
    let kinds: Vec<_> = entries
        .iter()
        .map(|entry| (entry.ident.name.as_str(), entry.is_view))
        .collect();
    assert_eq!(kinds, [("t", false), ("v", true)]);
    for entry in &entries {
        let kind = if entry.is_view {
            EntryKind::View
        } else {
            EntryKind::Table
        };
        assert_eq!(catalog.find(&entry.ident).await.unwrap(), Some(kind));
        assert!(entry.is_immutable);
    }
    let location = &entries[1].metadata_location;
    let view = catalog.load_view_at(&Lake::ident("v"), location).await;
    assert_eq!(view.unwrap().sql(), Some("SELECT 1 AS a"));
    assert!(!catalog.table_exists(&Lake::ident("v")).await.unwrap());
    let error = catalog.load_table(&Lake::ident("v")).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::NotFound);
    let error = catalog.load_view(&Lake::ident("t")).await.unwrap_err();
    assert!(matches!(error, CatalogError::ViewNotFound { .. }));
    let error = catalog.create_table(creation("v", &[])).await.unwrap_err();
    assert!(matches!(error, CatalogError::ViewExists { .. }), "{error}");
    let error = catalog
        .create_view(view_creation("t", "SELECT 1 AS a", &["a"]))
        .await
        .unwrap_err();
    assert!(matches!(error, CatalogError::TableExists { .. }), "{error}");
    let error = catalog
        .drop_table(&Lake::ident("v"), false)
        .await
        .unwrap_err();
    assert_eq!(error.code(), ErrorCode::NotFound);
    let error = catalog.drop_namespace(&main).await.unwrap_err();
    assert!(error.to_string().contains("t, v"), "{error}");
}

#[tokio::test]
async fn a_view_is_replaced_renamed_and_dropped_with_its_files() {
    let lake = Lake::new().await;
    let catalog = &lake.catalog;
    let made = catalog
        .create_view(view_creation("v", "SELECT 1 AS a", &["a"]))
        .await
        .unwrap();
    let change = ViewChange {
        definition: Some(view_creation("v", "SELECT 2 AS b", &["b"]).definition),
        set: HashMap::from([("comment".to_owned(), "two".to_owned())]),
        remove: vec![],
    };
    catalog
        .change_view(&Lake::ident("v"), change)
        .await
        .unwrap();
    // A reader that looked the old version up can still read it.
    assert_eq!(lake.on_disk().len(), 2);
    let (v, w) = (Lake::ident("v"), Lake::ident("w"));
    catalog.rename_view(&v, &w).await.unwrap();
    assert!(catalog.load_view(&v).await.is_err());
    let view = catalog.load_view(&w).await.unwrap();
    assert_eq!(view.uuid(), made.uuid());
    assert_eq!(view.sql(), Some("SELECT 2 AS b"));
    assert_eq!(view.comment(), Some("two"));
    assert_eq!(view.default_namespace(), Namespace::new("main"));
    lake.table("t", &[]).await;
    let error = catalog.rename_view(&w, &Lake::ident("t")).await;
    assert!(matches!(error, Err(CatalogError::TableExists { .. })));
    catalog.drop_table(&Lake::ident("t"), true).await.unwrap();
    catalog.drop_view(&w).await.unwrap();
    assert!(catalog.drop_view(&w).await.is_err());
    assert_eq!(lake.on_disk(), Vec::<String>::new());
}

#[tokio::test]
async fn views_that_are_changed_at_once_lose_no_change() {
    let lake = Lake::new().await;
    let catalog = &lake.catalog;
    catalog
        .create_view(view_creation("v", "SELECT 1 AS a", &["a"]))
        .await
        .unwrap();
    let changes = (0..4).map(|i| {
        let set = HashMap::from([(format!("key{i}"), i.to_string())]);
        let change = ViewChange {
            set,
            ..ViewChange::default()
        };
        let catalog = Arc::clone(catalog);
        async move { catalog.change_view(&Lake::ident("v"), change).await }
    });
    for changed in futures::future::join_all(changes).await {
        changed.unwrap();
    }
    let view = catalog.load_view(&Lake::ident("v")).await.unwrap();
    assert_eq!(view.properties().len(), 4);
}

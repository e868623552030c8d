//! Columns, keys and rows that change.

use super::*;

fn named(table: &Table) -> Vec<(String, i32)> {
    let schema = table.arrow_schema();
    let fields = schema.fields().iter();
    fields
        .map(|field| (field.name().clone(), crate::field_id(field).unwrap()))
        .collect()
}

fn add(field: Field) -> SchemaChange {
    SchemaChange::Add {
        parent: vec![],
        field,
    }
}

fn path(text: &str) -> Vec<String> {
    text.split('.').map(str::to_owned).collect()
}

#[tokio::test]
async fn what_is_inside_of_columns_changes_and_keeps_its_ids() {
    let lake = Lake::new().await;
    let catalog = &*lake.catalog;
    let table = lake.table("t", &[]).await;
    let pair = vec![
        Field::new("x", DataType::Int32, true),
        Field::new("y", DataType::Int32, true),
    ];
    let pair = DataType::Struct(pair.into());
    let list = DataType::List(Arc::new(Field::new("element", pair.clone(), true)));
    let table = change_schema(
        catalog,
        &table,
        &[
            add(Field::new("s", pair, true)),
            add(Field::new("l", list, true)),
        ],
        false,
    )
    .await
    .unwrap();
    // s 4, x 5, y 6; l 7, element 8, x 9, y 10.
    let changes = [
        SchemaChange::Rename {
            column: path("s.x"),
            to: "z".to_owned(),
        },
        SchemaChange::Drop(path("l.element.y")),
        SchemaChange::Add {
            parent: path("l.element"),
            field: Field::new("y", DataType::Utf8, true),
        },
        SchemaChange::Type {
            column: path("s.y"),
            to: Field::new("y", DataType::Int64, true),
        },
    ];
    let after = change_schema(catalog, &table, &changes, false)
        .await
        .unwrap();
    let schema = after.metadata().current_schema();
    let id = |name: &str| schema.field_by_name(name).map(|field| field.id);
    let ids = ["s.z", "s.y", "l.element.x", "l.element.y"].map(id);
    assert_eq!(ids, [Some(5), Some(6), Some(9), Some(11)]);
    assert_eq!(id("s.x"), None);
    let refused = async |change: SchemaChange| {
        let error = change_schema(catalog, &after, &[change], false).await;
        error.unwrap_err().to_string()
    };
    let missing = refused(SchemaChange::Drop(path("s.x"))).await;
    assert!(missing.contains("\"s.x\""), "{missing}");
    let element = refused(SchemaChange::Drop(path("l.element"))).await;
    assert!(element.contains("needs all its parts"), "{element}");
    let flat = refused(SchemaChange::Drop(path("id.x"))).await;
    assert!(flat.contains("has nothing inside"), "{flat}");
    let twice = SchemaChange::Rename {
        column: path("s.z"),
        to: "y".to_owned(),
    };
    let twice = refused(twice).await;
    assert!(twice.contains("s.y"), "{twice}");
}

#[tokio::test]
async fn columns_keep_their_ids_through_every_change() {
    let lake = Lake::new().await;
    let catalog = &*lake.catalog;
    let table = lake.table("t", &[]).await;
    let table = lake.append(&table, "a").await.unwrap();
    let rename = |column: &str, to: &str| SchemaChange::Rename {
        column: vec![column.to_owned()],
        to: to.to_owned(),
    };
    let changes = [
        rename("name", "title"),
        add(Field::new("name", DataType::Int32, true)),
        SchemaChange::Drop(vec!["ts".to_owned()]),
    ];
    let after = change_schema(catalog, &table, &changes, false)
        .await
        .unwrap();
    let wanted = [("id", 1), ("title", 2), ("name", 4)];
    assert_eq!(named(&after), wanted.map(|(n, id)| (n.to_owned(), id)));
    let again = [add(Field::new("ts", DataType::Int32, true))];
    let after = change_schema(catalog, &table, &again, false).await.unwrap();
    assert_eq!(named(&after)[3], ("ts".to_owned(), 5));

    let wider = |column: &str, ty| SchemaChange::Type {
        column: vec![column.to_owned()],
        to: Field::new(column, ty, true),
    };
    let after = change_schema(catalog, &table, &[wider("ts", DataType::Int64)], false).await;
    let schema = after.unwrap().arrow_schema();
    assert_eq!(schema.field(3).data_type(), &DataType::Int64);
    let error = change_schema(catalog, &table, &[wider("ts", DataType::Int32)], false).await;
    assert_eq!(error.unwrap_err().code(), ErrorCode::Unsupported);
    let error = change_schema(catalog, &table, &[rename("title", "id")], false).await;
    assert_eq!(error.unwrap_err().code(), ErrorCode::AlreadyExists);
    let required = add(Field::new("must", DataType::Int32, false));
    let error = change_schema(catalog, &table, std::slice::from_ref(&required), false).await;
    assert!(error.unwrap_err().to_string().contains("must"));
    lake.append(&table, "b").await.unwrap();
    let comment = SchemaChange::Comment {
        column: vec!["id".to_owned()],
        text: Some("key".to_owned()),
    };
    let error = change_schema(catalog, &table, std::slice::from_ref(&comment), true).await;
    assert_eq!(error.unwrap_err().code(), ErrorCode::Conflict);
    let after = change_schema(catalog, &table, &[comment], false)
        .await
        .unwrap();
    let schema = after.arrow_schema();
    assert_eq!(schema.field(0).metadata()[crate::DOC_META_KEY], "key");
}

#[tokio::test]
async fn a_change_of_columns_at_the_same_time_loses_nothing() {
    let lake = Lake::new().await;
    let table = lake.table("t", &[]).await;
    let adds = (0..4).map(|i| {
        let (catalog, table) = (Arc::clone(&lake.catalog), table.clone());
        async move {
            let field = Field::new(format!("c{i}"), DataType::Int32, true);
            change_schema(&*catalog, &table, &[add(field)], false).await
        }
    });
    for added in futures::future::join_all(adds).await {
        added.unwrap();
    }
    let table = lake.catalog.load_table(&Lake::ident("t")).await.unwrap();
    let ids: HashSet<i32> = named(&table).iter().map(|(_, id)| *id).collect();
    assert_eq!(ids.len(), 7);
}

#[tokio::test]
async fn a_truncated_table_is_empty_and_its_history_is_not() {
    let lake = Lake::new().await;
    for version in ["1", "2", "3"] {
        let name = format!("t{version}");
        let table = lake.table(&name, &[("format-version", version)]).await;
        let note = HashMap::new;
        let same = truncate(&*lake.catalog, &table, note()).await.unwrap();
        assert!(same.current_snapshot().is_none());
        let full = lake.append(&table, "a").await.unwrap();
        let full = lake.append(&full, "b").await.unwrap();
        let empty = truncate(&*lake.catalog, &full, note()).await.unwrap();
        assert!(lake.files(&empty).await.data.is_empty());
        let snapshot = empty.current_snapshot().unwrap();
        assert_eq!(snapshot.operation, "delete");
        assert_eq!(snapshot.summary["deleted-data-files"], "2");
        assert_eq!(snapshot.summary["deleted-records"], "2");
        assert_eq!(snapshot.summary["total-records"], "0");
        let before = full.current_snapshot().unwrap();
        let files = snapshot_files(&empty, &before, &lake.cache, &|_| true).await;
        assert_eq!(files.unwrap().data.len(), 2);
        // A second time there is nothing to do.
        let same = truncate(&*lake.catalog, &empty, note()).await.unwrap();
        assert_eq!(same.current_snapshot().unwrap().id, snapshot.id);
        let more = lake.append(&same, "c").await.unwrap();
        assert_eq!(names(&lake.files(&more).await), HashSet::from(["c".into()]));
        assert_eq!(
            more.current_snapshot().unwrap().summary["total-records"],
            "1"
        );
    }
}

#[tokio::test]
async fn a_primary_key_is_noted_and_its_columns_are_required() {
    let lake = Lake::new().await;
    let mut creation = creation("keyed", &[]);
    creation.primary_key = vec!["name".to_owned()];
    let table = lake.catalog.create_table(creation.clone()).await.unwrap();
    assert_eq!(table.identifier_columns(), ["name"]);
    assert!(!table.arrow_schema().field(1).is_nullable());
    creation.ident = Lake::ident("other");
    creation.primary_key = vec!["nope".to_owned()];
    let error = lake.catalog.create_table(creation).await.unwrap_err();
    assert!(error.to_string().contains("nope"), "{error}");
}

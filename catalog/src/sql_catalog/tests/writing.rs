//! What properties, sort orders and format versions make of writes.

use super::*;
use crate::{SortFieldDef, replace_sort_order};

async fn set(lake: &Lake, table: &Table, key: &str, value: &str) -> Result<Table> {
    let properties = HashMap::from([(key.to_owned(), value.to_owned())]);
    update_properties(&*lake.catalog, table, properties, vec![]).await
}

/// Row ids of all files, in the order of the files' names.
fn row_ids(files: &SnapshotFiles) -> Vec<(String, Option<i64>)> {
    let mut ids: Vec<_> = files
        .data
        .iter()
        .map(|file| {
            let name = file.path.rsplit('/').next().unwrap_or_default();
            (name.replace(".parquet", ""), file.first_row_id)
        })
        .collect();
    ids.sort();
    ids
}

#[tokio::test]
async fn a_table_is_upgraded_in_place_and_its_rows_get_ids() {
    let lake = Lake::new().await;
    let table = lake.table("t", &[("format-version", "1")]).await;
    let append = async |table: &Table, name: &str, rows| {
        let files = vec![file(table, name, rows)];
        append(&*lake.catalog, table, files, HashMap::new())
            .await
            .unwrap()
    };
    let table = append(&table, "a", 10).await;
    let table = set(&lake, &table, "format-version", "2").await.unwrap();
    assert_eq!(table.format_version(), 2);
    let table = append(&table, "b", 20).await;
    let table = set(&lake, &table, "format-version", "3").await.unwrap();
    assert_eq!(table.format_version(), 3);
    assert!(table.properties().is_empty());
    // Until the next commit the rows have no ids.
    let files = lake.files(&table).await;
    assert!(files.data.iter().all(|file| file.first_row_id.is_none()));
    let table = append(&table, "c", 5).await;
    let files = lake.files(&table).await;
    let ids = row_ids(&files);
    assert_eq!(ids.len(), 3);
    let rows = [10, 20, 5];
    let mut ranges: Vec<_> = ids
        .iter()
        .zip(rows)
        .map(|((_, first), rows)| (first.unwrap(), first.unwrap() + rows))
        .collect();
    ranges.sort_unstable();
    assert!(
        ranges.windows(2).all(|pair| pair[0].1 <= pair[1].0),
        "{ranges:?}"
    );
    let next = table.metadata().next_row_id();
    assert!(next >= u64::try_from(ranges[2].1).unwrap());
    // What has an id keeps it.
    let table = append(&table, "d", 1).await;
    assert_eq!(row_ids(&lake.files(&table).await)[..3], ids);
    let error = set(&lake, &table, "format-version", "2").await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::Invalid);
    assert!(error.to_string().contains("main.t"), "{error}");
    assert!(set(&lake, &table, "format-version", "x").await.is_err());
}

#[tokio::test]
async fn small_manifests_are_merged_and_files_keep_what_they_have() {
    let lake = Lake::new().await;
    for version in ["1", "2", "3"] {
        let name = format!("t{version}");
        let properties = [
            ("format-version", version),
            ("commit.manifest.min-count-to-merge", "3"),
        ];
        let mut table = lake.table(&name, &properties).await;
        let mut before = None;
        for n in 0..7 {
            table = lake.append(&table, &format!("f{n}")).await.unwrap();
            let files = lake.files(&table).await;
            assert_eq!(files.data.len(), n + 1);
            assert!(files.manifests_total < 3, "{}", files.manifests_total);
            for file in &files.data {
                let place: usize = file.path[file.path.len() - 9..file.path.len() - 8]
                    .parse()
                    .unwrap();
                let added = &table.snapshots()[place];
                assert_eq!(file.snapshot_id, added.id);
                assert_eq!(file.sequence_number, added.sequence_number);
                assert_eq!(file.file_sequence_number, added.sequence_number);
                assert_eq!(
                    file.upper_bounds.get(2),
                    Some(&Literal::String("zß".into()))
                );
            }
            let ids = row_ids(&files);
            let kept = before.as_ref().map_or(0, Vec::len);
            assert_eq!(ids.get(..kept), before.as_deref().or(Some(&[])));
            if version == "3" {
                let unique: HashSet<_> = ids.iter().map(|(_, id)| id.unwrap()).collect();
                assert_eq!(unique.len(), n + 1, "{ids:?}");
            }
            before = Some(ids);
        }
    }
    // Every manifest on disk is one that some snapshot lists.
    let mut listed = HashSet::new();
    for version in ["1", "2", "3"] {
        let ident = Lake::ident(&format!("t{version}"));
        let table = lake.catalog.load_table(&ident).await.unwrap();
        for snapshot in table.snapshots() {
            let list = crate::manifest::read_manifest_list(&table, &snapshot).await;
            listed.extend(list.unwrap().into_iter().map(|m| m.manifest_path));
        }
    }
    let on_disk = lake.on_disk();
    let manifests = on_disk.iter().filter(|path| path.ends_with("-m0.avro"));
    assert_eq!(manifests.count(), listed.len());
}

#[tokio::test]
async fn a_manifest_that_cannot_be_written_again_stays_as_it_is() {
    let lake = Lake::new().await;
    let properties = [("commit.manifest.min-count-to-merge", "2")];
    let table = lake.table("t", &properties).await;
    let table = lake.append(&table, "a").await.unwrap();
    // The crate reads no manifest of format version 9; ours does not ask.
    let list = async |table: &Table| {
        let snapshot = table.current_snapshot().unwrap();
        let list = crate::manifest::read_manifest_list(table, &snapshot).await;
        list.unwrap()
    };
    let path = list(&table).await[0].manifest_path.clone();
    let disk = path.strip_prefix("file://").unwrap_or(&path);
    let mut bytes = std::fs::read(disk).unwrap();
    let key = b"format-version";
    let at = bytes.windows(key.len()).position(|part| part == key);
    let value = at.unwrap() + key.len() + 1;
    assert_eq!(bytes[value], b'2');
    bytes[value] = b'9';
    std::fs::write(disk, bytes).unwrap();
    let table = lake.append(&table, "b").await.unwrap();
    assert_eq!(list(&table).await.len(), 2);
    let table = lake.append(&table, "c").await.unwrap();
    // The two others became one.
    let manifests = list(&table).await;
    assert_eq!(manifests.len(), 2);
    assert_eq!(manifests[1].manifest_path, path);
    assert_eq!(names(&lake.files(&table).await).len(), 3);
    let error = truncate(&*lake.catalog, &table, HashMap::new()).await;
    let error = error.unwrap_err();
    assert_eq!(error.code(), ErrorCode::Unsupported);
    assert!(error.to_string().contains(&path), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_appends_that_merge_lose_and_double_nothing() {
    let lake = Lake::new().await;
    let properties = [
        ("commit.manifest.min-count-to-merge", "2"),
        ("format-version", "3"),
    ];
    let table = lake.table("t", &properties).await;
    let other = Arc::new(
        open(&lake.directory, &ManifestCache::new(1 << 20))
            .await
            .unwrap(),
    );
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..6 {
        let catalogs = [&lake.catalog, &other];
        let catalog = Arc::clone(catalogs[writer % 2]);
        let table = table.clone();
        writers.spawn(async move {
            let files = vec![file(&table, &format!("w{writer}"), 7)];
            append(&*catalog, &table, files, HashMap::new())
                .await
                .unwrap();
        });
    }
    while let Some(writer) = writers.join_next().await {
        writer.unwrap();
    }
    let table = lake.catalog.load_table(table.ident()).await.unwrap();
    let files = lake.files(&table).await;
    assert_eq!((files.data.len(), names(&files).len()), (6, 6));
    assert_eq!(files.manifests_total, 1);
    let mut ids: Vec<_> = row_ids(&files)
        .into_iter()
        .filter_map(|(_, id)| id)
        .collect();
    ids.sort_unstable();
    assert!(ids.windows(2).all(|pair| pair[0] + 7 <= pair[1]), "{ids:?}");
    check_linear(&table);
}

fn by(column: &str, transform: Transform, descending: bool) -> SortFieldDef {
    SortFieldDef {
        column: column.to_owned(),
        transform,
        descending,
        nulls_first: descending,
    }
}

#[tokio::test]
async fn a_sort_order_is_noted_replaced_and_taken_away() {
    let lake = Lake::new().await;
    let mut creation = creation("t", &[]);
    creation.sort = vec![
        by("name", Transform::Identity, true),
        by("ts", Transform::Day, false),
    ];
    let table = lake.catalog.create_table(creation).await.unwrap();
    let order = table.sort_order().unwrap();
    assert_eq!(order.id, 1);
    let names: Vec<_> = order
        .fields
        .iter()
        .map(|f| f.source_column.clone().unwrap())
        .collect();
    assert_eq!(names, ["name", "ts"]);
    assert!(order.fields[0].descending && order.fields[0].nulls_first);
    assert_eq!(order.fields[1].transform, Transform::Day);
    let next = [by("ID", Transform::Bucket(4), false)];
    let changed = replace_sort_order(&*lake.catalog, &table, &next)
        .await
        .unwrap();
    assert_eq!(changed.sort_order().unwrap().id, 2);
    let none = replace_sort_order(&*lake.catalog, &table, &[])
        .await
        .unwrap();
    assert_eq!(none.sort_order(), None);
    // An order that the table had before keeps its id.
    let again = replace_sort_order(&*lake.catalog, &none, &next)
        .await
        .unwrap();
    assert_eq!(again.sort_order().unwrap().id, 2);
    for wrong in [
        by("nope", Transform::Identity, false),
        by("name", Transform::Hour, false),
    ] {
        let column = wrong.column.clone();
        let error = replace_sort_order(&*lake.catalog, &table, &[wrong]).await;
        let error = error.unwrap_err();
        assert_eq!(error.code(), ErrorCode::Invalid);
        assert!(error.to_string().contains(&column), "{error}");
    }
    let drop = [SchemaChange::Drop(vec!["id".to_owned()])];
    let error = change_schema(&*lake.catalog, &again, &drop, false).await;
    assert!(error.unwrap_err().to_string().contains("sorted by"));
}

#[tokio::test]
async fn a_summary_names_partitions_up_to_the_limit() {
    let lake = Lake::new().await;
    let mut creation = creation("t", &[("write.summary.partition-limit", "2")]);
    creation.partition = vec![PartitionFieldDef {
        column: "name".to_owned(),
        transform: Transform::Identity,
        name: None,
    }];
    let table = lake.catalog.create_table(creation).await.unwrap();
    let files = |names: &[&str]| {
        let each = names.iter().enumerate().map(|(n, name)| NewDataFile {
            partition: vec![Some(Literal::String((*name).to_owned()))],
            ..file(&table, &format!("{name}{n}"), 3)
        });
        each.collect::<Vec<_>>()
    };
    let few = append(
        &*lake.catalog,
        &table,
        files(&["x", "y", "x"]),
        HashMap::new(),
    )
    .await
    .unwrap();
    let summary = few.current_snapshot().unwrap().summary;
    assert_eq!(
        summary["partitions.name=x"],
        "added-data-files=2,added-records=6,added-files-size=200"
    );
    assert_eq!(summary["partition-summaries-included"], "true");
    let many = append(
        &*lake.catalog,
        &table,
        files(&["a", "b", "c"]),
        HashMap::new(),
    )
    .await
    .unwrap();
    let summary = many.current_snapshot().unwrap().summary;
    assert!(!summary.keys().any(|key| key.starts_with("partition")));
}

#[tokio::test]
async fn properties_without_a_meaning_are_refused_and_change_nothing() {
    let lake = Lake::new().await;
    let table = lake.table("t", &[]).await;
    let error = set(&lake, &table, "commit.retry.num-retries", "many").await;
    assert!(
        error
            .unwrap_err()
            .to_string()
            .contains("commit.retry.num-retries")
    );
    let error = lake
        .catalog
        .create_table(creation("u", &[("write.format.default", "avro")]))
        .await;
    assert!(
        error
            .unwrap_err()
            .to_string()
            .contains("write.format.default")
    );
    let table = lake.catalog.load_table(table.ident()).await.unwrap();
    assert!(table.properties().is_empty());
}

#[tokio::test]
async fn distinct_counts_are_those_of_the_newest_statistics_up_to_the_snapshot() {
    let lake = Lake::new().await;
    let table = lake.table("t", &[]).await;
    let table = lake.append(&table, "a").await.unwrap();
    let table = lake.append(&table, "b").await.unwrap();
    let table = lake.append(&table, "c").await.unwrap();
    let ids: Vec<i64> = table
        .snapshots()
        .iter()
        .map(|snapshot| snapshot.id)
        .collect();
    let blob = |kind: &str, field: i32, ndv: &str| {
        serde_json::json!({
            "type": kind, "snapshot-id": ids[1], "sequence-number": 2, "fields": [field],
            "properties": {"ndv": ndv},
        })
    };
    let mut json = serde_json::to_value(table.metadata().as_ref()).unwrap();
    json["statistics"] = serde_json::json!([{
        "snapshot-id": ids[1], "statistics-path": "s3://b/stats.puffin",
        "file-size-in-bytes": 10, "file-footer-size-in-bytes": 5,
        "blob-metadata": [
            blob("apache-datasketches-theta-v1", 1, "42"),
            blob("another-kind", 2, "7"),
            blob("apache-datasketches-theta-v1", 3, "many"),
        ],
    }]);
    let loaded = LoadedMetadata::new(serde_json::from_value(json).unwrap());
    let known = Table::new(
        table.ident().clone(),
        String::new(),
        Arc::new(loaded),
        table.stores().clone(),
    );
    let counts = HashMap::from([(1, 42)]);
    assert_eq!(known.distinct_counts(ids[1]), counts);
    // A later snapshot has none of its own; an earlier one cannot know.
    assert_eq!(known.distinct_counts(ids[2]), counts);
    assert_eq!(known.distinct_counts(ids[0]), HashMap::new());
    assert_eq!(table.distinct_counts(ids[2]), HashMap::new());
}

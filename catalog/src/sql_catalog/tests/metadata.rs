//! Metadata files: of others, compressed, damaged, replaced.

use super::*;

#[tokio::test]
async fn foreign_metadata_names_are_read_and_committed_to() {
    let lake = Lake::new().await;
    let table = lake.table("t", &[]).await;
    let table = lake.append(&table, "a").await.unwrap();
    let ours = table.metadata_location().strip_prefix("file://").unwrap();
    let foreign = format!("{}/metadata/v3.metadata.json", table.location());
    std::fs::copy(ours, foreign.strip_prefix("file://").unwrap()).unwrap();
    let hadoop = Lake::ident("hadoop");
    let table = lake
        .catalog
        .register_table(&hadoop, &foreign)
        .await
        .unwrap();
    let table = lake.append(&table, "b").await.unwrap();
    assert!(table.metadata_location().contains("/00004-"));
    assert_eq!(lake.files(&table).await.data.len(), 2);
    let error = lake.catalog.register_table(&hadoop, &foreign).await;
    assert_eq!(error.unwrap_err().code(), ErrorCode::AlreadyExists);
    let missing = format!("{foreign}.gone");
    let error = lake
        .catalog
        .register_table(&Lake::ident("x"), &missing)
        .await;
    assert!(
        error
            .unwrap_err()
            .to_string()
            .contains("v3.metadata.json.gone")
    );
}

#[tokio::test]
async fn gzipped_metadata_is_written_and_read_when_the_table_asks_for_it() {
    let lake = Lake::new().await;
    let table = lake
        .table("t", &[("write.metadata.compression-codec", "gzip")])
        .await;
    assert!(table.metadata_location().ends_with(".gz.metadata.json"));
    lake.append(&table, "a").await.unwrap();
    // A second process has an empty cache.
    let other = open(&lake.directory, &ManifestCache::new(1 << 20))
        .await
        .unwrap();
    let table = other.load_table(table.ident()).await.unwrap();
    assert_eq!(lake.files(&table).await.data.len(), 1);
}

#[tokio::test]
async fn properties_change_without_a_snapshot_and_old_metadata_goes_when_asked() {
    let lake = Lake::new().await;
    let table = lake
        .table(
            "t",
            &[("write.metadata.delete-after-commit.enabled", "true")],
        )
        .await;
    let mut table = table;
    for n in 1..=4 {
        let set = HashMap::from([
            ("comment".to_owned(), format!("take {n}")),
            (
                "write.metadata.previous-versions-max".to_owned(),
                "2".to_owned(),
            ),
        ]);
        table = update_properties(&*lake.catalog, &table, set, vec![])
            .await
            .unwrap();
    }
    assert_eq!(table.comment(), Some("take 4"));
    assert_eq!(table.metadata().metadata_log().len(), 2);
    assert_eq!(lake.on_disk().len(), 3);
    let remove = vec!["comment".to_owned()];
    let table = update_properties(&*lake.catalog, &table, HashMap::new(), remove)
        .await
        .unwrap();
    assert_eq!(table.comment(), None);
}

#[tokio::test]
async fn damaged_and_missing_metadata_is_named() {
    let lake = Lake::new().await;
    let check = |damage: fn(&str), part: &'static str, code: ErrorCode| {
        let lake = &lake;
        async move {
            let name = format!("t{}", uuid::Uuid::new_v4().simple());
            let table = lake.table(&name, &[]).await;
            let table = lake.append(&table, "a").await.unwrap();
            let root = table.location().strip_prefix("file://").unwrap().to_owned();
            let paths = lake.on_disk();
            let path = paths
                .iter()
                .find(|path| path.starts_with(&root) && path.contains(part))
                .unwrap();
            damage(path);
            let fresh = ManifestCache::new(1 << 20);
            let other = open(&lake.directory, &fresh).await.unwrap();
            let read = async {
                let table = other.load_table(table.ident()).await?;
                let snapshot = table.current_snapshot().unwrap();
                snapshot_files(&table, &snapshot, &fresh, &|_| true).await
            };
            let error = read.await.unwrap_err();
            assert_eq!(error.code(), code, "{error}");
            let file = path.rsplit('/').next().unwrap();
            assert!(error.to_string().contains(file), "{error}");
        }
    };
    let remove: fn(&str) = |path| std::fs::remove_file(path).unwrap();
    let halve: fn(&str) = |path| {
        let bytes = std::fs::read(path).unwrap();
        std::fs::write(path, &bytes[..bytes.len() / 2]).unwrap();
    };
    let scramble: fn(&str) = |path| {
        let bytes = std::fs::read(path).unwrap();
        let scrambled: Vec<u8> = bytes.iter().map(|byte| byte ^ 0x5a).collect();
        std::fs::write(path, scrambled).unwrap();
    };
    for part in ["/00001-", "/snap-", "-m0.avro"] {
        check(remove, part, ErrorCode::NotFound).await;
        check(halve, part, ErrorCode::Corrupt).await;
        check(scramble, part, ErrorCode::Corrupt).await;
    }
}

#[tokio::test]
async fn metadata_is_read_once_per_process() {
    let lake = Lake::new().await;
    let table = lake.table("t", &[]).await;
    let table = lake.append(&table, "a").await.unwrap();
    lake.files(&table).await;
    let before = lake.cache.stats();
    for _ in 0..5 {
        let table = lake.catalog.load_table(table.ident()).await.unwrap();
        lake.files(&table).await;
    }
    let after = lake.cache.stats();
    assert!(after.misses <= before.misses + 1);
    assert!(after.requests >= before.requests + 15);
}

//! The mark that tells whether anything has changed.

use std::time::Duration;

use super::*;

/// Times of files tick: a revision is told once they have settled.
async fn settled(catalog: &SqlCatalog) -> String {
    for _ in 0..100 {
        if let Some(revision) = catalog.revision().await.unwrap() {
            return revision;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("the catalog tells no revision");
}

#[tokio::test]
async fn a_revision_stays_while_nothing_changes_and_changes_whoever_writes() {
    let lake = Lake::new().await;
    let other = open(&lake.directory, &lake.cache).await.unwrap();
    let table = lake.table("t", &[]).await;
    let mut seen = vec![settled(&lake.catalog).await];
    lake.catalog.list_entries().await.unwrap();
    other.load_table(&Lake::ident("t")).await.unwrap();
    assert_eq!(settled(&lake.catalog).await, seen[0]);

    let mut changed = async || {
        let revision = settled(&lake.catalog).await;
        assert!(!seen.contains(&revision), "{revision} again: {seen:?}");
        seen.push(revision);
    };
    lake.append(&table, "a.parquet").await.unwrap();
    changed().await;
    other.create_table(creation("u", &[])).await.unwrap();
    changed().await;
    other
        .rename_table(&Lake::ident("u"), &Lake::ident("w"))
        .await
        .unwrap();
    changed().await;
    let comment = HashMap::from([("comment".to_owned(), "ours".to_owned())]);
    other
        .update_namespace(&Namespace::new("main"), comment, vec![])
        .await
        .unwrap();
    changed().await;
    other.drop_table(&Lake::ident("w"), false).await.unwrap();
    changed().await;
}

#[tokio::test]
async fn a_change_just_before_is_never_hidden_by_the_clock_of_the_file_system() {
    let lake = Lake::new().await;
    let mut table = lake.table("t", &[]).await;
    for n in 0..50 {
        let before = lake.catalog.revision().await.unwrap();
        table = lake.append(&table, &format!("{n}.parquet")).await.unwrap();
        let after = lake.catalog.revision().await.unwrap();
        assert!(before.is_none() || before != after, "{before:?}");
    }
}

//! Saved schemas, and links to them.

use super::*;

#[tokio::test]
async fn a_schema_keeps_every_version_that_was_saved() {
    let (_folder, store) = store().await;
    let save = async |id: Option<&str>, name: &str, json: &str| {
        store.save_schema(ME, id, name, Some(Language::En), json).await.unwrap()
    };
    let id = save(None, "People", "one").await;
    let first = store.schema(ME, &id).await.unwrap();
    assert_eq!((first.version, first.json.as_str(), first.title.zh.as_str()), (Some(1), "one", "People"));
    save(Some(&id), "People", "two").await;
    save(Some(&id), "Persons", "two").await;
    let now = store.schema(ME, &id).await.unwrap();
    assert_eq!((now.version, now.title.en.as_str()), (Some(2), "Persons"), "saved unchanged, it is the same version");
    save(Some(&id), "Persons", "one").await;
    let versions = store.schema_versions(ME, &id).await.unwrap();
    let versions: Vec<_> = versions.iter().map(|v| (v.version, v.json.as_str())).collect();
    assert_eq!(versions, [(3, "one"), (2, "two"), (1, "one")]);

    assert!(missing(store.schema(OTHER, &id).await));
    assert!(store.schema_versions(OTHER, &id).await.unwrap().is_empty());
    assert!(missing(store.save_schema(OTHER, Some(&id), "x", None, "y").await));
    assert!(missing(store.rename_schema(OTHER, &id, "x").await));
    assert!(missing(store.set_schema_deleted(OTHER, &id, true).await));

    store.rename_schema(ME, &id, "Folk").await.unwrap();
    store.set_schema_deleted(ME, &id, true).await.unwrap();
    assert!(store.schemas(ME).await.unwrap().is_empty() && missing(store.schema(ME, &id).await));
    store.set_schema_deleted(ME, &id, false).await.unwrap();
    assert_eq!(store.schemas(ME).await.unwrap()[0].title.en, "Folk");
}

#[tokio::test]
async fn a_link_shows_the_version_it_was_made_for_until_it_is_closed_and_belongs_to_its_owner() {
    let (_folder, store) = store().await;
    let people = r#"{"entities": ["person"]}"#;
    let id = store.save_schema(ME, None, "People", None, people).await.unwrap();
    assert!(missing(store.insert_schema_share(OTHER, "l0", "h0", &id).await));
    let first = store.insert_schema_share(ME, "l1", "h1", &id).await.unwrap();
    store.save_schema(ME, Some(&id), "People and places", None, r#"{"entities": ["person", "place"]}"#).await.unwrap();
    store.insert_schema_share(ME, "l2", "h2", &id).await.unwrap();

    let shown = store.open_schema_share("h1").await.unwrap();
    assert_eq!((shown.version, shown.json.as_str(), shown.id.as_str()), (Some(1), people, ""));
    assert_eq!(store.open_schema_share("h2").await.unwrap().version, Some(2));
    assert!(missing(store.open_schema_share("h3").await));
    let links = store.schema_shares(ME, &id).await.unwrap();
    assert_eq!(links.first(), Some(&first), "as it was told when it was made");
    assert_eq!(links.iter().map(|link| link.note.as_str()).collect::<Vec<_>>(), ["v1", "v2"]);
    assert!(store.schema_shares(OTHER, &id).await.unwrap().is_empty());
    assert!(missing(store.schema(OTHER, &id).await), "without a link it is nobody else's");

    assert!(missing(store.revoke_schema_share(OTHER, "l1").await));
    assert_eq!(store.revoke_schema_share(ME, "l1").await.unwrap(), id);
    assert!(missing(store.open_schema_share("h1").await));
    store.set_schema_deleted(ME, &id, true).await.unwrap();
    assert!(missing(store.open_schema_share("h2").await), "closed while it is deleted");
    assert!(missing(store.insert_schema_share(ME, "l4", "h4", &id).await));
    store.set_schema_deleted(ME, &id, false).await.unwrap();
    assert!(store.open_schema_share("h2").await.is_ok());
}

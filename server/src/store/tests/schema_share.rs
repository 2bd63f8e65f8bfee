//! Links to schemas.

use super::*;

#[tokio::test]
async fn a_link_shows_the_version_it_was_made_for_until_it_is_closed_and_belongs_to_its_owner() {
    let (_folder, store) = store().await;
    let people = r#"{"entities": ["person"]}"#;
    let id = store.save_schema(ME, None, "People", None, people).await.unwrap();
    assert!(missing(store.insert_schema_share(OTHER, "l0", "h0", &id).await));
    store.insert_schema_share(ME, "l1", "h1", &id).await.unwrap();
    store.save_schema(ME, Some(&id), "People and places", None, r#"{"entities": ["person", "place"]}"#).await.unwrap();
    store.insert_schema_share(ME, "l2", "h2", &id).await.unwrap();

    let shown = store.open_schema_share("h1").await.unwrap();
    assert_eq!((shown.version, shown.json.as_str(), shown.id.as_str()), (Some(1), people, ""));
    assert_eq!(store.open_schema_share("h2").await.unwrap().version, Some(2));
    assert!(missing(store.open_schema_share("h3").await));
    let links = store.schema_shares(ME, &id).await.unwrap();
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

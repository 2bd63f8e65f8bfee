//! Example texts and the published cases, compiled in.

use std::sync::LazyLock;

use extract::Schema;
use protocol::{
    Example,
    view::{GalleryCase, SchemaView},
};

use crate::cases::CaseFile;

const EXAMPLES: &str = include_str!("../../assets/examples/examples.json");
const CASES: &str = include_str!("../../assets/cases.json");

/// The ready schemas by name.
const SCHEMAS: &[(&str, &str)] = &[
    ("biomedical-en", include_str!("../../assets/schemas/biomedical-en.json")),
    ("biomedical-zh", include_str!("../../assets/schemas/biomedical-zh.json")),
    ("finance-en", include_str!("../../assets/schemas/finance-en.json")),
    ("finance-relations-zh", include_str!("../../assets/schemas/finance-relations-zh.json")),
    ("finance-zh", include_str!("../../assets/schemas/finance-zh.json")),
    ("legal-en", include_str!("../../assets/schemas/legal-en.json")),
    ("legal-zh", include_str!("../../assets/schemas/legal-zh.json")),
    ("literature-en", include_str!("../../assets/schemas/literature-en.json")),
    ("news-events-en", include_str!("../../assets/schemas/news-events-en.json")),
    ("news-events-zh", include_str!("../../assets/schemas/news-events-zh.json")),
    ("people-places-organizations-en", include_str!("../../assets/schemas/people-places-organizations-en.json")),
    ("people-places-organizations-zh", include_str!("../../assets/schemas/people-places-organizations-zh.json")),
    ("politics-en", include_str!("../../assets/schemas/politics-en.json")),
    ("product-en", include_str!("../../assets/schemas/product-en.json")),
    ("product-zh", include_str!("../../assets/schemas/product-zh.json")),
    ("prose-relations-zh", include_str!("../../assets/schemas/prose-relations-zh.json")),
    ("science-en", include_str!("../../assets/schemas/science-en.json")),
    ("semantic-relations-en", include_str!("../../assets/schemas/semantic-relations-en.json")),
    ("social-media-en", include_str!("../../assets/schemas/social-media-en.json")),
    ("travel-en", include_str!("../../assets/schemas/travel-en.json")),
    ("travel-zh", include_str!("../../assets/schemas/travel-zh.json")),
    ("wikipedia-en", include_str!("../../assets/schemas/wikipedia-en.json")),
];

/// The ready schemas.
pub fn schemas() -> &'static [SchemaView] {
    static READ: LazyLock<Vec<SchemaView>> = LazyLock::new(|| {
        let one = |(name, json): &(&str, &str)| {
            let schema = Schema::from_json(json).ok()?;
            let (title, language) = (schema.title.clone(), schema.language);
            Some(SchemaView {
                id: (*name).to_owned(),
                title,
                language,
                version: None,
                json: schema.to_json(),
                updated_at: 0,
            })
        };
        SCHEMAS.iter().filter_map(one).collect()
    });
    &READ
}

/// The texts that the pages offer to try.
pub fn examples() -> &'static [Example] {
    static READ: LazyLock<Vec<Example>> = LazyLock::new(|| serde_json::from_str(EXAMPLES).unwrap_or_default());
    &READ
}

/// The published cases.
pub fn cases() -> &'static CaseFile {
    static READ: LazyLock<CaseFile> = LazyLock::new(|| serde_json::from_str(CASES).unwrap_or_default());
    &READ
}

/// The published cases of pretrain mode, for the completion page.
pub fn gallery() -> &'static [GalleryCase] {
    static READ: LazyLock<Vec<GalleryCase>> = LazyLock::new(|| {
        let group = cases().get("pretrain");
        let all = group.into_iter().flat_map(|group| &group.cases);
        all.filter_map(|case| {
            Some(GalleryCase {
                topic: case.topic.clone().unwrap_or_default(),
                prompt: case.prompt.clone()?,
                published_mark: case.published_mark.clone().unwrap_or_default(),
            })
        })
        .collect()
    });
    &READ
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn every_ready_schema_is_offered_by_a_name_in_both_languages() {
        let folder = checkpoint::find::assets_dir().unwrap().join("schemas");
        let files = std::fs::read_dir(folder).unwrap().map(|f| f.unwrap().file_name().into_string().unwrap());
        let mut files: Vec<_> = files.filter_map(|f| Some(f.strip_suffix(".json")?.to_owned())).collect();
        files.sort();
        assert_eq!(schemas().iter().map(|s| s.id.as_str()).collect::<Vec<_>>(), files);
        assert!(schemas().iter().all(|s| !s.title.en.is_empty() && !s.title.zh.is_empty()));
    }

    #[test]
    fn the_shipped_files_can_be_read() {
        serde_json::from_str::<Vec<Example>>(EXAMPLES).unwrap();
        let cases: CaseFile = serde_json::from_str(CASES).unwrap();
        let counts: Vec<_> = cases.iter().map(|(name, group)| (name.as_str(), group.cases.len())).collect();
        assert_eq!(counts, [("general", 8), ("ie", 4), ("pretrain", 18)]);
        assert_eq!(gallery().len(), 18);
    }
}

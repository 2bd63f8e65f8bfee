//! Example texts and the published cases, compiled in.

use std::sync::LazyLock;

use protocol::{Example, view::GalleryCase};

use crate::cases::CaseFile;

const EXAMPLES: &str = include_str!("../../assets/examples/examples.json");
const CASES: &str = include_str!("../../assets/cases.json");

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
    fn the_shipped_files_can_be_read() {
        serde_json::from_str::<Vec<Example>>(EXAMPLES).unwrap();
        let cases: CaseFile = serde_json::from_str(CASES).unwrap();
        let counts: Vec<_> = cases.iter().map(|(name, group)| (name.as_str(), group.cases.len())).collect();
        assert_eq!(counts, [("general", 8), ("ie", 4), ("pretrain", 18)]);
        assert_eq!(gallery().len(), 18);
    }
}

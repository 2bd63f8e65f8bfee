//! Names that come from the network, and patterns that choose among them.

use std::path::PathBuf;

/// The path of a listed file within the folder it goes to; an error says why the name is not to be trusted.
pub(super) fn inside(name: &str) -> Result<PathBuf, &'static str> {
    if name.is_empty() || name.len() > 400 {
        return Err("has no name of a usable length");
    }
    if name.chars().any(|c| c.is_control() || matches!(c, '\\' | ':' | '*' | '?' | '"' | '<' | '>' | '|')) {
        return Err("has a name with characters that files here do not have");
    }
    let mut path = PathBuf::new();
    for part in name.split('/') {
        if part.is_empty() || part.chars().all(|c| c == '.') || part.ends_with([' ', '.']) || part.len() > 200 {
            return Err("would lie outside the folder");
        }
        path.push(part);
    }
    if name.ends_with(".part") || name.ends_with(".part.json") {
        return Err("has the name of an unfinished download");
    }
    Ok(path)
}

/// Whether a pattern with `*` (anything) and `?` (one character) fits the whole name, or the last part of it.
pub(super) fn fits(pattern: &str, name: &str) -> bool {
    let last = name.rsplit('/').next().unwrap_or(name);
    glob(pattern.as_bytes(), name.as_bytes()) || glob(pattern.as_bytes(), last.as_bytes())
}

/// Goes back to the last star only, so that no pattern takes longer than its length times the name's.
fn glob(pattern: &[u8], name: &[u8]) -> bool {
    let (mut p, mut n) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while n < name.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, n));
                p += 1;
            }
            Some(c) if *c == b'?' || Some(c) == name.get(n) => {
                p += 1;
                n += 1;
            }
            _ => match star {
                Some((at, taken)) => {
                    star = Some((at, taken + 1));
                    p = at + 1;
                    n = taken + 1;
                }
                None => return false,
            },
        }
    }
    pattern.get(p..).is_some_and(|rest| rest.iter().all(|c| *c == b'*'))
}

/// Whether a text is `OWNER/REPO`.
pub(super) fn is_repository(name: &str) -> bool {
    let part = |text: &str| {
        (1..=96).contains(&text.len())
            && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
            && !text.starts_with('.')
            && !text.contains("..")
    };
    name.split_once('/').is_some_and(|(owner, repository)| part(owner) && part(repository))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_listed_name_never_leads_out_of_the_folder() {
        for name in ["model.safetensors", "onnx/model.onnx", "a b.txt", "模型.bin", ".gitattributes", "a..b"] {
            assert!(inside(name).is_ok(), "{name}");
        }
        for name in [
            "",
            "/etc/passwd",
            "../x",
            "a/../x",
            "a/./b",
            "a//b",
            "a/",
            "..",
            "C:x",
            "c:/x",
            "a\\..\\b",
            "a\0b",
            "a\nb",
            "...",
            "a/... ",
            "con.part",
            "x.part.json",
            "a?b",
        ] {
            assert!(inside(name).is_err(), "{name:?}");
        }
        assert!(inside(&"a/".repeat(300)).is_err());
    }

    #[test]
    fn patterns_choose_by_whole_or_last_name() {
        assert!(fits("*.bin", "pytorch_model.bin") && fits("*.bin", "sub/x.bin") && fits("sub/*", "sub/x/y"));
        assert!(fits("model-0000?-of-*", "model-00001-of-00002.safetensors") && fits("*", "x"));
        assert!(!fits("*.bin", "x.bin.json") && !fits("model", "models") && !fits("", "x"));
    }

    #[test]
    fn repositories_are_owner_and_name() {
        assert!(is_repository("zjunlp/OneKE") && is_repository("a-b/c_d.e"));
        for name in ["oneke", "a/b/c", "/b", "a/", "../b", "a/..", "a/b?x=1", "a/b#c", "a b/c", "a/.b"] {
            assert!(!is_repository(name), "{name}");
        }
    }

    proptest! {
        #[test]
        fn accepted_names_stay_inside(name in "[a./\\\\: \\x00-\\x20]{0,12}") {
            if let Ok(path) = inside(&name) {
                prop_assert!(path.components().all(|c| matches!(c, std::path::Component::Normal(_))), "{:?}", path);
            }
        }

        #[test]
        fn patterns_end_quickly(pattern in "[a*?]{0,40}", name in "a{0,60}") {
            let _ = fits(&pattern, &name);
        }
    }
}

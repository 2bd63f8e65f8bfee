//! The shipped schemas, what the shipped adapter makes of them, and the description of their format for other programs.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{collections::BTreeMap, fs, path::PathBuf};

use extract::{Schema, prompt};
use protocol::{AdapterManifest, Language};
use serde_json::{Value, json};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn shipped() -> BTreeMap<String, String> {
    let files = fs::read_dir(root().join("assets/schemas")).unwrap().map(|entry| entry.unwrap().path());
    files
        .map(|path| (path.file_stem().unwrap().to_str().unwrap().to_owned(), fs::read_to_string(&path).unwrap()))
        .collect()
}

#[test]
fn every_shipped_schema_is_one_and_names_itself_in_both_languages() {
    let shipped = shipped();
    assert!(shipped.len() >= 14);
    for (name, json) in &shipped {
        let schema = Schema::from_json(json).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert!(!schema.title.en.is_empty() && !schema.title.zh.is_empty(), "{name}");
        let language = schema.language.unwrap_or_else(|| panic!("{name} has no language"));
        assert!(name.ends_with(language.code()), "{name}");
    }
    for topic in ["people-places-organizations", "news-events", "finance", "biomedical", "legal", "product", "travel"] {
        assert!(["en", "zh"].iter().all(|l| shipped.contains_key(&format!("{topic}-{l}"))), "{topic}");
    }
}

#[test]
fn schemas_of_the_shipped_adapter_are_asked_in_exactly_the_taught_words() {
    let manifest = fs::read_to_string(root().join("assets/adapters/ie-smollm2/manifest.json")).unwrap();
    let manifest: AdapterManifest = serde_json::from_str(&manifest).unwrap();
    let shipped = shipped();
    let mut used = Vec::new();
    for name in [
        "people-places-organizations-en",
        "wikipedia-en",
        "politics-en",
        "science-en",
        "literature-en",
        "social-media-en",
        "biomedical-en",
        "finance-zh",
        "finance-relations-zh",
        "semantic-relations-en",
        "prose-relations-zh",
    ] {
        for choice in Schema::from_json(&shipped[name]).unwrap().choices(Language::En) {
            let taught = prompt::taught_as(Some(&manifest), &choice);
            used.push(
                taught.unwrap_or_else(|| panic!("{name}: {:?} is not a taught schema", choice.task)).name.as_str(),
            );
        }
    }
    // All but the one that is a part of another.
    let missing: Vec<_> = manifest.taught.iter().map(|t| t.name.as_str()).filter(|n| !used.contains(n)).collect();
    assert_eq!(missing, ["wikigold"]);
}

#[test]
fn the_description_for_other_programs_accepts_what_we_accept_and_refuses_what_we_refuse() {
    let description = fs::read_to_string(root().join("docs/schema.schema.json")).unwrap();
    let description: Value = serde_json::from_str(&description).unwrap();
    for (name, json) in shipped() {
        fits(&description, &description, &serde_json::from_str(&json).unwrap())
            .unwrap_or_else(|e| panic!("{name}: {e}"));
    }
    for (file, ours) in [
        (json!({"entities": ["a"]}), true),
        (json!({"language": "zh", "title": "x", "relations": [{"name": "a", "head": "b", "tail": ["c"]}]}), true),
        (
            json!({"events": {"a": ["b", {"name": "c", "examples": ["d"]}], "e": {"roles": [], "description": "f"}}}),
            true,
        ),
        (json!({"events": ["a", {"name": "b", "roles": ["c"]}]}), true),
        (json!({"title": "x"}), false),
        (json!({"entities": "a"}), false),
        (json!({"entities": [1]}), false),
        (json!({"entities": [""]}), false),
        (json!({"entities": ["x".repeat(101)]}), false),
        (json!({"entities": [{"description": "no name"}]}), false),
        (json!({"entities": ["a"], "more": 1}), false),
        (json!({"relations": [{"name": "a", "roles": []}]}), false),
        (json!({"events": {"a": "b"}}), false),
        (json!({"events": {"": []}}), false),
        (json!({"language": "fr", "entities": ["a"]}), false),
        (json!([]), false),
    ] {
        assert_eq!(Schema::from_json(&file.to_string()).is_ok(), ours, "{file}");
        assert_eq!(fits(&description, &description, &file).is_ok(), ours, "{file}");
    }
}

/// As much of JSON Schema as the description uses; any other keyword fails.
fn fits(root: &Value, schema: &Value, value: &Value) -> Result<(), String> {
    let list = |v: &Value| v.as_array().cloned().unwrap_or_default();
    let length = |v: &Value| v.as_str().map(|s| s.chars().count() as u64);
    for (keyword, wanted) in schema.as_object().expect("a schema is an object") {
        let ok = match keyword.as_str() {
            "$schema" | "$defs" | "title" | "description" => true,
            "$ref" => {
                let target = wanted.as_str().and_then(|r| r.strip_prefix('#')).and_then(|p| root.pointer(p));
                fits(root, target.expect("a reference that leads somewhere"), value).is_ok()
            }
            "type" => match wanted.as_str().expect("one type") {
                "object" => value.is_object(),
                "array" => value.is_array(),
                "string" => value.is_string(),
                other => panic!("type {other} is not known here"),
            },
            "enum" => list(wanted).contains(value),
            "oneOf" => list(wanted).iter().filter(|s| fits(root, s, value).is_ok()).count() == 1,
            "anyOf" => list(wanted).iter().any(|s| fits(root, s, value).is_ok()),
            "required" => list(wanted).iter().all(|key| value.get(key.as_str().unwrap_or_default()).is_some()),
            "minLength" => length(value).is_none_or(|n| n >= wanted.as_u64().unwrap()),
            "maxLength" => length(value).is_none_or(|n| n <= wanted.as_u64().unwrap()),
            "items" => list(value).iter().all(|one| fits(root, wanted, one).is_ok()),
            "properties" | "additionalProperties" | "propertyNames" => {
                let known = schema.get("properties").and_then(Value::as_object);
                value.as_object().into_iter().flatten().all(|(key, one)| {
                    match (keyword.as_str(), known.and_then(|k| k.get(key))) {
                        ("properties", Some(own)) => fits(root, own, one).is_ok(),
                        ("additionalProperties", None) => wanted != &json!(false) && fits(root, wanted, one).is_ok(),
                        ("propertyNames", _) => fits(root, wanted, &json!(key)).is_ok(),
                        _ => true,
                    }
                })
            }
            other => panic!("keyword {other} is not known here"),
        };
        if !ok {
            return Err(format!("{keyword} {wanted} does not hold for {value}"));
        }
    }
    Ok(())
}

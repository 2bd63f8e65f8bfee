//! Lines of records of which some are a person's, or those of several models: what is a prediction and what is gold.

use extract::{graph::Origin, judge, output::Extraction};
use protocol::{Record, review::State};
use serde_json::Value;

use super::export::document;

const LISTS: [&str; 3] = ["entities", "relations", "events"];

/// Whose records of a file are scored: those that are wanted, else the tuned model's, where it has records of several; `None`
/// where it does not say whose any are.
pub fn origin(lines: &str, wanted: Option<Origin>) -> Option<Origin> {
    let all = || lines.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let says = |line: &Value| {
        line.get("base").is_some_and(Value::is_object) || records(line).any(|r| r.get("origins").is_some())
    };
    let has = |line: &Value, origin: Origin| records(line).any(|record| is_of(record, origin));
    if !all().any(|line| says(&line)) {
        return None;
    }
    let tuned = || all().any(|line| has(&line, Origin::Tuned) || line.get("base").is_some_and(Value::is_object));
    Some(wanted.unwrap_or_else(|| if tuned() { Origin::Tuned } else { Origin::Base }))
}

/// What a model found in a text: all records of a line that does not say whose they are.
///
/// # Errors
/// A field is not of the form.
pub fn found(line: &Value, origin: Option<Origin>) -> Result<Extraction, String> {
    let Some(origin) = origin else { return Extraction::read_records(line) };
    // Of a comparison of a whole file the base has a place of its own.
    if let Some(base) = line.get("base").filter(|base| origin == Origin::Base && base.is_object()) {
        return Extraction::read_records(base);
    }
    let mut line = line.clone();
    for name in LISTS {
        if let Some(list) = line.get_mut(name).and_then(Value::as_array_mut) {
            list.retain(|record| record.get("origins").is_none() || is_of(record, origin));
        }
    }
    Extraction::read_records(&line)
}

/// The gold of a text: what people say of it, where they have judged it as a whole; `None` where not. A line on which nothing
/// is judged, and that does not say that it was to be, is gold as it stands.
///
/// # Errors
/// A field is not of the form.
pub fn gold(line: &Value) -> Result<Option<Extraction>, String> {
    let judged = line.get("gold_added").is_some()
        || records(line).any(|record| record.get("origins").is_some() || record.get("gold").is_some());
    let review = line.get("review").and_then(Value::as_str).and_then(State::from_name);
    match review {
        Some(State::Unreviewed | State::Failed) => {}
        Some(State::Accepted | State::Corrected) if judged || line.get("made_by").is_some() => {}
        _ if judged => {}
        _ => return Extraction::read_records(line).map(Some),
    }
    let document = document(line.clone(), Origin::Tuned)?;
    let records = judge::gold(&document.judgements).into_iter().cloned().collect::<Vec<Record>>();
    Ok(document.is_gold().then(|| Extraction::of_all(records)))
}

fn records(line: &Value) -> impl Iterator<Item = &Value> {
    LISTS.into_iter().flat_map(|name| line.get(name).and_then(Value::as_array).into_iter().flatten())
}

fn is_of(record: &Value, origin: Origin) -> bool {
    let origins = record.get("origins").and_then(Value::as_array);
    origins.is_some_and(|origins| origins.iter().any(|name| name == origin.name()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    fn words(found: &Extraction) -> Vec<&str> {
        found.entities.iter().map(|e| e.text.as_str()).collect()
    }

    fn line(review: &str) -> Value {
        let one = |text: &str, origins: &[&str], gold: &str| json!({"type": "x", "text": text, "origins": origins, "gold": gold});
        json!({"id": 1, "text": "Ann met Bob, Eve and Zoe.", "review": review, "entities": [
            one("Ann", &["base", "tuned"], "right"), one("Bob", &["tuned"], "wrong"), one("Eve", &["base"], ""),
            one("Zoe", &["you"], "added")]})
    }

    #[test]
    fn of_a_session_predictions_are_one_models_and_gold_is_the_persons() {
        let line = line("corrected");
        let text = line.to_string();
        assert_eq!(origin(&text, None), Some(Origin::Tuned));
        assert_eq!(
            words(&found(&line, Some(Origin::Tuned)).unwrap()),
            ["Ann", "Bob"],
            "what people added is no prediction"
        );
        assert_eq!(words(&found(&line, origin(&text, Some(Origin::Base))).unwrap()), ["Ann", "Eve"]);
        assert_eq!(words(&gold(&line).unwrap().unwrap()), ["Ann", "Zoe"]);
    }

    #[test]
    fn gold_is_left_out_where_a_text_is_not_judged_as_a_whole() {
        assert!(gold(&line("unreviewed")).unwrap().is_some(), "all that the tuned model found is judged");
        let mut partly = line("unreviewed");
        partly["entities"][1]["gold"].take();
        assert_eq!(gold(&partly).unwrap(), None);
        let nothing = |review: &str| json!({"id": 1, "text": "It rained.", "entities": [], "review": review});
        assert_eq!(gold(&nothing("unreviewed")).unwrap(), None);
        assert_eq!(gold(&nothing("accepted")).unwrap(), Some(Extraction::default()), "nothing found is gold");
        let plain = json!({"id": 1, "entities": [{"type": "x", "text": "Ann"}]});
        assert_eq!(words(&gold(&plain).unwrap().unwrap()), ["Ann"]);
    }

    #[test]
    fn a_compared_batch_has_the_base_in_a_place_of_its_own() {
        let entity = |text: &str| json!([{"type": "x", "text": text}]);
        let line =
            json!({"id": 1, "text": "Ann met Bob.", "entities": entity("Ann"), "base": {"entities": entity("Bob")}});
        let of = |wanted| words(&found(&line, origin(&line.to_string(), wanted)).unwrap()).join(" ");
        assert_eq!((of(None), of(Some(Origin::Base))), ("Ann".to_owned(), "Bob".to_owned()));
        let plain = json!({"id": 1, "entities": entity("Ann")});
        assert_eq!(origin(&plain.to_string(), Some(Origin::Base)), None, "it does not say whose they are");
    }
}

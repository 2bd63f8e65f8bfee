//! Every example that the pages offer, asked of the shipped model as the page asks it. One that runs on, loops or
//! misses what it is offered for fails here, and is not offered.
#![allow(clippy::unwrap_used)]

use engine::{EngineOptions, GenerateRequest, Generator, LocalEngine};
use protocol::{Example, FinishReason, Mode, Parameters, SchemaChoice};

#[test]
fn every_example_finds_what_it_is_offered_for() {
    let model = checkpoint::find::find_model(None, None);
    let Ok(model) = model else {
        println!("skipped: the default model is not on this machine; `make model` fetches it");
        return;
    };
    let mut options = EngineOptions::new(model);
    options.adapters = vec![("ie-smollm2".into(), checkpoint::find::find_adapter("ie-smollm2", None).unwrap())];
    let engine = LocalEngine::load(options, |_| {}).unwrap();
    let adapter = engine.adapters().remove(0);
    let examples = checkpoint::find::assets_dir().unwrap().join("examples/examples.json");
    let examples: Vec<Example> = serde_json::from_str(&std::fs::read_to_string(examples).unwrap()).unwrap();

    for example in examples {
        let taught = adapter.manifest.schema(&example.schema).unwrap_or_else(|| panic!("no schema {}", example.schema));
        let choice = SchemaChoice {
            task: taught.task,
            language: taught.language,
            types: taught.types.clone(),
            roles: taught.roles.clone(),
            asking: Default::default(),
        };
        let instruction = extract::prompt::instruction(Some(&adapter.manifest), &choice);
        let request = GenerateRequest::new(
            extract::prompt::alpaca(&instruction, Some(&example.text)),
            Some(adapter.name.clone()),
            Parameters::published(Mode::Lora).with(&adapter.manifest.decoding),
        );
        let answer = engine.generate(request, |_| {}).unwrap();
        let title = &example.title.en;
        assert_eq!(answer.finish_reason, FinishReason::Stop, "{title}: {}", answer.text);
        let parsed = extract::parse::records(&answer.text, &example.text, Some(&choice), true);
        let grounded: Vec<&str> = parsed
            .records
            .iter()
            .flat_map(|r| r.mentions())
            .filter(|(_, m)| m.span.is_some())
            .map(|(_, m)| m.text.as_str())
            .collect();
        for words in &example.finds {
            assert!(
                grounded.contains(&words.as_str()),
                "{title}: “{words}” is not among {grounded:?} of {}",
                answer.text
            );
        }
    }
}

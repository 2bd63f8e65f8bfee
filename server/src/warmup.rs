//! The first example, run when the server has started: the page has a real answer to show, and the weights are warm.

use std::sync::{Arc, atomic::Ordering};

use engine::{EngineEvent, GenerateRequest};
use protocol::{Column, Mode, RunStatus, RunView, SchemaChoice, view::WarmUp};
use tokio::sync::oneshot;

use crate::{assets, hub::LiveRun, pool::plan, services::Studio, store::now_ms};

/// Runs it in the background; the answer is kept in memory only. Without adapter, or with one that was not taught the
/// example's schema, there is none.
pub fn start(studio: Arc<Studio>) {
    studio.warming.store(true, Ordering::Release);
    tokio::spawn(async move {
        if let Some(warmup) = run(&studio).await {
            let _ = studio.warmup.set(warmup);
        }
        studio.warming.store(false, Ordering::Release);
    });
}

async fn run(studio: &Studio) -> Option<WarmUp> {
    let adapter = studio.pool.adapter()?;
    let (index, example, taught) = assets::examples()
        .iter()
        .enumerate()
        .find_map(|(index, example)| Some((index, example, adapter.manifest.schema(&example.schema)?)))?;
    let mut parameters = studio.defaults(Some(&adapter)).lora;
    parameters.seed.get_or_insert(0);
    let schema = SchemaChoice {
        task: taught.task,
        language: taught.language,
        types: taught.types.clone(),
        roles: taught.roles.clone(),
        asking: Default::default(),
    };
    let prompt =
        extract::prompt::prompt(Some(&adapter.manifest), Some(&schema), &taught.instruction, Some(&example.text));
    let guide = plan::guide(Some(&adapter), Some(&schema), &taught.instruction, &example.text);
    let guide = guide.filter(|_| parameters.guided);
    (parameters.guided, parameters.samples) = (guide.is_some(), 0);
    let view = RunView {
        id: "warmup".into(),
        session: String::new(),
        document: None,
        mode: Mode::Lora,
        column: Column::Tuned,
        model: studio.pool.generator().model().name,
        adapter: Some(adapter.name.clone()),
        schema: Some(schema),
        extraction: None,
        part: None,
        instruction: taught.instruction.clone(),
        prompt: prompt.clone(),
        parameters: parameters.clone(),
        status: RunStatus::Queued,
        finish_reason: None,
        error: None,
        text: String::new(),
        prompt_tokens: None,
        completion_tokens: 0,
        timings: None,
        hesitations: None,
        samples: Vec::new(),
        position: None,
        created_at: now_ms(),
    };
    let (said, heard) = oneshot::channel();
    let mut said = Some(said);
    let sink = move |event| {
        if let EngineEvent::Done(outcome) = event
            && let Some(said) = said.take()
        {
            let _ = said.send(outcome);
        }
    };
    let request =
        GenerateRequest { guide, logprobs: Some(0), ..GenerateRequest::new(prompt, Some(adapter.name), parameters) };
    if let Err(error) = studio.pool.generator().submit(request, Box::new(sink)) {
        tracing::warn!(%error, "the example could not be run");
        return None;
    }
    let outcome = heard.await.ok()?;
    let run = LiveRun::new(crate::auth::FIRST_OWNER.0, view, None);
    run.apply([EngineEvent::Done(outcome)]);
    let run = run.view();
    (run.status == RunStatus::Finished).then_some(WarmUp { example: index, run })
}

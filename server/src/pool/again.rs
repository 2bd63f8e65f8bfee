//! What is missing of an extraction, asked again: the parts that were stopped, interrupted or failed, and no others.

use engine::{GenerateRequest, Grammar, SubmitError};
use protocol::{Language, RunStatus, RunView, text::slice_chars};

use super::{Owner, Pool, ServiceError, at_once, internal, plan, refused_by_engine, refused_by_store, samples};

impl Pool {
    /// Queues the runs of an extraction again that did not come to an end by themselves; what they had is forgotten, all
    /// others stay as they are. Gives the session and those runs.
    ///
    /// # Errors
    /// Nothing is missing, it cannot be asked as it was, or the server is busy. Nothing is changed then.
    pub async fn ask_missing(
        &self,
        owner: Owner,
        extraction: &str,
        language: Language,
    ) -> Result<(String, Vec<RunView>), ServiceError> {
        let (pool, extraction) = (self.clone(), extraction.to_owned());
        let task = tokio::spawn(async move { pool.ask_missing_checked(owner, &extraction, language).await });
        task.await.unwrap_or_else(|e| Err(internal("the request could not be carried out", &e)))
    }

    async fn ask_missing_checked(
        &self,
        owner: Owner,
        extraction: &str,
        language: Language,
    ) -> Result<(String, Vec<RunView>), ServiceError> {
        let (text, runs) = self.store.missing_runs(owner.0, extraction).await.map_err(refused_by_store)?;
        let Some(session) = runs.first().map(|run| run.session.clone()) else {
            return Err(ServiceError::invalid(
                "Nothing is missing: every part was asked, or is being asked.",
                "没有缺少的部分：每一部分都已询问或正在询问。",
            ));
        };
        let each = runs.iter().map(|run| samples::runs(&run.parameters)).max().unwrap_or(1);
        let places = self.admit_sampled(runs.len().min(at_once(each)), each)?;
        let pool = self.clone();
        let checked = tokio::task::spawn_blocking(move || {
            let guides = runs.iter().map(|run| pool.check_again(run, &text)).collect::<Result<Vec<_>, _>>()?;
            Ok((runs.into_iter().map(queued).collect::<Vec<_>>(), guides))
        });
        let (runs, guides) = checked.await.map_err(|e| internal("the prompts could not be checked", &e))??;
        let stored = self.store.requeue_runs(owner.0, &runs);
        self.set_going(owner, &runs, guides, places, language, stored).await?;
        Ok((session, runs))
    }

    /// Whether a run can be asked as it was; what its answer can look like, where it was told that.
    fn check_again(&self, run: &RunView, text: &str) -> Result<Option<Grammar>, ServiceError> {
        let now = self.generator.model().name;
        if run.model != now {
            return Err(ServiceError::invalid(
                format!(
                    "These answers are from {}, but the server runs {now} now. Run the extraction again as a whole.",
                    run.model
                ),
                format!("这些回答来自 {}，而服务器现在运行的是 {now}。请重新运行整个抽取。", run.model),
            ));
        }
        let adapter = run.adapter.as_deref().and_then(|name| self.adapter_named(Some(name)));
        let words = run.part.map_or(text, |part| slice_chars(text, part.start, part.end));
        let guide =
            run.parameters.guided.then(|| plan::guide(adapter.as_ref(), run.schema.as_ref(), &run.instruction, words));
        let asked = |guide| GenerateRequest {
            guide,
            ..GenerateRequest::new(run.prompt.clone(), run.adapter.clone(), run.parameters.clone())
        };
        let mut guide = guide.flatten();
        let mut checked = self.generator.check(&asked(guide.clone()));
        if let Err(SubmitError::Grammar { .. }) = &checked {
            guide = None;
            checked = self.generator.check(&asked(None));
        }
        checked.map(|_| guide).map_err(|error| refused_by_engine(&error, None))
    }
}

/// A run at its start.
fn queued(run: RunView) -> RunView {
    RunView {
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
        ..run
    }
}

//! The engine's thread, which outlives what it computes with.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use protocol::FinishReason;

use crate::{
    adapters::Slots,
    backend::Backend,
    queue::{EndGuard, Queue},
    scheduler::{Limits, Scheduler, catch, tell},
    tokenizer::Tokenizer,
};

/// How long after a failed attempt the model is loaded again.
const RETRY: Duration = Duration::from_secs(2);

/// Computes jobs with a backend, and with a new one when that broke.
pub(crate) struct Worker<B: Backend> {
    pub tokenizer: Arc<Tokenizer>,
    pub limits: Limits,
    pub queue: Arc<Queue>,
    pub adapters: Arc<Slots<B::Adapter>>,
    /// Loads the model again.
    pub again: Box<dyn FnMut() -> Result<B, String> + Send>,
}

impl<B: Backend> Worker<B> {
    /// Works until drained. Jobs that wait while the model is loaded again go on waiting.
    pub(crate) fn work(mut self, mut backend: B) {
        let queue = Arc::clone(&self.queue);
        let _guard = EndGuard(&queue);
        let mut waiting = VecDeque::new();
        loop {
            let (tokenizer, adapters) = (Arc::clone(&self.tokenizer), Arc::clone(&self.adapters));
            let scheduler = Scheduler::new(backend, tokenizer, self.limits, adapters, waiting);
            // The old backend's memory is free again when this returns.
            let Some(left) = scheduler.work(&queue) else { return };
            waiting = left;
            queue.set_ready(false);
            let Some(new) = self.reload() else {
                for (job, _) in waiting {
                    tell(|| job.end(FinishReason::Interrupted, None));
                }
                return;
            };
            backend = new;
            self.adapters.tell_again();
            queue.set_ready(true);
        }
    }

    /// Loads the model until that works; nothing when it is time to end.
    fn reload(&mut self) -> Option<B> {
        loop {
            let again = &mut self.again;
            match catch(again).and_then(|loaded| loaded) {
                Ok(backend) => return Some(backend),
                Err(message) => tracing::error!(message, "the model could not be loaded again; trying once more"),
            }
            if self.queue.ends_within(RETRY) {
                return None;
            }
        }
    }
}

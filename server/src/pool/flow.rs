//! From the engine's thread to the event logs and the store.

use std::{collections::HashMap, sync::Arc, time::Duration};

use engine::EngineEvent;
use tokio::{
    sync::mpsc,
    time::{Instant, sleep, sleep_until},
};

use crate::{
    hub::{Hub, LiveRun},
    store::Store,
};

/// What the engine said of a run; nothing, for a run that only has to be stored.
pub type Said = (Arc<LiveRun>, Option<EngineEvent>);

/// How often listeners hear of new text.
const TELL: Duration = Duration::from_millis(25);
/// How often text so far is stored, counted so that half a second is kept also on a slow disk.
const STORE: Duration = Duration::from_millis(400);
/// After a failed write.
const RETRY: Duration = Duration::from_secs(1);
/// Events taken at a time.
const BATCH: usize = 4096;

/// Starts the tasks, which run until the last sender is gone.
pub fn start(store: Store, hub: Arc<Hub>) -> mpsc::UnboundedSender<Said> {
    let (feed, said) = mpsc::unbounded_channel();
    let (changed, changes) = mpsc::unbounded_channel();
    tokio::spawn(tell(said, changed));
    tokio::spawn(write(changes, store, hub));
    feed
}

async fn tell(mut said: mpsc::UnboundedReceiver<Said>, changed: mpsc::UnboundedSender<Arc<LiveRun>>) {
    let mut batch = Vec::new();
    while said.recv_many(&mut batch, BATCH).await > 0 {
        let mut runs: Vec<(Arc<LiveRun>, Vec<EngineEvent>)> = Vec::new();
        let mut index: HashMap<String, usize> = HashMap::new();
        for (run, event) in batch.drain(..) {
            let at = *index.entry(run.id.clone()).or_insert_with(|| {
                runs.push((run, Vec::new()));
                runs.len() - 1
            });
            runs[at].1.extend(event);
        }
        for (run, events) in runs {
            run.apply(events);
            if changed.send(run).is_err() {
                return;
            }
        }
        sleep(TELL).await;
    }
}

async fn write(mut changes: mpsc::UnboundedReceiver<Arc<LiveRun>>, store: Store, hub: Arc<Hub>) {
    let mut waiting: HashMap<String, Arc<LiveRun>> = HashMap::new();
    let mut due = Instant::now();
    let mut open = true;
    while open || !waiting.is_empty() {
        let mut ended = false;
        tokio::select! {
            change = changes.recv(), if open => match change {
                Some(first) => {
                    let more = std::iter::from_fn(|| changes.try_recv().ok());
                    for run in std::iter::once(first).chain(more) {
                        ended |= run.view().status.is_final();
                        waiting.insert(run.id.clone(), run);
                    }
                }
                None => open = false,
            },
            () = sleep_until(due), if !waiting.is_empty() => {}
        }
        if waiting.is_empty() || (open && !ended && Instant::now() < due) {
            continue;
        }
        let progress: Vec<_> = waiting.values().map(|run| run.progress()).collect();
        match store.update_runs(&progress).await {
            Ok(()) => {
                for run in progress.iter().filter(|run| run.status.is_final()) {
                    hub.forget(&run.id);
                }
                waiting.clear();
                due = Instant::now() + STORE;
            }
            Err(error) => {
                tracing::error!(%error, runs = progress.len(), "answers could not be stored; trying again");
                sleep(RETRY).await;
            }
        }
    }
}

//! The event stream of a page: several runs on one connection, resumable.
//!
//! Every message's id is the number of the last event sent of each run, in the order of the request: `12,0,7`. The
//! browser gives it back when it reconnects to the same address, and gets what it missed.

use std::{convert::Infallible, sync::Arc};

use axum::response::sse::Event;
use futures::future::select_all;
use protocol::{RunEvent, RunView};
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;

use super::{Hub, LiveRun, snapshot};
use crate::store::Store;

/// The most runs of one stream: both columns of the most texts a request may have.
pub const MAX_STREAMED: usize = 100;

/// What a stream is made of.
#[derive(Debug)]
pub struct Listener {
    /// Who listens; only their runs are told of.
    pub owner: i64,
    /// The runs, in the order of the request.
    pub runs: Vec<String>,
    /// The last event seen of each, 0 for none; from [`parse_last_id`].
    pub seen: Vec<u64>,
}

/// The numbers in a `Last-Event-ID`; none seen of any run when it is not one of ours for this many runs.
pub fn parse_last_id(header: Option<&str>, runs: usize) -> Vec<u64> {
    let numbers = |h: &str| h.split(',').map(|n| n.trim().parse().ok()).collect::<Option<Vec<u64>>>();
    header.and_then(numbers).filter(|n| n.len() == runs).unwrap_or_else(|| vec![0; runs])
}

impl Listener {
    /// Starts the stream. It ends by itself with an event named `end` once every run has ended, and without one when
    /// `closing` turns true.
    pub fn stream(
        self,
        hub: Arc<Hub>,
        store: Store,
        closing: watch::Receiver<bool>,
    ) -> ReceiverStream<Result<Event, Infallible>> {
        let (out, stream) = mpsc::channel(64);
        tokio::spawn(async move {
            // Who closed the page is gone: nothing is left to do.
            let _ = self.tell(&hub, &store, closing, out).await;
        });
        ReceiverStream::new(stream)
    }

    async fn tell(
        mut self,
        hub: &Hub,
        store: &Store,
        mut closing: watch::Receiver<bool>,
        out: mpsc::Sender<Result<Event, Infallible>>,
    ) -> Result<(), mpsc::error::SendError<Result<Event, Infallible>>> {
        self.seen.resize(self.runs.len(), 0);
        let mut live: Vec<(usize, Arc<LiveRun>, watch::Receiver<u64>)> = Vec::new();
        for (index, id) in self.runs.clone().into_iter().enumerate() {
            match hub.get(self.owner, &id) {
                Some(run) => {
                    let listen = run.listen();
                    live.push((index, run, listen));
                }
                None => {
                    if let Some(run) = self.stored(store, &id).await {
                        for event in snapshot(&run, self.seen[index]) {
                            out.send(Ok(self.message(index, &event))).await?;
                        }
                    }
                }
            }
        }
        loop {
            let mut going_on = Vec::with_capacity(live.len());
            for (index, run, mut listen) in live {
                listen.mark_unchanged();
                let (events, ended) = run.since(self.seen[index]);
                for event in events {
                    out.send(Ok(self.message(index, &event))).await?;
                }
                if !ended {
                    going_on.push((index, run, listen));
                }
            }
            live = going_on;
            if live.is_empty() {
                return out.send(Ok(Event::default().event("end").data("{}"))).await;
            }
            let any = select_all(live.iter_mut().map(|(_, _, listen)| Box::pin(listen.changed())));
            tokio::select! {
                _ = any => {}
                () = out.closed() => return Ok(()),
                () = closed(&mut closing) => return Ok(()),
            }
        }
    }

    async fn stored(&self, store: &Store, id: &str) -> Option<RunView> {
        match store.run(self.owner, id).await {
            Ok(run) => Some(run),
            Err(crate::store::StoreError::Missing(_)) => None,
            Err(error) => {
                tracing::error!(run = id, %error, "could not read a run for an event stream");
                None
            }
        }
    }

    fn message(&mut self, index: usize, event: &RunEvent) -> Event {
        self.seen[index] = match event {
            RunEvent::Text(text) => text.seq,
            RunEvent::State(state) => state.seq,
        };
        let id = self.seen.iter().map(u64::to_string).collect::<Vec<_>>().join(",");
        let data = serde_json::to_string(event).unwrap_or_default();
        Event::default().id(id).data(data)
    }
}

async fn closed(closing: &mut watch::Receiver<bool>) {
    // An error means that the sender is gone, and the server with it.
    let _ = closing.wait_for(|closing| *closing).await;
}

//! What the pages show of batches.

use app::{
    batches::BatchServices,
    services::{Owner, ServiceError},
};
use async_trait::async_trait;
use protocol::SessionView;
use protocol::batch::{BatchSummary, BatchView, Counts, PAGE, RowCard, RowState, RowView, UploadView};

use super::{Batches, shown};
use crate::{
    pool::refused_by_store,
    store::{Batch, BatchRow, Busy, StoreError},
};

/// Batches in the list.
const LISTED: i64 = 50;

#[async_trait]
impl BatchServices for Batches {
    async fn upload(&self, owner: Owner, id: &str) -> Result<UploadView, ServiceError> {
        self.store.upload(owner.0, id).await.map_err(refused_by_store)
    }

    async fn batches(&self, owner: Owner) -> Result<Vec<BatchSummary>, ServiceError> {
        let mut list = Vec::new();
        for (batch, title, updated_at) in self.store.batches(owner.0, LISTED).await.map_err(refused_by_store)? {
            let (counts, going) = self.counts(&batch).await?;
            let schema = batch.schema.title();
            list.push(BatchSummary { session: batch.session, title, schema, going, counts: counts.0, updated_at });
        }
        Ok(list)
    }

    async fn batch(
        &self,
        owner: Owner,
        session: &str,
        page: usize,
        only: Option<RowState>,
    ) -> Result<BatchView, ServiceError> {
        let (batch, title) = self.store.batch(owner.0, session).await.map_err(refused_by_store)?;
        let ((counts, wanted, all), going) = self.counts(&batch).await?;
        let running = self.running(session).unwrap_or_default();
        let rows = match only {
            None => counts.total,
            Some(_) => self.store.count_rows(owner.0, session, only, &running).await.map_err(refused_by_store)?,
        };
        let pages = rows.div_ceil(PAGE).max(1);
        let page = page.clamp(1, pages);
        let place = (((page - 1) * PAGE) as i64, PAGE as i64);
        let rows = self.store.list_rows(owner.0, session, only, &running, place).await.map_err(refused_by_store)?;
        let rate = Rate::of(batch.busy);
        Ok(BatchView {
            session: batch.session,
            title,
            schema: batch.schema,
            compare: batch.compare,
            asking: batch.asking,
            going,
            reason: batch.reason.filter(|_| !going),
            counts,
            rows_per_second: rate.map(|rate| rate.rows),
            tokens_per_second: rate.map(|rate| rate.tokens),
            seconds_left: rate.map(|rate| rate.seconds(wanted)),
            seconds_all: rate.map(|rate| rate.seconds(all)),
            rows: rows.iter().map(|row| view(row, &running)).collect(),
            page,
            pages,
            only,
        })
    }

    async fn find(&self, owner: Owner, session: &str) -> Result<Option<(SessionView, BatchView)>, ServiceError> {
        match self.store.batch(owner.0, session).await {
            Ok(_) => {}
            Err(StoreError::Missing(_)) => return Ok(None),
            Err(error) => return Err(refused_by_store(error)),
        }
        let head = self.store.session_head(owner.0, session).await.map_err(refused_by_store)?;
        Ok(Some((head, self.batch(owner, session, 1, None).await?)))
    }

    async fn row(&self, owner: Owner, session: &str, position: usize) -> Result<RowCard, ServiceError> {
        let (batch, _) = self.store.batch(owner.0, session).await.map_err(refused_by_store)?;
        let position = i64::try_from(position).unwrap_or(i64::MAX);
        let full = self.store.batch_row(owner.0, session, position).await.map_err(refused_by_store)?;
        let running = self.running(session).unwrap_or_default();
        let field = |name: &String| Some((name.clone(), shown(full.row.passed(name)?)));
        Ok(RowCard {
            row: view(&full.row, &running),
            document: full.document(),
            extra: batch.columns.iter().filter_map(field).collect(),
            extractions: full.extractions,
            runs: full.runs,
        })
    }
}

impl Batches {
    /// How many rows are where with the lengths still to be done, and whether the batch is being worked on.
    async fn counts(&self, batch: &Batch) -> Result<((Counts, i64, i64), bool), ServiceError> {
        let running = self.running(&batch.session);
        let (mut counts, wanted, all) =
            self.store.batch_counts(batch.owner, &batch.session).await.map_err(refused_by_store)?;
        // A row just stored may still be listed as running.
        counts.running = running.as_ref().map_or(0, Vec::len).min(counts.waiting);
        counts.waiting -= counts.running;
        Ok(((counts, wanted, all), running.is_some()))
    }
}

/// How fast a batch is, by what has been done of it.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Rate {
    rows: f64,
    tokens: f64,
    chars: f64,
}

impl Rate {
    fn of(busy: Busy) -> Option<Self> {
        let seconds = busy.ms as f64 / 1000.0;
        (busy.rows > 0 && seconds > 0.0).then(|| Self {
            rows: busy.rows as f64 / seconds,
            tokens: busy.tokens as f64 / seconds,
            chars: busy.chars as f64 / seconds,
        })
    }

    /// Time for so many code points: long texts take longer than short ones.
    fn seconds(self, chars: i64) -> f64 {
        chars as f64 / self.chars.max(1e-3)
    }
}

fn view(row: &BatchRow, running: &[i64]) -> RowView {
    let now = row.state == RowState::Waiting && running.contains(&row.position);
    RowView {
        position: row.position as usize,
        line: row.line as usize,
        id: shown(&row.id),
        excerpt: row.text.chars().take(160).map(|c| if c.is_whitespace() { ' ' } else { c }).collect(),
        state: if now { RowState::Running } else { row.state },
        wanted: row.wanted,
        error: row.error.clone(),
        found: row.found as usize,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_left_goes_by_the_length_of_texts() {
        assert_eq!(Rate::of(Busy::default()), None);
        let rate = Rate::of(Busy { ms: 2000, chars: 1000, tokens: 300, rows: 20 });
        assert_eq!(rate.map(|r| (r.rows, r.tokens, r.seconds(5000))), Some((10.0, 150.0, 10.0)));
    }
}

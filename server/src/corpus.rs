//! The names of all texts of a session, however many there are: the texts are read group by group, twice. The first time names
//! are counted; the second time the records of the most frequent ones are kept, each with some of its places. What is kept
//! does not grow with the number of texts.

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use app::{
    found::{Found, found, names},
    reviews::{CorpusFound, CorpusText, CorpusTexts, Most},
    services::ServiceError,
};
use extract::graph::normal;
use protocol::{Column, Record, Sentence, SessionView, record::Mention};
use tokio::sync::{Notify, Semaphore};

use crate::{
    pool::refused_by_store,
    store::{Store, StoreError},
};

/// Texts read at a time.
const GROUP: i64 = 200;
/// Names whose records are kept, and places of each of them and of each link.
const NAMES: usize = 200;
const PLACES: u32 = 20;
/// Links and events that are kept.
const LINKS: usize = 1200;
const EVENTS: usize = 100;
/// Names counted at a time; of more than this, those that came once so far are forgotten.
const COUNTED: usize = 200_000;
/// Sessions whose records are kept.
const KEPT: usize = 3;
/// A page waits so long for texts that are being read before it says that they are.
const PATIENCE: Duration = Duration::from_millis(300);

/// What is known of large sessions.
#[derive(Debug)]
pub struct Corpora {
    store: Store,
    /// By session; the newest last.
    readings: Mutex<Vec<(String, Arc<Reading>)>>,
    /// One session is read at a time.
    one: Arc<Semaphore>,
}

/// A session that is being read, or was.
#[derive(Debug)]
struct Reading {
    /// Texts that had answers when it began: with more it is read again.
    answered: usize,
    read: AtomicUsize,
    done: OnceLock<Result<CorpusTexts, ServiceError>>,
    ended: Notify,
}

impl Corpora {
    /// Those of a store.
    pub fn new(store: Store) -> Self {
        Self { store, readings: Mutex::default(), one: Arc::new(Semaphore::new(1)) }
    }

    /// What was found in the texts of a batch, without judgements; or how far they are read.
    ///
    /// # Errors
    /// The database refuses.
    pub async fn found(&self, owner: i64, head: &SessionView, answered: usize) -> Result<CorpusFound, ServiceError> {
        let reading = self.reading(owner, head, answered);
        let ended = reading.ended.notified();
        if reading.done.get().is_none() {
            // Too late is no error: it goes on.
            let _ = tokio::time::timeout(PATIENCE, ended).await;
        }
        match reading.done.get() {
            Some(Ok(texts)) => Ok(CorpusFound::Read(texts.clone())),
            Some(Err(error)) => {
                // The next to come tries again.
                self.all().retain(|(_, other)| !Arc::ptr_eq(other, &reading));
                Err(error.clone())
            }
            // Read twice: half way through when all are counted.
            None => Ok(CorpusFound::Reading { read: reading.read.load(Ordering::Relaxed) / 2, total: answered }),
        }
    }

    fn all(&self) -> MutexGuard<'_, Vec<(String, Arc<Reading>)>> {
        self.readings.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The reading of a session, begun if there is none.
    fn reading(&self, owner: i64, head: &SessionView, answered: usize) -> Arc<Reading> {
        let mut all = self.all();
        // One that still goes on is waited for, even if more texts have been answered since.
        let known = all.iter().find(|(session, _)| *session == head.id).map(|(_, reading)| Arc::clone(reading));
        if let Some(reading) = known.filter(|r| r.answered == answered || r.done.get().is_none()) {
            return reading;
        }
        let reading =
            Arc::new(Reading { answered, read: AtomicUsize::new(0), done: OnceLock::new(), ended: Notify::new() });
        all.retain(|(session, _)| *session != head.id);
        all.push((head.id.clone(), Arc::clone(&reading)));
        let surplus = all.len().saturating_sub(KEPT);
        all.drain(..surplus);
        drop(all);
        let (store, one, head) = (self.store.clone(), Arc::clone(&self.one), head.clone());
        let task = Arc::clone(&reading);
        tokio::spawn(async move {
            let _place = one.acquire().await;
            let texts = read(&store, owner, &head, &task.read).await;
            // Set once: here.
            let _ = task.done.set(texts);
            task.ended.notify_waiters();
        });
        reading
    }
}

async fn read(store: &Store, owner: i64, head: &SessionView, read: &AtomicUsize) -> Result<CorpusTexts, ServiceError> {
    let mut counts = Counts::default();
    let mut asked: Vec<Vec<String>> = Vec::new();
    let mut texts = 0;
    each(store, owner, head, read, |group| {
        texts += group.len();
        group.iter().for_each(|found| counts.add(found));
        join(&mut asked, names(&group));
    })
    .await?;
    let of = counts.0.len();
    let mut keeper = Keeper { most: counts.most(NAMES), ..Keeper::default() };
    each(store, owner, head, read, |group| group.into_iter().for_each(|found| keeper.take(found))).await?;
    let most = Most { names: keeper.most.len(), of, places: PLACES as usize, texts };
    Ok(CorpusTexts { texts: keeper.texts, names: asked, most: Some(most) })
}

/// Reads all texts that have answers, group by group in the order of the file.
async fn each(
    store: &Store,
    owner: i64,
    head: &SessionView,
    read: &AtomicUsize,
    mut work: impl FnMut(Vec<Found>),
) -> Result<(), ServiceError> {
    let mut from = 0;
    loop {
        let group = store.answered(owner, &head.id, from, GROUP).await.map_err(refused_by_store)?;
        let Some((last, _)) = group.last() else { return Ok(()) };
        from = last + 1;
        let ids: Vec<String> = group.into_iter().map(|(_, id)| id).collect();
        let count = ids.len();
        work(parsed(store, owner, head, &ids).await?);
        read.fetch_add(count, Ordering::Relaxed);
    }
}

/// What was found in some texts of a session.
///
/// # Errors
/// The database refuses.
pub async fn parsed(store: &Store, owner: i64, head: &SessionView, ids: &[String]) -> Result<Vec<Found>, ServiceError> {
    let session = store.texts(owner, &head.id, ids).await.map_err(refused_by_store)?.of(head.clone());
    // Not on the threads that serve.
    tokio::task::spawn_blocking(move || found(session)).await.map_err(|e| unread(&e))
}

/// Texts cannot be shown because of a fault of ours.
pub fn unread(error: &tokio::task::JoinError) -> ServiceError {
    let (en, zh) =
        (format!("The texts could not be read: {error}. Try again."), format!("无法读取文本：{error}。请重试。"));
    ServiceError::Internal(Sentence::new(en, zh))
}

/// Adds lists of names to others.
fn join(all: &mut Vec<Vec<String>>, more: Vec<Vec<String>>) {
    all.resize(all.len().max(more.len()), Vec::new());
    for (known, names) in all.iter_mut().zip(more) {
        for name in names {
            if !known.contains(&name) {
                known.push(name);
            }
        }
    }
}

/// The records of texts as the graph is drawn from them.
pub fn whole(texts: Vec<Found>) -> CorpusTexts {
    let names = names(&texts);
    let text = |found: Found| CorpusText {
        document: found.document.id,
        columns: found.columns.into_iter().map(|c| (c.column, c.records)).collect(),
        judgements: found.document.judgements,
    };
    CorpusTexts { texts: texts.into_iter().map(text).collect(), names, most: None }
}

/// In how many texts each name stands.
#[derive(Debug, Default)]
struct Counts(HashMap<String, u32>);

impl Counts {
    fn add(&mut self, found: &Found) {
        let mentions = found.columns.iter().flat_map(|c| &c.records).flat_map(Record::mentions);
        let names: HashSet<String> = mentions.filter_map(|(_, mention)| name(mention)).collect();
        for name in names {
            *self.0.entry(name).or_default() += 1;
        }
        if self.0.len() > COUNTED {
            self.0.retain(|_, count| *count > 1);
        }
    }

    /// The names in most texts; of names in equally many the first by their letters.
    fn most(self, most: usize) -> HashSet<String> {
        let mut all: Vec<(String, u32)> = self.0.into_iter().collect();
        all.sort_unstable_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        all.into_iter().take(most).map(|(name, _)| name).collect()
    }
}

/// A name as names are compared, of a mention that stands in its text.
fn name(mention: &Mention) -> Option<String> {
    mention.span.map(|_| normal(&mention.text)).filter(|name| !name.is_empty())
}

/// The records that are kept.
#[derive(Debug, Default)]
struct Keeper {
    most: HashSet<String>,
    /// How many places of a name or link each column has.
    places: HashMap<(Column, String), u32>,
    links: usize,
    events: usize,
    texts: Vec<CorpusText>,
}

impl Keeper {
    fn take(&mut self, found: Found) {
        let mut columns = Vec::new();
        for column in found.columns {
            // Links first: the names that they join are kept with them, so that these have their types.
            let mut joined: HashSet<String> = HashSet::new();
            let mut kept: Vec<Record> = Vec::new();
            let (entities, links): (Vec<_>, Vec<_>) =
                column.records.into_iter().partition(|record| matches!(record, Record::Entity { .. }));
            for record in links {
                if let Some(record) = self.link(column.column, record) {
                    joined.extend(record.mentions().into_iter().filter_map(|(_, mention)| name(mention)));
                    kept.push(record);
                }
            }
            for record in entities {
                let Some(name) = record.mentions().first().and_then(|(_, mention)| name(mention)) else { continue };
                let key = format!("{}\u{1f}{name}", normal(record.label()));
                if self.most.contains(&name) && (self.has_room(column.column, key) || joined.contains(&name)) {
                    kept.push(record);
                }
            }
            if !kept.is_empty() {
                columns.push((column.column, kept));
            }
        }
        if !columns.is_empty() {
            self.texts.push(CorpusText { document: found.document.id, columns, judgements: Vec::new() });
        }
    }

    /// A relation between names that are kept, or an event with those of its arguments that are.
    fn link(&mut self, column: Column, record: Record) -> Option<Record> {
        let known = |mention: &Mention| name(mention).filter(|name| self.most.contains(name));
        match record {
            Record::Entity { .. } => None,
            Record::Relation { relation, head, tail } => {
                let key = format!("{}\u{1f}{}\u{1f}{}", known(&head)?, normal(&relation), known(&tail)?);
                if self.links >= LINKS || !self.has_room(column, key) {
                    return None;
                }
                self.links += 1;
                Some(Record::Relation { relation, head, tail })
            }
            Record::Event { label, trigger, mut arguments } => {
                trigger.span?;
                arguments.retain(|argument| known(&argument.mention).is_some());
                if arguments.is_empty() || self.events >= EVENTS {
                    return None;
                }
                self.events += 1;
                Some(Record::Event { label, trigger, arguments })
            }
        }
    }

    fn has_room(&mut self, column: Column, key: String) -> bool {
        let places = self.places.entry((column, key)).or_default();
        *places += 1;
        *places <= PLACES
    }
}

/// Gives kept texts what people say of them now.
///
/// # Errors
/// The database refuses.
pub async fn with_judgements(
    store: &Store,
    owner: i64,
    session: &str,
    texts: &mut [CorpusText],
) -> Result<(), StoreError> {
    let mut said = store.judgements_in(owner, session).await?;
    for text in texts {
        text.judgements = said.remove(&text.document).unwrap_or_default();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use app::found::FoundColumn;
    use protocol::{Span, view::DocumentView};

    fn mention(words: &str) -> Mention {
        Mention { span: Some(Span { start: 0, end: 1 }), ..Mention::new(words) }
    }

    fn text(id: usize, records: Vec<Record>) -> Found {
        let column = FoundColumn {
            column: Column::Tuned,
            model: "m".into(),
            adapter: None,
            records,
            issues: Vec::new(),
            ends: Vec::new(),
            nothing_found: false,
        };
        let document = DocumentView { id: format!("d{id}"), text: String::new(), judgements: Vec::new() };
        Found { document, columns: vec![column], schema: None }
    }

    fn entity(words: &str) -> Record {
        Record::Entity { label: "person".into(), mention: mention(words) }
    }

    fn relation(head: &str, tail: &str) -> Record {
        Record::Relation { relation: "knows".into(), head: mention(head), tail: mention(tail) }
    }

    #[test]
    fn names_in_most_texts_are_kept_with_some_of_their_places() {
        let texts: Vec<Found> = (0..100)
            .map(|n| {
                text(n, vec![entity("Ada"), entity("ADA"), entity(&format!("Nobody {n}")), relation("Ada", "Bob")])
            })
            .collect();
        let mut counts = Counts::default();
        texts.iter().for_each(|text| counts.add(text));
        assert_eq!((counts.0["ada"], counts.0["bob"], counts.0.len()), (100, 100, 102), "a text counts once");
        let most = counts.most(2);
        assert_eq!(most, HashSet::from(["ada".to_owned(), "bob".to_owned()]));
        let mut keeper = Keeper { most, ..Keeper::default() };
        texts.into_iter().for_each(|text| keeper.take(text));
        assert_eq!(keeper.texts.len(), PLACES as usize, "the same link in the first texts");
        let first = &keeper.texts[0].columns[0].1;
        assert_eq!(first.len(), 3, "the link, and the names that it joins: {first:?}");
        let all: Vec<&Record> = keeper.texts.iter().flat_map(|t| &t.columns[0].1).collect();
        assert!(all.iter().all(|r| !r.mentions()[0].1.text.starts_with("Nobody")));
    }

    #[test]
    fn what_does_not_stand_in_its_text_is_neither_counted_nor_kept() {
        let absent = Record::Entity { label: "person".into(), mention: Mention::new("Zoe") };
        let half = Record::Relation { relation: "r".into(), head: mention("Ada"), tail: Mention::new("Zoe") };
        let found = text(0, vec![absent, half, entity("Ada")]);
        let mut counts = Counts::default();
        counts.add(&found);
        let mut keeper = Keeper { most: counts.most(9), ..Keeper::default() };
        keeper.take(found);
        assert_eq!(keeper.texts[0].columns[0].1, [entity("Ada")]);
    }
}

//! The names of all texts of a session, however many there are: the texts are read group by group, twice. The first time names
//! are counted; the second time the records of the most frequent ones are kept, each with some of its places. What is kept
//! does not grow with the number of texts, nor with what their answers make up.

use std::{
    collections::{HashMap, HashSet, hash_map::Entry},
    sync::{
        Arc, Mutex, MutexGuard, OnceLock,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use app::{
    found::{Found, add_names, found, names},
    reviews::{CorpusFound, CorpusText, CorpusTexts, Most},
    services::ServiceError,
};
use extract::graph::normal;
use protocol::{Column, Record, Sentence, SessionView, record::Mention};
use tokio::sync::{Notify, Semaphore};

use crate::{
    held,
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
/// Names with their types, and links, that are kept: a model may give a name a new type in every text.
const KEYS: usize = 4_000;
/// Names counted at a time; of more than this, the rarer half so far is forgotten.
const COUNTED: usize = 200_000;
/// Sessions whose records are kept after they were shown, and those that are read or wait for that besides.
const KEPT: usize = 3;
const WAITING: usize = 16;
/// A page waits so long for texts that are being read before it says that they are.
const PATIENCE: Duration = Duration::from_millis(300);
/// What was read is kept so long for the page that waits for it.
const AWAITED: Duration = Duration::from_secs(20);

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
    /// When it ended, set before it is done.
    ended_at: OnceLock<Instant>,
    /// Whether a page has had it.
    shown: AtomicBool,
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
        let Some(reading) = self.reading(owner, head, answered) else {
            return Ok(CorpusFound::Reading { read: 0, total: answered });
        };
        let ended = reading.ended.notified();
        if reading.done.get().is_none() {
            // Too late is no error: it goes on.
            let _ = tokio::time::timeout(PATIENCE, ended).await;
        }
        match reading.done.get() {
            Some(Ok(texts)) => {
                reading.shown.store(true, Ordering::Relaxed);
                Ok(CorpusFound::Read(texts.clone()))
            }
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
        held(&self.readings)
    }

    /// The reading of a session, begun if there is none; `None` while too many others are read.
    fn reading(&self, owner: i64, head: &SessionView, answered: usize) -> Option<Arc<Reading>> {
        let mut all = self.all();
        // One that still goes on is waited for, and one that has just ended is shown, even if more texts have been answered
        // since: a batch that is worked on has more at every look, and would never be shown.
        let known = all.iter().find(|(session, _)| *session == head.id).map(|(_, reading)| Arc::clone(reading));
        if let Some(reading) = known.filter(|r| r.answered == answered || r.is_awaited()) {
            return Some(reading);
        }
        all.retain(|(session, _)| *session != head.id);
        if !has_room(&mut all) {
            return None;
        }
        let reading = Arc::new(Reading::of(answered));
        all.push((head.id.clone(), Arc::clone(&reading)));
        drop(all);
        let (store, one, head) = (self.store.clone(), Arc::clone(&self.one), head.clone());
        let task = Arc::clone(&reading);
        tokio::spawn(async move {
            let _place = one.acquire().await;
            let texts = read(&store, owner, &head, &task.read).await;
            // Set once: here.
            let _ = task.ended_at.set(Instant::now());
            let _ = task.done.set(texts);
            task.ended.notify_waiters();
        });
        Some(reading)
    }
}

impl Reading {
    fn of(answered: usize) -> Self {
        Self {
            answered,
            read: AtomicUsize::new(0),
            done: OnceLock::new(),
            ended: Notify::new(),
            ended_at: OnceLock::new(),
            shown: AtomicBool::new(false),
        }
    }

    /// Whether a page may still ask for it that has seen it begin.
    fn is_awaited(&self) -> bool {
        !self.was_shown() && self.ended_at.get().is_none_or(|ended| ended.elapsed() < AWAITED)
    }

    fn was_shown(&self) -> bool {
        self.shown.load(Ordering::Relaxed)
    }
}

/// Makes room for one more: what was shown is forgotten first, then what nobody came back for; never what is being read.
fn has_room(all: &mut Vec<(String, Arc<Reading>)>) -> bool {
    while all.len() >= KEPT
        && let Some(shown) = all.iter().position(|(_, reading)| reading.was_shown())
    {
        all.remove(shown);
    }
    if all.len() >= WAITING
        && let Some(ended) = all.iter().position(|(_, reading)| reading.done.get().is_some())
    {
        all.remove(ended);
    }
    all.len() < WAITING
}

async fn read(store: &Store, owner: i64, head: &SessionView, read: &AtomicUsize) -> Result<CorpusTexts, ServiceError> {
    let Counted { texts, counts, asked } = each(store, owner, head, read, Counted::default(), Counted::add).await?;
    let of = counts.0.len();
    let most = computed(move || counts.most(NAMES)).await?;
    let keeper = Keeper { most, ..Keeper::default() };
    let keeper = each(store, owner, head, read, keeper, Keeper::take_all).await?;
    let most = Most { names: keeper.most.len(), of, places: PLACES as usize, texts };
    Ok(CorpusTexts { texts: keeper.texts, names: asked, most: Some(most) })
}

/// What the first reading of all texts tells.
#[derive(Debug, Default)]
struct Counted {
    texts: usize,
    counts: Counts,
    asked: Vec<Vec<String>>,
}

impl Counted {
    fn add(&mut self, group: Vec<Found>) {
        self.texts += group.len();
        group.iter().for_each(|found| self.counts.add(found));
        add_names(&mut self.asked, names(&group));
    }
}

/// Reads all texts that have answers, group by group in the order of the file, into something that is handed on.
async fn each<T: Send + 'static>(
    store: &Store,
    owner: i64,
    head: &SessionView,
    read: &AtomicUsize,
    mut into: T,
    take: fn(&mut T, Vec<Found>),
) -> Result<T, ServiceError> {
    let mut from = 0;
    loop {
        let group = store.answered(owner, &head.id, from, GROUP).await.map_err(refused_by_store)?;
        let Some((last, _)) = group.last() else { return Ok(into) };
        from = last + 1;
        let ids: Vec<String> = group.into_iter().map(|(_, id)| id).collect();
        let taken = move |found| {
            take(&mut into, found);
            into
        };
        into = parsed(store, owner, head, &ids, taken).await?;
        read.fetch_add(ids.len(), Ordering::Relaxed);
    }
}

/// What is made of what was found in some texts of a session.
///
/// # Errors
/// The database refuses.
pub async fn parsed<T: Send + 'static>(
    store: &Store,
    owner: i64,
    head: &SessionView,
    ids: &[String],
    work: impl FnOnce(Vec<Found>) -> T + Send + 'static,
) -> Result<T, ServiceError> {
    let session = store.texts(owner, &head.id, ids).await.map_err(refused_by_store)?.of(head.clone());
    computed(move || work(found(session))).await
}

/// What takes a while, not on the threads that serve.
///
/// # Errors
/// It could not be done because of a fault of ours.
pub async fn computed<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, ServiceError> {
    tokio::task::spawn_blocking(work).await.map_err(|error| {
        let (en, zh) =
            (format!("The texts could not be read: {error}. Try again."), format!("无法读取文本：{error}。请重试。"));
        ServiceError::Internal(Sentence::new(en, zh))
    })
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
            self.0 = std::mem::take(self).first(COUNTED / 2).collect();
        }
    }

    /// The names in most texts.
    fn most(self, most: usize) -> HashSet<String> {
        self.first(most).map(|(name, _)| name).collect()
    }

    /// So many with the highest counts, in no order; of names in equally many texts the first by their letters.
    fn first(self, most: usize) -> impl Iterator<Item = (String, u32)> {
        let mut all: Vec<(String, u32)> = self.0.into_iter().collect();
        if most < all.len() {
            all.select_nth_unstable_by(most, |a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        }
        all.into_iter().take(most)
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
    fn take_all(&mut self, group: Vec<Found>) {
        group.into_iter().for_each(|found| self.take(found));
    }

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
        let full = self.places.len() >= KEYS;
        match self.places.entry((column, key)) {
            Entry::Vacant(_) if full => false,
            places => {
                let places = places.or_default();
                *places += 1;
                *places <= PLACES
            }
        }
    }
}

/// Gives kept texts what people say of them now.
///
/// # Errors
/// The database refuses.
pub async fn with_judgements(store: &Store, owner: i64, texts: &mut [CorpusText]) -> Result<(), StoreError> {
    for texts in texts.chunks_mut(GROUP as usize) {
        let ids: Vec<String> = texts.iter().map(|text| text.document.clone()).collect();
        let mut said = store.judgements_of(owner, &ids).await?;
        for text in texts {
            text.judgements = said.remove(&text.document).unwrap_or_default();
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;

//! Adapters that come and go while the engine works.
//!
//! Each has a number, by which runs, remembered prompts and backends name it. A number is given to another adapter
//! only when the worker has forgotten everything that it made with the first.

use std::sync::{Arc, Mutex, MutexGuard};

/// The adapters' weights, by number.
pub(crate) struct Slots<A>(Mutex<Vec<Slot<A>>>);

struct Slot<A> {
    adapter: Option<Arc<A>>,
    /// Whether another may have the number.
    free: bool,
    /// Whether the worker knows of the last change.
    told: bool,
}

impl<A> Default for Slots<A> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<A> Slots<A> {
    fn lock(&self) -> MutexGuard<'_, Vec<Slot<A>>> {
        self.0.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// Takes an adapter in, and gives its number.
    pub(crate) fn put(&self, adapter: A) -> usize {
        let mut slots = self.lock();
        let slot = Slot { adapter: Some(Arc::new(adapter)), free: false, told: false };
        match slots.iter_mut().enumerate().find(|(_, slot)| slot.free) {
            Some((index, free)) => {
                *free = slot;
                index
            }
            None => {
                slots.push(slot);
                slots.len() - 1
            }
        }
    }

    #[cfg(test)]
    #[allow(clippy::expect_used)]
    pub(crate) fn get(&self, index: usize) -> Arc<A> {
        self.lock()[index].adapter.clone().expect("it is there")
    }

    /// Lets an adapter go. Nobody names it any more.
    pub(crate) fn retire(&self, index: usize) {
        if let Some(slot) = self.lock().get_mut(index) {
            (slot.adapter, slot.told) = (None, false);
        }
    }

    /// What has changed since the worker asked last: numbers, and their adapters where they have one now. Of those
    /// without one the worker forgets everything before it asks again.
    pub(crate) fn changes(&self) -> Vec<(usize, Option<Arc<A>>)> {
        let mut slots = self.lock();
        let news = slots.iter_mut().enumerate().filter(|(_, slot)| !slot.told);
        let tell = |(index, slot): (usize, &mut Slot<A>)| {
            slot.told = true;
            slot.free = slot.adapter.is_none();
            (index, slot.adapter.clone())
        };
        news.map(tell).collect()
    }

    /// Tells a new worker everything.
    pub(crate) fn tell_again(&self) {
        self.lock().iter_mut().for_each(|slot| slot.told = slot.adapter.is_none() && slot.free);
    }
}

/// Keeps an adapter in memory for as long as somebody may use it: the list of those that can be chosen, and each run.
pub(crate) struct Lease {
    index: usize,
    retire: Box<dyn Fn(usize) + Send + Sync>,
}

impl Lease {
    pub(crate) fn new(index: usize, retire: impl Fn(usize) + Send + Sync + 'static) -> Self {
        Self { index, retire: Box::new(retire) }
    }

    /// The adapter's number.
    pub(crate) fn index(&self) -> usize {
        self.index
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        (self.retire)(self.index);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_given_again_only_when_the_worker_knows() {
        let slots = Slots::default();
        assert_eq!((slots.put("a"), slots.put("b")), (0, 1));
        let told = |changes: Vec<(usize, Option<Arc<&'static str>>)>| -> Vec<_> {
            changes.into_iter().map(|(index, adapter)| (index, adapter.map(|a| *a))).collect()
        };
        assert_eq!(told(slots.changes()), [(0, Some("a")), (1, Some("b"))]);
        assert_eq!(told(slots.changes()), []);
        slots.retire(0);
        assert_eq!(slots.put("c"), 2, "the worker may still have prompts of the first");
        assert_eq!(told(slots.changes()), [(0, None), (2, Some("c"))]);
        assert_eq!(slots.put("d"), 0);
        slots.tell_again();
        assert_eq!(told(slots.changes()), [(0, Some("d")), (1, Some("b")), (2, Some("c"))]);
    }
}

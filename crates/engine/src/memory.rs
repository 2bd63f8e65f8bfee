//! How much memory the keys and values of runs may take, and take.

use crate::backend::{Backend, Page};

/// The most that is taken without being told to, in bytes; unless one context of the model takes more.
const MOST: u64 = 2 << 30;
/// Pages kept free beside one whole context, so that a run alone never lacks any: the last page may have to be copied
/// before it is written, and guesses may reach into the next.
const SPARE: usize = 3;

/// The budget, in pages.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Memory {
    positions: usize,
    pages: usize,
}

impl Memory {
    pub(crate) fn new(page: Page, bytes: u64) -> Self {
        let pages = bytes / page.bytes.max(1) as u64;
        Self { positions: page.positions.max(1), pages: usize::try_from(pages).unwrap_or(usize::MAX).max(SPARE + 1) }
    }

    /// The longest prompt and answer that one run has room for.
    pub(crate) fn context(&self) -> usize {
        (self.pages - SPARE).saturating_mul(self.positions)
    }

    /// Pages of the budget.
    pub(crate) fn pages(&self) -> usize {
        self.pages
    }

    /// Pages that may have to be made when a cache of `length` positions grows by `more`.
    pub(crate) fn needed(&self, length: usize, more: usize) -> usize {
        if more == 0 { 0 } else { (length + more).div_ceil(self.positions) - length / self.positions }
    }
}

/// Pages that these caches hold together.
pub(crate) fn held<'a, B: Backend>(caches: impl Iterator<Item = &'a B::Cache>) -> usize {
    let mut pages: Vec<usize> = caches.flat_map(B::pages).collect();
    pages.sort_unstable();
    pages.dedup();
    pages.len()
}

/// The budget of a model when none is stated: a quarter of the machine's memory, but no more than two gigabytes, which
/// hold some 90,000 tokens of a small model; or than one context of a model whose tokens are larger.
pub(crate) fn default_bytes(page: Page, context: usize) -> u64 {
    let context = (context.div_ceil(page.positions.max(1)) + SPARE) as u64 * page.bytes as u64;
    (machine_bytes() / 4).min(MOST.max(context))
}

/// The memory that this program may take: the machine's, or that of the container it runs in; a guess where the system does
/// not say.
fn machine_bytes() -> u64 {
    let limits = ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"];
    let limits = limits.iter().filter_map(|file| std::fs::read_to_string(file).ok()?.trim().parse().ok());
    limits.chain([physical_bytes()]).min().unwrap_or(u64::MAX)
}

fn physical_bytes() -> u64 {
    let kilobytes = std::fs::read_to_string("/proc/meminfo").ok().and_then(|text| {
        let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
        line.trim().trim_end_matches("kB").trim().parse::<u64>().ok()
    });
    kilobytes.map_or(8 << 30, |kilobytes| kilobytes * 1024)
}

/// Memory that the whole program takes, where the system tells.
pub(crate) fn process_bytes() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().trim_end_matches("kB").trim().parse::<u64>().ok().map(|kilobytes| kilobytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cache_that_grows_may_need_a_copy_of_its_last_page_and_new_ones() {
        let memory = Memory::new(Page { positions: 128, bytes: 1000 }, 10_500);
        assert_eq!((memory.pages(), memory.context()), (10, 7 * 128));
        assert_eq!(
            [(0, 0), (0, 1), (0, 128), (0, 129), (128, 1), (127, 1), (127, 2)].map(|(l, m)| memory.needed(l, m)),
            [0, 1, 1, 2, 1, 1, 2]
        );
        assert!(Memory::new(Page { positions: 128, bytes: 1000 }, 0).context() >= 128);
    }

    #[test]
    fn the_default_holds_one_context_where_the_machine_can() {
        let small = Page { positions: 128, bytes: 1 << 20 };
        assert!(default_bytes(small, 8192) <= MOST);
        assert!(default_bytes(small, 1 << 30) <= machine_bytes() / 4);
    }
}

//! Long stretches of memory: one for all weights of a model, others for keys and values.
//!
//! A step reads every weight once, in the order of the layers. Lying behind each other on huge pages they come
//! at the speed of the memory; in many small pieces the processor looks up a page every few hundred
//! nanoseconds, which costs a third of that speed.

use std::{io, sync::Arc};

use memmap2::{Mmap, MmapMut};

/// Where matrices begin: on a cache line.
pub(super) const LINE: usize = 64;

/// Read-only memory that packed weights share.
#[derive(Clone, Debug)]
pub(super) struct Memory(Arc<Mmap>);

impl Memory {
    /// `bytes` zeros.
    pub(super) fn zeros(bytes: usize) -> io::Result<MmapMut> {
        let map = MmapMut::map_anon(bytes.max(LINE))?;
        #[cfg(target_os = "linux")]
        if let Err(error) = map.advise(memmap2::Advice::HugePage) {
            tracing::debug!(%error, "no huge pages");
        }
        Ok(map)
    }

    /// Makes filled memory read-only.
    pub(super) fn freeze(map: MmapMut) -> io::Result<Self> {
        map.make_read_only().map(|map| Self(Arc::new(map)))
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

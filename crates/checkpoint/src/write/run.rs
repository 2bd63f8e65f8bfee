//! The work itself: threads that take one tensor after the other, piece by piece.

use std::{
    fs::{File, OpenOptions},
    io::{Seek, SeekFrom, Write},
    path::PathBuf,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::UNIX_EPOCH,
};

use sha2::{Digest, Sha256};

use super::{
    Companion, Content, FilePlan, Form, Manifest, Planned, Progress, WriteError, WriteOptions, Written,
    piece::{Buffers, Checks, PIECE, Sums},
    target::{Done, State, Target, hex},
};
use crate::{map::PAGE, stream};

/// Writes all files of a plan that are not done yet.
pub(super) fn write(
    target: &Target,
    files: &[FilePlan],
    tensors: &[Planned<'_>],
    companions: &[Companion],
    options: &WriteOptions,
    progress: Progress<'_>,
) -> Result<Manifest, WriteError> {
    let job = fingerprint(files, tensors, companions, options);
    let (_lock, mut done) = match target.begin(files, &job, options)? {
        State::Complete(manifest) => return Ok(*manifest),
        State::Begun(lock, done) => (lock, done),
    };
    let of: u64 = files.iter().map(|f| f.layout.size).sum();
    let before = files.iter().filter(|f| done.contains_key(&f.name)).map(|f| f.layout.size).sum();
    let pending: Vec<&FilePlan> = files.iter().filter(|f| !done.contains_key(&f.name)).collect();
    let work = Work {
        target,
        tensors,
        pending: pending.iter().map(|file| Pending::new(file, tensors)).collect(),
        next: Mutex::new((0, 0)),
        sums: options.sums,
        written: AtomicU64::new(before),
        of,
        progress,
        failed: AtomicBool::new(false),
    };
    let threads = options.threads.clamp(1, tensors.len().max(1));
    thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(|| work.run())).collect();
        let results = workers.into_iter().map(|worker| {
            let ended = worker.join();
            ended.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        });
        // All have ended before an error is told; that which stopped the others goes first.
        let mut errors: Vec<WriteError> = results.filter_map(Result::err).collect();
        let first = errors.iter().position(|e| !matches!(e, WriteError::Stopped)).unwrap_or(0);
        if errors.is_empty() { Ok(()) } else { Err(errors.swap_remove(first)) }
    })?;
    for pending in work.pending {
        done.insert(pending.file.name.clone(), pending.into_done());
    }
    let mut manifest = Manifest {
        version: 1,
        program: format!("knowlm {}", env!("CARGO_PKG_VERSION")),
        operation: options.operation.clone(),
        job,
        ..Manifest::default()
    };
    for file in files {
        let written = done.remove(&file.name).unwrap_or_default().tensors;
        for (i, (sha256, sum)) in file.tensors.iter().zip(written) {
            let tensor = &tensors[*i];
            let (name, shape) = (tensor.tensor.info.name.clone(), tensor.tensor.info.shape.clone());
            let element = tensor.element.name().into();
            let (sum, sum_f32) = sum.map(|(a, b)| (f64::from_bits(a), f32::from_bits(b))).unzip();
            manifest.tensors.push(Written { name, file: file.name.clone(), element, shape, sha256, sum, sum_f32 });
        }
    }
    manifest.add_up();
    for Companion { name, content } in companions {
        manifest.files.insert(name.clone(), target.companion(name, content)?);
    }
    target.end(&manifest)?;
    Ok(manifest)
}

/// What tells this work from any other.
fn fingerprint(
    files: &[FilePlan],
    tensors: &[Planned<'_>],
    companions: &[Companion],
    options: &WriteOptions,
) -> String {
    let mut hash = Sha256::new();
    let mut add = |text: &str| {
        hash.update((text.len() as u64).to_le_bytes());
        hash.update(text.as_bytes());
    };
    add(env!("CARGO_PKG_VERSION"));
    add(&options.operation);
    add(if options.sums { "with sums" } else { "" });
    options.inputs.iter().for_each(|input| add(input));
    for file in files {
        add(&file.name);
        add(&file.layout.size.to_string());
        if let Form::Head(head) = &file.layout.form {
            add(&hex(&Sha256::digest(head)));
        }
        for i in &file.tensors {
            let tensor = &tensors[*i];
            add(&format!("{} {:?} {}", tensor.tensor.info.name, tensor.tensor.info.shape, tensor.element.name()));
        }
    }
    for Companion { name, content } in companions {
        add(name);
        match content {
            Content::Bytes(bytes) => add(&hex(&Sha256::digest(bytes))),
            // Size and date stand for what is in it.
            Content::CopyOf(path) => {
                let meta = path.metadata().ok();
                let changed = meta.as_ref().and_then(|m| m.modified().ok()?.duration_since(UNIX_EPOCH).ok());
                add(&format!("{} {:?} {changed:?}", path.display(), meta.map(|m| m.len())));
            }
        }
    }
    hex(&hash.finalize())
}

/// A file that is being written.
struct Pending<'p> {
    file: &'p FilePlan,
    /// Its tensors in the order in which they are worked on: the largest first, so that at the end no thread waits long
    /// for another.
    order: Vec<usize>,
    /// What is known of its tensors so far.
    results: Mutex<Results>,
}

struct Results {
    /// Checksum for the archive, SHA-256 and sums.
    tensors: Vec<Option<Result3>>,
    left: usize,
}

type Result3 = (u32, String, Option<Sums>);

impl<'p> Pending<'p> {
    fn new(file: &'p FilePlan, tensors: &[Planned<'_>]) -> Self {
        let left = file.tensors.len();
        let mut order: Vec<usize> = (0..left).collect();
        order.sort_by_key(|place| std::cmp::Reverse(tensors[file.tensors[*place]].bytes()));
        Self { file, order, results: Mutex::new(Results { tensors: vec![None; left], left }) }
    }

    fn into_done(self) -> Done {
        let results = self.results.into_inner().unwrap_or_else(PoisonError::into_inner);
        Done { tensors: results.tensors.into_iter().flatten().map(|(_, sha256, sums)| (sha256, sums)).collect() }
    }
}

struct Work<'w> {
    target: &'w Target,
    tensors: &'w [Planned<'w>],
    pending: Vec<Pending<'w>>,
    /// The file and the tensor of it that is next.
    next: Mutex<(usize, usize)>,
    sums: bool,
    written: AtomicU64,
    of: u64,
    progress: Progress<'w>,
    /// Whether a thread could not go on.
    failed: AtomicBool,
}

impl Work<'_> {
    fn run(&self) -> Result<(), WriteError> {
        let done = self.work();
        if done.is_err() {
            self.failed.store(true, Ordering::Relaxed);
        }
        done
    }

    fn work(&self) -> Result<(), WriteError> {
        let mut buffers = Buffers::default();
        while let Some((pending, place)) = self.take()? {
            let path = self.target.unfinished(&pending.file.name);
            if let Some(place) = place {
                let result = self.tensor(pending, place, &path, &mut buffers)?;
                let mut results = pending.results.lock().unwrap_or_else(PoisonError::into_inner);
                results.tensors[place] = Some(result);
                results.left -= 1;
                if results.left > 0 {
                    continue;
                }
            }
            self.finish(pending, &path)?;
        }
        Ok(())
    }

    /// The next tensor of the first file that has one left; a file without tensors is finished at once.
    fn take(&self) -> Result<Option<(&Pending<'_>, Option<usize>)>, WriteError> {
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        if self.failed.load(Ordering::Relaxed) {
            return Ok(None);
        }
        let (number, place) = *next;
        let Some(pending) = self.pending.get(number) else { return Ok(None) };
        if place == 0 {
            let path = self.target.unfinished(&pending.file.name);
            let made = File::create(&path).and_then(|file| file.set_len(pending.file.layout.size));
            made.map_err(|source| WriteError::Io { path, source })?;
        }
        *next = if place + 1 < pending.order.len() { (number, place + 1) } else { (number + 1, 0) };
        Ok(Some((pending, pending.order.get(place).copied())))
    }

    /// Writes one tensor.
    fn tensor(
        &self,
        pending: &Pending<'_>,
        place: usize,
        path: &PathBuf,
        buffers: &mut Buffers,
    ) -> Result<Result3, WriteError> {
        let io = |source| WriteError::Io { path: path.clone(), source };
        let tensor = &self.tensors[pending.file.tensors[place]];
        let file = OpenOptions::new().write(true).open(path).map_err(io)?;
        let mut at = pending.file.layout.offsets[place];
        let is_zip = matches!(pending.file.layout.form, Form::Zip(_));
        let count = tensor.tensor.info.count();
        let mut checks = Checks::new(count, is_zip, self.sums);
        buffers.hold(0, 0);
        for from in (0..count).step_by(PIECE) {
            let piece = PIECE.min(count - from);
            let bytes = buffers.fill(tensor, from, piece, &mut checks)?;
            // Whole pages: what goes past the system's cache is gone from there once it is stored, and a page that was begun
            // is read again before it can be filled.
            let whole = (at + bytes.len() as u64) / PAGE as u64 * PAGE as u64;
            let is_last = from + piece == count;
            let now = if is_last { bytes.len() } else { whole.saturating_sub(at) as usize };
            stream::write(&file, at, &bytes[..now]).map_err(io)?;
            let end = bytes.len();
            buffers.hold(now, end);
            let length = now as u64;
            at += length;
            let written = self.written.fetch_add(length, Ordering::Relaxed) + length;
            if !(self.progress)(written.min(self.of), self.of) || self.failed.load(Ordering::Relaxed) {
                return Err(WriteError::Stopped);
            }
        }
        tensor.tensor.numbers.done();
        Ok(checks.end())
    }

    /// Writes what stands beside the numbers, and brings the file to its place.
    fn finish(&self, pending: &Pending<'_>, path: &PathBuf) -> Result<(), WriteError> {
        let io = |source| WriteError::Io { path: path.clone(), source };
        let results = pending.results.lock().unwrap_or_else(PoisonError::into_inner);
        let parts = match &pending.file.layout.form {
            Form::Head(head) => vec![(0, head.clone())],
            Form::Zip(archive) => {
                let checksums: Vec<u32> = results.tensors.iter().flatten().map(|t| t.0).collect();
                archive.parts(&checksums)
            }
        };
        let known = results.tensors.iter().flatten().map(|(_, sha256, sums)| (sha256.clone(), *sums));
        let done = Done { tensors: known.collect() };
        drop(results);
        let mut file = OpenOptions::new().write(true).open(path).map_err(io)?;
        for (at, bytes) in parts {
            file.seek(SeekFrom::Start(at)).and_then(|_| file.write_all(&bytes)).map_err(io)?;
        }
        self.target.finish(&pending.file.name, &done)
    }
}

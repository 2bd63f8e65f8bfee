//! One file: fetched in pieces, several at a time, checked, and only then called by its name.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use protocol::Sentence;
use sha1::Sha1;
use sha2::{Digest, Sha256};
use ureq::{
    Body,
    http::{Response, StatusCode, header},
};

use super::{
    DownloadError, DownloadEvent, Patience, Shared,
    client::{Failure, broken},
    hub::{RemoteFile, RemoteSum},
    state::State,
};
use crate::verify::hex;

/// How often the state is written down.
const STORE_EVERY: Duration = Duration::from_secs(2);
/// An attempt that brought fewer bytes is one that failed.
const PROGRESS: u64 = 64 << 10;

/// Where a file goes, checked for links that lead out of the folder.
pub(super) fn place(folder: &Path, relative: &Path) -> Result<PathBuf, DownloadError> {
    let path = folder.join(relative);
    let parent = path.parent().unwrap_or(folder).to_path_buf();
    fs::create_dir_all(&parent).map_err(DownloadError::io(&parent))?;
    let real = |path: &Path| fs::canonicalize(path).map_err(DownloadError::io(path));
    if !real(&parent)?.starts_with(real(folder)?) {
        let name = relative.display().to_string();
        return Err(DownloadError::UnsafeName { name, reason: "would go through a link out of the folder" });
    }
    Ok(path)
}

/// The name of a file that is not whole yet.
pub(super) fn part_of(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".part");
    name.into()
}

/// Bytes of an unfinished file that need not be fetched again.
pub(super) fn kept(path: &Path, file: &RemoteFile) -> u64 {
    file.size.and_then(|size| State::load(&part_of(path), &identity(file), size)).map_or(0, |state| state.total())
}

fn identity(file: &RemoteFile) -> String {
    file.sum.as_ref().map_or_else(|| file.url.clone(), |sum| sum.hex().to_owned())
}

/// Whether the file is there already, and the right one.
pub(super) fn is_there(path: &Path, file: &RemoteFile) -> bool {
    let Ok(meta) = fs::metadata(path) else { return false };
    if !meta.is_file() || file.size.is_some_and(|size| size != meta.len()) {
        return false;
    }
    match &file.sum {
        Some(sum) => checksum(path, sum, &AtomicBool::new(false)).is_ok_and(|found| found == sum.hex()),
        None => file.size.is_some(),
    }
}

/// Fetches a file of known size to its place.
pub(super) fn fetch(shared: &Shared<'_>, file: &RemoteFile, size: u64, path: &Path) -> Result<(), DownloadError> {
    let part = part_of(path);
    let mut options = OpenOptions::new();
    let open = options.read(true).write(true).create(true).truncate(false).open(&part);
    let handle = open.map_err(DownloadError::io(&part))?;
    // Held until the end; the system lets go of it whatever happens to this program.
    if matches!(handle.try_lock(), Err(TryLockError::WouldBlock)) {
        return Err(DownloadError::Busy { path: part });
    }
    let earlier = State::load(&part, &identity(file), size);
    let resumed = earlier.as_ref().is_some_and(|state| state.total() > 0);
    let state = earlier.unwrap_or_else(|| State::new(&identity(file), size, shared.options.parts, false));
    shared.add(state.total() as i64);
    let found = once(shared, file, &handle, &part, &state)?;
    let found = match (&file.sum, found) {
        // What an earlier attempt left may be wrong; what comes now is all of one pour.
        (Some(sum), found) if found != sum.hex() && resumed => {
            (shared.events)(DownloadEvent::Note(&Sentence::new(
                format!("{}: what was kept of an earlier attempt is damaged; starting over", file.name),
                format!("{}：先前留下的部分已损坏，重新下载", file.name),
            )));
            shared.add(-(size as i64));
            once(shared, file, &handle, &part, &State::new(&identity(file), size, shared.options.parts, false))?
        }
        (_, found) => found,
    };
    if let Some(sum) = file.sum.as_ref().filter(|sum| sum.hex() != found) {
        State::forget(&part);
        let _ = fs::remove_file(&part);
        return Err(DownloadError::Checksum { file: file.name.clone(), expected: sum.hex().into(), found });
    }
    handle.sync_all().map_err(DownloadError::io(&part))?;
    fs::rename(&part, path).map_err(DownloadError::io(path))?;
    State::forget(&part);
    if let Some(folder) = path.parent().and_then(|folder| File::open(folder).ok()) {
        let _ = folder.sync_all();
    }
    Ok(())
}

/// Fetches what is missing, and gives the checksum of the whole.
fn once(
    shared: &Shared<'_>,
    file: &RemoteFile,
    handle: &File,
    part: &Path,
    state: &State,
) -> Result<String, DownloadError> {
    handle.set_len((0..state.pieces()).map(|n| state.length(n)).sum()).map_err(DownloadError::io(part))?;
    match pieces(shared, file, handle, part, state)? {
        Sent::Parts => {}
        Sent::WholeOnly => {
            (shared.events)(DownloadEvent::Note(&Sentence::new(
                format!("{}: the server cannot send parts of a file; an interruption starts it over", file.name),
                format!("{}：对方服务器不支持分段下载，中断后须从头开始", file.name),
            )));
            shared.add(-(state.total() as i64));
            let size = (0..state.pieces()).map(|n| state.length(n)).sum();
            let whole = State::new(&identity(file), size, 1, true);
            if let Sent::WholeOnly = pieces(shared, file, handle, part, &whole)? {
                let reason = "it sent the whole file, and then would not".into();
                return Err(DownloadError::Answer { url: file.url.clone(), reason });
            }
        }
    }
    let Some(sum) = &file.sum else { return Ok(String::new()) };
    (shared.events)(DownloadEvent::Checking(&file.name));
    checksum(part, sum, shared.cancel).map_err(|e| match shared.cancelled() {
        true => DownloadError::Cancelled,
        false => DownloadError::Io { path: part.into(), source: e },
    })
}

fn checksum(path: &Path, sum: &RemoteSum, cancel: &AtomicBool) -> std::io::Result<String> {
    let mut file = File::open(path)?;
    let mut sha256 = Sha256::new();
    let mut git = Sha1::new();
    git.update(format!("blob {}\0", file.metadata()?.len()));
    let mut buffer = vec![0; 1 << 20];
    loop {
        if cancel.load(Ordering::Relaxed) {
            return Err(std::io::Error::other("stopped"));
        }
        let length = file.read(&mut buffer)?;
        let Some(bytes) = buffer.get(..length).filter(|bytes| !bytes.is_empty()) else { break };
        match sum {
            RemoteSum::Sha256(_) => sha256.update(bytes),
            RemoteSum::Git(_) => git.update(bytes),
        }
    }
    Ok(match sum {
        RemoteSum::Sha256(_) => hex(&sha256.finalize()),
        RemoteSum::Git(_) => hex(&git.finalize()),
    })
}

/// How a server sends a file.
enum Sent {
    Parts,
    WholeOnly,
}

/// Fetches every piece that is not whole, several at a time; the first error ends all of them.
fn pieces(
    shared: &Shared<'_>,
    file: &RemoteFile,
    handle: &File,
    part: &Path,
    state: &State,
) -> Result<Sent, DownloadError> {
    let next = AtomicUsize::new(0);
    let stop = AtomicBool::new(false);
    let end: Mutex<Option<End>> = Mutex::new(None);
    let stored = Mutex::new(Instant::now());
    let writing = Mutex::new(());
    let work = Piece { shared, file, part, state, handle, writing: &writing, stored: &stored, stop: &stop };
    std::thread::scope(|scope| {
        for _ in 0..shared.options.parts.clamp(1, state.pieces().max(1)) {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let piece = next.fetch_add(1, Ordering::Relaxed);
                    if piece >= state.pieces() {
                        break;
                    }
                    if let Err(why) = work.run(piece) {
                        // First the reason: those that are stopped by it must not be the first to give theirs.
                        end.lock().unwrap_or_else(|e| e.into_inner()).get_or_insert(why);
                        stop.store(true, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    let kept = handle.sync_data().and_then(|()| state.store(part, state.all()));
    match end.into_inner().unwrap_or_else(|e| e.into_inner()) {
        None => kept.map(|()| Sent::Parts).map_err(DownloadError::io(part)),
        Some(End::WholeOnly) => Ok(Sent::WholeOnly),
        Some(End::Error(error)) => Err(error),
        Some(End::Stopped) => Err(DownloadError::Cancelled),
    }
}

/// Why a piece was not fetched.
enum End {
    WholeOnly,
    Stopped,
    Error(DownloadError),
}

impl From<DownloadError> for End {
    fn from(error: DownloadError) -> Self {
        Self::Error(error)
    }
}

/// What fetching a piece needs.
struct Piece<'a> {
    shared: &'a Shared<'a>,
    file: &'a RemoteFile,
    part: &'a Path,
    state: &'a State,
    handle: &'a File,
    writing: &'a Mutex<()>,
    stored: &'a Mutex<Instant>,
    stop: &'a AtomicBool,
}

impl Piece<'_> {
    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed) || self.shared.cancelled()
    }

    fn run(&self, piece: usize) -> Result<(), End> {
        let Patience { tries, .. } = self.shared.options.patience;
        let mut failed = 0;
        loop {
            let before = self.state.done(piece);
            if before == self.state.length(piece) {
                return Ok(());
            }
            if self.stopped() {
                return Err(End::Stopped);
            }
            let (reason, after) = match self.attempt(piece) {
                Ok(()) => continue,
                Err(Trouble::End(end)) => return Err(end),
                Err(Trouble::Passing(reason, after)) => (reason, after),
            };
            failed = if self.state.done(piece) >= before + PROGRESS { 0 } else { failed + 1 };
            if failed >= tries {
                let file = self.file.name.clone();
                return Err(End::Error(DownloadError::GaveUp { file, tries, reason }));
            }
            let wait = after.unwrap_or_else(|| self.shared.options.patience.pause(failed));
            (self.shared.events)(DownloadEvent::Retry { file: &self.file.name, reason: &reason, wait });
            let until = Instant::now() + wait;
            while Instant::now() < until && !self.stopped() {
                std::thread::sleep(wait.min(Duration::from_millis(50)));
            }
        }
    }

    /// One request for what a piece lacks.
    fn attempt(&self, piece: usize) -> Result<(), Trouble> {
        let whole = self.state.pieces() == 1;
        let size: u64 = (0..self.state.pieces()).map(|n| self.state.length(n)).sum();
        let from = self.state.start(piece) + self.state.done(piece);
        let to = self.state.start(piece) + self.state.length(piece);
        let response = self.shared.client.get(&self.file.url, Some((from, to - 1)))?;
        let answer =
            |reason: String| Trouble::End(End::Error(DownloadError::Answer { url: self.file.url.clone(), reason }));
        if response.status() == StatusCode::PARTIAL_CONTENT {
            let (start, all) =
                content_range(&response).ok_or_else(|| answer("it does not say which bytes it is".into()))?;
            if start != from {
                return Err(answer(format!("it begins at byte {start} where byte {from} was asked for")));
            }
            if all.is_some_and(|all| all != size) {
                return Err(answer(format!("it is of a file of {} bytes where {size} were listed", all.unwrap_or(0))));
            }
        } else {
            let length = number(&response, header::CONTENT_LENGTH);
            if length.is_some_and(|length| length != size) {
                return Err(answer(format!("it has {} bytes where {size} were listed", length.unwrap_or(0))));
            }
            if !whole {
                return Err(Trouble::End(End::WholeOnly));
            }
            // From the beginning, whatever was there.
            self.shared.add(-(self.state.done(piece) as i64));
            self.state.set(piece, 0);
        }
        self.receive(response, piece)
    }

    /// Writes what comes to its place, as far as it was asked for.
    fn receive(&self, response: Response<Body>, piece: usize) -> Result<(), Trouble> {
        let io = |e| Trouble::End(End::Error(DownloadError::Io { path: self.part.into(), source: e }));
        let mut done = self.state.done(piece);
        let mut body = response.into_body().into_reader();
        let mut buffer = vec![0; 256 << 10];
        while done < self.state.length(piece) {
            if self.stopped() {
                return Err(Trouble::End(End::Stopped));
            }
            let room = (self.state.length(piece) - done).min(buffer.len() as u64) as usize;
            let came = match body.read(buffer.get_mut(..room).unwrap_or_default()) {
                Ok(0) => {
                    let early = Sentence::new("the connection ended early", "连接提前结束");
                    return Err(Trouble::Passing(early, None));
                }
                Ok(came) => came,
                Err(e) => return Err(Trouble::Passing(broken(e), None)),
            };
            self.write(self.state.start(piece) + done, buffer.get(..came).unwrap_or_default()).map_err(io)?;
            done += came as u64;
            self.state.set(piece, done);
            self.shared.add(came as i64);
            self.store_sometimes().map_err(io)?;
        }
        Ok(())
    }

    /// The one handle has one position: pieces take turns.
    fn write(&self, at: u64, bytes: &[u8]) -> std::io::Result<()> {
        let _turn = self.writing.lock().unwrap_or_else(|e| e.into_inner());
        let mut file = self.handle;
        file.seek(SeekFrom::Start(at))?;
        file.write_all(bytes)
    }

    fn store_sometimes(&self) -> std::io::Result<()> {
        let Ok(mut stored) = self.stored.try_lock() else { return Ok(()) };
        if stored.elapsed() < STORE_EVERY {
            return Ok(());
        }
        // First the numbers, then the bytes, then the note: what the note tells of is on the disk.
        let done = self.state.all();
        self.handle.sync_data()?;
        self.state.store(self.part, done)?;
        *stored = Instant::now();
        Ok(())
    }
}

/// What stands between us and a piece.
enum Trouble {
    Passing(Sentence, Option<Duration>),
    End(End),
}

impl From<Failure> for Trouble {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Passing(reason, after) => Self::Passing(reason, after),
            Failure::Final(error) => Self::End(End::Error(error)),
        }
    }
}

fn number(response: &Response<Body>, name: header::HeaderName) -> Option<u64> {
    response.headers().get(name)?.to_str().ok()?.parse().ok()
}

/// First byte, and the size of the whole where it is told, of `bytes 0-99/1000`.
fn content_range(response: &Response<Body>) -> Option<(u64, Option<u64>)> {
    let text = response.headers().get(header::CONTENT_RANGE)?.to_str().ok()?;
    let (range, all) = text.trim().strip_prefix("bytes ")?.split_once('/')?;
    let (from, _) = range.split_once('-')?;
    Some((from.trim().parse().ok()?, all.trim().parse().ok()))
}

/// The size of a file of which the hub's list does not say it.
pub(super) fn ask_size(shared: &Shared<'_>, file: &RemoteFile) -> Result<u64, DownloadError> {
    shared.patiently(&file.name, || {
        let response = shared.client.get(&file.url, Some((0, 0)))?;
        let size = match response.status() {
            StatusCode::PARTIAL_CONTENT => content_range(&response).and_then(|(_, all)| all),
            _ => number(&response, header::CONTENT_LENGTH),
        };
        let reason = "it does not say how long the file is".into();
        size.ok_or_else(|| Failure::Final(DownloadError::Answer { url: file.url.clone(), reason }))
    })
}

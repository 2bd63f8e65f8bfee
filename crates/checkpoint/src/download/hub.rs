//! What a repository of the hub holds.

use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use serde::Deserialize;

use super::{
    DownloadError,
    client::{Client, Failure},
    names,
};

/// The longest list of files that is read.
const MAX_LISTING: u64 = 16 << 20;
/// The most files a repository may have.
const MAX_FILES: usize = 10_000;

/// What must be encoded in a path.
const RESERVED: &AsciiSet =
    &CONTROLS.add(b' ').add(b'"').add(b'#').add(b'%').add(b'<').add(b'>').add(b'?').add(b'`').add(b'{').add(b'}');

/// A file of a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RemoteFile {
    /// Its name within the repository.
    pub name: String,
    /// Where it is.
    pub url: String,
    /// Its size, where the hub says it.
    pub size: Option<u64>,
    /// What it should be.
    pub sum: Option<RemoteSum>,
}

/// What is known of a file's content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum RemoteSum {
    /// Of large files.
    Sha256(String),
    /// Of small files: git's name for the content, a SHA-1 of its length and bytes.
    Git(String),
}

impl RemoteSum {
    pub(super) fn hex(&self) -> &str {
        match self {
            Self::Sha256(hex) | Self::Git(hex) => hex,
        }
    }
}

#[derive(Deserialize)]
struct Listing {
    sha: Option<String>,
    #[serde(default)]
    siblings: Vec<Sibling>,
}

#[derive(Deserialize)]
struct Sibling {
    rfilename: String,
    size: Option<u64>,
    #[serde(rename = "blobId")]
    blob: Option<String>,
    lfs: Option<Lfs>,
}

#[derive(Deserialize)]
struct Lfs {
    sha256: Option<String>,
    size: Option<u64>,
}

/// The files of `OWNER/REPO`, as they are in one commit.
pub(super) fn list(client: &Client, repository: &str, revision: &str) -> Result<Vec<RemoteFile>, Failure> {
    let url = client.at(&format!("api/models/{repository}/revision/{}?blobs=true", one(revision)));
    let body = client.small(&url, MAX_LISTING)?;
    read(&body, |sha, name| {
        client.at(&format!("{repository}/resolve/{}/{}", one(sha.unwrap_or(revision)), encoded(name)))
    })
    .map_err(|error| {
        Failure::Final(match error {
            Wrong::Answer(reason) => DownloadError::Answer { url, reason },
            Wrong::Name(name, reason) => DownloadError::UnsafeName { name, reason },
        })
    })
}

/// A name that is one part of an address, whatever is in it.
fn one(name: &str) -> String {
    encoded(name).replace('/', "%2F")
}

/// A path in an address.
fn encoded(path: &str) -> String {
    utf8_percent_encode(path, RESERVED).to_string()
}

enum Wrong {
    Answer(String),
    Name(String, &'static str),
}

fn read(body: &[u8], url: impl Fn(Option<&str>, &str) -> String) -> Result<Vec<RemoteFile>, Wrong> {
    let listing: Listing = serde_json::from_slice(body)
        .map_err(|e| Wrong::Answer(format!("it is no list of a model's files ({e}); is it a model hub?")))?;
    if listing.siblings.len() > MAX_FILES {
        return Err(Wrong::Answer(format!("it lists {} files; {MAX_FILES} are possible", listing.siblings.len())));
    }
    let is_hex = |text: &str, length| text.len() == length && text.bytes().all(|b| b.is_ascii_hexdigit());
    let commit = listing.sha.filter(|sha| is_hex(sha, 40));
    let file = |sibling: Sibling| {
        let Sibling { rfilename: name, size, blob, lfs } = sibling;
        names::inside(&name).map_err(|reason| Wrong::Name(name.clone(), reason))?;
        let sum = match &lfs {
            Some(Lfs { sha256: Some(hex), .. }) if is_hex(hex, 64) => Some(RemoteSum::Sha256(hex.to_lowercase())),
            // The blob of a large file is only its pointer.
            Some(_) => None,
            None => blob.filter(|hex| is_hex(hex, 40)).map(|hex| RemoteSum::Git(hex.to_lowercase())),
        };
        let size = lfs.as_ref().and_then(|lfs| lfs.size).or(size);
        Ok(RemoteFile { url: url(commit.as_deref(), &name), name, size, sum })
    };
    listing.siblings.into_iter().map(file).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn files(json: &str) -> Result<Vec<RemoteFile>, String> {
        read(json.as_bytes(), |sha, name| format!("{}/{}", sha.unwrap_or("main"), encoded(name))).map_err(|e| match e {
            Wrong::Answer(reason) => reason,
            Wrong::Name(name, reason) => format!("{name} {reason}"),
        })
    }

    #[test]
    fn a_listing_gives_names_sizes_and_checksums() {
        let (commit, sha256, blob) = ("a".repeat(40), "B".repeat(64), "c".repeat(40));
        let json = format!(
            r#"{{"sha": "{commit}", "siblings": [
                {{"rfilename": "big.bin", "size": 1, "blobId": "{blob}", "lfs": {{"sha256": "{sha256}", "size": 7, "pointerSize": 1}}}},
                {{"rfilename": "a b#c.json", "size": 3, "blobId": "{blob}"}}, {{"rfilename": "bare"}}]}}"#
        );
        let files = files(&json).unwrap();
        assert_eq!((files[0].size, files[0].sum.clone()), (Some(7), Some(RemoteSum::Sha256("b".repeat(64)))));
        assert_eq!(files[1].url, format!("{commit}/a%20b%23c.json"));
        assert_eq!(files[1].sum, Some(RemoteSum::Git(blob)));
        assert_eq!((files[2].size, files[2].sum.clone()), (None, None));
    }

    #[test]
    fn a_listing_that_is_not_to_be_trusted_is_refused() {
        assert!(files("<html>").unwrap_err().contains("is it a model hub?"));
        assert!(files(r#"{"siblings": [{"rfilename": "../../.ssh/x"}]}"#).unwrap_err().contains("outside the folder"));
        assert_eq!(files("{}").unwrap(), []);
        let many = vec![r#"{"rfilename": "a"}"#; MAX_FILES + 1].join(",");
        assert!(files(&format!(r#"{{"siblings": [{many}]}}"#)).unwrap_err().contains("10001 files"));
    }

    proptest! {
        #[test]
        fn no_answer_panics(body in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = read(&body, |_, _| String::new());
        }
    }
}

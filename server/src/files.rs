//! Files that people give, read into texts and tables.
//!
//! Workbooks, PDF and Word documents go through large parsers. Those run in a process of their own, this program again with a
//! hidden command: whatever a file does to its parser, the server goes on, and the file is refused with a sentence.

use std::{
    fs::File,
    io::Read,
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use documents::{Content, DocumentError, Format, Reading};

/// The hidden command.
pub const COMMAND: &str = "read-document";
/// How long one file may take.
const LIMIT: Duration = Duration::from_secs(120);
/// Bytes of an answer for each field that is read at most: what a table of short fields comes to.
const SAID: u64 = 128;
/// Memory that the other process may take, in bytes.
#[cfg(unix)]
const MEMORY: u64 = 3 * 1024 * 1024 * 1024;

/// Reads a file by the ending of its name, which need not be that of its path.
///
/// # Errors
/// It cannot be read: the rest of a sentence that begins with its name.
pub fn read(path: &Path, name: &str, reading: Reading) -> Result<Content, DocumentError> {
    let risky = Format::of(name).is_some_and(Format::is_risky);
    // A test is another program, without the hidden command.
    if risky && !cfg!(test) { apart(path, name, reading) } else { here(path, name, reading) }
}

/// Reads a file in this process.
fn here(path: &Path, name: &str, reading: Reading) -> Result<Content, DocumentError> {
    documents::read(name, &std::fs::read(path).map_err(|e| unreadable(&e))?, reading)
}

fn unreadable(error: &std::io::Error) -> DocumentError {
    DocumentError::new(format!("cannot be read: {error}"), format!("无法读取：{error}"))
}

/// Reads a file in a process of its own.
fn apart(path: &Path, name: &str, reading: Reading) -> Result<Content, DocumentError> {
    // Its own name may be anything; only the ending says something.
    let ending = name.rsplit_once('.').map_or("", |(_, ending)| ending);
    File::open(path).map_err(|e| unreadable(&e))?;
    let program = std::env::current_exe().map_err(|e| unreadable(&e))?;
    let mut child = Command::new(program)
        .args([COMMAND, ending])
        .arg(path)
        .args([format!("--rows={}", reading.rows), format!("--cells={}", reading.cells)])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|e| unreadable(&e))?;
    let stdout = child.stdout.take();
    let most = SAID.saturating_mul(reading.cells as u64);
    let reading = std::thread::spawn(move || {
        let mut said = Vec::new();
        // The other end of what is not read any more breaks, and with it the other process.
        let read = stdout.map(|out| out.take(most).read_to_end(&mut said));
        (said, matches!(read, Some(Ok(_))))
    });
    let until = Instant::now() + LIMIT;
    let ended = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status.success(),
            Ok(None) if Instant::now() < until => std::thread::sleep(Duration::from_millis(5)),
            _ => {
                let _ = child.kill();
                let _ = child.wait();
                break false;
            }
        }
    };
    let (said, whole) = reading.join().unwrap_or_default();
    if ended
        && whole
        && let Ok(answer) = serde_json::from_slice::<Result<Content, DocumentError>>(&said)
    {
        return answer;
    }
    Err(DocumentError::new(
        "cannot be read: it is damaged, or takes too much time or memory; open it in its own program and save it again, or as plain text",
        "无法读取：文件已损坏，或读取所需的时间或内存过多；请用原程序打开后重新保存，或另存为纯文本",
    ))
}

/// What the hidden command does: reads a file and says the answer as JSON.
///
/// # Errors
/// Standard output cannot be written to.
pub fn say(path: &Path, ending: &str, reading: Reading) -> std::io::Result<()> {
    #[cfg(unix)]
    {
        use rustix::process::{Resource, Rlimit, setrlimit};
        // Where the system refuses, the time is still limited.
        let _ = setrlimit(Resource::As, Rlimit { current: Some(MEMORY), maximum: Some(MEMORY) });
    }
    std::panic::set_hook(Box::new(|_| {}));
    let answer = here(path, &format!("file.{ending}"), reading);
    serde_json::to_writer(std::io::BufWriter::new(std::io::stdout().lock()), &answer)?;
    Ok(())
}

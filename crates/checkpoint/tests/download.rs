//! `download` against a hub that breaks connections, lies about lengths, dawdles, and sends one elsewhere.
#![allow(clippy::unwrap_used)]

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    net::{TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use checkpoint::download::{DownloadError, DownloadEvent, DownloadOptions, Downloaded, Patience, download};
use sha2::{Digest, Sha256};

/// A request as far as it matters here.
#[derive(Clone, Debug)]
struct Request {
    path: String,
    range: Option<(u64, u64)>,
    token: Option<String>,
    /// How many came before it.
    number: usize,
}

/// What a hub does with a connection: writes what it likes, then closes it.
type Answer = dyn Fn(&Request, &mut TcpStream) -> std::io::Result<()> + Send + Sync;

/// A hub of one repository, `some/model`.
struct Hub {
    url: String,
    requests: Arc<Mutex<Vec<Request>>>,
    stop: Arc<AtomicBool>,
}

impl Hub {
    fn open(answer: impl Fn(&Request, &mut TcpStream) -> std::io::Result<()> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (requests, stop) = (Arc::new(Mutex::new(vec![])), Arc::new(AtomicBool::new(false)));
        let (answer, kept, stopped): (Arc<Answer>, _, _) = (Arc::new(answer), requests.clone(), stop.clone());
        let count = Arc::new(AtomicUsize::new(0));
        thread::spawn(move || {
            for stream in listener.incoming() {
                if stopped.load(Ordering::Relaxed) {
                    return;
                }
                let (answer, kept, count) = (answer.clone(), kept.clone(), count.clone());
                thread::spawn(move || {
                    let mut stream = stream.unwrap();
                    if let Some(request) = read(&stream, &count) {
                        kept.lock().unwrap().push(request.clone());
                        let _ = answer(&request, &mut stream);
                    }
                });
            }
        });
        Self { url, requests, stop }
    }

    /// Requests for a file, without those for lists.
    fn asked(&self) -> Vec<Request> {
        self.requests.lock().unwrap().iter().filter(|r| r.path.contains("/resolve/")).cloned().collect()
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(self.url.trim_start_matches("http://"));
    }
}

fn read(stream: &TcpStream, count: &AtomicUsize) -> Option<Request> {
    let mut lines = BufReader::new(stream).lines().map_while(Result::ok);
    let path = lines.next()?.split(' ').nth(1)?.to_owned();
    let number = if path.contains("/resolve/") { count.fetch_add(1, Ordering::Relaxed) } else { 0 };
    let mut request = Request { path, range: None, token: None, number };
    for line in lines.take_while(|line| !line.is_empty()) {
        let (name, value) = line.split_once(": ")?;
        match name.to_ascii_lowercase().as_str() {
            "range" => {
                let (from, to) = value.strip_prefix("bytes=")?.split_once('-')?;
                request.range = Some((from.parse().ok()?, to.parse().ok()?));
            }
            "authorization" => request.token = Some(value.into()),
            _ => {}
        }
    }
    Some(request)
}

fn reply(stream: &mut TcpStream, head: &str, body: &[u8]) -> std::io::Result<()> {
    write!(stream, "HTTP/1.1 {head}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", body.len())?;
    stream.write_all(body)
}

/// Numbers that do not repeat soon.
fn content(length: usize) -> Vec<u8> {
    let mut x = 1u32;
    (0..length)
        .map(|_| {
            x = x.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (x >> 24) as u8
        })
        .collect()
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect()
}

/// The list of a repository with one large file.
fn listing(content: &[u8]) -> String {
    format!(
        r#"{{"sha": "{}", "siblings": [{{"rfilename": "model.bin", "size": {1}, "lfs": {{"sha256": "{2}", "size": {1}}}}}]}}"#,
        "a".repeat(40),
        content.len(),
        sha256(content)
    )
}

/// The bytes asked for, as a hub that means well sends them.
fn part(request: &Request, content: &[u8], stream: &mut TcpStream) -> std::io::Result<()> {
    let (from, to) = request.range.unwrap_or((0, content.len() as u64 - 1));
    let bytes = &content[from as usize..=to as usize];
    reply(stream, &format!("206 Partial Content\r\nContent-Range: bytes {from}-{to}/{}", content.len()), bytes)
}

/// A hub whose list is right, and whose files come as `answer` likes.
fn hub(
    content: &[u8],
    answer: impl Fn(&Request, &[u8], &mut TcpStream) -> std::io::Result<()> + Send + Sync + 'static,
) -> Hub {
    let content = content.to_vec();
    Hub::open(move |request, stream| match request.path.starts_with("/api/models/some/model/revision/main") {
        true => reply(stream, "200 OK", listing(&content).as_bytes()),
        false => answer(request, &content, stream),
    })
}

fn options(hub: &Hub, dir: &tempfile::TempDir) -> DownloadOptions {
    let patience = Patience { idle: Duration::from_millis(700), tries: 4, pause: Duration::from_millis(2) };
    DownloadOptions {
        mirror: Some(hub.url.clone()),
        out: Some(dir.path().join("out")),
        patience,
        ..DownloadOptions::new("some/model", dir.path())
    }
}

fn fetch(hub: &Hub, dir: &tempfile::TempDir) -> Result<Vec<Downloaded>, DownloadError> {
    download(&options(hub, dir), &|_| {}, &AtomicBool::new(false))
}

fn file(dir: &tempfile::TempDir) -> Vec<u8> {
    fs::read(dir.path().join("out/model.bin")).unwrap()
}

/// What is in the folder.
fn names(dir: &tempfile::TempDir) -> Vec<String> {
    let entries = fs::read_dir(dir.path().join("out")).unwrap();
    let mut names: Vec<_> = entries.map(|e| e.unwrap().file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

const MB: usize = 1 << 20;

#[test]
fn a_file_comes_in_parts_and_is_left_alone_when_it_is_there() {
    let data = content(10 * MB + 7);
    let hub = hub(&data, part);
    let dir = tempfile::tempdir().unwrap();
    let last = Mutex::new((0, 0));
    let files = download(
        &options(&hub, &dir),
        &|event| {
            if let DownloadEvent::Progress { done, total } = event {
                *last.lock().unwrap() = (done, total);
            }
        },
        &AtomicBool::new(false),
    )
    .unwrap();
    assert_eq!((files[0].bytes, files[0].sha256.clone()), (data.len() as u64, Some(sha256(&data))));
    assert!(file(&dir) == data);
    assert_eq!(names(&dir), ["model.bin"], "nothing unfinished is left");
    assert_eq!(*last.lock().unwrap(), (data.len() as u64, data.len() as u64));
    assert!(hub.asked().len() > 1, "in several pieces");
    assert!(hub.asked().iter().all(|r| r.path.contains(&"a".repeat(40))), "of the commit that was listed");

    let before = hub.asked().len();
    assert!(fetch(&hub, &dir).unwrap()[0].was_there);
    assert_eq!(hub.asked().len(), before);
}

#[test]
fn broken_connections_are_taken_up_where_they_broke() {
    let data = content(5 * MB);
    let hub = hub(&data, |request, content, stream| {
        let (from, to) = request.range.unwrap();
        if request.number == 1 {
            return reply(stream, "503 Service Unavailable", b"");
        }
        if request.number == 3 {
            return reply(stream, "429 Too Many Requests\r\nRetry-After: 0", b"");
        }
        let bytes = &content[from as usize..=to as usize];
        let sent = bytes.len().min(300_000);
        write!(
            stream,
            "HTTP/1.1 206 Partial Content\r\nContent-Length: {}\r\nContent-Range: bytes {from}-{to}/{}\r\n\r\n",
            bytes.len(),
            content.len()
        )?;
        stream.write_all(&bytes[..sent])
    });
    let dir = tempfile::tempdir().unwrap();
    fetch(&hub, &dir).unwrap();
    assert!(file(&dir) == data);
    let sent: u64 = hub.asked().iter().map(|r| 300_000.min(r.range.unwrap().1 - r.range.unwrap().0 + 1)).sum();
    assert!(sent < data.len() as u64 + 2 * 300_000 + 600_000, "hardly anything came twice: {sent}");
}

#[test]
fn what_came_before_an_interruption_is_not_fetched_again() {
    let data = content(9 * MB);
    let broken = Arc::new(AtomicBool::new(true));
    let is_broken = broken.clone();
    let hub = hub(&data, move |request, content, stream| match request.range {
        Some((from, _)) if from > 5_000_000 && is_broken.load(Ordering::Relaxed) => Ok(()),
        _ => part(request, content, stream),
    });
    let dir = tempfile::tempdir().unwrap();
    let error = fetch(&hub, &dir).unwrap_err();
    assert!(matches!(error, DownloadError::GaveUp { tries: 4, .. }), "{error}");
    assert_eq!(names(&dir), ["model.bin.part", "model.bin.part.json"]);

    broken.store(false, Ordering::Relaxed);
    let before = hub.asked().len();
    fetch(&hub, &dir).unwrap();
    assert!(file(&dir) == data);
    assert!(hub.asked()[before..].iter().all(|r| r.range.unwrap().0 >= 4 << 20), "the first piece was kept");
    assert_eq!(names(&dir), ["model.bin"]);
}

#[test]
fn a_damaged_rest_of_an_earlier_attempt_is_noticed_and_fetched_again() {
    let data = content(9 * MB);
    let broken = Arc::new(AtomicBool::new(true));
    let is_broken = broken.clone();
    let hub = hub(&data, move |request, content, stream| match request.range {
        Some((from, _)) if from > 5_000_000 && is_broken.load(Ordering::Relaxed) => Ok(()),
        _ => part(request, content, stream),
    });
    let dir = tempfile::tempdir().unwrap();
    fetch(&hub, &dir).unwrap_err();
    let unfinished = dir.path().join("out/model.bin.part");
    let mut bytes = fs::read(&unfinished).unwrap();
    bytes[1000] ^= 1;
    fs::write(&unfinished, bytes).unwrap();
    broken.store(false, Ordering::Relaxed);
    fetch(&hub, &dir).unwrap();
    assert!(file(&dir) == data);
}

#[test]
fn another_file_than_the_listed_one_is_thrown_away() {
    let data = content(MB);
    let hub = hub(&data, |request, content, stream| {
        let mut other = content.to_vec();
        other[77] ^= 1;
        part(request, &other, stream)
    });
    let dir = tempfile::tempdir().unwrap();
    let error = fetch(&hub, &dir).unwrap_err();
    assert!(matches!(&error, DownloadError::Checksum { expected, .. } if *expected == sha256(&data)), "{error}");
    assert_eq!(names(&dir), [""; 0]);
}

#[test]
fn lies_about_lengths_and_places_are_refused() {
    let data = content(MB);
    let lie = |head: &'static str, sent: usize| {
        let hub = hub(&data, move |_, content, stream| reply(stream, head, &content[..sent]));
        let dir = tempfile::tempdir().unwrap();
        let error = fetch(&hub, &dir).unwrap_err();
        assert!(!dir.path().join("out/model.bin").exists());
        error.to_string()
    };
    let larger = lie("206 Partial Content\r\nContent-Range: bytes 0-1048575/9999999999", MB);
    assert!(larger.contains("it is of a file of 9999999999 bytes where 1048576 were listed"), "{larger}");
    let elsewhere = lie("206 Partial Content\r\nContent-Range: bytes 5-1048575/1048576", MB - 5);
    assert!(elsewhere.contains("begins at byte 5 where byte 0 was asked for"), "{elsewhere}");
    let silent = lie("206 Partial Content", MB);
    assert!(silent.contains("does not say which bytes"), "{silent}");
    let short = lie("200 OK", 1000);
    assert!(short.contains("it has 1000 bytes where 1048576 were listed"), "{short}");
}

#[test]
fn more_bytes_than_were_asked_for_are_not_read() {
    let data = content(MB);
    let hub = hub(&data, |_, content, stream| {
        write!(stream, "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 0-1048575/1048576\r\n\r\n")?;
        stream.write_all(content)?;
        (0..100_000).try_for_each(|_| stream.write_all(&[7; 10_000]))
    });
    let dir = tempfile::tempdir().unwrap();
    fetch(&hub, &dir).unwrap();
    assert!(file(&dir) == data);
}

#[test]
fn a_server_that_sends_whole_files_only_is_enough() {
    let data = content(9 * MB);
    let hub = hub(&data, |_, content, stream| reply(stream, "200 OK", content));
    let dir = tempfile::tempdir().unwrap();
    let notes = Mutex::new(vec![]);
    let note = |event: DownloadEvent<'_>| {
        if let DownloadEvent::Note(note) = event {
            notes.lock().unwrap().push(note.clone());
        }
    };
    download(&options(&hub, &dir), &note, &AtomicBool::new(false)).unwrap();
    assert!(file(&dir) == data);
    let note = &notes.lock().unwrap()[0];
    assert!(note.en.contains("cannot send parts") && note.zh.contains("不支持分段下载"), "{note:?}");
}

#[test]
fn a_server_that_falls_silent_is_asked_again() {
    let data = content(MB);
    let hub = hub(&data, |request, content, stream| {
        if request.number == 0 {
            write!(stream, "HTTP/1.1 206 Partial Content\r\nContent-Length: 1048576\r\n")?;
            write!(stream, "Content-Range: bytes 0-1048575/1048576\r\n\r\n")?;
            stream.write_all(&content[..200_000])?;
            thread::sleep(Duration::from_secs(3));
            return Ok(());
        }
        part(request, content, stream)
    });
    let dir = tempfile::tempdir().unwrap();
    fetch(&hub, &dir).unwrap();
    assert!(file(&dir) == data);
    assert_eq!(hub.asked()[1].range, Some((200_000, MB as u64 - 1)));
}

#[test]
fn a_slow_server_is_borne() {
    let data = content(400_000);
    let hub = hub(&data, |request, content, stream| {
        let (from, to) = request.range.unwrap();
        let bytes = &content[from as usize..=to as usize];
        write!(stream, "HTTP/1.1 206 Partial Content\r\nContent-Length: {}\r\n", bytes.len())?;
        write!(stream, "Content-Range: bytes {from}-{to}/{}\r\n\r\n", content.len())?;
        bytes.chunks(20_000).try_for_each(|chunk| {
            thread::sleep(Duration::from_millis(100));
            stream.write_all(chunk)
        })
    });
    let dir = tempfile::tempdir().unwrap();
    fetch(&hub, &dir).unwrap();
    assert!(file(&dir) == data);
    assert_eq!(hub.asked().len(), 1, "slower than the patience with silence, and never silent");
}

#[test]
fn redirects_are_followed_on_the_web_only_and_without_the_token() {
    let data = content(MB);
    let elsewhere = hub(&data, part);
    let place = elsewhere.url.clone();
    let first =
        hub(&data, move |_, _, stream| reply(stream, &format!("302 Found\r\nLocation: {place}/x/resolve/y"), b""));
    let dir = tempfile::tempdir().unwrap();
    let options = DownloadOptions { token: Some("secret".into()), ..options(&first, &dir) };
    download(&options, &|_| {}, &AtomicBool::new(false)).unwrap();
    assert!(file(&dir) == data);
    assert!(first.requests.lock().unwrap().iter().all(|r| r.token.as_deref() == Some("Bearer secret")));
    assert!(elsewhere.asked().iter().all(|r| r.token.is_none()), "another server is not told the token");

    for (location, said) in
        [("file:///etc/passwd", "leads to what is no web address"), ("/again", "leads elsewhere more than 6 times")]
    {
        let hub = hub(&data, move |_, _, stream| reply(stream, &format!("302 Found\r\nLocation: {location}"), b""));
        let error = fetch(&hub, &tempfile::tempdir().unwrap()).unwrap_err().to_string();
        assert!(error.contains(said), "{location}: {error}");
    }
}

#[test]
fn refusals_say_what_to_do() {
    let error = |head: &'static str| {
        let hub = Hub::open(move |_, stream| reply(stream, head, b"{}"));
        fetch(&hub, &tempfile::tempdir().unwrap()).unwrap_err().to_string()
    };
    assert!(error("401 Unauthorized").contains("--token"));
    assert!(error("403 Forbidden").contains("accept its conditions"));
    assert!(error("404 Not Found").contains("does not exist on the hub"));
    assert!(error("200 OK").contains("none fits") || error("200 OK").contains("no files to fetch"));
    assert!(error("500 Oops").contains("cannot be reached"));
}

#[test]
fn hostile_lists_bring_nothing() {
    let fetch_list = |list: Vec<u8>| {
        let hub = Hub::open(move |_, stream| reply(stream, "200 OK", &list));
        let dir = tempfile::tempdir().unwrap();
        let error = fetch(&hub, &dir).unwrap_err().to_string();
        assert!(!dir.path().join("out").exists(), "nothing was written");
        assert!(hub.asked().is_empty());
        error
    };
    let outside = fetch_list(br#"{"siblings": [{"rfilename": "../../x"}]}"#.to_vec());
    assert!(outside.contains("would lie outside the folder"), "{outside}");
    let huge = fetch_list(vec![b' '; (16 << 20) + 1]);
    assert!(huge.contains("longer than"), "{huge}");
    let deep = fetch_list(format!(r#"{{"siblings": {}"#, "[".repeat(100_000)).into_bytes());
    assert!(deep.contains("is it a model hub?"), "{deep}");
}

#[test]
fn a_size_beyond_the_disk_is_told_before_anything_is_fetched() {
    let hub = Hub::open(|_, stream| {
        let list = format!(
            r#"{{"siblings": [{{"rfilename": "model.bin", "lfs": {{"sha256": "{}", "size": {}}}}}]}}"#,
            "0".repeat(64),
            1u64 << 60
        );
        reply(stream, "200 OK", list.as_bytes())
    });
    let error = fetch(&hub, &tempfile::tempdir().unwrap()).unwrap_err();
    assert!(matches!(error, DownloadError::NoSpace { .. }), "{error}");
    assert!(hub.asked().is_empty());
}

#[test]
#[cfg(unix)]
fn a_link_in_the_folder_leads_nowhere() {
    let list = r#"{"siblings": [{"rfilename": "sub/model.bin", "size": 3}]}"#;
    let hub = Hub::open(move |_, stream| reply(stream, "200 OK", list.as_bytes()));
    let dir = tempfile::tempdir().unwrap();
    let outside = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("out")).unwrap();
    std::os::unix::fs::symlink(outside.path(), dir.path().join("out/sub")).unwrap();
    let error = fetch(&hub, &dir).unwrap_err().to_string();
    assert!(error.contains("through a link out of the folder"), "{error}");
}

#[test]
fn small_files_are_checked_by_their_name_in_git_and_unknown_sizes_are_asked_for() {
    let list = r#"{"siblings": [{"rfilename": "config.json", "size": 3, "blobId": "f2ba8f84ab5c1bce84a7b441cb1959cfc7093b7f"},
        {"rfilename": "readme"}]}"#;
    let hub = Hub::open(move |request, stream| match request.path.starts_with("/api/") {
        true => reply(stream, "200 OK", list.as_bytes()),
        false => part(request, b"abc", stream),
    });
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(fetch(&hub, &dir).unwrap().len(), 2);
    assert_eq!(names(&dir), ["config.json", "readme"]);

    let hub = Hub::open(move |request, stream| match request.path.starts_with("/api/") {
        true => reply(stream, "200 OK", list.as_bytes()),
        false => part(request, b"abd", stream),
    });
    let error = fetch(&hub, &tempfile::tempdir().unwrap()).unwrap_err();
    assert!(matches!(error, DownloadError::Checksum { .. }), "{error}");
}

#[test]
fn it_stops_when_told_and_goes_on_later() {
    let data = content(9 * MB);
    let hub = hub(&data, part);
    let dir = tempfile::tempdir().unwrap();
    let cancel = AtomicBool::new(false);
    let stop_at_a_third = |event: DownloadEvent<'_>| {
        if let DownloadEvent::Progress { done, total } = event
            && done > total / 3
        {
            cancel.store(true, Ordering::Relaxed);
        }
    };
    let error = download(&options(&hub, &dir), &stop_at_a_third, &cancel).unwrap_err();
    assert!(matches!(error, DownloadError::Cancelled), "{error}");
    let first = Mutex::new(None);
    let remember = |event: DownloadEvent<'_>| {
        if let DownloadEvent::Progress { done, .. } = event {
            first.lock().unwrap().get_or_insert(done);
        }
    };
    download(&options(&hub, &dir), &remember, &AtomicBool::new(false)).unwrap();
    assert!(file(&dir) == data);
    assert!(first.into_inner().unwrap().unwrap() > data.len() as u64 / 3, "it began where it had stopped");
}

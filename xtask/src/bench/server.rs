//! `extract_64` by llama.cpp's server with four slots: the same prompts as `knowlm bench` has, all asked at once.

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    path::Path,
    process::{Child, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use crate::process::{program, root};

/// The program, sought on the PATH.
pub const SERVER: &str = "llama-server";
/// New tokens of each extraction, as `knowlm bench` has them.
const TOKENS: u32 = 64;
/// How long its model may take to load.
const PATIENCE: Duration = Duration::from_secs(120);

/// Tokens per second over the whole time from the first request to the last answer.
///
/// # Errors
/// The server does not start, or answers with something else than its protocol says.
pub fn extract_64(file: &Path, threads: &str) -> Result<f64> {
    let asked: Value = serde_json::from_str(&std::fs::read_to_string(root().join("assets/bench.json"))?)?;
    let (Some(instruction), Some(texts)) = (asked["instruction"].as_str(), asked["texts"].as_array()) else {
        bail!("assets/bench.json has no instruction or no texts");
    };
    let prompts: Vec<String> =
        texts.iter().filter_map(Value::as_str).map(|text| extract::prompt::alpaca(instruction, Some(text))).collect();
    let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let server = Server::start(file, threads, port)?;
    server.complete("Warm up.", 4)?;
    let start = Instant::now();
    let tokens = thread::scope(|scope| {
        let asked: Vec<_> = prompts.iter().map(|prompt| scope.spawn(|| server.complete(prompt, TOKENS))).collect();
        asked
            .into_iter()
            .map(|answer| answer.join().unwrap_or_else(|_| bail!("a request panicked")))
            .sum::<Result<u64>>()
    })?;
    Ok(tokens as f64 / start.elapsed().as_secs_f64())
}

struct Server {
    process: Child,
    port: u16,
}

impl Server {
    fn start(file: &Path, threads: &str, port: u16) -> Result<Self> {
        let mut command = program(SERVER);
        command.arg("-m").arg(file).args(["-t", threads, "-tb", threads, "-np", "4", "-c", "4096", "--no-webui"]);
        command.args(["--port", &port.to_string()]).stdout(Stdio::null()).stderr(Stdio::null());
        let process = command.spawn().with_context(|| format!("could not start {SERVER}"))?;
        let mut server = Self { process, port };
        let start = Instant::now();
        while !server.request("GET", "/health", "").is_ok_and(|answer| answer["status"] == "ok") {
            if let Some(status) = server.process.try_wait()? {
                bail!("{SERVER} ended ({status})");
            }
            if start.elapsed() > PATIENCE {
                bail!("{SERVER} did not load its model in {} s", PATIENCE.as_secs());
            }
            thread::sleep(Duration::from_millis(100));
        }
        Ok(server)
    }

    /// Greedily; gives how many tokens came.
    fn complete(&self, prompt: &str, tokens: u32) -> Result<u64> {
        let body = json!({ "prompt": prompt, "n_predict": tokens, "temperature": 0, "cache_prompt": true });
        let answer = self.request("POST", "/completion", &body.to_string())?;
        answer["tokens_predicted"].as_u64().with_context(|| format!("{SERVER} answered {answer}"))
    }

    fn request(&self, method: &str, path: &str, body: &str) -> Result<Value> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port))?;
        let length = body.len();
        write!(
            stream,
            "{method} {path} HTTP/1.0\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
        )?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let (_, body) = answer.split_once("\r\n\r\n").context("an answer without an end of its headers")?;
        Ok(serde_json::from_str(body)?)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

//! `knowlm download`: models by name, resumed and checked.

use std::{path::PathBuf, sync::atomic::AtomicBool};

use checkpoint::{
    download::{DownloadEvent, DownloadOptions, Downloaded, Only, download},
    find,
};
use clap::Args;

use super::{
    CliError,
    bytes::{ByteBar, size},
    out, out_json,
};

/// Options of `download`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  knowlm download smollm2\n  knowlm download zhixi-13b-fp16\n  \
    knowlm download zhixi-13b --lora-only --out adapters/zhixi\n  \
    knowlm download OWNER/REPO --include '*.safetensors' --include '*.json' --mirror https://hub.example\n\n\
    Names: smollm2, oneke, zhixi-13b-diff, zhixi-13b-diff-fp16, zhixi-13b-lora; zhixi-13b and zhixi-13b-fp16 for difference\n\
    and adapter together. After an interruption the same command goes on where it was. Proxies are taken from HTTPS_PROXY,\n\
    HTTP_PROXY and ALL_PROXY, but for hosts in NO_PROXY; a token from HF_TOKEN too, another hub from HF_ENDPOINT too.\n\
    Where a company's proxy signs connections itself, name its certificates with --certificates or SSL_CERT_FILE.")]
pub struct DownloadArgs {
    /// A published model, or OWNER/REPO on the hub
    #[arg(value_name = "NAME")]
    name: String,
    /// Only the base
    #[arg(long, conflicts_with = "lora_only")]
    base_only: bool,
    /// Only the adapter
    #[arg(long)]
    lora_only: bool,
    /// The folder to fetch into [default: models/NAME or adapters/NAME in the data folder, with -- for the / of
    /// OWNER/REPO]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Only files whose names fit this pattern (`*`, `?`); can be given several times
    #[arg(long, value_name = "PATTERN")]
    include: Vec<String>,
    /// No files whose names fit this pattern; can be given several times
    #[arg(long, value_name = "PATTERN")]
    exclude: Vec<String>,
    /// Branch, tag or commit
    #[arg(long, value_name = "NAME", default_value = "main")]
    revision: String,
    /// Address of another hub
    #[arg(long, env = "KNOWLM_MIRROR", value_name = "URL")]
    mirror: Option<String>,
    /// Token for models that ask who fetches them
    #[arg(long, env = "KNOWLM_HUB_TOKEN", value_name = "TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// Certificates to trust in place of the built-in ones, a file in PEM form
    #[arg(long, env = "SSL_CERT_FILE", value_name = "FILE")]
    certificates: Option<PathBuf>,
    /// Pieces of a file fetched at a time
    #[arg(long, value_name = "NUMBER", default_value_t = 4, value_parser = clap::value_parser!(u8).range(1..=32))]
    parts: u8,
    /// The folder that has models and adapters [default: the platform's data folder]
    #[arg(long, env = "KNOWLM_DATA_DIR", value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Print one JSON array with the files
    #[arg(long)]
    json: bool,
}

pub fn run(args: DownloadArgs) -> Result<(), CliError> {
    let data_dir = args.data_dir.or_else(find::platform_data_dir).ok_or_else(|| {
        CliError::Failed("this system names no folder for programs' data; choose one with --data-dir".into())
    })?;
    let options = DownloadOptions {
        out: args.out,
        mirror: args.mirror.or_else(|| set("HF_ENDPOINT")),
        revision: args.revision,
        token: args.token.or_else(|| set("HF_TOKEN")),
        include: args.include,
        exclude: args.exclude,
        only: match (args.base_only, args.lora_only) {
            (true, _) => Only::Base,
            (_, true) => Only::Adapter,
            _ => Only::Both,
        },
        parts: args.parts.into(),
        // Set but empty means not set.
        certificates: args.certificates.filter(|file| !file.as_os_str().is_empty()),
        ..DownloadOptions::new(args.name, data_dir)
    };
    let files = fetch(&options)?;
    if args.json {
        return out_json(&files);
    }
    files.iter().try_for_each(line)
}

/// What the environment says where it is not empty.
pub fn set(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.trim().is_empty())
}

/// Fetches under a bar.
pub fn fetch(options: &DownloadOptions) -> Result<Vec<Downloaded>, CliError> {
    let bar = ByteBar::new(false);
    let files = download(options, &|event| show(&bar, event), &AtomicBool::new(false));
    bar.finish();
    files.map_err(CliError::failed)
}

/// Shows what happens.
pub fn show(bar: &ByteBar, event: DownloadEvent<'_>) {
    match event {
        DownloadEvent::Planned { name, folder, files, bytes } => {
            bar.restart();
            let noun = if files == 1 { "file" } else { "files" };
            bar.say(&format!("{name}: {files} {noun}, {}, to {}", size(bytes), folder.display()));
        }
        DownloadEvent::Progress { done, total } if total > 0 => bar.show(done, total),
        DownloadEvent::Progress { .. } => {}
        DownloadEvent::Checking(file) => bar.say(&format!("checking {file}")),
        DownloadEvent::Retry { file, reason, wait } => {
            bar.say(&format!("{file}: {reason}; trying again in {:.0} s", wait.as_secs_f64().ceil()));
        }
        DownloadEvent::Note(note) => bar.say(&note.en),
    }
}

fn line(file: &Downloaded) -> Result<(), CliError> {
    let was = if file.was_there { "was there" } else { "fetched" };
    let checked = if file.sha256.is_some() { ", sha256 right" } else { "" };
    out(&format!("{}  {}, {was}{checked}\n", file.path.display(), size(file.bytes)))
}

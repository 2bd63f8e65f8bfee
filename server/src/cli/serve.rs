//! `knowlm serve`: starts everything, in the order in which most mistakes are told soonest, and stops it cleanly.

use std::{
    net::SocketAddr,
    sync::{Arc, OnceLock, atomic::AtomicBool},
    time::Duration,
};

use axum::http::Uri;
use clap::{Args, ValueEnum, builder::RangedU64ValueParser};
use engine::{Generator, LocalEngine};
use leptos::config::LeptosOptions;
use tokio::{net::TcpListener, sync::watch};
use tracing_subscriber::EnvFilter;

use super::{
    CliError,
    bytes::size,
    load::{Adapters, ModelArgs, data_folder, load},
    out,
};
use crate::{
    adapters::AdapterFolders,
    auth::{Auth, Login},
    batch::Batches,
    http::{AppState, guard::Guard, router, site},
    hub::Hub,
    jobs::Jobs,
    links::is_local,
    pool::Pool,
    reviews::Reviews,
    services::Studio,
    store::{FolderLock, Store},
    warmup,
};

/// How long the last answers may take to be stored, and the last connections to close.
const STORE_LIMIT: Duration = Duration::from_secs(5);
const CLOSE_LIMIT: Duration = Duration::from_secs(2);

/// Options of `serve`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  knowlm serve\n  knowlm serve --listen 127.0.0.1:8080 --model ~/models/llama.gguf --adapter ie=~/adapters/ie\n  \
    knowlm serve --listen 0.0.0.0:7860 --auth login --public-url https://studio.example.org"
)]
pub struct ServeArgs {
    /// Address and port
    #[arg(long, env = "KNOWLM_LISTEN", value_name = "ADDRESS:PORT", default_value = "127.0.0.1:7860")]
    listen: SocketAddr,
    /// Adapter to load, the first one for LoRA mode; `none` for none [default: the model's own]
    #[arg(long, env = "KNOWLM_ADAPTER", value_name = "NAME=PATH", value_delimiter = ',')]
    adapter: Vec<String>,
    /// `none`: the person at this computer, nobody else; `login`: with a password [default: none on a loopback address without --public-url of another]
    #[arg(long, env = "KNOWLM_AUTH", value_name = "none|login")]
    auth: Option<AuthMode>,
    /// The address that people open, for links and as a host name to accept
    #[arg(long, env = "KNOWLM_PUBLIC_URL", value_name = "URL")]
    public_url: Option<String>,
    /// Runs that are generated at the same time; the last place is kept for a member who has none
    #[arg(long, env = "KNOWLM_PARALLEL", value_name = "NUMBER", default_value_t = 9,
        value_parser = RangedU64ValueParser::<usize>::new().range(1..=256))]
    parallel: usize,
    /// Runs that may wait
    #[arg(long, env = "KNOWLM_QUEUE", value_name = "NUMBER", default_value_t = 256)]
    queue: usize,
    /// How long running generations may take to finish when the server is stopped
    #[arg(long, env = "KNOWLM_SHUTDOWN_LIMIT", value_name = "SECONDS", default_value_t = 10)]
    shutdown_limit: u64,
    #[command(flatten)]
    model: ModelArgs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum AuthMode {
    None,
    Login,
}

pub fn run(args: ServeArgs) -> Result<(), CliError> {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("warn"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    let public = args.public_url.as_deref().map(public_url).transpose()?;
    let auth = auth_mode(&args, public.as_ref().map(|(url, _)| url.as_str()))?;
    let runtime = tokio::runtime::Runtime::new().map_err(CliError::failed)?;
    let done = runtime.block_on(serve(args, public, auth));
    runtime.shutdown_timeout(CLOSE_LIMIT);
    done
}

/// Whether people log in. A public address means that others come, if only through a proxy.
fn auth_mode(args: &ServeArgs, public_url: Option<&str>) -> Result<AuthMode, CliError> {
    let loopback = args.listen.ip().is_loopback();
    match (args.auth, public_url.filter(|url| !is_local(url))) {
        (Some(AuthMode::None), _) if !loopback => Err(CliError::Usage(format!(
            "--auth none lets in whoever reaches {}: listen on 127.0.0.1, or use --auth login",
            args.listen
        ))),
        (Some(AuthMode::None), Some(url)) => Err(CliError::Usage(format!(
            "--auth none lets in nobody but the person at this computer, so {url} could not be used: \
             choose --auth login, or leave --public-url out"
        ))),
        (Some(mode), _) => Ok(mode),
        (None, None) if loopback => Ok(AuthMode::None),
        (None, _) => Ok(AuthMode::Login),
    }
}

/// The public address without its last slash, and its host.
fn public_url(url: &str) -> Result<(String, String), CliError> {
    let uri: Option<Uri> = url.parse().ok();
    let host = uri
        .filter(|u| matches!(u.scheme_str(), Some("http" | "https")) && u.path() == "/" && u.query().is_none())
        .and_then(|u| u.host().map(|h| h.trim_matches(['[', ']']).to_owned()));
    match host {
        Some(host) => Ok((url.trim_end_matches('/').to_owned(), host)),
        None => Err(CliError::Usage(format!("--public-url {url} is no address such as https://studio.example.org"))),
    }
}

async fn serve(args: ServeArgs, public: Option<(String, String)>, mode: AuthMode) -> Result<(), CliError> {
    let listener = TcpListener::bind(args.listen).await.map_err(|e| cannot_listen(args.listen, &e))?;
    let listen = listener.local_addr().map_err(CliError::failed)?;
    let own_url = own_url(listen);
    let folder = data_folder(&args.model)?;
    let _lock = FolderLock::take(&folder).await.map_err(CliError::failed)?;
    let store = Store::open(&folder).await.map_err(CliError::failed)?;
    match store.start().await.map_err(CliError::failed)? {
        0 => {}
        interrupted => eprintln!("{interrupted} unfinished runs of the last start are marked as interrupted."),
    }

    let engine = load_engine(&args)?;
    let entry = engine.entry();
    eprintln!("Up to {} runs at once, with {} for keys and values.", args.parallel, size(engine.status().cache_budget));
    let generator: Arc<dyn Generator> = Arc::new(engine);
    let hub = Arc::new(Hub::default());
    let pool = Pool::start(Arc::clone(&generator), store.clone(), Arc::clone(&hub), args.queue + args.parallel);
    let (public_url, public_host) = public.unzip();
    let secure = public_url.as_ref().is_some_and(|url| url.starts_with("https:"));
    let link_base = public_url.clone().unwrap_or_else(|| own_url.clone());
    let batches = Batches::new(store.clone(), pool.clone(), &folder);
    let studio = Arc::new(Studio {
        pool: pool.clone(),
        store: store.clone(),
        batches: Arc::clone(&batches),
        hub,
        entry,
        adapter_folders: AdapterFolders::of(&folder),
        public_url,
        own_url: own_url.clone(),
        warmup: OnceLock::new(),
        warming: AtomicBool::new(false),
    });
    let auth = match mode {
        AuthMode::None => Auth::None,
        AuthMode::Login => Auth::Login(Box::new(Login::new(&store, secure).await.map_err(CliError::failed)?)),
    };
    let setup = match &auth {
        Auth::Login(login) => login.setup_path().await.map_err(CliError::failed)?,
        Auth::None => None,
    };
    let jobs = Jobs::new(store.clone(), &folder);
    let (close, closing) = watch::channel(false);
    let state = AppState {
        studio: Arc::clone(&studio),
        batches: Arc::clone(&batches),
        reviews: Reviews::new(Arc::clone(&studio)),
        jobs: Arc::clone(&jobs),
        leptos: leptos_options(listen),
        guard: Arc::new(Guard { listen, public_host, local_only: mode == AuthMode::None }),
        auth: Arc::new(auth),
        closing,
    };
    let router = router(state);
    warmup::start(studio);
    match batches.resume().await.map_err(CliError::failed)? {
        0 => {}
        unfinished => eprintln!("{unfinished} unfinished batches of the last start go on."),
    }
    tokio::spawn(Arc::clone(&batches).tidy_daily());
    match jobs.resume().await.map_err(CliError::failed)? {
        0 => {}
        unfinished => eprintln!("{unfinished} unfinished jobs on model files go on."),
    }

    if let Some(path) = setup {
        out(&format!("Set your name and password once, at {link_base}{path}\n"))?;
    }
    out(&format!("KnowLM Studio is at {own_url}\n"))?;
    let stopped = serve_until_stopped(listener, router, close, async move {
        let limit = Duration::from_secs(args.shutdown_limit);
        eprintln!("Stopping; what is being generated has {} s to finish. Again to stop at once.", limit.as_secs());
        // Rows that are not done are asked again at the next start.
        batches.close(STORE_LIMIT).await;
        jobs.close(STORE_LIMIT).await;
        let drain = tokio::task::spawn_blocking(move || generator.drain(limit));
        if let Err(error) = drain.await {
            tracing::error!(%error, "the engine did not stop cleanly");
        }
        pool.settle(STORE_LIMIT).await;
    });
    let done = stopped.await;
    store.close().await;
    done
}

/// Serves until a signal; then takes no new connections, carries `finish` out, ends the event streams and closes.
async fn serve_until_stopped(
    listener: TcpListener,
    router: axum::Router,
    close: watch::Sender<bool>,
    finish: impl Future<Output = ()> + Send + 'static,
) -> Result<(), CliError> {
    let (stop, mut stopping) = watch::channel(false);
    let closer = tokio::spawn(async move {
        signal().await;
        tokio::spawn(async {
            signal().await;
            std::process::exit(130);
        });
        stop.send_replace(true);
        finish.await;
        close.send_replace(true);
    });
    let stopped = async move {
        // An error means that the sender is gone, which is after the signal.
        let _ = stopping.wait_for(|stop| *stop).await;
    };
    let server = axum::serve(listener, router).with_graceful_shutdown(stopped);
    let mut server = std::pin::pin!(server.into_future());
    let mut closer = std::pin::pin!(closer);
    let failed = |e| CliError::Failed(format!("the server stopped: {e}"));
    tokio::select! {
        done = &mut server => {
            done.map_err(failed)?;
            // All connections are closed, maybe before the last runs are done.
            let _ = closer.await;
            Ok(())
        }
        // A connection that does not close in time is cut.
        _ = &mut closer => match tokio::time::timeout(CLOSE_LIMIT, server).await {
            Ok(done) => done.map_err(failed),
            Err(_) => Ok(()),
        },
    }
}

/// Ctrl-C, or the system's request to end.
pub(super) async fn signal() {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        match signal(SignalKind::terminate()) {
            Ok(mut terminate) => tokio::select! {
                _ = tokio::signal::ctrl_c() => {}
                _ = terminate.recv() => {}
            },
            Err(_) => {
                let _ = tokio::signal::ctrl_c().await;
            }
        }
    }
    #[cfg(not(unix))]
    let _ = tokio::signal::ctrl_c().await;
}

fn load_engine(args: &ServeArgs) -> Result<LocalEngine, CliError> {
    let adapters = if args.adapter.is_empty() { Adapters::Default } else { Adapters::Given(&args.adapter) };
    load(&args.model, adapters, |options| {
        options.active = args.parallel;
        // The pool refuses before the engine does, while nothing is stored yet.
        options.queue = args.queue + args.parallel;
    })
}

fn cannot_listen(listen: SocketAddr, error: &std::io::Error) -> CliError {
    CliError::Failed(match error.kind() {
        std::io::ErrorKind::AddrInUse => format!(
            "port {} is in use; stop the other program, or choose another port with --listen {}:{}",
            listen.port(),
            listen.ip(),
            listen.port().wrapping_add(1).max(1024)
        ),
        std::io::ErrorKind::PermissionDenied => {
            format!("listening on {listen} is not allowed; choose a port from 1024 on with --listen")
        }
        _ => format!("listening on {listen} failed ({error}); choose another address with --listen"),
    })
}

/// The address to open on this computer.
fn own_url(listen: SocketAddr) -> String {
    if listen.ip().is_unspecified() {
        format!("http://127.0.0.1:{}", listen.port())
    } else {
        format!("http://{listen}")
    }
}

fn leptos_options(listen: SocketAddr) -> LeptosOptions {
    let folder = site::folder();
    if folder.is_none() {
        eprintln!("The site's files are missing; the pages work without them but look bare. Run `make build`.");
    }
    let root = folder.map_or_else(|| "target/site".into(), |f| f.to_string_lossy().into_owned());
    LeptosOptions::builder().output_name("knowlm").site_root(root).site_pkg_dir("pkg").site_addr(listen).build()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use clap::Parser;

    use super::*;
    use crate::cli::{Cli, Command};

    #[test]
    fn a_public_address_is_scheme_and_host() {
        assert_eq!(public_url("https://a.example/").unwrap(), ("https://a.example".into(), "a.example".into()));
        assert_eq!(public_url("http://[::1]:80").unwrap().1, "::1");
        for bad in ["a.example", "ftp://a.example", "https://a.example/path", ""] {
            assert!(public_url(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn whoever_opens_the_server_to_others_gets_logins() {
        let mode = |line: &str| {
            let cli = Cli::try_parse_from(format!("knowlm serve {line}").split_whitespace()).unwrap();
            let Command::Serve(args) = cli.command else { panic!("not serve") };
            auth_mode(&args, args.public_url.as_deref())
        };
        assert_eq!(mode("--listen 127.0.0.1:80").unwrap(), AuthMode::None);
        assert_eq!(mode("--listen 127.0.0.1:80 --public-url http://localhost:80").unwrap(), AuthMode::None);
        assert_eq!(mode("--listen 0.0.0.0:80").unwrap(), AuthMode::Login);
        assert_eq!(mode("--listen 127.0.0.1:80 --public-url https://a.example").unwrap(), AuthMode::Login);
        assert!(mode("--listen 0.0.0.0:80 --auth none").unwrap_err().to_string().contains("0.0.0.0:80"));
        let error = mode("--listen 127.0.0.1:80 --public-url https://a.example --auth none").unwrap_err();
        assert!(matches!(&error, CliError::Usage(said) if said.contains("https://a.example")), "{error}");
    }

    #[test]
    fn the_address_to_open_is_one_of_this_computer() {
        assert_eq!(own_url("0.0.0.0:80".parse().unwrap()), "http://127.0.0.1:80");
        assert_eq!(own_url("[::1]:81".parse().unwrap()), "http://[::1]:81");
    }

    #[test]
    fn a_port_in_use_is_told_with_a_way_out() {
        let error = std::io::Error::from(std::io::ErrorKind::AddrInUse);
        let sentence = cannot_listen("127.0.0.1:7860".parse().unwrap(), &error).to_string();
        assert_eq!(
            sentence,
            "port 7860 is in use; stop the other program, or choose another port with --listen 127.0.0.1:7861"
        );
    }
}

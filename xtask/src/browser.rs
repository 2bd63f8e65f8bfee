//! The half of the pages that runs in the browser: cargo for wasm32, wasm-bindgen, wasm-opt, and the
//! static files, all into `target/site`; then the server's binary.
//!
//! Cargo decides what must be compiled again. What follows it is skipped while its input, the module
//! that cargo left, is the same.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
    time::Instant,
};

use anyhow::{Context, Result, bail};
use wasm_bindgen_cli_support::Bindgen;

use crate::{
    files::{copy_folder, sha256, write_if_changed},
    process::{cargo, output, program, root, run, target_dir},
};

const TARGET: &str = "wasm32-unknown-unknown";
/// Name of the site's files; `.cargo/config.toml` tells Leptos the same at compile time.
const NAME: &str = "knowlm";

/// What the browsers we support can do. Named one by one: with all features on, wasm-opt writes
/// modules that browsers refuse.
const WASM_FEATURES: [&str; 7] = [
    "--enable-bulk-memory",
    "--enable-bulk-memory-opt",
    "--enable-nontrapping-float-to-int",
    "--enable-reference-types",
    "--enable-multivalue",
    "--enable-sign-ext",
    "--enable-mutable-globals",
];

/// Builds `target/site`.
///
/// # Errors
/// No toolchain can build for the browser, or a step fails.
pub fn build_site(dev: bool) -> Result<()> {
    let began = Instant::now();
    let root = root();
    let site = root.join("target/site");
    let toolchain = browser_toolchain()?;

    println!("browser half: compiling{}", named(toolchain.as_deref()));
    let (profile, folder) = if dev { ("dev", "debug") } else { ("wasm-release", "wasm-release") };
    let wasm_target = target_dir().join("wasm");
    run(browser_cargo("build", toolchain.as_deref(), &wasm_target).args([
        "--package",
        "app",
        "--lib",
        "--profile",
        profile,
        "--no-default-features",
        "--features",
        "hydrate",
    ]))?;

    let module = wasm_target.join(TARGET).join(folder).join("app.wasm");
    let optimiser = if dev { None } else { wasm_opt() };
    bind(&module, &site.join("pkg"), optimiser.as_deref())?;

    let style = root.join("style/main.css");
    if style.is_file() {
        let content = fs::read(&style).with_context(|| format!("could not read {}", style.display()))?;
        write_if_changed(&site.join("pkg").join(format!("{NAME}.css")), &content)?;
    }
    copy_folder(&root.join("public"), &site)?;
    compress(&site.join("pkg"))?;
    println!("browser half: ready in {} ({:.1} s)", relative(&site), began.elapsed().as_secs_f64());
    Ok(())
}

/// Writes a brotli form beside each file of the site's package, which the server sends to browsers that take it: at
/// the best quality, once, in place of a worse one at every request. What is newer than its file stays.
fn compress(pkg: &Path) -> Result<()> {
    for entry in fs::read_dir(pkg)? {
        let file = entry?.path();
        if !file.extension().is_some_and(|e| e == "js" || e == "wasm" || e == "css") {
            continue;
        }
        let mut small = file.clone().into_os_string();
        small.push(".br");
        let small = PathBuf::from(small);
        let changed = |path: &Path| fs::metadata(path).and_then(|m| m.modified()).ok();
        if changed(&small) >= changed(&file) {
            continue;
        }
        let content = fs::read(&file)?;
        let parameters = brotli::enc::BrotliEncoderParams { quality: 11, lgwin: 22, ..Default::default() };
        let mut out = Vec::new();
        brotli::BrotliCompress(&mut content.as_slice(), &mut out, &parameters)
            .with_context(|| format!("could not compress {}", file.display()))?;
        fs::write(&small, &out)?;
    }
    Ok(())
}

/// Builds `target/release/knowlm`.
///
/// # Errors
/// Cargo fails.
pub fn build_server() -> Result<()> {
    println!("server: compiling");
    run(cargo(None).args(["build", "--release", "--package", "server"]))?;
    println!("server: ready in {}", relative(&target_dir().join("release/knowlm")));
    Ok(())
}

/// Clippy for the browser's target, warnings denied.
///
/// # Errors
/// No toolchain can build for the browser, or there are warnings.
pub fn lint() -> Result<()> {
    let toolchain = browser_toolchain()?;
    let wasm_target = target_dir().join("wasm");
    let mut clippy = browser_cargo("clippy", toolchain.as_deref(), &wasm_target);
    clippy.args(["--package", "app", "--package", "extract", "--package", "protocol", "--lib"]).args([
        "--profile",
        "wasm-release",
        "--no-default-features",
        "--features",
        "app/hydrate",
        "--",
        "-D",
        "warnings",
    ]);
    println!("browser half: clippy{}", named(toolchain.as_deref()));
    run(&mut clippy)
}

/// Makes the JavaScript and the module that it loads, unless they were made from the same input.
fn bind(module: &Path, out: &Path, optimiser: Option<&Path>) -> Result<()> {
    let how = optimiser.map_or("plain", |_| "wasm-opt -Oz");
    let stamp = format!("{} {how} {}\n", sha256(module)?, env!("CARGO_PKG_VERSION"));
    let stamp_file = target_dir().join("wasm/site.stamp");
    let script = out.join(format!("{NAME}.js"));
    let wasm = out.join(format!("{NAME}.wasm"));
    if script.is_file() && wasm.is_file() && fs::read_to_string(&stamp_file).is_ok_and(|old| old == stamp) {
        return Ok(());
    }

    println!("browser half: making its JavaScript");
    // Made beside and put in place at the end: a server that is running goes on with the old files until then.
    let new = target_dir().join("wasm/site-new");
    let _ = fs::remove_dir_all(&new);
    let mut bindgen = Bindgen::new();
    bindgen.input_path(module).out_name(NAME);
    bindgen.web(true)?.typescript(false).remove_producers_section(true);
    bindgen.generate(&new).context("wasm-bindgen could not read the browser half")?;

    // Leptos loads `knowlm.wasm`, and tells the script so.
    let bound = new.join(format!("{NAME}_bg.wasm"));
    let finished = new.join(format!("{NAME}.wasm"));
    match optimiser {
        Some(wasm_opt) => {
            println!("browser half: wasm-opt -Oz");
            run(program(wasm_opt).arg("-Oz").args(WASM_FEATURES).arg(&bound).arg("-o").arg(&finished))?;
            fs::remove_file(&bound).with_context(|| format!("could not remove {}", bound.display()))?;
        }
        None => {
            println!("browser half: not optimised further (npm's binaryen is not installed, or a development build)");
            fs::rename(&bound, &finished).with_context(|| format!("could not rename {}", bound.display()))?;
        }
    }
    // Not copied over the old folder: inlined scripts have names that change, and old ones must not stay.
    let style = out.join(format!("{NAME}.css"));
    if style.is_file() {
        let kept = new.join(format!("{NAME}.css"));
        fs::copy(&style, &kept).with_context(|| format!("could not write {}", kept.display()))?;
    }
    let _ = fs::remove_dir_all(out);
    if let Some(site) = out.parent() {
        fs::create_dir_all(site).with_context(|| format!("could not make the folder {}", site.display()))?;
    }
    fs::rename(&new, out).with_context(|| format!("could not write {}", out.display()))?;
    let size = fs::metadata(&wasm).map_or(0, |m| m.len());
    println!("browser half: {} kB of wasm", size / 1000);
    write_if_changed(&stamp_file, stamp.as_bytes())?;
    Ok(())
}

fn browser_cargo(command: &str, toolchain: Option<&str>, target_dir: &Path) -> Command {
    let mut cargo = cargo(toolchain);
    cargo.args([command, "--target", TARGET, "--target-dir"]).arg(target_dir);
    cargo
}

/// The toolchain that builds for the browser: the default one (`None`) if it has the target, else
/// Debian's, as `scripts/setup.sh` leaves it. `KNOWLM_WASM_TOOLCHAIN` chooses another.
fn browser_toolchain() -> Result<Option<String>> {
    if let Ok(chosen) = env::var("KNOWLM_WASM_TOOLCHAIN") {
        return Ok(Some(chosen));
    }
    if has_browser_target(None) {
        return Ok(None);
    }
    let debian = "debian";
    if has_browser_target(Some(debian)) {
        return Ok(Some(debian.into()));
    }
    bail!("no Rust toolchain here can build for the browser ({TARGET}): run scripts/setup.sh, which adds it")
}

fn has_browser_target(toolchain: Option<&str>) -> bool {
    let mut rustc = program("rustc");
    if let Some(toolchain) = toolchain {
        rustc.env("RUSTUP_TOOLCHAIN", toolchain);
    }
    let folder = output(rustc.args(["--print", "target-libdir", "--target", TARGET]));
    folder.and_then(|folder| fs::read_dir(folder).ok()).is_some_and(|mut entries| {
        entries.any(|e| e.is_ok_and(|e| e.file_name().to_string_lossy().starts_with("libstd-")))
    })
}

fn wasm_opt() -> Option<PathBuf> {
    let path = root().join("tests/node_modules/.bin/wasm-opt");
    path.is_file().then_some(path)
}

fn named(toolchain: Option<&str>) -> String {
    toolchain.map(|t| format!(" (toolchain {t})")).unwrap_or_default()
}

fn relative(path: &Path) -> String {
    path.strip_prefix(root()).unwrap_or(path).display().to_string()
}

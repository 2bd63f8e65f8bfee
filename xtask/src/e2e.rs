//! The browser tests, and the speed of this machine: both call the built binary.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::process::{on_path, output, program, root, run, target_dir};

/// Runs the tests of `tests/` against the built binary.
///
/// # Errors
/// Something they need is missing and cannot be fetched, or a test fails.
pub fn run_tests(filter: &[String]) -> Result<()> {
    let binary = built()?;
    ensure_browser()?;
    if !root().join("tests/node_modules/playwright-core").is_dir() {
        run(program("npm").args(["ci", "--prefix", "tests", "--no-audit", "--no-fund"]))
            .context("the browser tests need the npm packages named in tests/package-lock.json")?;
    }
    run(program("node").arg("tests/run.mjs").args(filter).env("KNOWLM_BINARY", binary))
}

/// The binary.
///
/// # Errors
/// It is not built.
pub fn built() -> Result<PathBuf> {
    let binary = target_dir().join("release/knowlm");
    if !binary.is_file() {
        bail!("{} is not there: run `make build` first", binary.display());
    }
    Ok(binary)
}

/// Chromium, from the system's packages where we may install them. `CHROMIUM` names another one.
fn ensure_browser() -> Result<()> {
    if let Some(path) = std::env::var_os("CHROMIUM") {
        if !Path::new(&path).is_file() {
            bail!("CHROMIUM names {}, which is no file", Path::new(&path).display());
        }
        return Ok(());
    }
    if on_path("chromium") || Path::new("/usr/bin/chromium").is_file() {
        return Ok(());
    }
    let may_install = on_path("apt-get") && output(program("id").arg("-u")).is_some_and(|id| id == "0");
    if !may_install {
        bail!(
            "the browser tests need Chromium: install it (Debian: `apt-get install chromium fonts-noto-cjk`), \
             or name a Chrome or Chromium in the environment variable CHROMIUM"
        );
    }
    println!("tests: installing Chromium");
    let apt = || {
        let mut command = program("apt-get");
        command.env("DEBIAN_FRONTEND", "noninteractive").arg("-qq");
        command
    };
    run(apt().arg("update"))?;
    // With Chinese letters, for the screenshots.
    run(apt().args(["install", "-y", "--no-install-recommends", "chromium", "fonts-noto-cjk"]))
        .context("could not install Chromium for the browser tests")
}

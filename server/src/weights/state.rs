//! What a set-up is to do and has done, kept in its folder.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

/// Its name in the folder.
const FILE: &str = "knowlm-setup.json";
/// No state is larger.
const MAX: u64 = 1 << 20;

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// The folder of the original weights.
    pub raw: String,
    /// A folder, or a published name.
    pub diff: String,
    /// A folder, a published name, or `none`.
    pub adapter: String,
    /// Whether the adapter is merged.
    pub merge: bool,
    /// What numbers of a GGUF file are stored as, where one is wanted.
    pub gguf: Option<String>,
}

/// A plan and how far it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    version: u32,
    /// What is to be done.
    pub plan: Plan,
    done: Vec<String>,
}

impl State {
    /// Of a plan of which nothing is done.
    pub fn new(plan: Plan) -> Self {
        Self { version: 1, plan, done: vec![] }
    }

    /// What a folder was begun with; an error is a sentence.
    pub fn load(folder: &Path) -> Result<Option<Self>, String> {
        let path = path(folder);
        let wrong = |reason: String| {
            format!(
                "{} cannot be used: {reason}; remove it to begin again (files that are whole are kept)",
                path.display()
            )
        };
        match fs::metadata(&path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(wrong(e.to_string())),
            Ok(meta) if meta.len() > MAX => return Err(wrong("it is too large".into())),
            Ok(_) => {}
        }
        let bytes = fs::read(&path).map_err(|e| wrong(e.to_string()))?;
        let state: Self = serde_json::from_slice(&bytes).map_err(|e| wrong(e.to_string()))?;
        if state.version != 1 {
            return Err(wrong("another version of this program wrote it".into()));
        }
        Ok(Some(state))
    }

    /// Keeps it.
    pub fn save(&self, folder: &Path) -> Result<(), String> {
        let path = path(folder);
        let temporary = temporary(folder);
        let json = serde_json::to_vec_pretty(self).map_err(|e| e.to_string())?;
        fs::write(&temporary, json)
            .and_then(|()| fs::rename(&temporary, &path))
            .map_err(|e| format!("{} cannot be written: {e}", path.display()))
    }

    /// Whether a step is done.
    pub fn is_done(&self, step: &str) -> bool {
        self.done.iter().any(|done| done == step)
    }

    /// Says that a step is done.
    pub fn done(&mut self, step: &str) {
        if !self.is_done(step) {
            self.done.push(step.into());
        }
    }
}

/// Whether a set-up was begun in a folder.
pub fn is_road(folder: &Path) -> bool {
    path(folder).is_file()
}

/// Takes the state away: the folder is none of a set-up any more.
///
/// # Errors
/// It cannot be removed.
pub fn forget(folder: &Path) -> io::Result<()> {
    let _ = fs::remove_file(temporary(folder));
    fs::remove_file(path(folder))
}

fn path(folder: &Path) -> PathBuf {
    folder.join(FILE)
}

/// Where it is until it is whole.
fn temporary(folder: &Path) -> PathBuf {
    path(folder).with_extension("json.new")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_state_is_what_was_kept_or_says_what_is_wrong() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(State::load(dir.path()).unwrap(), None);
        let plan = Plan { raw: "a".into(), diff: "b".into(), adapter: "none".into(), merge: false, gguf: None };
        let mut state = State::new(plan);
        state.done("raw");
        state.save(dir.path()).unwrap();
        let back = State::load(dir.path()).unwrap().unwrap();
        assert!(back == state && back.is_done("raw") && !back.is_done("diff"));
        for bad in ["", "{}", "[1]", r#"{"version": 2}"#] {
            fs::write(path(dir.path()), bad).unwrap();
            assert!(State::load(dir.path()).unwrap_err().contains("remove it to begin again"), "{bad}");
        }
    }
}

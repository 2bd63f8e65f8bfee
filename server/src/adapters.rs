//! Adapters that lie where they are sought; and loading and unloading them while the server runs.
//!
//! Nobody names a path from afar: only folders that are found here, by their names.

use std::path::{Path, PathBuf};

use app::services::{Owner, ServiceError};
use checkpoint::{adapter, find};
use engine::EngineError;
use protocol::{AdminView, FoundAdapter, Language, Sentence};

use crate::{auth::FIRST_OWNER, services::Studio};

/// The most folders that are listed.
const MOST: usize = 200;

/// Where adapters are sought.
#[derive(Clone, Debug, Default)]
pub struct AdapterFolders(Vec<PathBuf>);

impl AdapterFolders {
    /// Below the data folder, the platform's own, and what is shipped.
    pub fn of(data_dir: &Path) -> Self {
        let mut places: Vec<PathBuf> = [Some(data_dir.to_owned()), find::platform_data_dir(), find::assets_dir()]
            .into_iter()
            .flatten()
            .map(|place| place.join("adapters"))
            .collect();
        places.dedup();
        Self(places)
    }

    /// Names and folders, by name; of several with one name the first that is sought.
    fn found(&self) -> Vec<(String, PathBuf)> {
        let mut found: Vec<(String, PathBuf)> = Vec::new();
        for place in &self.0 {
            let Ok(entries) = std::fs::read_dir(place) else { continue };
            for folder in entries.flatten().map(|entry| entry.path()).filter(|path| adapter::is_adapter(path)) {
                let name = folder.file_name().and_then(|name| name.to_str()).map(str::to_owned);
                // Names that could not be typed after --adapter are left out.
                if let Some(name) = name.filter(|n| !n.contains(['=', ',']) && found.iter().all(|f| f.0 != *n)) {
                    found.push((name, folder));
                }
            }
        }
        found.sort();
        found.truncate(MOST);
        found
    }
}

/// What the page of the model shows.
///
/// # Errors
/// The asker is not the owner.
pub async fn view(studio: &Studio, owner: Owner) -> Result<AdminView, ServiceError> {
    for_the_owner(owner)?;
    let generator = studio.pool.generator();
    let (model, status, folders) = (generator.model(), generator.status(), studio.adapter_folders.clone());
    let folders = in_background(move || Ok(folders.found())).await?;
    let found = folders.into_iter().map(|(name, folder)| FoundAdapter {
        loaded: status.adapters.iter().any(|a| a.info.name == name),
        base: adapter::read_manifest(&folder).map(|m| m.base_model).unwrap_or_default(),
        name,
    });
    Ok(AdminView { found: found.collect(), model, status })
}

/// Loads an adapter that was found.
///
/// # Errors
/// The asker is not the owner, there is no such folder, or the adapter cannot be used with this base.
pub async fn load(studio: &Studio, owner: Owner, name: &str) -> Result<(), ServiceError> {
    for_the_owner(owner)?;
    let (generator, folders, name) =
        (std::sync::Arc::clone(studio.pool.generator()), studio.adapter_folders.clone(), name.to_owned());
    in_background(move || {
        let (name, folder) = folders.found().into_iter().find(|(found, _)| *found == name).ok_or_else(|| {
            ServiceError::NotFound(Sentence::new(
                format!(
                    "There is no folder of an adapter \"{name}\" any more. Load the page again to see what there is."
                ),
                format!("已没有名为“{name}”的适配器文件夹。请刷新页面查看现有的适配器。"),
            ))
        })?;
        generator.load_adapter(&name, &folder).map(|_| ()).map_err(|error| refused(&error))
    })
    .await
}

/// Takes an adapter out of use.
///
/// # Errors
/// The asker is not the owner, or there is none of this name.
pub async fn unload(studio: &Studio, owner: Owner, name: &str) -> Result<(), ServiceError> {
    for_the_owner(owner)?;
    studio.pool.generator().unload_adapter(name).map_err(|error| refused(&error))
}

/// Lets nobody else in.
///
/// # Errors
/// The asker is not the owner.
pub fn for_the_owner(owner: Owner) -> Result<(), ServiceError> {
    if owner == FIRST_OWNER {
        return Ok(());
    }
    Err(ServiceError::invalid(
        "Only the owner of this studio sees and changes the model and its adapters. Ask them to do it.",
        "只有本工作室的所有者可以查看和更改模型及其适配器，请联系所有者。",
    ))
}

fn refused(error: &EngineError) -> ServiceError {
    let zh = match error {
        EngineError::NameTaken(name) => format!("已加载名为“{name}”的适配器。"),
        EngineError::NoSuchAdapter(name) => format!("没有加载名为“{name}”的适配器。"),
        EngineError::FixedAdapters => "不能在此更改该模型的适配器。".into(),
        error => format!("无法加载该适配器：{error}"),
    };
    ServiceError::Invalid(Sentence::new(error.to_string(), zh))
}

async fn in_background<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ServiceError> + Send + 'static,
) -> Result<T, ServiceError> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| {
        tracing::error!(%error, "adapters could not be looked at");
        let sentence = |language: Language| {
            language.pick("The server could not do this; its log says why.", "服务器未能完成，原因见服务器日志。")
        };
        Err(ServiceError::Internal(Sentence::new(sentence(Language::En), sentence(Language::Zh))))
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn adapters_are_found_by_the_names_of_their_folders() {
        let data = tempfile::tempdir().unwrap();
        let make = |name: &str| {
            let folder = data.path().join("adapters").join(name);
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(folder.join("adapter_config.json"), r#"{"r": 4, "lora_alpha": 8}"#).unwrap();
        };
        make("mine");
        make("ie-smollm2");
        make("a=b");
        std::fs::create_dir(data.path().join("adapters/empty")).unwrap();
        let found = AdapterFolders::of(data.path()).found();
        let names: Vec<&str> = found.iter().map(|(name, _)| name.as_str()).collect();
        assert!(names.contains(&"mine") && !names.contains(&"empty") && !names.contains(&"a=b"), "{names:?}");
        let shadowed = found.iter().find(|(name, _)| name == "ie-smollm2").unwrap();
        assert!(shadowed.1.starts_with(data.path()), "the data folder comes before what is shipped");
    }

    #[test]
    fn others_than_the_owner_are_told_whom_to_ask() {
        assert!(for_the_owner(FIRST_OWNER).is_ok());
        assert!(for_the_owner(Owner(2)).unwrap_err().to_string().contains("Only the owner"));
    }
}

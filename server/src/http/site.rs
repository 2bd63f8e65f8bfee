//! Where the built site lies: stylesheet, the browser half, icons.

use std::path::{Path, PathBuf};

/// Below the site's folder: what the build makes.
const STYLESHEET: &str = "pkg/knowlm.css";

/// The site's folder: beside the program, in the source tree that the program or the working directory lies in, or in
/// the tree it was built from. `None` when it has not been built.
pub fn folder() -> Option<PathBuf> {
    let program = std::env::current_exe().ok();
    let working = std::env::current_dir().ok();
    let built = Path::new(env!("CARGO_MANIFEST_DIR")).to_owned();
    let starts = program.into_iter().chain(working).chain([built]);
    let places = starts
        .flat_map(|start| start.ancestors().flat_map(|a| [a.join("site"), a.join("target/site")]).collect::<Vec<_>>());
    places.into_iter().find(|place| place.join(STYLESHEET).is_file())
}

/// The stylesheet, for files that carry it inside; empty when the site has not been built.
pub fn stylesheet(site: &str) -> String {
    std::fs::read_to_string(Path::new(site).join(STYLESHEET)).unwrap_or_default()
}

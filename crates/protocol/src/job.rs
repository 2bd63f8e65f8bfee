//! Work on model files as the page shows it: asked for, waiting, on its way, done.

mod outcome;
mod request;
mod view;

pub use outcome::*;
pub use request::*;
pub use view::*;

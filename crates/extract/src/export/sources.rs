//! What nodes and edges of a graph come from: models, schemas and runs, by the places that they have.

use std::collections::{BTreeSet, HashMap};

use super::{Document, Layer};
use crate::graph::{Origin, Place};

/// The layers of some documents, looked up by place.
pub(super) struct Sources<'a> {
    layers: HashMap<(&'a str, Origin), &'a Layer>,
}

impl<'a> Sources<'a> {
    pub(super) fn of(documents: &'a [Document]) -> Self {
        let all = documents.iter().flat_map(|d| d.layers.iter().map(|layer| ((d.id.as_str(), layer.origin), layer)));
        Self { layers: all.collect() }
    }

    /// Who found what has this place; nobody found what people added.
    pub(super) fn layer(&self, place: &Place) -> Option<&'a Layer> {
        self.layers.get(&(place.document.as_str(), place.origin)).copied().filter(|_| place.record.is_some())
    }

    /// The run that found it.
    pub(super) fn run(&self, place: &Place) -> Option<&'a str> {
        self.layer(place)?.run(place.record?)
    }

    /// Model, adapter and schema of all places in words, each once.
    pub(super) fn made_by(&self, places: &[Place]) -> String {
        let made = |place: &Place| Some(self.layer(place)?.made_by.as_ref()?.title());
        places.iter().filter_map(made).collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>().join("; ")
    }

    /// The runs of all places, each once.
    pub(super) fn runs(&self, places: &[Place]) -> String {
        let runs: BTreeSet<&str> = places.iter().filter_map(|place| self.run(place)).collect();
        runs.into_iter().collect::<Vec<_>>().join("; ")
    }
}

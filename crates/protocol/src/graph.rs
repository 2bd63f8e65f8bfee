//! What people change of the graph of a session's texts.

use serde::{Deserialize, Serialize};

/// What people changed about the nodes of a graph.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Edits {
    /// Nodes that are the same thing.
    pub same: Vec<Same>,
    /// Ids of nodes that are not one thing: each text's mentions become a node of their own.
    pub apart: Vec<String>,
}

/// One node is another name of a second one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Same {
    /// Id of the node that goes into the other.
    pub alias: String,
    /// Id of the node that stays, with its name and type.
    pub into: String,
}

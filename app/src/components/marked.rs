//! A text with the records found in it marked.

use std::collections::HashSet;

use extract::marks::marks;
use leptos::prelude::*;
use protocol::{
    Record, Span,
    record::{Certainty, Mention},
};

use super::{
    arcs::{self, Arcs, Drawn},
    judge_keys::{Judging, Row, tick, verdict_class},
    records::is_nearly,
};
use crate::{
    i18n::{t, t_string, use_i18n},
    prefs::fill,
};

pub use extract::graph::Origin;

/// The class of the line style that says who says so.
pub fn origin_class(origins: &[Origin]) -> String {
    origins.iter().map(|o| format!("o-{}", o.name())).collect::<Vec<_>>().join(" ")
}

/// The schema's lists of names, by which colours are given: [`extract::Schema::names`].
pub type Names = Vec<Vec<String>>;

/// The colour class of a type, relation or role; none of the colours for a name without type.
pub fn color_class(label: &str, names: &Names) -> String {
    if label.is_empty() {
        return "c-none".into();
    }
    format!("c{}", extract::color::color_of(label, names))
}

/// More layers than this on the same words are drawn on top of each other.
const MAX_DEPTH: usize = 4;

/// A record over a piece of the text.
#[derive(Clone, Debug, PartialEq)]
struct Layer {
    /// Index of its row.
    row: usize,
    label: String,
    /// Whether its words end here: the label stands behind them.
    ends: bool,
    /// Whether the record begins to be shown here: keys stop here.
    first: bool,
}

/// A piece of the text, covered by the same records.
#[derive(Clone, Debug, PartialEq)]
struct Piece {
    text: String,
    start: usize,
    /// The outermost first.
    layers: Vec<Layer>,
}

/// Words that an entity or an event has already marked are not marked again for a relation, nor twice for two of them.
fn drawn(rows: &[Row]) -> Vec<Record> {
    let spans = |r: &Row| r.record.mentions().into_iter().filter_map(|(_, m)| m.span).collect::<Vec<Span>>();
    let relation = |r: &&Row| matches!(r.record, Record::Relation { .. });
    let mut taken: HashSet<Span> = rows.iter().filter(|r| !relation(r)).flat_map(spans).collect();
    let mut records = Vec::new();
    for row in rows {
        let mut record = row.record.clone();
        if relation(&row) {
            for mention in record.mentions_mut() {
                if mention.span.is_some_and(|span| !taken.insert(span)) {
                    mention.span = None;
                }
            }
        }
        records.push(record);
    }
    records
}

fn pieces(source: &str, rows: &[Row]) -> Vec<Piece> {
    let segments = marks(source, &drawn(rows));
    let covers = |index: usize, record: usize, label: &str| {
        segments.get(index).is_some_and(|s| s.marks.iter().any(|m| m.record == record && m.label == label))
    };
    let mut seen = HashSet::new();
    let mut pieces = Vec::with_capacity(segments.len());
    for (index, segment) in segments.iter().enumerate() {
        let mut layers: Vec<Layer> = Vec::new();
        for mark in &segment.marks {
            if layers.iter().any(|l| l.row == mark.record && l.label == mark.label) {
                continue;
            }
            layers.push(Layer {
                row: mark.record,
                label: mark.label.clone(),
                ends: !covers(index + 1, mark.record, &mark.label),
                first: seen.insert(mark.record),
            });
        }
        pieces.push(Piece { text: segment.text.clone(), start: segment.start, layers });
    }
    pieces
}

/// The text; each marked stretch in the colour of its type and the line style of its origin. Relations are drawn as
/// arcs over it where that can be read.
#[component]
pub fn MarkedText(
    judging: Judging,
    /// Shows the graph of the text, where that is another view.
    to_graph: Option<Callback<()>>,
) -> impl IntoView {
    let container = NodeRef::<leptos::html::Div>::new();
    let pieces = Memo::new(move |_| judging.layers.with(|rows| pieces(&judging.text(), rows)));
    let relations = Memo::new(move |_| judging.layers.with(|rows| arcs::drawn(&judging.text(), rows)));
    let fits = move || relations.get() == Drawn::Arcs;
    view! {
        <div class="marked-box" data-view="text" node_ref=container>
            <p class="marked" class:with-arcs=fits data-testid="marked">
                {move || {
                    let names = judging.names();
                    judging.layers.with(|rows| {
                        pieces.get().into_iter().map(|p| piece(p, rows, &names, judging)).collect_view()
                    })
                }}
            </p>
            <Show when=fits><Arcs judging container/></Show>
            <Show when=move || relations.get() == Drawn::TooMany><NoArcs to_graph/></Show>
        </div>
    }
}

/// Says why the relations of a text are not drawn over it, with the way to the graph where there is one.
#[component]
fn NoArcs(to_graph: Option<Callback<()>>) -> impl IntoView {
    let i18n = use_i18n();
    let why = move || fill(t_string!(i18n, arcs_too_many), &[("arcs", &arcs::MAX_ARCS), ("chars", &arcs::MAX_CHARS)]);
    view! {
        <p class="help" data-testid="no-arcs">
            {why} " "
            {to_graph.map(|show| view! {
                <button type="button" class="link" data-testid="to-graph" on:click=move |_| show.run(())>{t!(i18n, arcs_to_graph)}</button>
            })}
        </p>
    }
}

/// Whether the words around a place are what is doubtful of a record.
fn hesitated(record: &Record, label: &str, at: usize) -> bool {
    let doubtful = |m: &Mention| m.certainty == Certainty::Check || is_nearly(m);
    let here = |m: &Mention| m.span.is_some_and(|span| (span.start..span.end).contains(&at));
    record.mentions().into_iter().any(|(name, m)| name == label && here(m) && doubtful(m))
}

fn piece(piece: Piece, rows: &[Row], names: &Names, judging: Judging) -> AnyView {
    let i18n = use_i18n();
    let Piece { text, start, layers } = piece;
    let mut view = text.into_any();
    for (from_inside, layer) in layers.iter().rev().enumerate() {
        let Some(row) = rows.get(layer.row) else { continue };
        let color = color_class(&layer.label, names);
        // An arc has the name of its relation: its ends need not say it again.
        let kind = if matches!(row.record, Record::Relation { .. }) { " end" } else { "" };
        let class = format!("{color} {} d{}{kind}", origin_class(&row.origins), from_inside.min(MAX_DEPTH));
        let outermost = from_inside + 1 == layers.len();
        let (tag, key) = (StoredValue::new(row.tag.clone()), StoredValue::new(row.key.clone()));
        let verdict = move || key.with_value(|k| judging.verdict(k));
        let doubtful = row.certainty() == Certainty::Check && hesitated(&row.record, &layer.label, start);
        let mark = move || match verdict() {
            None if doubtful => "?",
            verdict => tick(verdict),
        };
        let label = layer.ends.then(|| layer.label.clone());
        let label = move || label.as_ref().map(|label| format!("{label} {}", mark()).trim_end().to_owned());
        let name = layer.label.clone();
        let title = move || if doubtful { format!("{name}: {}", t_string!(i18n, unsure)) } else { name.clone() };
        view = view! {
            <mark
                class=class data-record=row.tag.clone() data-label=label title=title data-certainty=doubtful.then_some("check")
                data-verdict=move || verdict().map(|v| verdict_class(Some(v)))
                data-testid=outermost.then_some("entity") data-at=outermost.then_some(start)
                class:lit=move || tag.with_value(|t| judging.is_lit(t))
                tabindex=layer.first.then_some(move || tag.with_value(|t| judging.tab_index(t)))
            >{view}</mark>
        }
        .into_any();
    }
    view
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mention(text: &str, start: usize) -> Mention {
        Mention::at(text, Span { start, end: start + text.chars().count() })
    }

    fn entity(label: &str, text: &str, start: usize) -> Row {
        Row::new(Record::Entity { label: label.into(), mention: mention(text, start) }, vec![Origin::Tuned])
    }

    /// Pieces as `text[label…]`, a label in capitals where its words end, and `*` where keys stop.
    fn shown(source: &str, rows: &[Row]) -> String {
        let layer = |l: &Layer| {
            let label = if l.ends { l.label.to_uppercase() } else { l.label.clone() };
            format!("{label}{}", if l.first { "*" } else { "" })
        };
        let one = |p: &Piece| {
            if p.layers.is_empty() {
                p.text.clone()
            } else {
                format!("{}[{}]", p.text, p.layers.iter().map(layer).collect::<Vec<_>>().join(" "))
            }
        };
        pieces(source, rows).iter().map(one).collect::<Vec<_>>().join("|")
    }

    #[test]
    fn a_label_stands_once_where_the_words_of_its_record_end() {
        let rows = [entity("loc", "New York", 0), entity("org", "New York University", 0)];
        assert_eq!(shown("New York University", &rows), "New York[org* LOC*]| University[ORG]");
        assert_eq!(shown("plain", &[]), "plain");
    }

    #[test]
    fn a_relation_marks_only_words_that_nothing_else_marks() {
        let relation =
            Record::Relation { relation: "founder".into(), head: mention("Acme", 12), tail: mention("Ann", 0) };
        let relation = Row::new(relation, vec![Origin::Tuned]);
        let rows = [entity("person", "Ann", 0), relation.clone(), relation];
        assert_eq!(shown("Ann founded Acme.", &rows), "Ann[PERSON*]| founded |Acme[FOUNDER*]|.");
    }
}

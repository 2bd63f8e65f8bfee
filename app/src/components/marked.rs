//! A text with the records found in it marked.

use extract::marks::{Segment, marks};
use leptos::prelude::*;
use protocol::{Column, Record, SchemaChoice};

/// The line style of a mark: who says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    Base,
    Tuned,
    You,
}

impl Origin {
    pub fn class(self) -> &'static str {
        match self {
            Self::Base => "o-base",
            Self::Tuned => "o-tuned",
            Self::You => "o-you",
        }
    }
}

impl From<Column> for Origin {
    fn from(column: Column) -> Self {
        match column {
            Column::Base => Self::Base,
            Column::Tuned => Self::Tuned,
        }
    }
}

/// The colour class of a type or role.
pub fn color_class(label: &str, schema: Option<&SchemaChoice>) -> String {
    let empty = Vec::new();
    let names = schema.map_or(&empty, |s| if s.roles.iter().any(|r| r == label) { &s.roles } else { &s.types });
    format!("c{}", extract::label_color(label, names))
}

/// The text; each marked stretch in the colour of its type and the line style of its origin.
#[component]
pub fn MarkedText(
    #[prop(into)] source: Signal<String>,
    #[prop(into)] records: Signal<Vec<Record>>,
    schema: Option<SchemaChoice>,
    origin: Origin,
) -> impl IntoView {
    let segments = Memo::new(move |_| source.with(|text| records.with(|r| marks(text, r))));
    view! {
        <p class="marked">
            {move || segments.get().into_iter().map(|s| segment(s, schema.as_ref(), origin)).collect_view()}
        </p>
    }
}

fn segment(segment: Segment, schema: Option<&SchemaChoice>, origin: Origin) -> AnyView {
    let Some(innermost) = segment.marks.last() else {
        return segment.text.into_any();
    };
    let mut labels: Vec<&str> = Vec::new();
    for mark in &segment.marks {
        if !labels.contains(&mark.label.as_str()) {
            labels.push(&mark.label);
        }
    }
    let labels = labels.join(" · ");
    let class = format!("{} {}", color_class(&innermost.label, schema), origin.class());
    view! { <mark class=class data-testid="entity" data-label=labels.clone() title=labels>{segment.text}</mark> }
        .into_any()
}

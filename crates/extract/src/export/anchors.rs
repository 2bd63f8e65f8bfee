//! Records as annotation tools see them: labelled stretches of the text, and links between these.

use protocol::{Record, Span, Verdict, record::Mention};

use super::{Document, rows};

/// A labelled stretch of the text.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Anchor {
    pub(super) span: Span,
    pub(super) label: String,
    pub(super) verdict: Option<Verdict>,
    /// Made for the end of a link: no record of its own.
    pub(super) helper: bool,
}

/// A relation between two stretches.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Link {
    pub(super) from: usize,
    pub(super) to: usize,
    pub(super) label: String,
    pub(super) verdict: Option<Verdict>,
}

/// An event: its trigger, and stretches in roles.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Happening {
    pub(super) trigger: usize,
    pub(super) label: String,
    pub(super) arguments: Vec<(String, usize)>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Anchored {
    pub(super) anchors: Vec<Anchor>,
    pub(super) links: Vec<Link>,
    pub(super) events: Vec<Happening>,
}

/// What stands in the text, without what was judged wrong: that is no annotation.
pub(super) fn anchored(document: &Document) -> Anchored {
    let rows = rows(document);
    let length = document.text.chars().count();
    let fits = |m: &Mention| m.span.filter(|s| s.start < s.end && s.end <= length);
    let good = |verdict| !matches!(verdict, Some(Verdict::Wrong | Verdict::Corrected));
    let mut out = Anchored::default();
    // Entities first, so that relations and arguments find them.
    for row in rows.iter().filter(|r| good(r.verdict)) {
        if let Record::Entity { label, mention } = &row.record
            && let Some(span) = fits(mention)
        {
            out.anchors.push(Anchor { span, label: label.clone(), verdict: row.verdict, helper: false });
        }
    }
    for row in rows.iter().filter(|r| good(r.verdict)) {
        match &row.record {
            Record::Entity { .. } => {}
            Record::Relation { relation, head, tail } => {
                if let (Some(head), Some(tail)) = (fits(head), fits(tail)) {
                    let (from, to) = (out.end(head, "mention"), out.end(tail, "mention"));
                    out.links.push(Link { from, to, label: relation.clone(), verdict: row.verdict });
                }
            }
            Record::Event { label, trigger, arguments } => {
                let Some(span) = fits(trigger) else { continue };
                let trigger = out.anchors.len();
                out.anchors.push(Anchor { span, label: label.clone(), verdict: row.verdict, helper: false });
                let mut placed = Vec::new();
                for argument in arguments {
                    if let Some(span) = fits(&argument.mention) {
                        placed.push((argument.role.clone(), out.end(span, &argument.role)));
                    }
                }
                out.events.push(Happening { trigger, label: label.clone(), arguments: placed });
            }
        }
    }
    out
}

impl Anchored {
    /// The stretch at a place that an entity has, or a new one.
    fn end(&mut self, span: Span, label: &str) -> usize {
        let triggers: Vec<usize> = self.events.iter().map(|e| e.trigger).collect();
        let known = self.anchors.iter().enumerate().position(|(i, a)| a.span == span && !triggers.contains(&i));
        known.unwrap_or_else(|| {
            self.anchors.push(Anchor { span, label: label.to_owned(), verdict: None, helper: true });
            self.anchors.len() - 1
        })
    }
}

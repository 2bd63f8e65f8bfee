//! Where the records stand in the text, cut into pieces that a page can draw one after the other.

use protocol::Record;

/// A record that covers a segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    /// What the words are coloured by: entity type, relation name, event type (of a trigger) or role (of an argument).
    pub label: String,
    /// Index of the record.
    pub record: usize,
}

/// A piece of the text, covered by the same records from its first to its last code point.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Its words.
    pub text: String,
    /// Where it begins in the text, in code points.
    pub start: usize,
    /// What covers it, the outermost first; empty for plain text.
    pub marks: Vec<Mark>,
}

struct Range<'a> {
    start: usize,
    end: usize,
    label: &'a str,
    record: usize,
}

/// Cuts `source` where a mention of a record begins or ends. The segments' texts, one after the other, are `source`.
/// Mentions without span and spans outside the text are left out.
pub fn marks(source: &str, records: &[Record]) -> Vec<Segment> {
    let length = source.chars().count();
    let mut ranges = Vec::new();
    for (record, found) in records.iter().enumerate() {
        for (label, mention) in found.mentions() {
            let Some(span) = mention.span else { continue };
            let same = |r: &Range| (r.start, r.end, r.label, r.record) == (span.start, span.end, label, record);
            if span.start < span.end && span.end <= length && !ranges.iter().rev().take(32).any(same) {
                ranges.push(Range { start: span.start, end: span.end, label, record });
            }
        }
    }
    ranges.sort_by_key(|r| (r.start, usize::MAX - r.end, r.record));

    let mut cuts: Vec<usize> = ranges.iter().flat_map(|r| [r.start, r.end]).chain([length]).collect();
    cuts.sort_unstable();
    cuts.dedup();

    let mut segments = Vec::new();
    let mut chars = source.chars();
    let mut coming = ranges.into_iter().peekable();
    let mut active: Vec<Range> = Vec::new();
    let mut start = 0;
    for end in cuts {
        active.retain(|r| r.end > start);
        while let Some(range) = coming.next_if(|r| r.start <= start) {
            active.push(range);
        }
        let text: String = chars.by_ref().take(end - start).collect();
        if !text.is_empty() {
            let marks = active.iter().map(|r| Mark { label: r.label.to_owned(), record: r.record }).collect();
            segments.push(Segment { text, start, marks });
        }
        start = end;
    }
    segments
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::{Span, record::Mention};

    fn entity(label: &str, start: usize, end: usize) -> Record {
        Record::Entity { label: label.into(), mention: Mention::at("…", Span { start, end }) }
    }

    /// Segments as `text[label record,…]`.
    fn drawn(source: &str, records: &[Record]) -> String {
        let labels =
            |s: &Segment| s.marks.iter().map(|m| format!("{}{}", m.label, m.record)).collect::<Vec<_>>().join(",");
        marks(source, records)
            .iter()
            .map(|s| if s.marks.is_empty() { s.text.clone() } else { format!("{}[{}]", s.text, labels(s)) })
            .collect::<Vec<_>>()
            .join("|")
    }

    #[test]
    fn a_segment_lists_everything_that_covers_it_outermost_first() {
        for (source, records, expected) in [
            ("", vec![], ""),
            ("plain", vec![], "plain"),
            ("Ada met Bob", vec![entity("p", 0, 3), entity("p", 8, 11)], "Ada[p0]| met |Bob[p1]"),
            (
                "New York University",
                vec![entity("loc", 0, 8), entity("org", 0, 19)],
                "New York[org1,loc0]| University[org1]",
            ),
            ("abcdef", vec![entity("x", 0, 4), entity("y", 2, 6)], "ab[x0]|cd[x0,y1]|ef[y1]"),
            ("机构在🙂中国", vec![entity("机构", 3, 6)], "机构在|🙂中国[机构0]"),
            ("short", vec![entity("x", 2, 99), entity("y", 3, 3)], "short"),
        ] {
            assert_eq!(drawn(source, &records), expected);
        }
    }
}

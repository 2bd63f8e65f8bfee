//! What a session's columns are worth: their records against what people said of the texts.

use std::collections::{BTreeMap, HashMap, HashSet};

use app::{
    found::{Found, FoundColumn, variants},
    scores::{ColumnScores, Counts, Difference, Figures, Interval, Kind, Mistake, SessionScores, Table},
};
use extract::{
    judge,
    output::Extraction,
    score::{self, Micro, MistakeKind, Pair, PerText, Scored},
};
use protocol::{Column, Record, SessionView, text::slice_chars};

/// Draws of the texts for an interval, and where their random numbers begin: the same page every time.
const RESAMPLES: usize = 1000;
const SEED: u64 = 1;
/// Length of the excerpt that stands with a mistake, in code points.
const EXCERPT: usize = 80;

const SCORED: [(Scored, Kind); 4] = [
    (Scored::Entities, Kind::Entities),
    (Scored::Relations, Kind::Relations),
    (Scored::Triggers, Kind::Triggers),
    (Scored::Arguments, Kind::Arguments),
];

/// Scores the texts whose gold is known: those that were gone through, and those in which every record of the judged
/// column is judged. In the others a missed record would only be one that nobody has named yet.
/// Two variants, each by the name of its model and adapter, are held against each other as far as they are wanted.
pub fn scores(session: SessionView, reviewed: &[String], wanted: (Option<&str>, Option<&str>)) -> SessionScores {
    let title = session.title.clone();
    let all = variants(session);
    let reviewed: HashSet<&str> = reviewed.iter().map(String::as_str).collect();
    let judged: Vec<&Found> =
        all.iter().filter(|text| is_gold(text, reviewed.contains(text.document.id.as_str()))).collect();
    let gold: Vec<Extraction> = judged.iter().map(|text| output(judge::gold(&text.document.judgements))).collect();
    let groups = groups(&judged);
    let mut columns = Vec::new();
    for group in &groups {
        let of: Vec<usize> = group.found.keys().copied().collect();
        let (texts, gold, predicted) = (pick(&judged, &of), pick(&gold, &of), pick_found(group, &of));
        let tables = SCORED.iter().filter_map(|(scored, kind)| table(*scored, *kind, &texts, &gold, &predicted));
        let name = group.name.clone();
        columns.push(ColumnScores { column: group.column, name, texts: of.len(), tables: tables.collect() });
    }
    let pair = compared(&groups, wanted);
    let differences = pair.as_ref().and_then(|(first, second, of)| {
        let (first, second) = (groups.get(*first)?, groups.get(*second)?);
        Some(differences(&pick(&judged, of), &pick(&gold, of), &pick_found(first, of), &pick_found(second, of)))
    });
    SessionScores {
        title,
        texts: all.len(),
        judged: judged.len(),
        columns,
        compared: pair.map(|(first, second, _)| (first, second)),
        differences: differences.unwrap_or_default(),
    }
}

/// What one model, with or without an adapter, found: by the number of the text. A text that it was not asked about is not
/// there, which is something else than one in which it found nothing.
struct Group {
    column: Column,
    name: String,
    found: BTreeMap<usize, Extraction>,
}

/// Base before tuned; of each those first that answered first.
fn groups(judged: &[&Found]) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    for (number, text) in judged.iter().enumerate() {
        for column in &text.columns {
            let (name, found) = (name(column), output(&column.grounded()));
            match groups.iter_mut().find(|g| g.column == column.column && g.name == name) {
                Some(group) => {
                    group.found.insert(number, found);
                }
                None => groups.push(Group { column: column.column, name, found: [(number, found)].into() }),
            }
        }
    }
    groups.sort_by_key(|group| group.column);
    groups
}

/// Two groups by their places, and the texts that both were asked about.
type Pairing = (usize, usize, Vec<usize>);

/// The two groups to be held against each other, and the texts that both were asked about: those wanted by name, else tuned
/// and base, else two adapters; of several those with most texts in common, and of several alike the first.
fn compared(groups: &[Group], wanted: (Option<&str>, Option<&str>)) -> Option<Pairing> {
    let is = |wanted: Option<&str>, group: &Group| wanted.is_none_or(|name| name == group.name);
    let mut best: Option<(bool, Pairing)> = None;
    for (i, first) in groups.iter().enumerate() {
        for (j, second) in groups.iter().enumerate() {
            if i == j || !is(wanted.0, first) || !is(wanted.1, second) {
                continue;
            }
            let common: Vec<usize> = first.found.keys().filter(|n| second.found.contains_key(n)).copied().collect();
            let usual = (first.column, second.column) == (Column::Tuned, Column::Base);
            let better =
                best.as_ref().is_none_or(|(was_usual, (.., most))| (*was_usual, most.len()) < (usual, common.len()));
            if !common.is_empty() && better {
                best = Some((usual, (i, j, common)));
            }
        }
    }
    best.map(|(_, pair)| pair)
}

fn pick<T: Clone>(all: &[T], numbers: &[usize]) -> Vec<T> {
    numbers.iter().filter_map(|number| all.get(*number)).cloned().collect()
}

fn pick_found(group: &Group, numbers: &[usize]) -> Vec<Extraction> {
    numbers.iter().filter_map(|number| group.found.get(number)).cloned().collect()
}

/// Whether the gold of a text is complete.
fn is_gold(text: &Found, reviewed: bool) -> bool {
    let found = text.main().map(FoundColumn::grounded).unwrap_or_default();
    judge::is_complete(reviewed, &found, &text.document.judgements)
}

fn name(column: &FoundColumn) -> String {
    match &column.adapter {
        Some(adapter) => format!("{} + {adapter}", column.model),
        None => column.model.clone(),
    }
}

/// Records as scores compare them; those of the gold need not stand in the text.
fn output<'a>(records: impl IntoIterator<Item = &'a Record>) -> Extraction {
    Extraction::of_all(records.into_iter().cloned())
}

fn pairs<'a>(judged: &'a [&Found], gold: &'a [Extraction], predicted: &'a [Extraction]) -> Vec<Pair<'a>> {
    let texts = judged.iter().zip(gold).zip(predicted);
    texts.map(|((text, gold), pred)| Pair { id: &text.document.id, gold, pred }).collect()
}

/// The table of one kind of record; `None` where there is none of it in gold or answers.
fn table(
    scored: Scored,
    kind: Kind,
    judged: &[&Found],
    gold: &[Extraction],
    predicted: &[Extraction],
) -> Option<Table> {
    let score = score::score(scored, &pairs(judged, gold, predicted));
    let micro = score.micro;
    if micro.gold + micro.predicted == 0 {
        return None;
    }
    let texts: HashMap<&str, &str> =
        judged.iter().map(|t| (t.document.id.as_str(), t.document.text.as_str())).collect();
    let mistakes = score.mistakes.iter().map(|m| Mistake {
        document: m.id.clone(),
        excerpt: texts.get(m.id.as_str()).map(|t| excerpt(t)).unwrap_or_default(),
        missed: m.kind == MistakeKind::Missed,
        record: m.record.clone(),
    });
    Some(Table {
        kind,
        micro: figures(&micro),
        counts: counts(&micro),
        mean: mean(&score.per_text),
        types: score.types.iter().map(|t| (t.label.clone(), figures(&t.micro), counts(&t.micro))).collect(),
        confusion: score.confusion.into_iter().map(|c| (c.gold, c.predicted, c.count)).collect(),
        mistakes: mistakes.collect(),
    })
}

fn figures(micro: &Micro) -> Figures {
    Figures { precision: micro.precision, recall: micro.recall, f1: micro.f1 }
}

fn counts(micro: &Micro) -> Counts {
    Counts { right: micro.right, found: micro.predicted, gold: micro.gold }
}

fn mean(mean: &PerText) -> Figures {
    Figures { precision: mean.precision, recall: mean.recall, f1: mean.f1 }
}

fn excerpt(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let part = slice_chars(&line, 0, EXCERPT);
    if part.len() < line.len() { format!("{part}…") } else { part.to_owned() }
}

fn differences(judged: &[&Found], gold: &[Extraction], first: &[Extraction], second: &[Extraction]) -> Vec<Difference> {
    let others: Vec<&Extraction> = second.iter().collect();
    let one = |(scored, kind): &(Scored, Kind)| {
        let pairs = pairs(judged, gold, first);
        let any = score::score(*scored, &pairs).micro;
        if any.gold + any.predicted == 0 {
            return None;
        }
        let of = |i: score::Interval| Interval { value: i.value, low: i.low, high: i.high };
        let compared = score::compare(*scored, &pairs, &others, RESAMPLES, SEED);
        let (first, second) = (of(compared.first), of(compared.second));
        Some(Difference { kind: *kind, first, second, difference: of(compared.difference) })
    };
    SCORED.iter().filter_map(one).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use protocol::{
        FinishReason, Judgement, Mode, Parameters, RunStatus, RunView, SchemaChoice, Task, Verdict,
        record::Mention,
        view::{DocumentView, Page},
    };

    fn entity(words: &str, label: &str) -> Record {
        Record::Entity { label: label.into(), mention: Mention::new(words) }
    }

    fn judgement(record: Record, verdict: Verdict) -> Judgement {
        Judgement { record, verdict, correction: None }
    }

    fn run(document: &str, column: Column, answer: &str) -> RunView {
        let types = vec!["person".to_owned(), "city".to_owned()];
        RunView {
            id: format!("{document}-{column:?}"),
            session: "s".into(),
            document: Some(document.into()),
            mode: Mode::Lora,
            column,
            model: "m".into(),
            adapter: (column == Column::Tuned).then(|| "a".to_owned()),
            schema: Some(SchemaChoice {
                task: Task::Entities,
                language: protocol::Language::En,
                types,
                roles: vec![],
                asking: Default::default(),
            }),
            extraction: None,
            part: None,
            instruction: String::new(),
            prompt: String::new(),
            parameters: Parameters::published(Mode::Lora),
            status: RunStatus::Finished,
            finish_reason: Some(FinishReason::Stop),
            error: None,
            text: answer.into(),
            prompt_tokens: None,
            completion_tokens: 0,
            timings: None,
            hesitations: None,
            samples: Vec::new(),
            position: None,
            created_at: 1,
        }
    }

    fn session(texts: Vec<(&str, Vec<Judgement>, [&str; 2])>) -> SessionView {
        let mut runs = Vec::new();
        let mut documents = Vec::new();
        for (index, (text, judgements, [base, tuned])) in texts.into_iter().enumerate() {
            let id = format!("d{index}");
            runs.push(run(&id, Column::Base, base));
            runs.push(run(&id, Column::Tuned, tuned));
            documents.push(DocumentView { id, text: text.into(), judgements });
        }
        SessionView {
            id: "s".into(),
            title: "t".into(),
            page: Page::Compare,
            created_at: 0,
            updated_at: 0,
            documents,
            runs,
            extractions: vec![],
            shares: vec![],
        }
    }

    #[test]
    fn a_text_that_a_model_was_not_asked_about_counts_for_nothing() {
        let said = || vec![judgement(entity("Ada", "person"), Verdict::Right)];
        let mut session = session(vec![
            ("Ada slept.", said(), ["(Ada, person)", "(Ada, person)"]),
            ("Ada woke.", said(), ["", "(Ada, person)"]),
            ("Ada ran.", said(), ["None", "None"]),
        ]);
        // The base was never asked about the second text, and another adapter about the third.
        session.runs.retain(|run| run.id != "d1-Base");
        session.runs.iter_mut().filter(|run| run.id == "d2-Tuned").for_each(|run| run.adapter = Some("b".into()));
        let scores = scores(session, &["d0".into(), "d1".into(), "d2".into()], (None, None));
        let shown: Vec<_> =
            scores.columns.iter().map(|c| (c.name.as_str(), c.texts, c.tables[0].counts.gold)).collect();
        assert_eq!(shown, [("m", 2, 2), ("m + a", 2, 2), ("m + b", 1, 1)]);
        let f1 = |n: usize| scores.columns[n].tables[0].micro.f1;
        assert_eq!((f1(1), f1(2)), (1.0, 0.0), "each by itself");
        let Difference { first, second, .. } = scores.differences[0];
        assert_eq!(scores.compared, Some((1, 0)));
        assert_eq!((first.value, second.value), (1.0, 1.0), "on the one text that both were asked about");
    }

    #[test]
    fn two_adapters_that_were_asked_the_same_about_a_text_can_be_held_against_each_other() {
        let said = || vec![judgement(entity("Ada", "person"), Verdict::Right)];
        let mut session = session(vec![("Ada slept.", said(), ["None", "(Ada, person)"])]);
        let mut other = run("d0", Column::Tuned, "(Ada, city)");
        (other.id, other.adapter, other.created_at) = ("d0-b".into(), Some("b".into()), 2);
        session.runs.push(other);
        let mut elsewhere = run("d0", Column::Tuned, "(Ada, person)");
        elsewhere.schema.as_mut().unwrap().types = vec!["person".into()];
        (elsewhere.id, elsewhere.adapter, elsewhere.created_at) = ("d0-c".into(), Some("c".into()), 0);
        session.runs.insert(0, elsewhere);
        let scored = |first, second| scores(session.clone(), &["d0".into()], (first, second));
        let usual = scored(None, None);
        let names: Vec<_> = usual.columns.iter().map(|c| c.name.as_str()).collect();
        assert_eq!(names, ["m", "m + b", "m + a"], "the newest first; what was asked otherwise is not there");
        assert_eq!(usual.compared, Some((1, 0)));
        let chosen = scored(Some("m + a"), Some("m + b"));
        assert_eq!(chosen.compared, Some((2, 1)));
        assert_eq!((chosen.differences[0].first.value, chosen.differences[0].second.value), (1.0, 0.0));
        assert_eq!(scored(Some("m + a"), Some("m + a")).compared, None);
    }

    #[test]
    fn texts_that_were_gone_through_or_wholly_judged_are_scored_and_no_others() {
        let said =
            vec![judgement(entity("Ada", "person"), Verdict::Right), judgement(entity("Rome", "city"), Verdict::Added)];
        let scores = scores(
            session(vec![
                ("Ada saw Rome.", said, ["(Ada, city)", "(Ada, person)"]),
                ("Bob slept.", vec![], ["None", "(Bob, person)"]),
                ("Nobody.", vec![], ["(Zoe, person)", "None"]),
            ]),
            &["d2".into()],
            (None, None),
        );
        assert_eq!((scores.texts, scores.judged), (3, 2));
        let [base, tuned] = scores.columns.as_slice() else { panic!("two columns") };
        assert_eq!(tuned.name, "m + a");
        let counts = |c: &ColumnScores| (c.tables[0].counts.right, c.tables[0].counts.found, c.tables[0].counts.gold);
        assert_eq!(counts(tuned), (1, 1, 2), "the missed city");
        assert_eq!(counts(base), (0, 1, 2), "what does not stand in the text is not found");
        assert_eq!(base.tables[0].confusion, [("person".to_owned(), "city".to_owned(), 1)]);
        assert!(tuned.tables[0].mistakes.iter().all(|m| m.missed && m.document == "d0" && m.record == "Rome, city"));
        assert_eq!(scores.differences.len(), 1);
        let Difference { first: tuned, second: base, difference, .. } = scores.differences[0];
        assert!(difference.value > 0.6, "{:?}", scores.differences);
        assert_eq!(difference.value, tuned.value - base.value);
        assert!([tuned, base, difference].iter().all(|i| i.low <= i.value && i.value <= i.high));
    }
}

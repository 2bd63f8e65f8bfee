//! What the tail of a relation can be instead of an entity: text, a number, a number with its unit, a date.

use super::Schema;

/// A tail that is no entity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Literal {
    /// Any words.
    Text,
    /// A number, in digits or words.
    Number,
    /// A number and what it counts: `5 million dollars`, `20%`.
    Quantity,
    /// A date, a time, or a part of one.
    Date,
}

impl Literal {
    /// By its name in schema files.
    pub(crate) fn from_name(name: &str) -> Option<Self> {
        match name {
            "text" => Some(Self::Text),
            "number" => Some(Self::Number),
            "number with unit" => Some(Self::Quantity),
            "date" => Some(Self::Date),
            _ => None,
        }
    }

    /// Whether words look like one. What is a date is many things: a sign of one is enough.
    pub(crate) fn fits(self, words: &str) -> bool {
        let words = words.trim().to_lowercase();
        match self {
            Self::Text => !words.is_empty(),
            Self::Number => is_number(&words),
            Self::Quantity => has_number(&words) && (!is_number(&words) || words.ends_with(['%', '％'])),
            Self::Date => is_date(&words),
        }
    }
}

impl Schema {
    /// Whether an entity type has this name, so that it is not a literal alone.
    pub(crate) fn has_entity(&self, name: &str) -> bool {
        self.entities.iter().any(|entity| entity.name == name)
    }
}

const NUMERALS: &str = "〇零一二两三四五六七八九十百千万亿半";

const NUMBER_WORDS: [&str; 35] = [
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
    "twenty",
    "thirty",
    "forty",
    "fifty",
    "sixty",
    "seventy",
    "eighty",
    "ninety",
    "hundred",
    "thousand",
    "million",
    "billion",
    "trillion",
    "dozen",
    "half",
];

const TIME_WORDS: [&str; 31] = [
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
    "monday",
    "tuesday",
    "wednesday",
    "thursday",
    "friday",
    "saturday",
    "sunday",
    "today",
    "yesterday",
    "tomorrow",
    "year",
    "month",
    "week",
    "day",
    "century",
    "spring",
    "summer",
    "autumn",
    "winter",
];

const CHINESE_TIMES: [&str; 16] = [
    "年", "月", "日", "号", "周", "星期", "季度", "世纪", "今天", "昨天", "明天", "上午", "下午", "近期", "当天", "时",
];

fn is_numeral(c: char) -> bool {
    c.is_numeric() || NUMERALS.contains(c)
}

/// Words in letters of the alphabet, without marks around them.
fn plain_words(words: &str) -> impl Iterator<Item = &str> {
    words.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty())
}

fn is_number_word(word: &str) -> bool {
    let word = word.strip_suffix('s').filter(|one| NUMBER_WORDS.contains(one)).unwrap_or(word);
    NUMBER_WORDS.contains(&word)
}

fn is_number(words: &str) -> bool {
    let marks = [' ', ',', '，', '.', '·', '-', '−', '+', '%', '％', '/', '约'];
    let digits = |word: &str| word.chars().all(|c| is_numeral(c) || marks.contains(&c));
    let parts = || words.split_whitespace().flat_map(|word| word.split('-')).filter(|word| !word.is_empty());
    has_number(words) && parts().all(|word| digits(word) || is_number_word(word) || word == "and")
}

fn has_number(words: &str) -> bool {
    words.chars().any(is_numeral) || plain_words(words).any(is_number_word)
}

fn is_date(words: &str) -> bool {
    let numbers: Vec<&str> = words.split(|c: char| !c.is_ascii_digit()).filter(|n| !n.is_empty()).collect();
    let year = |n: &&str| n.len() == 4 && (n.starts_with('1') || n.starts_with('2'));
    // 22/12/2019, 12-22, 9:30.
    let parted = words.split(['-', '/', ':', '.']).filter(|n| n.trim().parse::<u32>().is_ok()).count() >= 2;
    let named = plain_words(words).any(|word| {
        let word = word.strip_suffix('s').unwrap_or(word);
        TIME_WORDS.contains(&word) || (word.len() == 3 && TIME_WORDS.iter().any(|known| known.starts_with(word)))
    });
    numbers.iter().any(year) || parted || named || CHINESE_TIMES.iter().any(|sign| words.contains(sign))
}

#[cfg(test)]
mod tests {
    use super::Literal::{self, *};

    #[test]
    fn words_look_like_what_they_are() {
        let fits = |literal: Literal, words: &[&str], expected| {
            for one in words {
                assert_eq!(literal.fits(one), expected, "{literal:?}: {one}");
            }
        };
        fits(Number, &["12", "1,000.5", "-3", "三千", "５万", "twenty-one", "two million", "20%"], true);
        fits(Number, &["3 dollars", "soon", "Acme", "", "5000万美元", "-"], false);
        fits(Quantity, &["3 dollars", "$5 million in cash", "5000万美元", "20%", "三个月", "two cars"], true);
        fits(Quantity, &["12", "dollars", "twenty-one", ""], false);
        fits(
            Date,
            &["2019年12月22日", "1891", "May 3", "12/22/2019", "yesterday", "去年", "Dec. 5", "the 1990s"],
            true,
        );
        fits(Date, &["Acme", "12", "soon", "三千", ""], false);
        fits(Text, &["anything"], true);
    }

    #[test]
    fn names_are_those_of_schema_files() {
        let named: Vec<_> = ["text", "number", "number with unit", "date", "person"].map(Literal::from_name).into();
        assert_eq!(named, [Some(Text), Some(Number), Some(Quantity), Some(Date), None]);
    }
}

//! Large numbers as people say them.

/// A number of bytes: `98.4 MB`.
pub fn size(bytes: u64) -> String {
    let (value, unit) = scaled(bytes, &["kB", "MB", "GB", "TB"]);
    match unit {
        "" => format!("{bytes} B"),
        unit if value >= 99.95 => format!("{value:.0} {unit}"),
        unit => format!("{value:.1} {unit}"),
    }
}

/// A count: `134.5 M`.
pub fn count(number: u64) -> String {
    let (value, unit) = scaled(number, &["k", "M", "G", "T"]);
    if number < 10_000 { number.to_string() } else { format!("{value:.1} {unit}") }
}

/// A number in the largest unit that leaves something before the point; no unit for one that needs none.
#[allow(clippy::cast_precision_loss)]
fn scaled(number: u64, units: &[&'static str]) -> (f64, &'static str) {
    let (mut value, mut unit) = (number as f64, "");
    for next in units {
        if value < 999.5 {
            break;
        }
        (value, unit) = (value / 1000.0, next);
    }
    (value, unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_numbers_are_short() {
        let shown = [0, 999, 1000, 98_362_432, 999_600, 12_345_678_901].map(size);
        assert_eq!(shown, ["0 B", "999 B", "1.0 kB", "98.4 MB", "1.0 MB", "12.3 GB"]);
        assert_eq!([0, 9999, 134_515_008, 13_015_864_320].map(count), ["0", "9999", "134.5 M", "13.0 G"]);
    }
}

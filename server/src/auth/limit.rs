//! Slows down who guesses passwords.

use std::{
    collections::HashMap,
    sync::Mutex,
    time::{Duration, Instant},
};

use crate::held;

/// Wrong passwords for one name that cost nothing.
const FREE: u32 = 3;
/// The longest wait.
const LONGEST: Duration = Duration::from_secs(300);
/// Names remembered at most; beyond it all are forgotten, which a guesser of one name gains little from.
const MAX_NAMES: usize = 10_000;

/// Wrong passwords by name.
#[derive(Debug, Default)]
pub struct Attempts {
    by_name: Mutex<HashMap<String, (u32, Instant)>>,
}

impl Attempts {
    /// How long to wait before the next attempt for a name. Counts as an attempt when the answer is `None`, so that
    /// many at once do not all pass.
    pub fn wait(&self, name: &str, now: Instant) -> Option<Duration> {
        let mut by_name = held(&self.by_name);
        if by_name.len() >= MAX_NAMES {
            by_name.clear();
        }
        let (count, free_at) = by_name.entry(name.to_lowercase()).or_insert((0, now));
        if *free_at > now {
            return Some(*free_at - now);
        }
        *count += 1;
        if *count >= FREE {
            *free_at = now + Duration::from_secs(1 << (*count - FREE).min(16)).min(LONGEST);
        }
        None
    }

    /// Forgets the attempts for a name, after a right password.
    pub fn succeeded(&self, name: &str) {
        held(&self.by_name).remove(&name.to_lowercase());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_doubles_with_every_wrong_password_and_ends_with_a_right_one() {
        let attempts = Attempts::default();
        let mut now = Instant::now();
        for _ in 0..3 {
            assert_eq!(attempts.wait("Ada", now), None);
        }
        assert_eq!(attempts.wait("ada", now), Some(Duration::from_secs(1)));
        assert_eq!(attempts.wait("bob", now), None);
        now += Duration::from_secs(1);
        assert_eq!(attempts.wait("ada", now), None);
        assert_eq!(attempts.wait("ada", now), Some(Duration::from_secs(2)));
        attempts.succeeded("ADA");
        assert_eq!(attempts.wait("ada", now), None);
    }
}

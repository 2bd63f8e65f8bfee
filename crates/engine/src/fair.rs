//! Whose job is next.

use std::collections::{HashMap, VecDeque};

/// Of how many owners it is known when they were served.
const OWNERS: usize = 1024;

/// Turns of those who ask: who has fewest runs at the moment is next, then who was served longest ago, then who asked
/// first. So nobody's hundred jobs keep another's one waiting.
#[derive(Default)]
pub(crate) struct Turns {
    served: HashMap<Option<u64>, u64>,
    last: u64,
}

impl Turns {
    /// Notes that an owner's job was started.
    pub(crate) fn served(&mut self, owner: Option<u64>) {
        self.last += 1;
        self.served.insert(owner, self.last);
        if self.served.len() > OWNERS {
            let old = self.last - OWNERS as u64 / 2;
            self.served.retain(|_, served| *served > old);
        }
    }

    /// Whether an owner may have one more run, of `places` there are: the last one is for who has none, so that nobody
    /// waits for the end of another's long answers.
    pub(crate) fn may_start(owner: Option<u64>, running: &[Option<u64>], places: usize) -> bool {
        owner.is_none() || places < 2 || running.len() + 1 < places || running.iter().any(|of| *of != owner)
    }

    /// Puts jobs in the order in which they are started; `running` are the owners of what runs.
    pub(crate) fn order<J>(
        &self,
        jobs: &mut VecDeque<J>,
        owner: impl Fn(&J) -> Option<u64>,
        running: impl Iterator<Item = Option<u64>>,
    ) {
        let mut runs: HashMap<Option<u64>, usize> = HashMap::new();
        running.for_each(|owner| *runs.entry(owner).or_default() += 1);
        let mut queues: Vec<(Option<u64>, VecDeque<J>)> = Vec::new();
        let count = jobs.len();
        for job in jobs.drain(..) {
            let of = owner(&job);
            match queues.iter_mut().find(|queue| queue.0 == of) {
                Some(queue) => queue.1.push_back(job),
                None => queues.push((of, VecDeque::from([job]))),
            }
        }
        let (mut served, mut last) = (self.served.clone(), self.last);
        let mut ordered = VecDeque::with_capacity(count);
        let rank = |of: &Option<u64>, runs: &HashMap<_, usize>, served: &HashMap<_, u64>| {
            (runs.get(of).copied().unwrap_or(0), served.get(of).copied().unwrap_or(0))
        };
        // Of equals the first, and owners are in the order of their first jobs.
        while let Some((of, queue)) = queues.iter_mut().min_by_key(|queue| rank(&queue.0, &runs, &served)) {
            ordered.extend(queue.pop_front());
            last += 1;
            served.insert(*of, last);
            *runs.entry(*of).or_default() += 1;
            queues.retain(|queue| !queue.1.is_empty());
        }
        *jobs = ordered;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ordered(turns: &Turns, jobs: &[(u64, u32)], running: &[u64]) -> Vec<u32> {
        let mut jobs: VecDeque<(u64, u32)> = jobs.iter().copied().collect();
        turns.order(&mut jobs, |job| Some(job.0), running.iter().map(|owner| Some(*owner)));
        jobs.into_iter().map(|job| job.1).collect()
    }

    #[test]
    fn the_last_place_is_for_somebody_else() {
        let may = |owner: u64, running: &[u64], places| {
            let running: Vec<_> = running.iter().map(|owner| Some(*owner)).collect();
            Turns::may_start(Some(owner), &running, places)
        };
        assert!(may(1, &[1], 3) && !may(1, &[1, 1], 3) && may(2, &[1, 1], 3));
        assert!(may(1, &[1, 2], 3), "somebody else is there already");
        assert!(may(1, &[], 1), "a single place is for everybody");
        assert!(Turns::may_start(None, &[None, None], 3), "whose owner is unknown has the machine to himself");
    }

    #[test]
    fn owners_take_turns_and_each_owners_jobs_keep_their_order() {
        let mut turns = Turns::default();
        let jobs = [(1, 10), (1, 11), (1, 12), (2, 20), (3, 30)];
        assert_eq!(ordered(&turns, &jobs, &[]), [10, 20, 30, 11, 12]);
        assert_eq!(ordered(&turns, &jobs, &[2, 2]), [10, 30, 11, 20, 12]);
        turns.served(Some(1));
        assert_eq!(ordered(&turns, &jobs, &[]), [20, 30, 10, 11, 12]);
        (0..5000).for_each(|owner| turns.served(Some(owner)));
        assert!(turns.served.len() <= OWNERS + 1);
    }
}

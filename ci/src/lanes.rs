//! Several machines at once, as far as the host has a processor for each of theirs.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

/// More processors of machines at once would want more memory than a developer's machine has.
const MOST: usize = 8;

/// Processors of machines that run at once: as many as the host has, for timeouts in a guest do not wait for it.
pub(crate) fn room() -> usize {
    thread::available_parallelism().map_or(1, usize::from).min(MOST)
}

/// Jobs that wait, and the room that is left.
struct Queue<T> {
    waiting: VecDeque<T>,
    left: usize,
}

/// Does all jobs, as many at once as there is `room` for, each with a `size`; one that is larger than the room has it to
/// itself. They begin in their order, but that a smaller one goes ahead of one that does not fit yet. Returns the sum of
/// what they return.
pub(crate) fn run<T: Send, S: Default + Send>(
    room: usize,
    jobs: impl IntoIterator<Item = T>,
    size: impl Fn(&T) -> u32 + Sync,
    work: impl Fn(T) -> S + Sync,
    sum: impl Fn(&mut S, S) + Sync,
) -> S {
    let size = |job: &T| usize::try_from(size(job)).unwrap_or(room).clamp(1, room);
    let queue = Mutex::new(Queue { waiting: jobs.into_iter().collect(), left: room });
    let (freed, total) = (Condvar::new(), Mutex::new(S::default()));
    thread::scope(|scope| {
        for _ in 0..room {
            scope.spawn(|| {
                while let Some((job, size)) = take(&queue, &freed, &size) {
                    let result = work(job);
                    sum(&mut locked(&total), result);
                    locked(&queue).left += size;
                    freed.notify_all();
                }
            });
        }
    });
    total.into_inner().unwrap_or_else(PoisonError::into_inner)
}

/// The first job that fits, waited for, and its size; none when all have begun.
fn take<T>(queue: &Mutex<Queue<T>>, freed: &Condvar, size: &impl Fn(&T) -> usize) -> Option<(T, usize)> {
    let mut state = locked(queue);
    while !state.waiting.is_empty() {
        let left = state.left;
        if let Some(next) = state.waiting.iter().position(|job| size(job) <= left) {
            let job = state.waiting.remove(next)?;
            let size = size(&job);
            state.left -= size;
            return Some((job, size));
        }
        state = freed.wait(state).unwrap_or_else(PoisonError::into_inner);
    }
    None
}

/// A job that panicked has failed by itself; what it left here is whole.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    #[test]
    fn all_jobs_are_done_and_none_has_more_beside_it_than_fits() {
        let (running, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let size = |job: &u32| if job.is_multiple_of(5) { 9 } else { 1 + job % 2 };
        let taken = |job: u32| size(&job).min(3) as usize;
        let work = |job: u32| {
            let now = running.fetch_add(taken(job), Ordering::SeqCst) + taken(job);
            most.fetch_max(now, Ordering::SeqCst);
            thread::sleep(Duration::from_millis(2));
            running.fetch_sub(taken(job), Ordering::SeqCst);
            job
        };
        let total = run(3, 0..40, size, work, |total, job| *total += job);
        assert_eq!(total, (0..40).sum::<u32>());
        assert_eq!(most.into_inner(), 3);
    }

    #[test]
    fn without_room_beside_it_the_order_is_kept() {
        let work = |job| vec![job];
        let begun = run(1, 0..9, |job| job % 3, work, |all: &mut Vec<u32>, one| all.extend(one));
        assert_eq!(begun, (0..9).collect::<Vec<_>>());
    }
}

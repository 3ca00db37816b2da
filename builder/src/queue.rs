//! The queue: per app one build runs and one waits, the latest wins; the apps take turns in the order they came.
//!
//! It may be lost: a repository whose head has no release is the queue on disk.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Deref;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use func_model::event::BuildEvent;
use func_model::limits::{BUILDS_AT_ONCE, BUILDS_QUEUED_MAX};
use func_model::{AppName, Revision};
use thiserror::Error;
use tokio::sync::Notify;

use crate::feed::Feed;

/// A deploy to be done.
#[derive(Debug, Clone)]
pub struct Job {
    pub app: AppName,
    pub revision: Revision,
    pub feed: Arc<Feed>,
}

/// As many apps wait as may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("{BUILDS_QUEUED_MAX} builds are waiting already")]
pub struct Full;

/// What is to be built.
#[derive(Debug, Default)]
pub struct Queue {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<Job>,
    running: BTreeMap<AppName, Job>,
}

/// A job that runs; dropping it makes room for the app's next.
#[derive(Debug)]
pub struct Running {
    job: Job,
    queue: Arc<Queue>,
}

impl Deref for Running {
    type Target = Job;
    fn deref(&self) -> &Job {
        &self.job
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let mut state = self.queue.state();
        state.running.remove(&self.job.app);
        state.tell_places(0);
        drop(state);
        self.queue.changed.notify_waiters();
    }
}

impl Queue {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a revision into the queue, and gives what its pusher listens to. A waiting revision of the same app is
    /// superseded, and its pusher told; the new one takes its place. A revision that is waiting or being built already
    /// is not built twice.
    ///
    /// # Errors
    /// [`Full`] if too many apps wait.
    pub fn push(&self, app: &AppName, revision: &Revision) -> Result<Arc<Feed>, Full> {
        let job = Job { app: app.clone(), revision: revision.clone(), feed: Feed::new() };
        let feed = self.state().push(job)?;
        self.changed.notify_waiters();
        Ok(feed)
    }

    /// Waits for the next job whose app is not being built. Cancel-safe.
    pub async fn next(self: &Arc<Self>) -> Running {
        loop {
            let changed = self.changed.notified();
            let next = self.state().next();
            if let Some(job) = next {
                return Running { job, queue: self.clone() };
            }
            changed.await;
        }
    }

    /// Takes an app's waiting job out.
    pub fn remove(&self, app: &AppName) -> Option<Job> {
        let mut state = self.state();
        let at = state.waiting.iter().position(|job| job.app == *app)?;
        let job = state.waiting.remove(at);
        state.tell_places(at);
        job
    }

    /// Ends every feed: the builder stops.
    pub fn close(&self) {
        let state = self.state();
        for job in state.waiting.iter().chain(state.running.values()) {
            job.feed.close();
        }
    }
}

impl State {
    fn push(&mut self, job: Job) -> Result<Arc<Feed>, Full> {
        if let Some(place) = self.waiting.iter().position(|waiting| waiting.app == job.app) {
            return Ok(self.supersede(place, job));
        }
        if let Some(running) = self.running.get(&job.app).filter(|r| r.revision == job.revision) {
            return Ok(running.feed.clone());
        }
        if self.waiting.len() >= BUILDS_QUEUED_MAX {
            return Err(Full);
        }
        let feed = job.feed.clone();
        self.waiting.push_back(job);
        self.tell_places(self.waiting.len() - 1);
        Ok(feed)
    }

    fn supersede(&mut self, place: usize, job: Job) -> Arc<Feed> {
        let waiting = &mut self.waiting[place];
        if waiting.revision != job.revision {
            waiting.feed.tell(BuildEvent::Superseded { by: job.revision.short().to_owned() });
            *waiting = job;
            self.tell_place(place);
        }
        self.waiting[place].feed.clone()
    }

    fn next(&mut self) -> Option<Job> {
        let at = self.waiting.iter().position(|job| !self.running.contains_key(&job.app))?;
        let job = self.waiting.remove(at)?;
        self.running.insert(job.app.clone(), job.clone());
        Some(job)
    }

    /// Tells those who wait, from the `from`-th on, how many builds go first.
    fn tell_places(&self, from: usize) {
        for place in from..self.waiting.len() {
            self.tell_place(place);
        }
    }

    fn tell_place(&self, place: usize) {
        let ahead = self.running.len() + place;
        // A free worker takes it at once.
        if self.running.len() >= BUILDS_AT_ONCE || self.running.contains_key(&self.waiting[place].app) {
            self.waiting[place].feed.tell(BuildEvent::Queued { ahead });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    fn app(name: &str) -> AppName {
        name.parse().expect("a name")
    }

    fn revision(digit: char) -> Revision {
        digit.to_string().repeat(40).parse().expect("a revision")
    }

    fn push(queue: &Queue, name: &str, digit: char) -> Arc<Feed> {
        queue.push(&app(name), &revision(digit)).expect("there is room")
    }

    async fn nothing_more(queue: &Arc<Queue>) -> bool {
        timeout(Duration::from_secs(3_600), queue.next()).await.is_err()
    }

    #[tokio::test(start_paused = true)]
    async fn one_build_of_an_app_runs_and_the_next_waits_for_it() {
        let queue = Arc::new(Queue::default());
        push(&queue, "blog", 'a');
        let running = queue.next().await;
        let mut waits = push(&queue, "blog", 'b').listen();
        assert_eq!(waits.next().await, Some(BuildEvent::Queued { ahead: 1 }));
        assert!(nothing_more(&queue).await);
        drop(running);
        assert_eq!(queue.next().await.revision, revision('b'));
    }

    #[tokio::test(start_paused = true)]
    async fn the_latest_push_wins_and_the_superseded_pusher_is_told() {
        let queue = Arc::new(Queue::default());
        push(&queue, "blog", 'a');
        let running = queue.next().await;
        let mut second = push(&queue, "blog", 'b').listen();
        push(&queue, "blog", 'c');
        assert_eq!(second.next().await, Some(BuildEvent::Queued { ahead: 1 }));
        assert_eq!(second.next().await, Some(BuildEvent::Superseded { by: "ccccccc".into() }));
        assert_eq!(second.next().await, None);
        drop(running);
        assert_eq!(queue.next().await.revision, revision('c'));
    }

    #[tokio::test(start_paused = true)]
    async fn an_app_that_pushes_all_the_time_does_not_hold_up_the_others() {
        let queue = Arc::new(Queue::default());
        push(&queue, "busy", 'a');
        let running = queue.next().await;
        push(&queue, "busy", 'b');
        push(&queue, "blog", 'a');
        push(&queue, "busy", 'c');
        assert_eq!(queue.next().await.app, app("blog"));
        drop(running);
        assert_eq!(queue.next().await.revision, revision('c'));
    }

    #[tokio::test(start_paused = true)]
    async fn the_same_revision_is_not_built_twice_and_both_pushers_hear_of_it() {
        let queue = Arc::new(Queue::default());
        let first = push(&queue, "blog", 'a');
        assert!(Arc::ptr_eq(&first, &push(&queue, "blog", 'a')));
        let running = queue.next().await;
        assert!(Arc::ptr_eq(&first, &push(&queue, "blog", 'a')));
        drop(running);
        assert!(nothing_more(&queue).await);
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_queue_says_so_and_still_takes_a_newer_push_of_who_waits() {
        let queue = Arc::new(Queue::default());
        for n in 0..BUILDS_QUEUED_MAX {
            push(&queue, &format!("a{n}"), 'a');
        }
        assert_eq!(queue.push(&app("late"), &revision('a')).err(), Some(Full));
        push(&queue, "a7", 'b');
    }

    #[tokio::test(start_paused = true)]
    async fn a_job_that_is_taken_out_is_not_built() {
        let queue = Arc::new(Queue::default());
        push(&queue, "blog", 'a');
        assert!(queue.remove(&app("blog")).is_some());
        assert!(queue.remove(&app("blog")).is_none());
        assert!(nothing_more(&queue).await);
    }
}

//! Clients that ask all the time, and a count of what they were answered.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// How many failures are told in words.
const FAILURES_TOLD: usize = 50;
/// How many failures are kept.
const FAILURES_KEPT: usize = 100_000;
/// How long one request may take: longer than any deadline of func's.
const LONGEST: Duration = Duration::from_secs(120);

/// One client's habit: where it asks, and what is a good answer.
#[derive(Clone)]
pub struct Habit {
    pub edge: SocketAddr,
    pub host: String,
    pub path: String,
    /// What the body of a 200 has to begin with.
    pub says: String,
    /// How long it waits between an answer and the next request.
    pub pause: Duration,
}

impl Habit {
    /// Asks for `/`, ten times a second, and wants to hear `hello`.
    pub fn hello(edge: SocketAddr, app: &str) -> Self {
        let (host, path, says) = (format!("{app}.localhost"), "/".to_owned(), "hello".to_owned());
        Self { edge, host, path, says, pause: Duration::from_millis(100) }
    }

    /// A client that has this habit.
    pub fn client(self) -> Client {
        Box::new(move |stop, counts| Box::pin(client(self, stop, counts, Instant::now())))
    }
}

/// What came in place of a good answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// None, or the beginning of one.
    None,
    /// It was refused before anything was sent to an app, and told when to come back.
    Postponed,
    Wrong,
}

/// A request that was not answered as it should be.
#[derive(Debug, Clone)]
pub struct Failure {
    pub edge: SocketAddr,
    pub asked: Instant,
    pub failed: Instant,
    pub answer: Answer,
    /// What was asked and what came of it, with the times since the load began.
    pub text: String,
}

/// What all clients saw together.
#[derive(Debug, Default)]
pub struct Counts {
    pub sent: AtomicU64,
    pub answered: AtomicU64,
    /// Answered after a start that they waited for.
    pub woken: AtomicU64,
    pub failed: AtomicU64,
    failures: Mutex<Vec<Failure>>,
}

impl Counts {
    pub fn answered(&self) -> u64 {
        self.answered.load(Ordering::Relaxed)
    }

    pub fn failed(&self) -> u64 {
        self.failed.load(Ordering::Relaxed)
    }

    /// The first failures, each with its time since the load began.
    pub fn failures(&self) -> Vec<String> {
        let failures = self.failures.lock().expect("no client panicked");
        failures.iter().take(FAILURES_TOLD).map(|failure| failure.text.clone()).collect()
    }

    /// The failures that nothing excuses.
    pub fn unexcused(&self, excused: impl Fn(&Failure) -> bool) -> Vec<Failure> {
        let failures = self.failures.lock().expect("no client panicked");
        failures.iter().filter(|failure| !excused(failure)).cloned().collect()
    }

    /// Counts one that was not answered as it should be, whatever the reason.
    pub fn fail(&self, text: String) {
        let (now, edge) = (Instant::now(), SocketAddr::from(([0, 0, 0, 0], 0)));
        self.fail_as(Failure { edge, asked: now, failed: now, answer: Answer::Wrong, text });
    }

    fn fail_as(&self, failure: Failure) {
        self.failed.fetch_add(1, Ordering::Relaxed);
        let mut failures = self.failures.lock().expect("no client panicked");
        if failures.len() < FAILURES_KEPT {
            failures.push(failure);
        }
    }
}

/// One client: what it does until it is told to stop.
pub type Client = Box<dyn FnOnce(Arc<AtomicBool>, Arc<Counts>) -> Pin<Box<dyn Future<Output = ()>>> + Send>;

/// Running clients. They end when it is dropped; [`Load::end`] gives their counts.
pub struct Load {
    stop: Arc<AtomicBool>,
    counts: Arc<Counts>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Load {
    /// Starts one client for each habit, each on a connection of its own that it keeps.
    pub fn start(habits: Vec<Habit>) -> Self {
        Self::of(habits.into_iter().map(Habit::client))
    }

    /// Starts clients of any kind; each ends soon after it is told to stop.
    pub fn of(clients: impl IntoIterator<Item = Client>) -> Self {
        let clients: Vec<Client> = clients.into_iter().collect();
        let (stop, counts) = (Arc::new(AtomicBool::new(false)), Arc::new(Counts::default()));
        let (stopped, counted) = (stop.clone(), counts.clone());
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(async {
                let clients = clients.into_iter().map(|client| client(stopped.clone(), counted.clone()));
                futures_util::future::join_all(clients).await;
            });
        });
        Self { stop, counts, thread: Some(thread) }
    }

    /// What was counted so far.
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Ends the clients, each after the answer that it waits for, and gives their counts.
    pub fn end(mut self) -> Arc<Counts> {
        self.join();
        self.counts.clone()
    }

    fn join(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.join();
    }
}

async fn client(habit: Habit, stop: Arc<AtomicBool>, counts: Arc<Counts>, began: Instant) {
    let client = reqwest::Client::builder().timeout(LONGEST).no_proxy().build().expect("a client");
    let url = format!("http://{}{}", habit.edge, habit.path);
    while !stop.load(Ordering::Relaxed) {
        counts.sent.fetch_add(1, Ordering::Relaxed);
        let asked = Instant::now();
        match ask(&client, &url, &habit).await {
            Ok(woken) => {
                counts.answered.fetch_add(1, Ordering::Relaxed);
                counts.woken.fetch_add(u64::from(woken), Ordering::Relaxed);
            }
            Err((answer, why)) => {
                let failed = Instant::now();
                let (asked_ms, failed_ms) = ((asked - began).as_millis(), (failed - began).as_millis());
                let text = format!(
                    "{} {}: asked at {asked_ms} ms, failed at {failed_ms} ms: {why}",
                    habit.host, habit.path
                );
                counts.fail_as(Failure { edge: habit.edge, asked, failed, answer, text });
            }
        }
        rest(habit.pause, &stop).await;
    }
}

/// Waits between two requests, not much longer than the load goes on.
async fn rest(pause: Duration, stop: &AtomicBool) {
    let until = Instant::now() + pause;
    while Instant::now() < until && !stop.load(Ordering::Relaxed) {
        let left = until.saturating_duration_since(Instant::now());
        tokio::time::sleep(left.min(Duration::from_millis(200))).await;
    }
}

/// Gives whether a start was waited for; or what came, and why that is not good.
async fn ask(client: &reqwest::Client, url: &str, habit: &Habit) -> Result<bool, (Answer, String)> {
    let answer = client.get(url).header("host", &habit.host).send().await;
    let answer = answer.map_err(|e| (Answer::None, format!("{e:?}")))?;
    let status = answer.status().as_u16();
    let postponed = matches!(status, 503 | 504) && answer.headers().contains_key("retry-after");
    // Told only of requests that waited for a start.
    let woken = answer.headers().contains_key("server-timing");
    let body = answer.text().await.map_err(|e| (Answer::None, format!("{status}, then {e:?}")))?;
    match status == 200 && body.starts_with(&habit.says) {
        true => Ok(woken),
        false => {
            let wrong = if postponed { Answer::Postponed } else { Answer::Wrong };
            Err((wrong, format!("{status}: {}", body.chars().take(200).collect::<String>())))
        }
    }
}

//! The logs of an app: what is on disk of lives that are over, then what runs.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Response};
use func_ledger::{LedgerError, Watch};
use func_model::{AppName, InstanceId, Record, ReleaseId};
use func_runner::Look;
use func_store::{DataDir, Manifests, tail};
use futures_util::{Stream, StreamExt, stream};
use http::StatusCode;
use serde::Deserialize;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tracing::warn;

use crate::{Cleaner, Config};

/// How many lines of an app's log are given at the most.
const LINES_MAX: usize = 10_000;
const LINES: usize = 100;
/// How many lines wait for a slow reader.
const LINES_WAITING: usize = 256;
/// How often one who follows an app that sleeps is looked after.
const FOLLOW_AGAIN: Duration = Duration::from_millis(500);
/// More lines than the engine keeps of one life: its log has less bytes.
const LINES_OF_A_LIFE: usize = 16 * 1024 * 1024;
/// How long the first line of a running instance that has printed some may take.
const FIRST_LINE: Duration = Duration::from_secs(2);
/// How often one who follows begins again because the instance ended just then.
const TRIES: usize = 3;

#[derive(Debug, Deserialize)]
pub(super) struct LogsQuery {
    lines: Option<usize>,
    #[serde(default)]
    follow: bool,
}

/// Answers with lines; they end with their reader.
pub(super) async fn logs(
    State(cleaner): State<Arc<Cleaner>>,
    Path(app): Path<String>,
    Query(query): Query<LogsQuery>,
) -> Response {
    let app: AppName = match app.parse() {
        Ok(app) => app,
        Err(e) => return (StatusCode::BAD_REQUEST, format!("{e}\n")).into_response(),
    };
    let known = cleaner.config.data.repository(&app).exists() || cleaner.config.data.logs(&app).exists();
    if !known {
        return (StatusCode::NOT_FOUND, format!("there is no app {app}: see `func apps`\n")).into_response();
    }
    let (tx, rx) = mpsc::channel(LINES_WAITING);
    let lines = query.lines.unwrap_or(LINES).min(LINES_MAX);
    // Ends with its reader: a line that cannot be sent ends it, and so does the closed channel while it waits.
    tokio::spawn(async move {
        let (closed, source) = (tx.clone(), source(&cleaner, &app));
        tokio::select! {
            () = closed.closed() => {}
            done = source.send(lines, query.follow, &tx) => {
                if let Err(e) = done {
                    warn!(app.name = %app, "the logs of {app} cannot be read: {e:#}");
                    let _ = tx.send(format!("func: the logs cannot be read: {e:#}")).await;
                }
            }
        }
    });
    func_socket::line_stream(ReceiverStream::new(rx))
}

fn source<'a>(cleaner: &'a Cleaner, app: &'a AppName) -> Source<'a> {
    let Config { data, manifests, watch, look, .. } = &cleaner.config;
    Source { app, data, manifests, watch: watch.as_ref(), look: look.as_ref() }
}

/// Where the lines of one app come from.
struct Source<'a> {
    app: &'a AppName,
    data: &'a DataDir,
    manifests: &'a Manifests,
    watch: &'a dyn Watch,
    look: &'a dyn Look,
}

/// One life of an instance, from its start to its end.
#[derive(Debug, PartialEq, Eq)]
struct Life {
    id: InstanceId,
    generation: u64,
}

impl Source<'_> {
    /// First what is on disk of lives that are over, then what runs; if `follow`, each new life as well, from its
    /// first line.
    async fn send(&self, lines: usize, follow: bool, tx: &mpsc::Sender<String>) -> anyhow::Result<()> {
        if !follow {
            return send_all(stream::iter(self.last(lines).await?), tx).await;
        }
        let mut given = self.send_first(lines, tx).await?;
        loop {
            sleep(FOLLOW_AGAIN).await;
            let Some(life) = self.life().await? else { continue };
            // A stream that ends while its instance lives is not read again: that would repeat it.
            if given.as_ref() != Some(&life) {
                send_all(self.look.logs(&life.id, LINES_OF_A_LIFE, true).await?, tx).await?;
                given = Some(life);
            }
        }
    }

    /// Gives the last lines as they are now.
    async fn last(&self, lines: usize) -> anyhow::Result<Vec<String>> {
        let running = match self.life().await? {
            Some(life) => self.look.logs(&life.id, lines, false).await?.collect().await,
            None => Vec::new(),
        };
        let mut all = self.old(lines.saturating_sub(running.len()))?;
        all.extend(running);
        Ok(all)
    }

    /// Sends the last lines and what follows, until the life that is found ends, and gives that life. Its lines come
    /// from one stream, so that none is lost or repeated between what was and what follows.
    async fn send_first(&self, lines: usize, tx: &mpsc::Sender<String>) -> anyhow::Result<Option<Life>> {
        for _ in 0..TRIES {
            let Some(life) = self.life().await? else { break };
            let printed = self.look.logs(&life.id, lines, false).await?.count().await;
            let old = self.old(lines.saturating_sub(printed))?;
            let mut rest = self.look.logs(&life.id, lines, true).await?;
            // The engine is asked when the stream is first polled.
            let first = match printed {
                0 => None,
                _ => match timeout(FIRST_LINE, rest.next()).await {
                    Ok(Some(line)) => Some(line),
                    // It has ended since it was counted: its lines go to the disk.
                    Ok(None) => {
                        sleep(FOLLOW_AGAIN).await;
                        continue;
                    }
                    Err(_) => None,
                },
            };
            send_all(stream::iter(old.into_iter().chain(first)).chain(rest), tx).await?;
            return Ok(Some(life));
        }
        send_all(stream::iter(self.old(lines)?), tx).await?;
        Ok(None)
    }

    /// Gives the last lines of the lives that are over.
    fn old(&self, lines: usize) -> anyhow::Result<Vec<String>> {
        Ok(tail(&self.data.logs(self.app), "instance", lines)?)
    }

    /// The instance of the live release, if the ledger says that it runs.
    async fn life(&self) -> anyhow::Result<Option<Life>> {
        let Some(number) = self.manifests.current(self.app)? else { return Ok(None) };
        let id = ReleaseId { app: self.app.clone(), number }.instance();
        let endpoint = match self.watch.records().await {
            Ok((records, _)) => records.get(&id).and_then(Record::endpoint),
            Err(LedgerError::Lost | LedgerError::Away(_)) => None,
            Err(e) => return Err(e.into()),
        };
        Ok(endpoint.map(|endpoint| Life { id, generation: endpoint.generation }))
    }
}

async fn send_all(lines: impl Stream<Item = String>, tx: &mpsc::Sender<String>) -> anyhow::Result<()> {
    let mut lines = std::pin::pin!(lines);
    while let Some(line) = lines.next().await {
        tx.send(line).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::pin::Pin;
    use std::sync::Mutex;

    use func_ledger::{Cool, Enter, Memory, Restored, RestoredInstance, RestoredState, Settle};
    use func_model::{Entry, LeaseId, Release, Seen};
    use func_runner::{LineStream, RunnerError};
    use futures_util::future::BoxFuture;

    use super::*;

    /// A running instance that prints one more line after each look at it. A stream that follows it ends at once,
    /// as when the engine ends the call.
    struct Printing(Mutex<Vec<String>>);

    impl Printing {
        fn restart(&self) {
            *self.0.lock().expect("unbroken") = vec!["again 1".into(), "again 2".into()];
        }
    }

    // As `async_trait` writes it.
    impl Look for Printing {
        fn logs<'a, 'b, 'f>(
            &'a self,
            _: &'b InstanceId,
            lines: usize,
            _: bool,
        ) -> BoxFuture<'f, Result<LineStream, RunnerError>>
        where
            'a: 'f,
            'b: 'f,
            Self: 'f,
        {
            let mut all = self.0.lock().expect("unbroken");
            let last = all[all.len().saturating_sub(lines)..].to_vec();
            let next = format!("line {}", all.len() + 1);
            all.push(next);
            Box::pin(async { Ok::<LineStream, _>(Box::pin(stream::iter(last))) })
        }

        fn seen<'a, 'f>(&'a self) -> BoxFuture<'f, Result<Seen, RunnerError>>
        where
            'a: 'f,
            Self: 'f,
        {
            unreachable!("logs are not seen")
        }

        fn ready<'a, 'b, 'f>(&'a self, _: &'b Release, _: SocketAddr) -> BoxFuture<'f, bool>
        where
            'a: 'f,
            'b: 'f,
            Self: 'f,
        {
            unreachable!("logs are never ready")
        }

        fn exits<'a, 'f>(
            &'a self,
        ) -> BoxFuture<'f, Result<Pin<Box<dyn Stream<Item = InstanceId> + Send>>, RunnerError>>
        where
            'a: 'f,
            Self: 'f,
        {
            unreachable!("logs do not exit")
        }
    }

    /// The app `blog`, warm, with one line of an earlier life on disk.
    struct World {
        data: DataDir,
        manifests: Manifests,
        ledger: Memory,
        look: Printing,
        app: AppName,
    }

    impl Drop for World {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(self.data.root());
        }
    }

    impl World {
        async fn warm(name: &str) -> Self {
            let folder = std::env::temp_dir().join(format!("func-cleaner-{}-{name}", std::process::id()));
            std::fs::create_dir_all(&folder).expect("made");
            let data = DataDir::open(&folder).expect("opened");
            let manifests = Manifests::new(data.clone());
            let app: AppName = "blog".parse().expect("a name");
            let mut log = func_store::LogFile::open(&data.logs(&app), "instance").expect("opened");
            log.line("old").expect("kept");
            let ledger = Memory::new();
            let warm = RestoredInstance { state: RestoredState::Warm(addr()), retired: false };
            let instances = [(blog(), warm)].into();
            ledger.restore(&Restored { instances, ..Restored::default() }).await.expect("restored");
            let look = Printing(Mutex::new(vec!["line 1".into()]));
            manifests.set_current(&blog().release).expect("live");
            Self { data, manifests, ledger, look, app }
        }

        fn source(&self) -> Source<'_> {
            let Self { data, manifests, ledger, look, app } = self;
            Source { app, data, manifests, watch: ledger, look }
        }

        async fn restart(&self) {
            let generation = self.source().life().await.expect("known").expect("warm").generation;
            self.ledger.settle(&blog(), generation, Settle::Gone).await.expect("gone");
            self.look.restart();
            let lease = LeaseId { holder: "edge".into(), serial: 1 };
            let entry = self.ledger.enter(&blog(), &lease).await.expect("entered");
            let Entry::Claimed(claim) = entry else { panic!("{entry:?}") };
            self.ledger.woken(&claim, addr(), &lease, None).await.expect("woken");
        }
    }

    fn blog() -> InstanceId {
        "blog-v1.1".parse().expect("an instance")
    }

    fn addr() -> SocketAddr {
        "10.0.0.2:80".parse().expect("an address")
    }

    /// Follows, with a restart after a while, and gives what came.
    async fn followed(world: &World, lines: usize) -> Vec<String> {
        let (tx, rx) = mpsc::channel(100);
        let source = world.source();
        let acts = async {
            sleep(FOLLOW_AGAIN * 10).await;
            world.restart().await;
            sleep(FOLLOW_AGAIN * 10).await;
        };
        tokio::select! {
            ended = source.send(lines, true, &tx) => panic!("{ended:?}"),
            () = acts => drop(tx),
        }
        ReceiverStream::new(rx).collect().await
    }

    #[tokio::test(start_paused = true)]
    async fn a_line_between_the_count_and_the_follow_is_not_lost_and_a_stream_that_ends_is_not_repeated() {
        let world = World::warm("follow").await;
        let came = followed(&world, 100).await;
        assert_eq!(came, ["old", "line 1", "line 2", "again 1", "again 2"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_new_life_is_given_from_its_first_line_however_few_lines_were_wanted() {
        let world = World::warm("few").await;
        assert_eq!(followed(&world, 1).await, ["line 2", "again 1", "again 2"]);
    }

    #[tokio::test]
    async fn the_lines_of_older_lives_fill_up_what_the_running_one_does_not_have() {
        let world = World::warm("last").await;
        assert_eq!(world.source().last(2).await.expect("read"), ["old", "line 1"]);
        assert_eq!(world.source().last(2).await.expect("read"), ["line 1", "line 2"]);
    }
}

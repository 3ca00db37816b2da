use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Mutex;

use func_ledger::{Cool, Enter, Memory, Restored, RestoredInstance, RestoredState, Settle};
use func_model::{Entry, LeaseId, Release, Seen};
use func_runner::RunnerError;
use futures_util::future::BoxFuture;

use super::*;

/// The line of an instance that prints it without end.
const FLOOD: &str = "flood";

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
        follow: bool,
    ) -> BoxFuture<'f, Result<LineStream, RunnerError>>
    where
        'a: 'f,
        'b: 'f,
        Self: 'f,
    {
        let mut all = self.0.lock().expect("unbroken");
        if follow && all.iter().any(|line| line == FLOOD) {
            return Box::pin(async { Ok::<LineStream, _>(Box::pin(stream::repeat(FLOOD.to_owned()))) });
        }
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

#[tokio::test(start_paused = true)]
async fn an_app_that_prints_without_end_is_read_at_a_bounded_rate_and_the_gaps_are_told() {
    let world = World::warm("flood").await;
    *world.look.0.lock().expect("unbroken") = vec![FLOOD.into(); 3];
    let (tx, mut rx) = mpsc::channel::<String>(100);
    let (seconds, source) = (20, world.source());
    let (mut lines, mut gaps) = (0, 0);
    let most = LINES_MAX + LINES_PER_SECOND * usize::try_from(seconds).expect("a few");
    let count = async {
        while let Some(line) = rx.recv().await.filter(|_| lines <= most) {
            match line.starts_with("func: 1 s left out") {
                true => gaps += 1,
                false => lines += 1,
            }
        }
    };
    tokio::select! {
        ended = source.send(10, true, &tx) => panic!("{ended:?}"),
        () = sleep(Duration::from_secs(seconds)) => {}
        () = count => {}
    }
    assert!(lines > LINES_MAX && lines <= most, "{lines} lines");
    assert!(gaps >= seconds - 2, "{gaps} gaps");
}

//! Two ends of one handover, in one process.

use tokio::task::JoinHandle;

use super::*;

struct World {
    folder: tempfile::TempDir,
    listener: TcpListener,
    relieved: CancellationToken,
    offering: JoinHandle<()>,
}

impl World {
    fn socket(&self) -> PathBuf {
        self.folder.path().join("upgrade.sock")
    }

    /// An edge that offers one listener.
    async fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let offer = Offer { socket: folder.path().join("upgrade.sock"), relieved: CancellationToken::new() };
        let relieved = offer.relieved.clone();
        let offering = tokio::spawn(super::offer(offer, vec![listener.try_clone().expect("a copy")]));
        let world = Self { folder, listener, relieved, offering };
        while !world.socket().exists() {
            tokio::task::yield_now().await;
        }
        world
    }

    async fn take(&self) -> io::Result<Option<(Vec<TcpListener>, Predecessor)>> {
        let socket = self.socket();
        tokio::task::spawn_blocking(move || super::take(&socket)).await.expect("no panic")
    }

    async fn taken(&self) -> (Vec<TcpListener>, Predecessor) {
        self.take().await.expect("it is asked").expect("it is there")
    }
}

#[tokio::test]
async fn the_very_socket_goes_over_and_the_old_one_leaves_when_it_is_told() {
    let world = World::new().await;
    let (listeners, predecessor) = world.taken().await;
    let addr = world.listener.local_addr().expect("its address");
    assert_eq!(listeners.len(), 1);
    assert_eq!(listeners[0].local_addr().expect("its address"), addr);
    assert!(!world.relieved.is_cancelled(), "the new one is not ready yet");
    predecessor.relieve().await;
    world.relieved.cancelled().await;
    world.offering.await.expect("no panic");
    drop(world.listener);
    std::net::TcpStream::connect(addr).expect("the new one still listens");
}

#[tokio::test]
async fn one_that_asked_and_died_changes_nothing() {
    let world = World::new().await;
    for _ in 0..3 {
        drop(world.taken().await);
    }
    assert!(!world.relieved.is_cancelled());
    let (_listeners, predecessor) = world.taken().await;
    predecessor.relieve().await;
    world.relieved.cancelled().await;
}

#[tokio::test]
async fn an_edge_that_is_gone_is_nobody_and_one_that_dies_meanwhile_leaves_its_sockets() {
    let world = World::new().await;
    let (listeners, predecessor) = world.taken().await;
    world.offering.abort();
    let _ = world.offering.await;
    predecessor.relieve().await;
    assert_eq!(listeners.len(), 1);
    let socket = world.folder.path().join("upgrade.sock");
    assert!(super::take(&socket).expect("it is asked").is_none(), "its file is removed");
    std::fs::write(&socket, "").expect("written");
    assert!(super::take(&socket).expect("it is asked").is_none(), "nobody listens");
}

#[tokio::test]
async fn a_later_edge_is_found_where_the_old_one_was() {
    let world = World::new().await;
    let (listeners, predecessor) = world.taken().await;
    predecessor.relieve().await;
    world.relieved.cancelled().await;
    let offer = Offer { socket: world.socket(), relieved: CancellationToken::new() };
    let offering = tokio::spawn(super::offer(offer, listeners));
    let again = async {
        loop {
            if let Some(taken) = world.take().await.expect("it is asked") {
                return taken;
            }
        }
    };
    let (listeners, _) = timeout(Duration::from_secs(10), again).await.expect("it is found");
    assert_eq!(listeners.len(), 1);
    offering.abort();
}

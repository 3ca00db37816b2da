//! The disk space of builds: what the build engine keeps may grow by so much while one runs.
//!
//! Free space is cheap to read and shrinks for many reasons. So it only decides when to add up what the engine has.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::{sleep, timeout};
use tracing::debug;

/// How often the free space is read; the build engine writes it down once a second.
const EVERY: Duration = Duration::from_secs(1);
/// How long adding up may take; it walks every file of the build engine.
const MEASURE_WITHIN: Duration = Duration::from_secs(5 * 60);
/// The engine's files are added up whenever this part of a build's space has gone from the disk.
const PART: u64 = 4;

/// The disk usage that the build engine reports in the shared folder.
#[derive(Debug, Clone)]
pub(crate) struct Room {
    folder: PathBuf,
}

impl Room {
    pub(crate) fn new(folder: &Path) -> Self {
        Self { folder: folder.to_owned() }
    }

    /// Ends when the engine has grown by more than `bytes_max`, or nine tenths of the free space have gone.
    pub(crate) async fn used_up(&self, bytes_max: u64) {
        let mut before = None;
        let (mut at_first, mut at_last) = (None, None);
        loop {
            // A new engine says nothing within its first second.
            before = before.or_else(|| self.used_bytes());
            if let Some(free) = self.free_bytes() {
                if is_nearly_full(*at_first.get_or_insert(free), free) {
                    return;
                }
                let last = *at_last.get_or_insert(free);
                if last.saturating_sub(free) > bytes_max / PART {
                    at_last = Some(free);
                    let now = self.measure().await;
                    if now.zip(before).is_some_and(|(now, before)| now.saturating_sub(before) > bytes_max) {
                        return;
                    }
                }
            }
            sleep(EVERY).await;
        }
    }

    /// Asks the engine to add up its files, for the next build to begin with.
    pub(crate) fn ask(&self) {
        if let Err(error) = fs::write(self.folder.join("measure"), "") {
            debug!(%error, "the build engine's files are not added up");
        }
    }

    async fn measure(&self) -> Option<u64> {
        self.ask();
        let done = async {
            while self.folder.join("measure").exists() {
                sleep(EVERY).await;
            }
        };
        timeout(MEASURE_WITHIN, done).await.ok()?;
        self.used_bytes()
    }

    fn free_bytes(&self) -> Option<u64> {
        self.kib("free")
    }

    fn used_bytes(&self) -> Option<u64> {
        self.kib("used")
    }

    /// Reads a number of KiB; `None` while there is none.
    fn kib(&self, name: &str) -> Option<u64> {
        let text = fs::read_to_string(self.folder.join(name)).ok()?;
        text.trim().parse::<u64>().ok()?.checked_mul(1024)
    }
}

fn is_nearly_full(at_first: u64, free: u64) -> bool {
    free < at_first / 10
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn write(folder: &Path, name: &str, mib: u64) {
        fs::write(folder.join(name), format!("{}\n", mib * 1024)).expect("written");
    }

    /// Plays the engine: adds up `used` MiB when asked.
    async fn answer(folder: &Path, used: u64) {
        while !folder.join("measure").exists() {
            sleep(EVERY / 4).await;
        }
        write(folder, "used", used);
        fs::remove_file(folder.join("measure")).expect("removed");
    }

    #[tokio::test(start_paused = true)]
    async fn a_build_ends_when_the_engine_has_grown_and_not_when_others_write() {
        let folder = tempfile::tempdir().expect("a folder");
        let folder = folder.path();
        let room = Room::new(folder);
        let waiting = tokio::spawn(async move { room.used_up(100 * MIB).await });
        // An engine that has just started says nothing yet.
        sleep(EVERY * 2).await;
        write(folder, "free", 10_000);
        write(folder, "used", 500);
        sleep(EVERY * 2).await;
        write(folder, "free", 9_000);
        answer(folder, 600).await;
        sleep(EVERY * 10).await;
        assert!(!waiting.is_finished(), "others wrote 900 of 1000 MiB");
        write(folder, "free", 8_970);
        answer(folder, 601).await;
        let ended = timeout(EVERY * 3, waiting).await;
        ended.expect("it ends").expect("it was waited for");
    }

    #[tokio::test(start_paused = true)]
    async fn a_disk_that_is_nearly_full_ends_every_build() {
        let folder = tempfile::tempdir().expect("a folder");
        write(folder.path(), "free", 1_000);
        let room = Room::new(folder.path());
        let waiting = tokio::spawn(async move { room.used_up(u64::MAX).await });
        sleep(EVERY * 2).await;
        write(folder.path(), "free", 99);
        let ended = timeout(EVERY * 3, waiting).await;
        ended.expect("it ends").expect("it was waited for");
    }
}

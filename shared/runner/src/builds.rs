//! The build engine: a Docker Engine in a container of its own. What the steps of a build can reach and use ends at
//! that container; the engine that serves only runs it, hands base images to it, and takes the built images over.
//!
//! The container runs while something is built, and for a while after; its caches are in a volume. A note in the run folder
//! says that it has worked on this machine: from then on builds run nowhere else.

mod container;
mod exchange;
mod layers;
mod network;
mod room;

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bollard::query_parameters::{RemoveContainerOptions, RemoveVolumeOptions};
use func_model::{BuildEngine, Egress};
use tokio::time::{Instant, sleep, timeout};
use tracing::{debug, info, warn};

use crate::call::{ASK, WORK, call, present};
use crate::{Docker, RunnerError};
use exchange::Handed;
use room::Room;

/// The image of the build engine, by the name that registries have it under.
pub const BUILD_ENGINE_IMAGE: &str = "docker:dind";
/// How long the engine may take to answer after its container was started; it takes one to two seconds.
const ANSWER_WITHIN: Duration = Duration::from_secs(60);
const ANSWER_EVERY: Duration = Duration::from_millis(50);
/// How long builds stay on the engine that serves after a start of the build engine failed.
const AGAIN_AFTER: Duration = Duration::from_secs(10 * 60);
/// How long the engine stays when nothing is built: the next push finds it running.
const UNUSED_MAX: Duration = Duration::from_secs(10 * 60);
/// How long a build that was ended may take to let go of the engine.
const LET_GO_WITHIN: Duration = Duration::from_secs(5);
/// How long its container may take to end: it writes down what it knows of its cache.
const STOP_WITHIN_S: i32 = 15;

/// Settings of builds.
#[derive(Debug, Clone)]
pub struct Builds {
    pub engine: BuildEngine,
    /// The image of the build engine's container, with a `dockerd` of version 20.10 or later, and a shell.
    pub image: String,
    /// The most memory of all builds at once, in bytes.
    pub memory_bytes: u64,
    /// The most disk space that may go during one build, in bytes.
    pub disk_bytes: u64,
    /// The most space of the build cache between builds, in bytes.
    pub cache_bytes: u64,
    pub egress: Egress,
}

impl Default for Builds {
    fn default() -> Self {
        Self {
            engine: BuildEngine::Shared,
            image: BUILD_ENGINE_IMAGE.to_owned(),
            memory_bytes: 2 << 30,
            disk_bytes: 20 << 30,
            cache_bytes: 10 << 30,
            egress: Egress::Internet,
        }
    }
}

/// The build engine as this process sees it. Starting and stopping it hold the lock.
#[derive(Default)]
pub(crate) struct Engine {
    turn: tokio::sync::Mutex<Known>,
    uses: Arc<Mutex<Uses>>,
}

#[derive(Default)]
struct Known {
    /// This process has seen it answer, with the settings of now.
    is_open: bool,
    /// When a start has failed, and why.
    failed: Option<(Instant, String)>,
}

struct Uses {
    count: usize,
    last: Instant,
    handed: Handed,
}

impl Default for Uses {
    fn default() -> Self {
        Self { count: 0, last: Instant::now(), handed: Handed::default() }
    }
}

/// Where one build runs.
pub(crate) enum Place {
    Apart(Open),
    Shared,
}

/// The build engine in use: it is not stopped before this is dropped.
pub(crate) struct Open {
    pub(crate) engine: bollard::Docker,
    uses: Arc<Mutex<Uses>>,
    room: Room,
}

impl Drop for Open {
    fn drop(&mut self) {
        let mut uses = self.uses.lock().unwrap_or_else(PoisonError::into_inner);
        uses.count = uses.count.saturating_sub(1);
        uses.last = Instant::now();
        if uses.count == 0 {
            self.room.ask();
        }
    }
}

impl Docker {
    /// Returns where the next build runs, and starts the build engine if it is to run there.
    ///
    /// # Errors
    /// [`RunnerError`] if the build engine has to be used and does not start.
    pub(crate) async fn build_place(&self) -> Result<Place, RunnerError> {
        let is_needed = match self.config().builds.engine {
            BuildEngine::Shared => return Ok(Place::Shared),
            BuildEngine::Apart => true,
            BuildEngine::Auto => false,
        };
        let mut known = self.builds().turn.lock().await;
        if let Some((at, _)) = known.failed.as_ref().filter(|_| !is_needed)
            && at.elapsed() < AGAIN_AFTER
        {
            return Ok(Place::Shared);
        }
        let has_worked = self.worked_note().exists();
        match self.open_build_engine(&mut known).await {
            Ok(open) => {
                known.failed = None;
                if !has_worked {
                    fs::write(self.worked_note(), "").map_err(|e| RunnerError::Refused {
                        verb: "note that the build engine works",
                        said: e.to_string(),
                    })?;
                }
                self.note_weakness(None);
                Ok(Place::Apart(open))
            }
            Err(error) if self.is_building() => Err(error),
            Err(error) => {
                known.is_open = false;
                self.close_build_engine().await?;
                if !has_worked {
                    self.remove_build_volume().await?;
                }
                if is_needed || has_worked {
                    return Err(error);
                }
                warn!(%error, "builds run on the engine that serves, without limits: the build engine does not start");
                known.failed = Some((Instant::now(), error.to_string()));
                self.note_weakness(Some(&error.to_string()));
                Ok(Place::Shared)
            }
        }
    }

    async fn open_build_engine(&self, known: &mut Known) -> Result<Open, RunnerError> {
        if known.is_open
            && let Ok(engine) = self.connect_to_build_engine().await
        {
            return Ok(self.used_for_a_build(engine));
        }
        let description = self.describe_build_engine().await?;
        if !known.is_open
            && self.is_build_engine_running(&description).await?
            && let Ok(engine) = self.connect_to_build_engine().await
        {
            known.is_open = true;
            return Ok(self.used_for_a_build(engine));
        }
        if self.is_building() {
            // Its answer is late, and others' builds run on it.
            return Err(RunnerError::Away("the build engine is busy and does not answer".into()));
        }
        self.close_build_engine().await?;
        let began = Instant::now();
        self.start_build_engine(description).await?;
        let engine = self.wait_for_build_engine().await?;
        known.is_open = true;
        self.builds().uses.lock().unwrap_or_else(PoisonError::into_inner).handed = Handed::default();
        info!(took_ms = began.elapsed().as_millis() as u64, "started the build engine");
        Ok(self.used_for_a_build(engine))
    }

    fn used_for_a_build(&self, engine: bollard::Docker) -> Open {
        let uses = self.builds().uses.clone();
        uses.lock().unwrap_or_else(PoisonError::into_inner).count += 1;
        Open { engine, uses, room: self.build_room() }
    }

    /// Waits until the engine answers, or its container has ended.
    async fn wait_for_build_engine(&self) -> Result<bollard::Docker, RunnerError> {
        let answered = async {
            loop {
                if let Ok(engine) = self.connect_to_build_engine().await {
                    return Ok(engine);
                }
                if let Some(said) = self.last_words_of_build_engine().await? {
                    return Err(RunnerError::Refused { verb: "run the build engine", said });
                }
                sleep(ANSWER_EVERY).await;
            }
        };
        let slow = RunnerError::Slow { verb: "start the build engine", within: ANSWER_WITHIN };
        timeout(ANSWER_WITHIN, answered).await.unwrap_or(Err(slow))
    }

    async fn connect_to_build_engine(&self) -> Result<bollard::Docker, RunnerError> {
        let socket = self.build_folder().join("docker.sock");
        if !socket.exists() {
            return Err(RunnerError::Away("the build engine has no socket yet".into()));
        }
        crate::docker::connect(&socket.display().to_string()).await
    }

    /// Returns whether the image of the build engine is there.
    ///
    /// # Errors
    /// [`RunnerError`] if the engine cannot be asked.
    pub async fn has_build_image(&self) -> Result<bool, RunnerError> {
        let asked = self.engine().await?.inspect_image(&self.config().builds.image);
        Ok(present(call("look at an image", ASK, asked).await)?.is_some())
    }

    /// Stops the build engine if nothing was built for a while, or, with `now`, if nothing is being built.
    pub(crate) async fn rest_builds(&self, now: bool) -> Result<(), RunnerError> {
        if self.config().builds.engine == BuildEngine::Shared {
            return Ok(());
        }
        let mut known = self.builds().turn.lock().await;
        let began = Instant::now();
        while !self.may_rest(now) {
            // A build that was ended a moment ago still lets go of the engine.
            if !now || began.elapsed() > LET_GO_WITHIN {
                return Ok(());
            }
            sleep(ANSWER_EVERY).await;
        }
        known.is_open = false;
        self.prune_handed_images().await;
        if self.close_build_engine().await? {
            debug!("stopped the build engine: nothing is built");
        }
        Ok(())
    }

    fn is_building(&self) -> bool {
        self.builds().uses.lock().unwrap_or_else(PoisonError::into_inner).count > 0
    }

    fn may_rest(&self, now: bool) -> bool {
        let uses = self.builds().uses.lock().unwrap_or_else(PoisonError::into_inner);
        uses.count == 0 && (now || uses.last.elapsed() >= UNUSED_MAX)
    }

    /// Stops and removes the container, if there is one. Repeatable.
    async fn close_build_engine(&self) -> Result<bool, RunnerError> {
        let (engine, name) = (self.engine().await?, self.build_name());
        let stop = bollard::query_parameters::StopContainerOptions { t: Some(STOP_WITHIN_S), signal: None };
        let stopped = call("stop the build engine", WORK, engine.stop_container(&name, Some(stop))).await;
        if present(stopped)?.is_none() {
            return Ok(false);
        }
        let options = RemoveContainerOptions { force: true, v: true, ..Default::default() };
        let removed =
            call("remove the build engine", WORK, engine.remove_container(&name, Some(options))).await;
        present(removed)?;
        let _ = fs::remove_file(self.build_folder().join("docker.sock"));
        Ok(true)
    }

    async fn remove_build_volume(&self) -> Result<(), RunnerError> {
        let name = self.build_name();
        let removed = self.engine().await?.remove_volume(&name, None::<RemoveVolumeOptions>);
        present(call("remove a volume", WORK, removed).await)?;
        Ok(())
    }

    /// Returns the file that says that the build engine has worked here. The engine itself does not reach it.
    fn worked_note(&self) -> PathBuf {
        self.run_folder().join("build-engine-works")
    }

    /// Returns the folder that the build engine shares with func: its socket, and how much disk is free.
    fn build_folder(&self) -> PathBuf {
        self.run_folder().join("builds")
    }

    /// Returns what the build engine says about its disk space.
    pub(crate) fn build_room(&self) -> Room {
        Room::new(&self.build_folder())
    }

    /// Returns the name of the build engine's container, network and volume.
    pub(crate) fn build_name(&self) -> String {
        format!("{}-builds", self.installation())
    }

    /// Leaves a note for `func doctor`.
    fn note_weakness(&self, why: Option<&str>) {
        let file = self.build_folder().join("shared");
        let noted = match why {
            Some(why) => fs::write(file, why),
            None => fs::remove_file(file).or_else(|e| match e.kind() {
                std::io::ErrorKind::NotFound => Ok(()),
                _ => Err(e),
            }),
        };
        if let Err(error) = noted {
            debug!(%error, "func doctor does not learn where builds run");
        }
    }
}

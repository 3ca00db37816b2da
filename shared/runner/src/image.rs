//! Images: loaded, looked at, tagged.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use bollard::body_try_stream;
use bollard::models::{BuildInfo, ImageInspect};
use bollard::query_parameters::{ImportImageOptions, TagImageOptions};
use func_model::{ImageDigest, ReleaseId};
use futures_util::TryStreamExt;

use crate::call::{ASK, LOAD, call, present};
use crate::context::Watched;
use crate::{ByteStream, Docker, ImageFacts, RunnerError};

/// How many images are remembered; beyond, all are forgotten.
const KNOWN_MAX: usize = 1_000;

/// What of an image its containers depend on.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    /// The paths of its `VOLUME`s.
    pub volumes: Vec<String>,
    /// Its entry point and its command, one after the other; empty if it has neither.
    pub command: Vec<String>,
    /// Whether its command starts as root.
    pub is_root: bool,
}

/// The shapes of the images that were looked at.
#[derive(Default)]
pub(crate) struct Images(Mutex<HashMap<ImageDigest, Arc<Shape>>>);

impl Images {
    fn get(&self, digest: &ImageDigest) -> Option<Arc<Shape>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(digest).cloned()
    }

    fn keep(&self, digest: &ImageDigest, shape: Shape) -> Arc<Shape> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= KNOWN_MAX {
            known.clear();
        }
        known.entry(digest.clone()).or_insert_with(|| Arc::new(shape)).clone()
    }
}

impl Docker {
    pub(crate) async fn load_archive(&self, archive: ByteStream) -> Result<(), RunnerError> {
        load(self.engine().await?, archive).await.map(drop)
    }

    pub(crate) async fn image_facts(&self, digest: &ImageDigest) -> Result<Option<ImageFacts>, RunnerError> {
        let asked = self.engine().await?.inspect_image(digest.as_str());
        let found = present(call("look at an image", ASK, asked).await)?;
        Ok(found.map(|image| facts(digest.clone(), image)))
    }

    /// Gives what of an image its containers depend on; `None` if there is no such image. What was seen once is
    /// remembered: a digest stands for one content.
    pub(crate) async fn shape(&self, digest: &ImageDigest) -> Result<Option<Arc<Shape>>, RunnerError> {
        if let Some(known) = self.images().get(digest) {
            return Ok(Some(known));
        }
        let asked = self.engine().await?.inspect_image(digest.as_str());
        let found = present(call("look at an image", ASK, asked).await)?;
        Ok(found.map(|image| self.images().keep(digest, shape(image))))
    }

    pub(crate) async fn tag_image(
        &self,
        digest: &ImageDigest,
        release: &ReleaseId,
    ) -> Result<(), RunnerError> {
        let repo = format!("{}/{}", self.installation(), release.app);
        let options = TagImageOptions { repo: Some(repo), tag: Some(release.number.to_string()) };
        let tagged = self.engine().await?.tag_image(digest.as_str(), Some(options));
        Ok(call("tag an image", ASK, tagged).await?)
    }
}

/// Loads an archive into an engine. Returns what the engine says.
pub(crate) async fn load(
    engine: &bollard::Docker,
    archive: ByteStream,
) -> Result<Vec<BuildInfo>, RunnerError> {
    let (archive, broken) = Watched::new(archive);
    let options = ImportImageOptions { quiet: true, platform: None };
    let told = engine.import_image(options, body_try_stream(archive), None);
    let loaded = call("load an image", LOAD, told.try_collect()).await;
    match broken.take() {
        Some(error) => {
            Err(RunnerError::Refused { verb: "load an image", said: format!("read the archive: {error}") })
        }
        None => Ok(loaded?),
    }
}

fn shape(image: ImageInspect) -> Shape {
    let config = image.config.unwrap_or_default();
    let command =
        [config.entrypoint, config.cmd].into_iter().flatten().filter(|words| !is_unset(words)).flatten();
    Shape {
        volumes: config.volumes.unwrap_or_default(),
        command: command.collect(),
        is_root: is_root(config.user.as_deref().unwrap_or_default()),
    }
}

/// Whether a `USER` is root: none at all, `root`, or 0, with a group or without.
fn is_root(user: &str) -> bool {
    let user = user.split(':').next().unwrap_or_default();
    user.is_empty() || user == "root" || user.parse() == Ok(0_u32)
}

/// One empty word is how a Dockerfile takes back what its base image has; the engine takes it for none.
fn is_unset(words: &[String]) -> bool {
    matches!(words, [word] if word.is_empty())
}

fn facts(digest: ImageDigest, image: ImageInspect) -> ImageFacts {
    let config = image.config.unwrap_or_default();
    let mut ports: Vec<u16> = config.exposed_ports.iter().flatten().filter_map(|p| tcp_port(p)).collect();
    ports.sort_unstable();
    ports.dedup();
    let some = |words: Option<Vec<String>>| words.is_some_and(|w| !w.is_empty());
    ImageFacts {
        digest,
        ports,
        has_command: some(config.entrypoint) || some(config.cmd),
        size_bytes: image.size.and_then(|s| s.try_into().ok()).unwrap_or_default(),
    }
}

/// Reads `8080/tcp` or `8080`; `None` for other protocols.
fn tcp_port(exposed: &str) -> Option<u16> {
    exposed.strip_suffix("/tcp").unwrap_or(exposed).parse().ok()
}

#[cfg(test)]
mod tests {
    use bollard::models::ImageConfig;

    use super::*;

    #[test]
    fn the_command_is_the_entry_point_with_its_arguments() {
        let words = |words: &[&str]| Some(words.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>());
        let command = |entrypoint, cmd| {
            let config = ImageConfig { entrypoint, cmd, ..Default::default() };
            shape(ImageInspect { config: Some(config), ..Default::default() }).command.join(" ")
        };
        assert_eq!(command(words(&["/app", "-v"]), words(&["serve"])), "/app -v serve");
        assert_eq!(command(None, words(&["/bin/sh", "-c", "serve"])), "/bin/sh -c serve");
        assert_eq!(command(words(&[""]), words(&["serve"])), "serve");
        assert_eq!(command(None, words(&[""])), "");
        assert_eq!(command(None, None), "");
    }

    #[test]
    fn root_is_known_by_name_by_number_and_by_default() {
        for root in ["", "root", "0", "0:0", "root:root", ":1000"] {
            assert!(is_root(root), "{root}");
        }
        for other in ["app", "1000", "1000:0", "rooty", "nobody:root"] {
            assert!(!is_root(other), "{other}");
        }
    }

    #[test]
    fn only_tcp_ports_are_ports() {
        assert_eq!(tcp_port("8080/tcp"), Some(8080));
        assert_eq!(tcp_port("80"), Some(80));
        assert_eq!(tcp_port("53/udp"), None);
    }
}

//! Images: loaded, looked at, tagged.

use bollard::body_try_stream;
use bollard::errors::Error;
use bollard::models::ImageInspect;
use bollard::query_parameters::{ImportImageOptions, TagImageOptions};
use func_model::{ImageDigest, ReleaseId};
use futures_util::StreamExt;

use crate::call::{ASK, LOAD, call, present};
use crate::context::Watched;
use crate::{ByteStream, Docker, ImageFacts, RunnerError};

impl Docker {
    pub(crate) async fn load_archive(&self, archive: ByteStream) -> Result<(), RunnerError> {
        let (archive, broken) = Watched::new(archive);
        let engine = self.engine().await?;
        let options = ImportImageOptions { quiet: true, platform: None };
        let mut told = Box::pin(engine.import_image(options, body_try_stream(archive), None));
        let all = async {
            while let Some(message) = told.next().await {
                message?;
            }
            Ok::<(), Error>(())
        };
        let loaded = call("load an image", LOAD, all).await;
        match broken.take() {
            Some(error) => Err(RunnerError::Refused {
                verb: "load an image",
                said: format!("read the archive: {error}"),
            }),
            None => Ok(loaded?),
        }
    }

    pub(crate) async fn image_facts(&self, digest: &ImageDigest) -> Result<Option<ImageFacts>, RunnerError> {
        let asked = self.engine().await?.inspect_image(digest.as_str());
        let found = present(call("look at an image", ASK, asked).await)?;
        Ok(found.map(|image| facts(digest.clone(), image)))
    }

    /// Gives the paths of an image's `VOLUME`s; `None` if there is no such image.
    pub(crate) async fn image_volumes(
        &self,
        digest: &ImageDigest,
    ) -> Result<Option<Vec<String>>, RunnerError> {
        let asked = self.engine().await?.inspect_image(digest.as_str());
        let found = present(call("look at an image", ASK, asked).await)?;
        Ok(found.map(|image| image.config.and_then(|c| c.volumes).unwrap_or_default()))
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
    use super::*;

    #[test]
    fn only_tcp_ports_are_ports() {
        assert_eq!(tcp_port("8080/tcp"), Some(8080));
        assert_eq!(tcp_port("80"), Some(80));
        assert_eq!(tcp_port("53/udp"), None);
    }
}

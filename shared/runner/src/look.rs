//! Looking at what is there, without changing it.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::pin::Pin;
use std::time::{SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use bollard::models::EventMessage;
use bollard::query_parameters::{EventsOptions, ListContainersOptions, ListImagesOptions};
use func_model::{InstanceId, Release, ReleaseId, Seen, SeenImage};
use futures_util::{Stream, StreamExt, stream};

use crate::call::{ASK, call};
use crate::container::Life;
use crate::readiness::ready_once;
use crate::{Docker, LineStream, Look, RunnerError};

#[async_trait]
impl Look for Docker {
    async fn seen(&self) -> Result<Seen, RunnerError> {
        let engine = self.engine().await?;
        let all = ListContainersOptions { all: true, filters: Some(self.ours()), ..Default::default() };
        let containers = call("list the containers", ASK, engine.list_containers(Some(all))).await?;
        let tags = HashMap::from([("reference".to_owned(), vec![format!("{}/*", self.installation())])]);
        let tagged = ListImagesOptions { filters: Some(tags), ..Default::default() };
        let images = call("list the images", ASK, engine.list_images(Some(tagged))).await?;
        let mut ours = Vec::with_capacity(containers.len());
        for listed in containers {
            ours.extend(self.seen_container(listed).await);
        }
        Ok(Seen {
            containers: ours,
            images: images
                .into_iter()
                .flat_map(|i| i.repo_tags)
                .filter_map(|tag| seen_image(tag, self.installation()))
                .collect(),
        })
    }

    async fn ready(&self, release: &Release, addr: SocketAddr) -> bool {
        ready_once(release.health.as_deref(), addr).await.is_ok()
    }

    async fn logs(&self, id: &InstanceId, lines: usize, follow: bool) -> Result<LineStream, RunnerError> {
        let Some(found) = self.container(&self.name(id)).await? else { return Ok(Box::pin(stream::empty())) };
        match found.life {
            Life::Running | Life::Paused => self.lines(&found.id, lines, follow).await,
            Life::Poised(_) | Life::Over => Ok(Box::pin(stream::empty())),
        }
    }

    async fn exits(&self) -> Result<Pin<Box<dyn Stream<Item = InstanceId> + Send>>, RunnerError> {
        let engine = self.engine().await?;
        call("answer a ping", ASK, engine.ping()).await?;
        let mut filters = self.ours();
        filters.insert("type".to_owned(), vec!["container".to_owned()]);
        filters.insert("event".to_owned(), vec!["die".to_owned()]);
        // The stream connects when it is first polled; the engine gives what happened between now and then.
        let options = EventsOptions { since: Some(now()), until: None, filters: Some(filters) };
        let events = engine.events(Some(options));
        let ends = events.take_while(|event| std::future::ready(event.is_ok()));
        let docker = self.clone();
        Ok(Box::pin(ends.filter_map(move |event| std::future::ready(docker.ended_instance(event.ok())))))
    }
}

impl Docker {
    fn ended_instance(&self, event: Option<EventMessage>) -> Option<InstanceId> {
        let attributes = event?.actor?.attributes?;
        self.instance(&attributes, attributes.get("name")?)
    }
}

/// Gives the time as the engine reads it: seconds, a point, nanoseconds.
fn now() -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    format!("{}.{:09}", now.as_secs(), now.subsec_nanos())
}

/// Reads `func/blog:v7`; `None` if it is another's.
pub(crate) fn seen_image(tag: String, installation: &str) -> Option<SeenImage> {
    let (app, number) = tag.strip_prefix(installation)?.strip_prefix('/')?.split_once(':')?;
    let release = ReleaseId { app: app.parse().ok()?, number: number.parse().ok()? };
    Some(SeenImage { tag, release })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_tags_of_this_installation_are_seen() {
        let seen = |tag: &str| seen_image(tag.to_owned(), "func").map(|i| i.release.to_string());
        assert_eq!(seen("func/blog:v7").as_deref(), Some("blog-v7"));
        for other in ["func-ab/blog:v7", "func/blog:latest", "blog:v7", "func/a/b:v1", "<none>:<none>"] {
            assert_eq!(seen(other), None, "{other}");
        }
    }
}

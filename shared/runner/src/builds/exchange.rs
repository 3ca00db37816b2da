//! Images between the two engines: base images to the build engine, built ones back.

use std::collections::HashMap;
use std::io;
use std::sync::PoisonError;

use bollard::models::BuildInfo;
use bollard::query_parameters::{PruneImagesOptions, RemoveImageOptions};
use func_model::{Asks, ImageDigest};
use futures_util::{StreamExt, stream};
use tokio::sync::mpsc;
use tracing::debug;

use super::Open;
use crate::call::{ASK, WORK, call, present};
use crate::{BuildFailed, BuildJob, Docker, RunnerError};

/// Base images already copied to the build engine: name to id on the serving engine. A changed id means copying again.
pub(super) type Handed = HashMap<String, String>;

/// How many are remembered; beyond, all are forgotten.
const HANDED_MAX: usize = 1_000;
/// Parts of an image on their way between the engines, of some 64 KiB each.
const PARTS: usize = 8;

impl Docker {
    /// Hands over what a Dockerfile asks for, as far as this engine has it: the build engine pulls the rest.
    pub(crate) async fn hand_images(&self, asks: &Asks, to: &Open) -> Result<(), RunnerError> {
        for name in asks.images.iter().chain(&asks.syntax) {
            let Some(id) = image_id(self.engine().await?, name).await? else { continue };
            let is_known = |uses: &super::Uses| uses.handed.get(name) == Some(&id);
            if is_known(&to.uses.lock().unwrap_or_else(PoisonError::into_inner)) {
                continue;
            }
            if image_id(&to.engine, name).await?.as_ref() != Some(&id) {
                debug!(image = name, "handing {name} to the build engine");
                self.copy_image(name, self.engine().await?, &to.engine).await?;
            }
            let mut uses = to.uses.lock().unwrap_or_else(PoisonError::into_inner);
            if uses.handed.len() >= HANDED_MAX {
                uses.handed.clear();
            }
            uses.handed.insert(name.clone(), id);
        }
        Ok(())
    }

    /// Takes a built image over and removes it from the build engine, which keeps the results of its steps.
    ///
    /// Returns the id that it has here: engines with containerd's image store name it by its manifest, older ones by its
    /// configuration.
    pub(crate) async fn take_image(
        &self,
        built: &ImageDigest,
        job: &BuildJob,
        from: &Open,
    ) -> Result<ImageDigest, BuildFailed> {
        let told = match self.take_new_layers(built, job, from).await {
            Ok(true) => Vec::new(),
            Ok(false) => self.copy_image(built.as_str(), &from.engine, self.engine().await?).await?,
            Err(error) => {
                debug!(%error, "the whole image is taken over");
                self.copy_image(built.as_str(), &from.engine, self.engine().await?).await?
            }
        };
        let names = told.iter().flat_map(|line| line.split_whitespace()).filter_map(|word| word.parse().ok());
        let mut found = None;
        for id in std::iter::once(built.clone()).chain(names) {
            if self.image_facts(&id).await?.is_some() {
                found = Some(id);
                break;
            }
        }
        let options = RemoveImageOptions { force: true, noprune: true, ..Default::default() };
        let removed = from.engine.remove_image(built.as_str(), Some(options), None);
        if let Err(error) = present(call("remove an image", WORK, removed).await) {
            debug!(%error, "the build engine keeps an image that was taken over");
        }
        let lost = || RunnerError::Refused {
            verb: "take a built image over",
            said: format!("{built} is not there after it was loaded"),
        };
        Ok(found.ok_or_else(lost)?)
    }

    /// Takes over what is new of an image; `false` if that cannot be told apart.
    async fn take_new_layers(
        &self,
        built: &ImageDigest,
        job: &BuildJob,
        from: &Open,
    ) -> Result<bool, RunnerError> {
        let about = (&job.release.app, &job.asks);
        let Some(archive) = self.new_layers(built, about, from).await? else { return Ok(false) };
        crate::image::load(self.engine().await?, archive).await?;
        Ok(true)
    }

    /// Removes base images whose name has gone to a newer one. Whatever fails is tried again at the next rest.
    pub(super) async fn prune_handed_images(&self) {
        let Ok(engine) = self.connect_to_build_engine().await else { return };
        if let Err(error) = call("remove images", WORK, engine.prune_images(None::<PruneImagesOptions>)).await
        {
            debug!(error = %RunnerError::from(error), "the build engine keeps old base images");
        }
    }

    /// Streams an image from one engine to another. Returns what the other says.
    async fn copy_image(
        &self,
        name: &str,
        from: &bollard::Docker,
        to: &bollard::Docker,
    ) -> Result<Vec<String>, RunnerError> {
        let (tx, rx) = mpsc::channel(PARTS);
        let archive = stream::unfold(rx, |mut rx| async { rx.recv().await.map(|part| (part, rx)) });
        let read = async move {
            let mut parts = std::pin::pin!(from.export_image(name));
            while let Some(part) = parts.next().await {
                if tx.send(part.map_err(io::Error::other)).await.is_err() {
                    break;
                }
            }
        };
        let ((), told) = tokio::join!(read, crate::image::load(to, Box::pin(archive)));
        Ok(told?.into_iter().filter_map(|message: BuildInfo| message.stream).collect())
    }
}

async fn image_id(engine: &bollard::Docker, name: &str) -> Result<Option<String>, RunnerError> {
    let found = present(call("look at an image", ASK, engine.inspect_image(name)).await);
    match found {
        Ok(image) => Ok(image.and_then(|image| image.id)),
        // A name that no engine can have: the build says so.
        Err(RunnerError::Refused { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

//! Measuring what the engine keeps: the layers of our images, and the build cache.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bollard::models::ImageHistoryResponseItem;
use bollard::query_parameters::ListImagesOptions;
use func_model::{CacheUsage, Layers, ReleaseId};
use futures_util::TryStreamExt;
use serde::Deserialize;
use sha2::{Digest, Sha256};
use tokio::time::sleep;

use crate::call::{ASK, CallError, call, present};
use crate::look::seen_image;
use crate::{Docker, RunnerError};

/// How long the engine may take to add up its disk usage: before API 1.42 it also walks all containers and volumes.
const ADD_UP: Duration = Duration::from_secs(5 * 60);
/// An engine before 23 adds up for one caller at a time, and turns others away.
const TRIES: u32 = 10;
const TRY_EVERY: Duration = Duration::from_secs(1);
/// The largest answer that is read: some ten thousand records.
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;
/// How many images' layers are remembered; beyond, all are forgotten.
const KNOWN_MAX: usize = 10_000;

/// The power to measure.
#[async_trait]
pub trait Measure: Send + Sync {
    /// Returns the layers of every image of this installation that is a release's. Of the same image those of the first
    /// call are remembered.
    ///
    /// # Errors
    /// [`RunnerError`].
    async fn images(&self) -> Result<Vec<(ReleaseId, Layers)>, RunnerError>;

    /// Returns what the engine's build cache takes. May make an old engine work for seconds.
    ///
    /// # Errors
    /// [`RunnerError`].
    async fn cache(&self) -> Result<CacheUsage, RunnerError>;

    /// Returns the engine's folder; `None` if the engine is not on this machine.
    ///
    /// # Errors
    /// [`RunnerError`].
    async fn root(&self) -> Result<Option<PathBuf>, RunnerError>;
}

/// The layers of images by the images' ids.
#[derive(Default)]
pub(crate) struct KnownLayers(Mutex<HashMap<String, Arc<Layers>>>);

impl KnownLayers {
    fn get(&self, image: &str) -> Option<Arc<Layers>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(image).cloned()
    }

    fn keep(&self, image: String, layers: Layers) -> Arc<Layers> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= KNOWN_MAX {
            known.clear();
        }
        known.entry(image).or_insert_with(|| Arc::new(layers)).clone()
    }
}

#[async_trait]
impl Measure for Docker {
    async fn images(&self) -> Result<Vec<(ReleaseId, Layers)>, RunnerError> {
        let tags = HashMap::from([("reference".to_owned(), vec![format!("{}/*", self.installation())])]);
        let tagged = ListImagesOptions { filters: Some(tags), ..Default::default() };
        let listed = call("list the images", ASK, self.engine().await?.list_images(Some(tagged))).await?;
        let mut images = Vec::with_capacity(listed.len());
        for image in listed {
            let tags = image.repo_tags.into_iter();
            let releases: Vec<_> = tags.filter_map(|tag| seen_image(tag, self.installation())).collect();
            if releases.is_empty() {
                continue;
            }
            // One that went meanwhile takes nothing.
            let Some(layers) = self.layers(image.id).await? else { continue };
            images.extend(releases.into_iter().map(|seen| (seen.release, (*layers).clone())));
        }
        Ok(images)
    }

    async fn cache(&self) -> Result<CacheUsage, RunnerError> {
        cache_usage(self.engine().await?).await
    }

    async fn root(&self) -> Result<Option<PathBuf>, RunnerError> {
        if self.is_remote() {
            return Ok(None);
        }
        let about = call("describe itself", ASK, self.engine().await?.info()).await?;
        Ok(about.docker_root_dir.map(PathBuf::from))
    }
}

impl Docker {
    async fn layers(&self, image: String) -> Result<Option<Arc<Layers>>, RunnerError> {
        if let Some(known) = self.known_layers().get(&image) {
            return Ok(Some(known));
        }
        let engine = self.engine().await?;
        let history = present(call("look at an image", ASK, engine.image_history(&image)).await)?;
        let inspected = present(call("look at an image", ASK, engine.inspect_image(&image)).await)?;
        let (Some(history), Some(inspected)) = (history, inspected) else { return Ok(None) };
        let ids = inspected.root_fs.and_then(|root| root.layers).unwrap_or_default();
        Ok(Some(self.known_layers().keep(image, layers(&history, &ids))))
    }
}

/// Returns the layers of an image, each with an id of our own and its size.
///
/// The engine lists sizes with the steps of the history, newest first, and the layers' digests apart from them, and does
/// not say which step made which layer: a step may make none, and a layer may be empty. So the id of a layer is a hash of
/// the steps up to its own and of the digests in order: images that share a layer have the same of both.
fn layers(history: &[ImageHistoryResponseItem], ids: &[String]) -> Layers {
    let (mut layers, mut steps) = (Layers::new(), Sha256::new());
    let mut ids = ids.iter();
    for step in history.iter().rev() {
        steps.update(format!("{} {} {}\n", step.created, step.size, step.created_by));
        let bytes = u64::try_from(step.size).unwrap_or_default();
        if bytes > 0 {
            steps.update(ids.next().map_or("", String::as_str));
            let digest = steps.clone().finalize();
            layers.insert(digest.iter().take(16).map(|b| format!("{b:02x}")).collect(), bytes);
        }
    }
    layers
}

/// Returns what the build cache of an engine takes, whoever built there.
///
/// # Errors
/// [`RunnerError`].
pub(crate) async fn cache_usage(engine: &bollard::Docker) -> Result<CacheUsage, RunnerError> {
    // bollard reads only what API 1.52 answers. What is an export to it gives the bytes of any answer.
    let path = format!("/v{}/system/df?type=build-cache", engine.client_version());
    let engine = engine.clone().with_request_modifier(move |mut request| {
        *request.uri_mut() = at(request.uri(), &path);
        request
    });
    let mut tries = 0;
    loop {
        let answer = engine.export_image("any").try_fold(Vec::new(), |mut all, part| async move {
            all.extend_from_slice(&part[..part.len().min(ANSWER_BYTES_MAX - all.len())]);
            Ok(all)
        });
        tries += 1;
        match call("add up its disk usage", ADD_UP, answer).await {
            Ok(answer) => return read(&answer),
            Err(CallError::Denied { .. }) if tries < TRIES => sleep(TRY_EVERY).await,
            Err(error) => return Err(error.into()),
        }
    }
}

/// Returns a URI of the same server with another path.
fn at(uri: &http::Uri, path: &str) -> http::Uri {
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(path.parse().expect("a version and fixed words are a path"));
    http::Uri::from_parts(parts).expect("it was a URI with another path")
}

#[derive(Deserialize)]
struct Answer {
    #[serde(rename = "BuildCache", default)]
    records: Option<Vec<CacheRecord>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct CacheRecord {
    #[serde(default)]
    size: i64,
    #[serde(default)]
    in_use: bool,
    /// An image has it as well: it is counted there.
    #[serde(default)]
    shared: bool,
}

fn read(answer: &[u8]) -> Result<CacheUsage, RunnerError> {
    let verb = "add up its disk usage";
    let answer: Answer =
        serde_json::from_slice(answer).map_err(|e| RunnerError::Refused { verb, said: e.to_string() })?;
    let mut usage = CacheUsage::default();
    for record in answer.records.unwrap_or_default().iter().filter(|record| !record.shared) {
        let bytes = u64::try_from(record.size).unwrap_or_default();
        usage.bytes += bytes;
        usage.unused_bytes += if record.in_use { 0 } else { bytes };
    }
    Ok(usage)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(created_by: &str, size: i64) -> ImageHistoryResponseItem {
        ImageHistoryResponseItem { created_by: created_by.into(), size, ..Default::default() }
    }

    fn image(steps: &[(&str, i64)], ids: &[&str]) -> Layers {
        let history: Vec<_> = steps.iter().rev().map(|(by, size)| step(by, *size)).collect();
        layers(&history, &ids.iter().map(|id| (*id).to_owned()).collect::<Vec<_>>())
    }

    fn shared(one: &Layers, other: &Layers) -> u64 {
        one.iter().filter(|(id, _)| other.contains_key(*id)).map(|(_, bytes)| bytes).sum()
    }

    #[test]
    fn images_share_the_layers_of_their_base_and_no_others() {
        let base = [("ADD base", 70), ("ENV A=1", 0), ("WORKDIR /app", 0)];
        let one = image(&[&base[..], &[("COPY one", 5)]].concat(), &["base", "workdir", "one"]);
        let two = image(&[&base[..], &[("COPY two", 6)]].concat(), &["base", "workdir", "two"]);
        assert_eq!((one.values().sum::<u64>(), two.values().sum::<u64>()), (75, 76));
        assert_eq!(shared(&one, &two), 70);
        assert_eq!(shared(&one, &image(&base, &["base", "workdir"])), 70);
    }

    #[test]
    fn images_of_the_same_steps_with_other_files_share_nothing() {
        let steps = [("COPY . /", 5)];
        assert_eq!(shared(&image(&steps, &["one"]), &image(&steps, &["two"])), 0);
        assert_eq!(shared(&image(&steps, &["one"]), &image(&steps, &["one"])), 5);
    }

    #[test]
    fn the_cache_is_what_no_image_has() {
        let text = r#"{"LayersSize":1,"BuildCache":[{"ID":"a","Size":5,"InUse":false,"Shared":false},
            {"Size":7,"InUse":true,"Shared":false},{"Size":100,"InUse":false,"Shared":true}]}"#;
        let usage = read(text.as_bytes()).expect("read");
        assert_eq!(usage, CacheUsage { bytes: 12, unused_bytes: 5 });
        assert_eq!(read(br#"{"BuildCache":null}"#).expect("read"), CacheUsage::default());
        assert!(read(b"no JSON").is_err());
    }
}

//! What builds leave behind, kept within a limit: images that lost their tag, and the engine's build cache.

use std::collections::{BTreeSet, HashMap};
use std::fmt::Display;

use bollard::query_parameters::{ListImagesOptions, PruneBuildOptions, PruneImagesOptions};
use func_model::AppName;
use func_store::Lock;
use tracing::{debug, info};

use crate::call::{ASK, PRUNE, call};
use crate::docker::APP;
use crate::{Docker, RunnerError};

impl Docker {
    /// Removes the images of our builds that have no tag and that nothing uses. Gives the bytes that became free.
    pub(crate) async fn prune_images(&self) -> Result<u64, RunnerError> {
        let options = ListImagesOptions { filters: Some(dangling(self.ours())), ..Default::default() };
        let images = call("list the images", ASK, self.engine().await?.list_images(Some(options))).await?;
        let apps = images.iter().filter_map(|image| image.labels.get(APP)?.parse().ok());
        let mut freed = 0;
        for app in apps.collect::<BTreeSet<AppName>>() {
            freed += self.prune_images_of(&app).await?;
        }
        Ok(freed)
    }

    /// An image has no tag between its build and its release; the builder holds the lock of the app's deploy then.
    async fn prune_images_of(&self, app: &AppName) -> Result<u64, RunnerError> {
        let Some(_lock) = Lock::try_deploy(&self.config().data, app)? else {
            debug!(app.name = %app, "{app} is being deployed: its images are left alone");
            return Ok(0);
        };
        let mut filters = dangling(self.ours());
        filters.entry("label".to_owned()).or_default().push(format!("{APP}={app}"));
        let options = PruneImagesOptions { filters: Some(filters) };
        let pruned = call("remove images", PRUNE, self.engine().await?.prune_images(Some(options))).await?;
        let (count, bytes) = (pruned.images_deleted.unwrap_or_default().len(), bytes(pruned.space_reclaimed));
        if count > 0 {
            info!(app.name = %app, bytes, "removed images of {app} that no release has");
        }
        Ok(bytes)
    }

    /// Prunes the engine's build cache down to a size, the least recently used first. Gives the bytes that became free.
    pub(crate) async fn prune_cache(&self, bytes_max: u64) -> Result<u64, RunnerError> {
        prune_cache(self.engine().await?, bytes_max).await
    }
}

/// As [`Docker::prune_cache`], of any engine.
pub(crate) async fn prune_cache(engine: &bollard::Docker, bytes_max: u64) -> Result<u64, RunnerError> {
    // An engine that is told no size keeps nothing, and 0 is none.
    let keep = i64::try_from(bytes_max).unwrap_or(i64::MAX).max(1);
    // bollard knows only the name of API 1.48 and later; the engines before it know only `keep-storage`.
    let options = PruneBuildOptions { reserved_space: Some(keep), ..Default::default() };
    let engine = engine.clone().with_request_modifier(move |mut request| {
        *request.uri_mut() =
            keeping(request.uri(), keep).parse().expect("a number is added to the query of a valid URI");
        request
    });
    let pruned = call("prune the build cache", PRUNE, engine.prune_build(Some(options))).await?;
    Ok(bytes(pruned.space_reclaimed))
}

fn dangling(mut filters: HashMap<String, Vec<String>>) -> HashMap<String, Vec<String>> {
    filters.insert("dangling".to_owned(), vec!["true".to_owned()]);
    filters
}

/// Adds the size to keep to a request that has a query.
fn keeping(uri: impl Display, bytes: i64) -> String {
    format!("{uri}&keep-storage={bytes}")
}

fn bytes(reclaimed: Option<i64>) -> u64 {
    reclaimed.and_then(|bytes| bytes.try_into().ok()).unwrap_or_default()
}

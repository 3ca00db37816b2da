//! What the build engine keeps between builds.

use func_model::{BuildEngine, CacheUsage};

use crate::measure::cache_usage;
use crate::prune::prune_cache;
use crate::{Docker, RunnerError};

impl Docker {
    /// Returns what the build engine keeps: all of its files, as it added them up after the last build. Unused is what its
    /// cache can let go of; nothing while the engine rests.
    pub(crate) async fn build_cache_usage(&self) -> Result<CacheUsage, RunnerError> {
        if self.config().builds.engine == BuildEngine::Shared {
            return Ok(CacheUsage::default());
        }
        let files = self.build_room().used_bytes().unwrap_or_default();
        let Ok(engine) = self.connect_to_build_engine().await else {
            return Ok(CacheUsage { bytes: files, unused_bytes: 0 });
        };
        let cache = cache_usage(&engine).await?;
        Ok(CacheUsage { bytes: cache.bytes.max(files), unused_bytes: cache.unused_bytes })
    }

    /// Prunes the build engine's cache down to a size. Returns the bytes that became free; 0 while the engine rests.
    pub(crate) async fn prune_build_cache(&self, bytes_max: u64) -> Result<u64, RunnerError> {
        let Ok(engine) = self.connect_to_build_engine().await else { return Ok(0) };
        let freed = prune_cache(&engine, bytes_max).await?;
        self.build_room().ask();
        Ok(freed)
    }
}

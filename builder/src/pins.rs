//! Pins: releases that stay, whatever goes for its age or for space.

use func_model::call::Pin;
use func_model::event::BuildEvent;
use func_model::limits::PINS_MAX;
use func_model::{AppName, ReleaseId};

use crate::builder::Builder;
use crate::failure::Failure;
use crate::limits::CALL_LOCK;

impl Builder {
    /// Pins a release, or ends that. Repeatable. Under the lock of the app's deploy: a release that is pinned is not on its
    /// way out.
    ///
    /// # Errors
    /// [`Failure::NoApp`], [`Failure::NoRelease`], [`Failure::Pins`] with as many pins as there may be,
    /// [`Failure::Busy`], [`Failure::Store`].
    pub async fn pin(&self, release: &ReleaseId, pin: Pin) -> Result<BuildEvent, Failure> {
        let _lock = self.lock(&release.app, CALL_LOCK).await?;
        self.check_release(release)?;
        let manifests = &self.config.manifests;
        let text = match pin {
            Pin::Keep => {
                let pinned = manifests.pinned(&release.app)?;
                if !pinned.contains(&release.number) && pinned.len() >= PINS_MAX {
                    return Err(Failure::Pins { app: release.app.clone() });
                }
                manifests.pin(release)?;
                format!("{release} is pinned: it stays until func unpin {} {}", release.app, release.number)
            }
            Pin::Lift => {
                manifests.unpin(release)?;
                format!("{release} is not pinned: it goes like any other")
            }
        };
        Ok(BuildEvent::Done { text })
    }

    fn check_release(&self, release: &ReleaseId) -> Result<(), Failure> {
        let app = || -> AppName { release.app.clone() };
        let numbers = self.config.manifests.numbers(&release.app)?;
        match numbers.contains(&release.number) {
            true => Ok(()),
            false if numbers.is_empty() && !self.config.data.repository(&release.app).exists() => {
                Err(Failure::NoApp { app: app() })
            }
            false => {
                Err(Failure::NoRelease { release: release.clone(), kept: numbers.into_iter().collect() })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use func_ledger::Memory;
    use func_model::ReleaseNumber;

    use super::*;
    use crate::testing::{config, release};

    #[tokio::test]
    async fn a_release_is_pinned_up_to_a_number_of_them_and_an_unknown_one_is_not() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let builder = Builder::new(config(dir.path(), Arc::new(Memory::new())));
        let manifests = &builder.config.manifests;
        let id = |number: usize| -> ReleaseId { format!("blog-v{number}").parse().expect("a release") };
        let none = builder.pin(&id(1), Pin::Keep).await;
        assert!(matches!(none, Err(Failure::NoApp { .. })), "{none:?}");
        for number in 1..=PINS_MAX + 1 {
            manifests.add(&release(&format!("blog-v{number}"))).expect("stored");
        }
        for number in (1..=PINS_MAX).chain([1]) {
            builder.pin(&id(number), Pin::Keep).await.expect("pinned");
        }
        let over = builder.pin(&id(PINS_MAX + 1), Pin::Keep).await;
        assert!(matches!(over, Err(Failure::Pins { .. })), "{over:?}");
        let none = builder.pin(&id(99), Pin::Keep).await;
        assert!(matches!(none, Err(Failure::NoRelease { .. })), "{none:?}");
        for _ in 0..2 {
            builder.pin(&id(1), Pin::Lift).await.expect("unpinned");
        }
        let pinned = manifests.pinned(&id(1).app).expect("read");
        assert!(!pinned.contains(&ReleaseNumber(1)) && pinned.len() == PINS_MAX - 1);
    }
}

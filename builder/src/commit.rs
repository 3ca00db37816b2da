//! Making a release live: hosts, the durable commit point, the route.

use func_crash::point;
use func_model::event::BuildEvent;
use func_model::{AppName, HostName, Release, ReleaseId, Route};
use func_store::StoreError;
use tokio::time::Instant;
use tracing::{error, warn};

use crate::builder::{Builder, patiently};
use crate::failure::Failure;
use crate::report::Report;
use crate::text::chain;

impl Builder {
    /// Checks that the hosts of an app are its to have.
    ///
    /// # Errors
    /// [`Failure::HostOfServer`] for a host under the server's own domain that is another app's by name,
    /// [`Failure::HostTaken`] for one that another app's live release has.
    pub fn check_hosts(&self, app: &AppName, hosts: &[HostName]) -> Result<(), Failure> {
        if hosts.is_empty() {
            return Ok(());
        }
        let own = self.config.own_host(app);
        let domain = self.config.domain.as_str();
        for host in hosts {
            let name = host.as_str();
            let under = name.strip_suffix(domain).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'));
            if under && name != own {
                return Err(Failure::HostOfServer { app: app.clone(), host: host.clone(), own });
            }
        }
        for other in self.config.manifests.apps()?.into_iter().filter(|other| other != app) {
            let taken = match self.config.manifests.live(&other) {
                Ok(live) => live.map(|live| live.hosts).unwrap_or_default(),
                Err(e @ (StoreError::Corrupt { .. } | StoreError::CorruptText { .. })) => {
                    warn!(app.name = %other, error = %chain(&e), "the hosts of {other} are not known, and not kept from {app}");
                    continue;
                }
                Err(e) => return Err(e.into()),
            };
            if let Some(host) = hosts.iter().find(|host| taken.contains(host)) {
                return Err(Failure::HostTaken { host: host.clone(), owner: other });
            }
        }
        Ok(())
    }

    /// Makes a release that runs the live one, and gives the last event of its deploy. From `current` on the deploy is
    /// done: if the ledger is away then, the cleaner leads the requests there when it is back.
    ///
    /// # Errors
    /// As [`Builder::check_hosts`]; [`Failure::Store`] if nothing has changed.
    pub async fn commit(
        &self,
        release: &Release,
        report: &Report,
        began: Instant,
    ) -> Result<BuildEvent, Failure> {
        let id = &release.id;
        {
            let _one_at_a_time = self.commit.lock().await;
            self.check_hosts(&id.app, &release.hosts)?;
            self.set_current(id)?;
        }
        point("after_current");
        let route = Route::of(release);
        if let Err(e) = patiently(|| self.config.promote.promote(id, &route)).await {
            warn!(app.name = %id.app, release = %id, error = %chain(&e), "{id} is current, and not routed yet");
            report.warn("the ledger is away");
            return Ok(BuildEvent::Done {
                text: format!("{id} is released; it goes live as soon as the ledger is back"),
            });
        }
        point("after_promote");
        self.tell_edges(id).await;
        Ok(BuildEvent::Live {
            release: id.clone(),
            urls: self.config.urls(&id.app, &release.hosts),
            took_ms: u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
        })
    }

    /// A failed write may have been done all the same: what is read back decides.
    fn set_current(&self, id: &ReleaseId) -> Result<(), StoreError> {
        let Err(e) = self.config.manifests.set_current(id) else { return Ok(()) };
        match self.config.manifests.current(&id.app) {
            Ok(Some(number)) if number == id.number => {
                error!(release = %id, error = %chain(&e), "{id} is current, but the disk may forget it");
                Ok(())
            }
            Ok(_) | Err(_) => Err(e),
        }
    }

    /// Retires a release that did not become live.
    pub async fn retire(&self, id: &ReleaseId) {
        if let Err(e) = self.config.promote.retire(&id.instance()).await {
            warn!(release = %id, error = %chain(&e), "{id} is retired later, by the cleaner");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use func_ledger::{Cool, Memory, Restored, Watch};

    use super::*;
    use crate::feed::Feed;
    use crate::testing::{config, release};

    #[tokio::test]
    async fn a_spoilt_manifest_of_another_app_fails_no_deploy_with_hosts() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let builder = Builder::new(config(dir.path(), Arc::new(Memory::new())));
        let (hosts, manifests) = (["www.example.org".parse().expect("a host")], &builder.config.manifests);
        let shop = Release { hosts: hosts.to_vec(), ..release("shop-v1") };
        manifests.add(&shop).expect("stored");
        manifests.set_current(&shop.id).expect("set");
        for (app, file) in [("aaa", "current"), ("bbb", "v1.json")] {
            let spoilt = release(&format!("{app}-v1"));
            manifests.add(&spoilt).expect("stored");
            manifests.set_current(&spoilt.id).expect("set");
            std::fs::write(dir.path().join("manifest").join(app).join(file), "{").expect("written");
        }
        let blog = "blog".parse().expect("a name");
        let taken = builder.check_hosts(&blog, &hosts);
        assert!(matches!(taken, Err(Failure::HostTaken { owner, .. }) if owner.as_str() == "shop"));
        builder.check_hosts(&blog, &["other.example.org".parse().expect("a host")]).expect("it is free");
    }

    /// A new ledger in memory is lost until it is restored: that is a ledger that is away.
    #[tokio::test(start_paused = true)]
    async fn a_ledger_that_is_lost_after_the_commit_point_undoes_nothing_and_the_pusher_is_told() {
        let (dir, ledger) = (tempfile::tempdir().expect("a temporary folder"), Arc::new(Memory::new()));
        let builder = Builder::new(config(dir.path(), ledger.clone()));
        let release = release("blog-v1");
        builder.config.manifests.add(&release).expect("stored");
        let report = Report::unwritten(Feed::new());
        let last = builder.commit(&release, &report, Instant::now()).await.expect("it is committed");
        assert!(matches!(last, BuildEvent::Done { text } if text.contains("as soon as the ledger is back")));
        assert_eq!(builder.config.manifests.current(&release.id.app).expect("read"), Some(release.id.number));
        ledger.restore(&Restored::default()).await.expect("restored");
        assert!(ledger.routes().await.expect("known").is_empty(), "the cleaner promotes it");
    }
}

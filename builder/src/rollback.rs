//! A rollback: another release that is still there becomes the live one.

use func_crash::point;
use func_model::event::BuildEvent;
use func_model::{AppName, Release, ReleaseId, ReleaseNumber, previous};
use tokio::time::Instant;

use crate::attempt::Attempt;
use crate::builder::Builder;
use crate::failure::Failure;
use crate::limits::CALL_LOCK;
use crate::report::Report;
use crate::repository::{Repository, RepositoryError};

impl Builder {
    /// Makes a release live again: the one given, or the newest that is older than the live one. It is started first,
    /// as in every deploy.
    ///
    /// # Errors
    /// [`Failure`], by what is wrong; the live release stays live.
    pub async fn roll_back(
        &self,
        app: &AppName,
        to: Option<ReleaseNumber>,
        report: &Report,
    ) -> Result<BuildEvent, Failure> {
        let began = Instant::now();
        let _lock = self.lock(app, CALL_LOCK).await?;
        let release = self.target(app, to)?;
        let id = &release.id;
        if self.config.make.facts(&release.image).await?.is_none() {
            return Err(Failure::NoImage { release: id.clone() });
        }
        self.check_hosts(app, &release.hosts)?;
        self.pass_over_head(app).await?;
        point("after_passed_over");
        // A builder that is killed behind the commit point leaves it: the next one ends the rollback.
        let _attempt = Attempt::begin(&self.config.manifests, app, &release.revision)?;
        report.step(format!("starting {id} from {}", release.revision.short()));
        let ended = self.start_and_commit(&release, report, began).await;
        if ended.is_err() {
            self.retire(id).await;
        }
        ended
    }

    fn target(&self, app: &AppName, to: Option<ReleaseNumber>) -> Result<Release, Failure> {
        let manifests = &self.config.manifests;
        let numbers = manifests.numbers(app)?;
        let live = match manifests.current(app)? {
            Some(live) => live,
            None if numbers.is_empty() && !self.config.data.repository(app).exists() => {
                return Err(Failure::NoApp { app: app.clone() });
            }
            None => return Err(Failure::NeverLive { app: app.clone() }),
        };
        let number = match to {
            Some(number) => number,
            None => match previous(&numbers, live) {
                Some(number) => number,
                None => return Err(Failure::NoOlder { app: app.clone(), live }),
            },
        };
        let id = ReleaseId { app: app.clone(), number };
        if number == live {
            return Err(Failure::LiveAlready { release: id });
        }
        let kept = numbers.into_iter().collect();
        manifests.release(&id)?.ok_or(Failure::NoRelease { release: id, kept })
    }

    /// Notes that the deploy branch's head is not to be deployed at the next boot: it was rolled back on purpose.
    async fn pass_over_head(&self, app: &AppName) -> Result<(), Failure> {
        let (path, branch) = (self.config.data.repository(app), self.config.branch.clone());
        let head = self
            .blocking(app, move || match path.exists() {
                true => Repository::open(&path)?.head(&branch),
                false => Ok::<_, RepositoryError>(None),
            })
            .await?;
        match head {
            Some(head) => Ok(self.config.manifests.set_failed(app, &head)?),
            None => Ok(()),
        }
    }
}

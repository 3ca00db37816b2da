//! What a push changed.

use std::io;

use func_model::limits::{REF_LINE_BYTES, REF_UPDATES_MAX};
use func_model::{AppName, RefUpdate, Revision, plain_line};
use tokio::io::{AsyncBufRead, AsyncBufReadExt};

/// How many names a remark shows.
const NAMES_SHOWN: usize = 3;

/// The refs of one push, sorted by what they mean here.
#[derive(Debug, Default)]
pub struct Push {
    /// The deploy branch: `Some(None)` when it was deleted.
    deploy: Option<Option<Revision>>,
    branches: Vec<String>,
    others: Vec<String>,
    deleted: usize,
    unread: usize,
}

impl Push {
    /// Reads a hook's lines to their end; those beyond the limits are only counted, but for the deploy branch's.
    pub async fn read(mut input: impl AsyncBufRead + Unpin, branch: &str) -> io::Result<Self> {
        let mut push = Self::default();
        let mut read = 0;
        while let Some(line) = line(&mut input).await? {
            read += 1;
            match line.as_deref().map(RefUpdate::from_line) {
                Some(Ok(update)) if read <= REF_UPDATES_MAX || update.branch() == Some(branch) => {
                    push.add(update, branch);
                }
                Some(Ok(_) | Err(_)) | None => push.unread += 1,
            }
        }
        Ok(push)
    }

    fn add(&mut self, update: RefUpdate, branch: &str) {
        match (update.branch(), update.new.clone()) {
            (Some(name), new) if name == branch => self.deploy = Some(new),
            (_, None) => self.deleted += 1,
            (Some(name), Some(_)) => self.branches.push(shown(name)),
            (None, Some(_)) => self.others.push(shown(&update.name)),
        }
    }

    /// Gives the revision to deploy, if the push brought one.
    pub fn deployed(&self) -> Option<&Revision> {
        self.deploy.as_ref()?.as_ref()
    }

    /// Says what the push changed, in one line.
    pub fn summary(&self, branch: &str) -> String {
        let deploy = match &self.deploy {
            Some(Some(revision)) => Some(format!("{branch} {}", revision.short())),
            Some(None) => Some(format!("{branch} deleted")),
            None => None,
        };
        let lists = [&self.branches, &self.others].into_iter().filter(|list| !list.is_empty());
        let mut parts: Vec<String> = deploy.into_iter().chain(lists.map(|list| names(list))).collect();
        for (count, what) in [(self.deleted, "deleted"), (self.unread, "not looked at")] {
            if count > 0 {
                parts.push(format!("{count} {what}"));
            }
        }
        parts.join(", ")
    }

    /// Says what is not deployed, and why.
    pub fn remarks(&self, app: &AppName, branch: &str) -> Vec<String> {
        let mut lines = Vec::new();
        if let Some(first) = self.branches.first() {
            let names = names(&self.branches);
            lines.push(format!(
                "-----> {names}: stored, not deployed; func deploys {branch}: git push func {first}:{branch}"
            ));
        }
        if !self.others.is_empty() {
            let names = names(&self.others);
            lines.push(format!("-----> {names}: stored; only the branch {branch} is deployed"));
        }
        if self.deleted > 0 {
            lines.push("-----> deleted; nothing was deployed from there".to_owned());
        }
        if self.unread > 0 {
            lines.push(format!(
                " !     {} refs of this push were too many or too long to look at",
                self.unread
            ));
        }
        if self.deploy == Some(None) {
            lines.push(format!("-----> {branch} is deleted; nothing is deployed, and {app} stays as it is"));
            lines.push(format!(" !     hint: to remove the app: func rm {app}"));
        }
        lines
    }
}

fn names(all: &[String]) -> String {
    let shown = all.iter().take(NAMES_SHOWN).map(String::as_str).collect::<Vec<_>>().join(", ");
    match all.len().checked_sub(NAMES_SHOWN) {
        Some(more) if more > 0 => format!("{shown} and {more} more"),
        Some(_) | None => shown,
    }
}

/// A ref's name as it may be printed: git allows no control characters in it, but what turns or hides text.
fn shown(name: &str) -> String {
    let name = name.strip_prefix("refs/").unwrap_or(name);
    let text: String = plain_line(name).chars().take(80).collect();
    if name.chars().count() > 80 { format!("{text}...") } else { text }
}

/// Reads one line of bounded length: `None` at the end, `Some(None)` for one that is too long or not UTF-8.
pub async fn line(input: &mut (impl AsyncBufRead + Unpin)) -> io::Result<Option<Option<String>>> {
    let mut line = Vec::new();
    let mut any = false;
    loop {
        let available = input.fill_buf().await?;
        if available.is_empty() {
            return Ok(any.then(|| fitting(line)));
        }
        any = true;
        let end = available.iter().position(|b| *b == b'\n');
        let part = end.unwrap_or(available.len());
        if line.len() <= REF_LINE_BYTES {
            line.extend_from_slice(&available[..part.min(REF_LINE_BYTES + 1)]);
        }
        let used = end.map_or(part, |at| at + 1);
        input.consume(used);
        if end.is_some() {
            return Ok(Some(fitting(line)));
        }
    }
}

fn fitting(line: Vec<u8>) -> Option<String> {
    String::from_utf8(line).ok().filter(|line| line.len() <= REF_LINE_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(digit: char) -> String {
        digit.to_string().repeat(40)
    }

    async fn push(lines: &str) -> Push {
        Push::read(lines.as_bytes(), "main").await.expect("read")
    }

    fn remarks(push: &Push) -> String {
        push.remarks(&"blog".parse().expect("a name"), "main").join("\n")
    }

    #[tokio::test]
    async fn the_deploy_branch_is_found_among_others() {
        let (zero, a, b) = (id('0'), id('a'), id('b'));
        let lines = format!("{zero} {a} refs/heads/dev\n{a} {b} refs/heads/main\n{zero} {a} refs/tags/v1\n");
        let push = push(&lines).await;
        assert_eq!(push.deployed().map(|r| r.as_str().to_owned()), Some(b));
        assert!(remarks(&push).contains("-----> dev: stored"));
        assert!(remarks(&push).contains("tags/v1: stored"));
    }

    #[tokio::test]
    async fn another_branch_is_told_how_it_would_be_deployed() {
        let push = push(&format!("{} {} refs/heads/master", id('0'), id('a'))).await;
        assert!(push.deployed().is_none());
        assert_eq!(
            remarks(&push),
            "-----> master: stored, not deployed; func deploys main: git push func master:main"
        );
    }

    #[tokio::test]
    async fn a_deletion_of_main_deploys_nothing_and_names_the_way_to_remove_the_app() {
        let push = push(&format!("{} {} refs/heads/main\n", id('a'), id('0'))).await;
        assert!(push.deployed().is_none());
        assert!(remarks(&push).contains("main is deleted") && remarks(&push).contains("func rm blog"));
    }

    #[tokio::test]
    async fn the_deploy_branch_is_found_behind_any_number_of_refs() {
        let many = format!("{} {} refs/heads/b\n", id('0'), id('a')).repeat(REF_UPDATES_MAX + 5);
        let push = push(&format!("{many}{} {} refs/heads/main\n", id('0'), id('b'))).await;
        assert_eq!(push.deployed().map(|r| r.as_str().to_owned()), Some(id('b')));
        assert_eq!(push.unread, 5);
    }

    #[tokio::test]
    async fn lines_that_are_too_long_or_too_many_are_counted_and_not_kept() {
        let long = format!("{} {} refs/heads/{}\n", id('0'), id('a'), "x".repeat(1_000_000));
        let many = format!("{} {} refs/heads/b\n", id('0'), id('a')).repeat(REF_UPDATES_MAX + 5);
        let push = push(&format!("{long}{many}")).await;
        assert_eq!(push.unread, 1 + 6);
        assert!(remarks(&push).len() < 500, "{}", remarks(&push));
    }

    #[tokio::test]
    async fn a_last_line_without_an_end_is_bounded_as_all_others_are() {
        for end in ["", "\n"] {
            let text = format!("{}{end}", "x".repeat(REF_LINE_BYTES + 1));
            assert_eq!(line(&mut text.as_bytes()).await.expect("read"), Some(None), "{end:?}");
        }
    }
}

//! What a build may ask for, beyond its own files.

use func_model::Asks;

use crate::BuildFailed;

/// What holds for a build.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rules<'a> {
    pub installation: &'a str,
    /// Images of apps may be built on.
    pub from_apps: bool,
}

/// The oldest minor version of `docker/dockerfile:1` that keeps the caches of two apps apart.
const SYNTAX_MINOR_MIN: u32 = 3;

impl Rules<'_> {
    /// Refuses a build that asks for what it may not have.
    ///
    /// # Errors
    /// [`BuildFailed::Refused`].
    pub(crate) fn check(&self, asks: &Asks) -> Result<(), BuildFailed> {
        if let Some(syntax) = asks.syntax.as_deref().filter(|syntax| !is_known_syntax(syntax)) {
            return refused(
                format!("`# syntax={syntax}` names a program that func does not run"),
                "leave the line out, or name docker/dockerfile:1 (1.3 or later, without a digest)",
            );
        }
        if self.from_apps {
            return Ok(());
        }
        if let Some(image) = asks.images.iter().find(|image| self.is_of_app(image)) {
            return refused(
                format!("{image} is the image of an app, and no other app may read it"),
                "build on an image that is no app's; whoever runs this server can allow it with `from-apps`",
            );
        }
        asks.unclear.first().map_or(Ok(()), |unclear| {
            refused(
                format!("func cannot tell which image `{unclear}` in the Dockerfile stands for"),
                "write it without variables, or make it a stage first: FROM <image> AS <name>",
            )
        })
    }

    /// Whether an image is one of this installation's apps, or of another's on the same engine.
    fn is_of_app(&self, image: &str) -> bool {
        let name = image.to_ascii_lowercase();
        let name = ["docker.io/", "index.docker.io/"]
            .iter()
            .fold(name.as_str(), |name, registry| name.strip_prefix(registry).unwrap_or(name));
        let Some((owner, _)) = name.split_once('/') else { return false };
        let is_other = owner
            .strip_prefix("func-")
            .is_some_and(|id| id.len() == 6 && id.chars().all(|c| c.is_ascii_hexdigit()));
        owner == self.installation || owner == "func" || is_other
    }
}

fn refused(said: String, hint: &'static str) -> Result<(), BuildFailed> {
    Err(BuildFailed::Refused { said, hint })
}

/// Whether a reader of Dockerfiles is BuildKit's own, of a version that heeds what func tells it. Another one could
/// mount any app's cache; and so could an old one, behind a digest.
fn is_known_syntax(image: &str) -> bool {
    let name = image.strip_prefix("docker.io/").unwrap_or(image);
    let Some(tag) = name.strip_prefix("docker/dockerfile") else { return false };
    let Some(tag) = tag.strip_prefix(':') else { return tag.is_empty() };
    let version = tag.strip_suffix("-labs").unwrap_or(tag);
    let mut numbers = version.split('.').map(str::parse::<u32>);
    match (numbers.next(), numbers.next(), numbers.next(), numbers.next()) {
        (Some(Ok(1)), None, None, None) => true,
        (Some(Ok(1)), Some(Ok(minor)), None | Some(Ok(_)), None) => minor >= SYNTAX_MINOR_MIN,
        _ => ["latest", "labs"].contains(&version),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: Rules<'_> = Rules { installation: "func-0a1b2c", from_apps: false };

    fn check(rules: Rules<'_>, dockerfile: &str) -> Result<(), String> {
        rules.check(&Asks::read(dockerfile)).map_err(|e| e.to_string())
    }

    #[test]
    fn no_app_builds_on_an_apps_image_however_it_is_named() {
        for image in [
            "func-0a1b2c/blog:v1",
            "docker.io/func-0a1b2c/blog",
            "index.docker.io/func/blog:v1@sha256:0",
            "func-ffffff/blog:v1",
        ] {
            for line in [
                format!("FROM {image}"),
                format!("FROM scratch\nCOPY --from={image} / /"),
                format!("ARG X={image}\nFROM $X"),
            ] {
                let said = check(RULES, &line).expect_err(&line);
                assert!(said.contains("is the image of an app"), "{said}");
            }
        }
        for fine in
            ["busybox:stable", "funcs/blog", "library/func-0a1b2c", "example.org/func/x", "func-tool/x"]
        {
            assert_eq!(check(RULES, &format!("FROM {fine}")), Ok(()));
        }
        let allowed = Rules { from_apps: true, ..RULES };
        assert_eq!(check(allowed, "FROM func-0a1b2c/blog:v1"), Ok(()));
    }

    #[test]
    fn only_readers_of_dockerfiles_that_heed_func_are_run() {
        for known in [
            "docker/dockerfile",
            "docker/dockerfile:1",
            "docker.io/docker/dockerfile:1.3",
            "docker/dockerfile:1.7-labs",
        ] {
            assert_eq!(check(RULES, &format!("# syntax={known}\nFROM scratch")), Ok(()), "{known}");
        }
        for other in [
            "docker/dockerfile:1.2",
            "docker/dockerfile:1.0-experimental",
            "docker/dockerfile:1@sha256:00",
            "docker/dockerfile:2",
            "docker/dockerfilex:1",
            "func-0a1b2c/blog:v1",
            "evil/frontend",
        ] {
            let said = check(RULES, &format!("# syntax={other}\nFROM scratch")).expect_err(other);
            assert!(said.contains("does not run"), "{said}");
        }
    }

    #[test]
    fn an_image_whose_name_cannot_be_told_is_none() {
        let said = check(RULES, "FROM ${SOMETHING#x}").expect_err("unclear");
        assert!(said.contains("${SOMETHING#x}"), "{said}");
        let allowed = Rules { from_apps: true, ..RULES };
        assert_eq!(check(allowed, "FROM ${SOMETHING#x}"), Ok(()));
    }
}

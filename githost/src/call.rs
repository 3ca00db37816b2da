//! What a client asks for: one of git's two commands, on one app. Parsed once, at the door.

use bytes::Bytes;
use func_model::{AppName, Principal};

use crate::HostError;
use crate::limits::{COMMAND_LINE_BYTES, PROTOCOL_BYTES};

/// One of the two git programs that are served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Program {
    /// Takes a push.
    ReceivePack,
    /// Serves a fetch or a clone.
    UploadPack,
}

impl Program {
    /// Reads `git-receive-pack` or `git-upload-pack`.
    pub(crate) fn from_name(name: &str) -> Option<Self> {
        match name {
            "git-receive-pack" => Some(Self::ReceivePack),
            "git-upload-pack" => Some(Self::UploadPack),
            _ => None,
        }
    }

    /// Gives git's own name for it, without `git-`.
    pub(crate) fn verb(self) -> &'static str {
        match self {
            Self::ReceivePack => "receive-pack",
            Self::UploadPack => "upload-pack",
        }
    }
}

/// How the client and git talk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Talk {
    /// One conversation in both directions, over SSH.
    Whole,
    /// The refs only: the first request of smart HTTP.
    Refs,
    /// One request and its answer: the later requests of smart HTTP.
    Turn,
}

/// The value of `GIT_PROTOCOL`: up to 128 of letters, digits, `=`, `:`, `.`, `-` and `_`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Protocol(String);

impl Protocol {
    /// Reads it; `None` if it is anything but what git sends, which is then ignored, as git does.
    pub(crate) fn from_text(text: &str) -> Option<Self> {
        let known = |b: u8| b.is_ascii_alphanumeric() || b"=:.-_".contains(&b);
        let good = (1..=PROTOCOL_BYTES).contains(&text.len()) && text.bytes().all(known);
        good.then(|| Self(text.to_owned()))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it asks for version 2.
    pub(crate) fn is_v2(&self) -> bool {
        self.0.split(':').any(|part| part == "version=2")
    }
}

/// A whole call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Call {
    pub(crate) program: Program,
    pub(crate) app: AppName,
    pub(crate) talk: Talk,
    pub(crate) protocol: Option<Protocol>,
    pub(crate) by: Principal,
}

impl Call {
    /// Reads an SSH command: `git-receive-pack '/blog.git'`, also `git receive-pack`, quoted as git does.
    ///
    /// # Errors
    /// [`HostError::NotGit`] if it is another command, [`HostError::Name`] if its argument names no app.
    pub(crate) fn from_command(
        line: &[u8],
        protocol: Option<Protocol>,
        by: Principal,
    ) -> Result<Self, HostError> {
        let not_git = || HostError::NotGit(excerpt(line));
        if line.len() > COMMAND_LINE_BYTES {
            return Err(not_git());
        }
        let text = std::str::from_utf8(line).map_err(|_| not_git())?.trim();
        let rest = text.strip_prefix("git-").or_else(|| text.strip_prefix("git ")).ok_or_else(not_git)?;
        let (verb, argument) = rest.split_once(' ').ok_or_else(not_git)?;
        let program = Program::from_name(&format!("git-{verb}")).ok_or_else(not_git)?;
        let app = app(&unquote(argument.trim()).ok_or_else(not_git)?)?;
        Ok(Self { program, app, talk: Talk::Whole, protocol, by })
    }

    /// Says that the time of a command was up, and for a push, how to follow its deploy: that does not end with it.
    pub(crate) fn too_long(&self) -> String {
        let ended = "func: this took too long and was ended\n";
        match self.program {
            Program::UploadPack => ended.to_owned(),
            Program::ReceivePack => {
                let app = &self.app;
                format!(
                    "{ended}func: if git has taken the push, its deploy goes on: func logs --build {app}\n"
                )
            }
        }
    }

    /// Gives the same for a push over HTTP whose answer has begun after `bytes_out`, as git's client shows it: in a
    /// packet of the side band for messages.
    ///
    /// Source: gitprotocol-pack(5), side-band-64k.
    pub(crate) fn late_packet(&self, bytes_out: u64) -> Option<Bytes> {
        match (self.program, self.talk) {
            (Program::ReceivePack, Talk::Turn) if bytes_out > 0 => {
                let text = self.too_long();
                Some(format!("{:04x}\u{2}{text}", text.len() + 5).into())
            }
            (Program::ReceivePack | Program::UploadPack, Talk::Whole | Talk::Refs | Talk::Turn) => None,
        }
    }
}

/// Reads the repository of a URL: `blog`, `blog.git`, `/blog` or `/blog.git`, and nothing else.
pub(crate) fn app(path: &str) -> Result<AppName, HostError> {
    let name = path.strip_prefix('/').unwrap_or(path);
    Ok(name.strip_suffix(".git").unwrap_or(name).parse()?)
}

/// Takes off a shell's quotes, as git puts them on: `'` around all, `'\''` for `'`, `'\!'` for `!`.
fn unquote(text: &str) -> Option<String> {
    let mut plain = String::new();
    let mut rest = text.chars();
    let mut inside = false;
    while let Some(c) = rest.next() {
        match c {
            '\'' => inside = !inside,
            '\\' if !inside => plain.push(rest.next()?),
            c if !inside && c.is_whitespace() => return None,
            c => plain.push(c),
        }
    }
    (!inside).then_some(plain)
}

fn excerpt(line: &[u8]) -> String {
    let shown = String::from_utf8_lossy(&line[..line.len().min(64)]);
    shown.chars().flat_map(char::escape_default).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<(Program, String), String> {
        let by = Principal::Token { address: [127, 0, 0, 1].into() };
        let call = Call::from_command(line.as_bytes(), None, by).map_err(|e| e.to_string())?;
        Ok((call.program, call.app.into()))
    }

    #[test]
    fn the_commands_that_git_sends_are_read() {
        let push = Ok((Program::ReceivePack, "blog".to_owned()));
        let lines = ["'blog'", "'/blog'", "'blog.git'", "'/blog.git'", "blog", "/blog.git", "'bl''og'"];
        for argument in lines {
            assert_eq!(read(&format!("git-receive-pack {argument}")), push, "{argument}");
            assert_eq!(read(&format!("git receive-pack {argument}")), push, "{argument}");
        }
        assert_eq!(read("git-upload-pack '/blog'"), Ok((Program::UploadPack, "blog".to_owned())));
    }

    #[test]
    fn no_other_command_is_read() {
        for line in [
            "",
            "ls",
            "git",
            "git-receive-pack",
            "git-upload-archive 'blog'",
            "git-shell 'blog'",
            "git-receive-pack blog; id",
            "git-receive-pack 'blog",
            "git-receive-pack blog\\",
            "scp -t /",
            &format!("git-receive-pack '{}'", "a".repeat(2_000)),
        ] {
            let error = read(line).expect_err(line);
            assert!(error.contains("is not served here") && error.len() < 400, "{error}");
        }
    }

    #[test]
    fn no_path_leaves_the_folder_of_the_projects() {
        for path in [
            "../x",
            "/../x",
            "a/b",
            "//blog",
            "~/blog",
            "/~/blog",
            "blog/",
            "..",
            ".",
            "",
            "/",
            ".git",
            "%2e%2e%2fx",
            "blog%2f",
            "BLOG",
            "blog\0",
            "blog.git.git",
        ] {
            let error = app(path).expect_err(path).to_string();
            assert!(error.contains("is not an app name: use 1 to 40 of a-z"), "{error}");
        }
    }

    #[test]
    fn only_what_git_sends_is_a_protocol() {
        assert!(Protocol::from_text("version=2").is_some_and(|p| p.is_v2()));
        assert!(Protocol::from_text("version=1").is_some_and(|p| !p.is_v2()));
        for bad in ["", "version=2\n", "a b", "$(id)", &"a".repeat(129)] {
            assert_eq!(Protocol::from_text(bad), None, "{bad:?}");
        }
    }
}

//! What a Dockerfile asks for from elsewhere: images, and another reader of its own syntax.
//!
//! It is read as BuildKit reads it, by the readers of all versions: what one of them takes for a comment or a here-document
//! another takes for an instruction. So too much may be found, and nothing is missed.

mod lines;
mod variables;

use std::collections::BTreeSet;

use lines::{Reading, instructions};
use variables::Variables;

/// What a Dockerfile asks for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Asks {
    /// Images by their names, as written: in `FROM`, `COPY --from`, `RUN --mount=from`.
    pub images: BTreeSet<String>,
    /// Names of images whose variables cannot be followed, as written.
    pub unclear: BTreeSet<String>,
    /// The image of `# syntax=`, which reads the Dockerfile in BuildKit's place.
    pub syntax: Option<String>,
}

impl Asks {
    /// Reads a Dockerfile.
    pub fn read(text: &str) -> Self {
        let mut asks = Self { syntax: lines::directive(text, "syntax"), ..Self::default() };
        for reading in Reading::ALL {
            let mut stages =
                Stages { names: Vec::new(), current: None, count: 0, global: Variables::predefined() };
            for instruction in instructions(text, reading) {
                stages.read(&instruction, &mut asks);
            }
        }
        asks
    }
}

/// What the lines so far have said.
struct Stages {
    /// The names of the stages before this one.
    names: Vec<String>,
    current: Option<String>,
    count: usize,
    /// Of `ARG` before the first `FROM`.
    global: Variables,
}

impl Stages {
    fn read(&mut self, instruction: &str, asks: &mut Asks) {
        let (keyword, rest) = split_word(instruction);
        match keyword.to_ascii_uppercase().as_str() {
            // What a later build on this image does. BuildKit knows no ONBUILD in an ONBUILD.
            "ONBUILD" if !split_word(rest).0.eq_ignore_ascii_case("ONBUILD") => self.read(rest, asks),
            "FROM" => self.from(rest, asks),
            "ARG" if self.count == 0 => self.global.define(rest),
            "COPY" => self.copy(rest, asks),
            "RUN" => self.run(rest, asks),
            _ => {}
        }
    }

    /// `FROM [--platform=...] <image> [AS <name>]`
    fn from(&mut self, rest: &str, asks: &mut Asks) {
        self.names.extend(self.current.take());
        self.count += 1;
        let (_, rest) = flags(rest);
        let (image, rest) = split_word(rest);
        let (r#as, name) = split_word(rest);
        match self.global.expand(image) {
            Some(image) => self.image(&image, asks),
            None => drop(asks.unclear.insert(image.to_owned())),
        }
        if r#as.eq_ignore_ascii_case("as") {
            self.current = Some(split_word(name).0.to_ascii_lowercase());
        }
    }

    fn copy(&mut self, rest: &str, asks: &mut Asks) {
        let (flags, _) = flags(rest);
        for from in flags.iter().filter_map(|flag| flag.strip_prefix("--from=")) {
            self.other(from, asks);
        }
    }

    fn run(&mut self, rest: &str, asks: &mut Asks) {
        let (flags, _) = flags(rest);
        let mounts = flags.iter().filter_map(|flag| flag.strip_prefix("--mount="));
        for from in mounts.flat_map(|mount| mount.split(',')).filter_map(|field| value_of(field, "from")) {
            self.other(from, asks);
        }
    }

    /// A stage by its name or number, or an image. BuildKit knows no variables here; were it otherwise, a base image could
    /// give them values.
    fn other(&self, from: &str, asks: &mut Asks) {
        let from = from.trim_matches(['"', '\'']);
        if from.parse::<usize>().is_ok_and(|stage| stage < self.count) {
            return;
        }
        match from.contains('$') {
            false => self.image(&from.replace('\\', ""), asks),
            true => drop(asks.unclear.insert(from.to_owned())),
        }
    }

    fn image(&self, image: &str, asks: &mut Asks) {
        let is_stage = self.names.iter().any(|name| name.eq_ignore_ascii_case(image));
        if !image.is_empty() && image != "scratch" && !is_stage {
            asks.images.insert(image.to_owned());
        }
    }
}

/// Splits an instruction's flags, which come first, from the rest.
fn flags(rest: &str) -> (Vec<&str>, &str) {
    let (mut flags, mut rest) = (Vec::new(), rest.trim_start());
    while rest.starts_with("--") {
        let (flag, after) = split_word(rest);
        flags.push(flag);
        rest = after;
    }
    (flags, rest)
}

fn split_word(text: &str) -> (&str, &str) {
    let text = text.trim_start();
    let end = text.find(char::is_whitespace).unwrap_or(text.len());
    (&text[..end], text[end..].trim())
}

fn value_of<'a>(field: &'a str, key: &str) -> Option<&'a str> {
    let (name, value) = field.split_once('=')?;
    name.trim_matches(['"', '\'', ' ']).eq_ignore_ascii_case(key).then_some(value)
}

#[cfg(test)]
mod tests;

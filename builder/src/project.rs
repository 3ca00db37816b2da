//! What a commit asks for: its func.toml, and the recipe that its files call for.

use std::fmt;

use func_model::config::{AppConfig, AppFile};
use func_model::limits::CONFIG_BYTES;
use func_model::{Allowance, Revision};
use git2::Tree;
use thiserror::Error;

use crate::app_file::{self, AppFileError};
use crate::extent::ExtentError;
use crate::repository::{Repository, RepositoryError, is_file, is_folder};

/// The largest .gitattributes and .gitmodules that is looked at.
const HINT_BYTES: u64 = 64 * 1024;
/// How many patterns of files that are left out are shown.
const PATTERNS_SHOWN: usize = 3;

/// The Dockerfile's name, at the root.
pub const DOCKERFILE: &str = "Dockerfile";

/// How a kind of project becomes an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recipe {
    /// A `Dockerfile` at the root.
    Dockerfile,
    /// A folder `public`, or an `index.html` at the root.
    Static,
}

impl fmt::Display for Recipe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Dockerfile => "dockerfile",
            Self::Static => "static",
        })
    }
}

/// What a commit asks for.
#[derive(Debug, Clone)]
pub struct Project {
    pub config: AppConfig,
    pub recipe: Recipe,
    /// What the pusher should know, though it is no failure.
    pub warnings: Vec<String>,
}

/// Why a commit cannot be deployed as it is.
#[derive(Debug, Error)]
pub enum ProjectError {
    #[error(transparent)]
    Repository(#[from] RepositoryError),
    #[error(transparent)]
    AppFile(#[from] AppFileError),
    #[error(transparent)]
    Extent(#[from] ExtentError),
    #[error("func does not know how to build this: there is no Dockerfile, no public/ and no index.html")]
    NoRecipe,
}

impl Project {
    /// Reads what a commit asks for; `allowance` is what the server lets it have.
    ///
    /// # Errors
    /// [`ProjectError`], by what is wrong.
    pub fn read(
        repository: &Repository,
        revision: &Revision,
        allowance: &Allowance,
    ) -> Result<Self, ProjectError> {
        let tree = repository.tree(revision)?;
        let config = match repository.text(&tree, app_file::NAME, CONFIG_BYTES)? {
            Some(text) => app_file::parse(&text, allowance)?,
            None => AppFile::default().check(allowance).map_err(AppFileError::from)?,
        };
        let recipe = recipe(&tree).ok_or(ProjectError::NoRecipe)?;
        Ok(Self { config, recipe, warnings: warnings(repository, &tree)? })
    }
}

fn recipe(tree: &Tree<'_>) -> Option<Recipe> {
    let has = |name: &str, is: fn(&git2::TreeEntry<'_>) -> bool| tree.get_name(name).is_some_and(|e| is(&e));
    if has(DOCKERFILE, is_file) {
        return Some(Recipe::Dockerfile);
    }
    (has("public", is_folder) || has("index.html", is_file)).then_some(Recipe::Static)
}

fn warnings(repository: &Repository, tree: &Tree<'_>) -> Result<Vec<String>, RepositoryError> {
    let mut warnings = Vec::new();
    if tree.get_name(".gitmodules").is_some() {
        warnings.push("submodules are not fetched: their folders are empty in the image".to_owned());
    }
    let attributes = match repository.text(tree, ".gitattributes", HINT_BYTES) {
        Ok(text) => text.unwrap_or_default(),
        Err(RepositoryError::Large { .. } | RepositoryError::NoText { .. }) => String::new(),
        Err(e) => return Err(e),
    };
    if attributes.contains("filter=lfs") {
        warnings
            .push("files kept by Git LFS are not fetched: only their pointers are in the image".to_owned());
    }
    warnings.extend(left_out(&attributes));
    if with_attribute(&attributes, "export-subst").next().is_some() {
        warnings.push("export-subst is switched off: `$Format:...$` stays in the files as it is".to_owned());
    }
    Ok(warnings)
}

/// Gives the patterns to which a .gitattributes gives an attribute.
fn with_attribute<'a>(attributes: &'a str, wanted: &'a str) -> impl Iterator<Item = &'a str> {
    let lines = attributes.lines().map(str::trim_start).filter(|line| !line.starts_with('#'));
    lines.filter_map(move |line| {
        let mut words = line.split_ascii_whitespace();
        let pattern = words.next()?;
        words.any(|word| word == wanted).then_some(pattern)
    })
}

/// Says what git leaves out of a build.
fn left_out(attributes: &str) -> Option<String> {
    let patterns: Vec<&str> = with_attribute(attributes, "export-ignore").collect();
    let first: Vec<String> =
        patterns.iter().take(PATTERNS_SHOWN).map(|pattern| pattern.chars().take(80).collect()).collect();
    let more = match patterns.len().saturating_sub(PATTERNS_SHOWN) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    (!first.is_empty()).then(|| format!("export-ignore leaves out of a build: {}{more}", first.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Pushed;

    fn read(files: &[(&str, &str)]) -> Result<Project, ProjectError> {
        let pushed = Pushed::new();
        let revision = pushed.commit(files);
        Project::read(&Repository::open(&pushed.path()).expect("opened"), &revision, &Allowance::default())
    }

    #[test]
    fn the_recipe_follows_from_the_files_and_a_dockerfile_goes_first() {
        let recipe = |files: &[(&str, &str)]| read(files).map(|project| project.recipe).ok();
        assert_eq!(recipe(&[("Dockerfile", "x"), ("index.html", "x")]), Some(Recipe::Dockerfile));
        assert_eq!(recipe(&[("index.html", "x")]), Some(Recipe::Static));
        assert_eq!(recipe(&[("public/x", "x")]), Some(Recipe::Static));
        assert_eq!(recipe(&[("public", "a file"), ("src/index.html", "x")]), None);
        assert_eq!(recipe(&[("Dockerfile/x", "a folder"), ("index.html", "x")]), Some(Recipe::Static));
    }

    #[test]
    fn a_func_toml_that_is_no_text_is_refused() {
        let link = read(&[("index.html", "x"), ("func.toml", "-> /etc/passwd")]);
        assert!(link.is_err_and(|e| e.to_string() == "func.toml is not a file of UTF-8 text"));
    }

    #[test]
    fn a_revision_that_is_not_there_is_told_by_its_short_id() {
        let pushed = Pushed::new();
        let missing = "d".repeat(40).parse().expect("a revision");
        let read = Project::read(
            &Repository::open(&pushed.path()).expect("opened"),
            &missing,
            &Allowance::default(),
        );
        assert!(read.is_err_and(|e| e.to_string() == "ddddddd is not in the repository"));
    }

    #[test]
    fn what_the_attributes_leave_out_is_told_by_its_first_patterns() {
        let attributes = "# a export-ignore\ndocs export-ignore\n*.md text export-ignore\nx export-ignore\n\
                          y -export-ignore\nz export-ignore\n*.txt export-subst\n";
        let project = read(&[("Dockerfile", "x"), (".gitattributes", attributes)]).expect("read");
        assert_eq!(project.warnings.len(), 2, "{:?}", project.warnings);
        assert_eq!(project.warnings[0], "export-ignore leaves out of a build: docs, *.md, x and 1 more");
        assert!(project.warnings[1].starts_with("export-subst is switched off"));
        assert!(read(&[("Dockerfile", "x")]).expect("read").warnings.is_empty());
    }
}

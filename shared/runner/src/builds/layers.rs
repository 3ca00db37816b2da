//! Transfers only the layers of a built image that the serving engine lacks; `docker save` would write all of them.
//! Reads them from the build engine's files.
//!
//! The engine that loads them checks each layer's digest, so that layers that were put together wrongly are refused.
//!
//! Source: moby, layer/filestore.go and image/store.go; vbatts/tar-split, tar/storage.

use std::collections::{BTreeSet, HashMap};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::Path;

use bollard::models::ImageInspect;
use bollard::query_parameters::{DownloadFromContainerOptions, ListImagesOptions};
use flate2::read::GzDecoder;
use func_model::{AppName, Asks, ImageDigest};
use futures_util::StreamExt;
use serde::Deserialize;
use serde_json::json;
use tar::{Archive, EntryType, Header};
use tokio::task::spawn_blocking;
use tracing::debug;

use super::Open;
use crate::call::{ASK, LOAD, call, present};
use crate::docker::APP;
use crate::gate_program::hex;
use crate::{ByteStream, Docker, RunnerError};

/// Where the engine keeps its files, if this is its storage driver.
const DRIVER: &str = "overlay2";
const ROOT: &str = "/var/lib/docker";
/// Beyond so many bytes of new layers the engine's own way is as fast.
const NEW_BYTES_MAX: u64 = 256 * 1024 * 1024;
/// The largest description of an image or of a layer's files.
const DESCRIPTION_BYTES_MAX: u64 = 64 * 1024 * 1024;
const PART_BYTES: usize = 64 * 1024;

impl Docker {
    /// Returns an archive of an image with those layers only that this engine lacks; `None` if it has none of them, or the
    /// build engine keeps its files in another way.
    ///
    /// # Errors
    /// [`RunnerError`] if its files are not as expected; the whole image can be copied then.
    pub(super) async fn new_layers(
        &self,
        built: &ImageDigest,
        (app, asks): (&AppName, &Asks),
        from: &Open,
    ) -> Result<Option<ByteStream>, RunnerError> {
        let asked = from.engine.inspect_image(built.as_str());
        let Some(image) = present(call("look at an image", ASK, asked).await)? else { return Ok(None) };
        let is_known = image.graph_driver.as_ref().is_some_and(|driver| driver.name == DRIVER);
        let layers = layers_of(image);
        let kept = self.kept_layers(&layers, app, asks).await?;
        if !is_known || kept == 0 {
            return Ok(None);
        }
        let scratch = tempfile::tempdir_in(self.build_folder()).map_err(broken)?;
        let Some(id) = built.as_str().strip_prefix("sha256:") else { return Ok(None) };
        let content = format!("{ROOT}/image/{DRIVER}/imagedb/content/sha256/{id}");
        let config = self.fetch(&content, scratch.path(), "config", DESCRIPTION_BYTES_MAX).await?;
        let chains = chains(&layers);
        let mut left = NEW_BYTES_MAX;
        let mut fetched = Vec::new();
        for chain in &chains[kept..] {
            let folder = format!("{ROOT}/image/{DRIVER}/layerdb/sha256/{chain}");
            let about =
                self.fetch(&folder, scratch.path(), &format!("{chain}.about"), DESCRIPTION_BYTES_MAX).await?;
            let (about, cache) =
                spawn_blocking(move || cache_id(about)).await.map_err(broken)?.map_err(broken)?;
            let files = format!("{ROOT}/{DRIVER}/{cache}/diff");
            let files = self.fetch(&files, scratch.path(), &format!("{chain}.files"), left).await?;
            left = left.saturating_sub(files.metadata().map_err(broken)?.len());
            fetched.push((chain.clone(), about, files));
        }
        debug!("taking over {} of the {} layers of {built}", fetched.len(), chains.len());
        let (id, folder) = (id.to_owned(), scratch.path().to_owned());
        let archive = spawn_blocking(move || archive(&folder, &id, config, fetched, &chains));
        let archive = archive.await.map_err(broken)?.map_err(broken)?;
        Ok(Some(streamed(archive)))
    }

    /// Returns how many of an image's first layers this engine has: with its base images, or with another image of the app.
    async fn kept_layers(&self, layers: &[String], app: &AppName, asks: &Asks) -> Result<usize, RunnerError> {
        let engine = self.engine().await?;
        let mut filters = self.ours();
        filters.entry("label".to_owned()).or_default().push(format!("{APP}={app}"));
        let options = ListImagesOptions { filters: Some(filters), ..Default::default() };
        let listed = call("list the images", ASK, engine.list_images(Some(options))).await?;
        let names: BTreeSet<String> =
            asks.images.iter().cloned().chain(listed.into_iter().map(|image| image.id)).collect();
        let mut most = 0;
        for name in names {
            let asked = call("look at an image", ASK, engine.inspect_image(&name)).await;
            let Ok(Some(image)) = present(asked) else { continue };
            let others = layers_of(image);
            most = most.max(layers.iter().zip(&others).take_while(|(one, other)| one == other).count());
        }
        Ok(most)
    }

    /// Fetches a file or a folder of the build engine, as a tar.
    async fn fetch(
        &self,
        path: &str,
        scratch: &Path,
        name: &str,
        bytes_max: u64,
    ) -> Result<File, RunnerError> {
        let mut file = File::options().read(true).write(true).create_new(true).open(scratch.join(name));
        let options = DownloadFromContainerOptions { path: path.to_owned() };
        let (engine, container) = (self.engine().await?, self.build_name());
        let mut parts = Box::pin(engine.download_from_container(&container, Some(options)));
        let all = async {
            let file = file.as_mut().map_err(|e| io::Error::new(e.kind(), "make a file"))?;
            let mut bytes = 0;
            while let Some(part) = parts.next().await {
                let part = part?;
                bytes += part.len() as u64;
                if bytes > bytes_max {
                    return Err(io::Error::other("the layers are too large").into());
                }
                file.write_all(&part)?;
            }
            Ok(file.rewind()?)
        };
        call("read the build engine's files", LOAD, all).await?;
        file.map_err(broken)
    }
}

fn broken(error: impl std::fmt::Display) -> RunnerError {
    RunnerError::Refused { verb: "read the build engine's files", said: error.to_string() }
}

fn layers_of(image: ImageInspect) -> Vec<String> {
    image.root_fs.and_then(|root| root.layers).unwrap_or_default()
}

/// Returns the name of each layer on those below it, in hex.
///
/// Source: OCI image specification, config.md, ChainID.
fn chains(layers: &[String]) -> Vec<String> {
    let mut chains: Vec<String> = Vec::with_capacity(layers.len());
    for layer in layers {
        let chain = match chains.last() {
            None => layer.strip_prefix("sha256:").unwrap_or(layer).to_owned(),
            Some(below) => hex(format!("sha256:{below} {layer}").as_bytes()),
        };
        chains.push(chain);
    }
    chains
}

/// Returns the name of a layer's folder.
fn cache_id(mut about: File) -> io::Result<(File, String)> {
    let mut id = String::new();
    entry(&mut about, "cache-id")?.take(200).read_to_string(&mut id)?;
    about.rewind()?;
    let id = id.trim();
    match id.chars().all(|c| c.is_ascii_alphanumeric() || c == '-') && !id.is_empty() {
        true => Ok((about, id.to_owned())),
        false => Err(io::Error::other("no name of a layer's folder")),
    }
}

/// Returns the content of a tar's entry of this file name.
fn entry<'a>(tar: &'a mut File, name: &str) -> io::Result<impl Read + 'a> {
    tar.rewind()?;
    let mut archive = Archive::new(&*tar);
    let mut found = None;
    for entry in archive.entries()? {
        let entry = entry?;
        if entry.path()?.file_name().is_some_and(|file| file == name) {
            found = Some((entry.raw_file_position(), entry.size()));
            break;
        }
    }
    let (at, bytes) = found.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, format!("no {name}")))?;
    tar.seek(SeekFrom::Start(at))?;
    Ok((&*tar).take(bytes))
}

/// Writes what `docker save` writes, without the layers that are not in `fetched`: an engine that has them does not ask.
fn archive(
    folder: &Path,
    id: &str,
    mut config: File,
    fetched: Vec<(String, File, File)>,
    chains: &[String],
) -> io::Result<File> {
    let new = |name: &str| File::options().read(true).write(true).create_new(true).open(folder.join(name));
    let mut out = tar::Builder::new(new("archive")?);
    let mut text = Vec::new();
    entry(&mut config, id)?.read_to_end(&mut text)?;
    append(&mut out, &format!("{id}.json"), text.len() as u64, &text[..])?;
    for (chain, mut about, mut files) in fetched {
        let mut layer = new(&format!("{chain}.tar"))?;
        assemble(entry(&mut about, "tar-split.json.gz")?, &mut files, &mut layer)?;
        let bytes = layer.stream_position()?;
        layer.rewind()?;
        append(&mut out, &format!("{chain}/layer.tar"), bytes, layer)?;
    }
    let layers: Vec<String> = chains.iter().map(|chain| format!("{chain}/layer.tar")).collect();
    let manifest =
        json!([{ "Config": format!("{id}.json"), "RepoTags": null, "Layers": layers }]).to_string();
    append(&mut out, "manifest.json", manifest.len() as u64, manifest.as_bytes())?;
    let mut file = out.into_inner()?;
    file.rewind()?;
    Ok(file)
}

fn append(out: &mut tar::Builder<File>, path: &str, bytes: u64, content: impl Read) -> io::Result<()> {
    let mut header = Header::new_gnu();
    header.set_entry_type(EntryType::Regular);
    header.set_mode(0o644);
    header.set_size(bytes);
    out.append_data(&mut header, path, content)
}

/// One line of a layer's tar-split file.
#[derive(Deserialize)]
struct Piece {
    r#type: u8,
    #[serde(default)]
    name: String,
    /// Instead of `name` where that is not UTF-8, in base64.
    #[serde(default)]
    name_raw: String,
    #[serde(default)]
    size: u64,
    #[serde(default)]
    payload: Option<String>,
}

const FILE: u8 = 1;
const SEGMENT: u8 = 2;

/// Puts a layer's tar together: its headers from the tar-split file, the files' contents from a tar of its folder.
fn assemble(split: impl Read, files: &mut File, out: &mut File) -> io::Result<()> {
    let places = places(files)?;
    let mut out = io::BufWriter::new(out);
    for line in BufReader::new(GzDecoder::new(split)).lines() {
        let piece: Piece = serde_json::from_str(&line?)?;
        match piece.r#type {
            SEGMENT => out.write_all(&decoded(piece.payload.as_deref().unwrap_or_default())?)?,
            FILE if piece.size == 0 => {}
            FILE => {
                let name = match piece.name_raw.is_empty() {
                    true => piece.name.into_bytes(),
                    false => decoded(&piece.name_raw)?,
                };
                let place = places.get(clean(&name)).filter(|(_, bytes)| *bytes == piece.size);
                let (at, bytes) =
                    *place.ok_or_else(|| io::Error::other("a file of the layer is not there"))?;
                files.seek(SeekFrom::Start(at))?;
                io::copy(&mut (&*files).take(bytes), &mut out)?;
            }
            _ => return Err(io::Error::other("an unknown piece of a layer")),
        }
    }
    out.flush()
}

fn decoded(text: &str) -> io::Result<Vec<u8>> {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.decode(text).map_err(io::Error::other)
}

/// Returns where the content of each file is in a tar of a folder, by its path in the folder.
fn places(tar: &mut File) -> io::Result<HashMap<Vec<u8>, (u64, u64)>> {
    tar.rewind()?;
    let mut places = HashMap::new();
    let mut archive = Archive::new(&*tar);
    for entry in archive.entries_with_seek()? {
        let entry = entry?;
        let path = inside(&entry.path_bytes()).to_owned();
        match entry.header().entry_type() {
            EntryType::Link => {
                let target = entry.link_name_bytes().and_then(|name| places.get(inside(&name)).copied());
                places.extend(target.map(|place| (path, place)));
            }
            _ => drop(places.insert(path, (entry.raw_file_position(), entry.size()))),
        }
    }
    Ok(places)
}

/// Returns a path without the folder's own name.
fn inside(path: &[u8]) -> &[u8] {
    let path = clean(path);
    let end = path.iter().position(|byte| *byte == b'/').map_or(path.len(), |at| at + 1);
    &path[end..]
}

fn clean(path: &[u8]) -> &[u8] {
    let path = path.strip_prefix(b"./").unwrap_or(path);
    path.strip_prefix(b"/").unwrap_or(path)
}

fn streamed(file: File) -> ByteStream {
    Box::pin(futures_util::stream::unfold(Some(file), |file| async {
        let mut file = file?;
        let read = spawn_blocking(move || {
            let mut part = vec![0; PART_BYTES];
            let bytes = file.read(&mut part)?;
            part.truncate(bytes);
            Ok::<_, io::Error>((part, file))
        });
        match read.await.map_err(io::Error::other).and_then(|read| read) {
            Ok((part, _)) if part.is_empty() => None,
            Ok((part, file)) => Some((Ok(part.into()), Some(file))),
            Err(error) => Some((Err(error), None)),
        }
    }))
}

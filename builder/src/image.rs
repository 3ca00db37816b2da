//! A static site's image, written without a build: two layers, a configuration, and the archive that holds them.
//!
//! The archive is docker's own and an OCI layout at the same time: engines before 25 read the first, and refuse the
//! second alone.

use std::io::{self, Seek, SeekFrom, Write};
use std::path::Path;

use func_model::{ImageDigest, Revision};
use func_runner::ByteStream;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tar::EntryType;

use crate::deadline::Deadline;
use crate::layer::{self, Layer, LayerError, header, hex};
use crate::limits::PORT;
use crate::repository::Repository;
use crate::site::Site;
use crate::stream::written;

/// Nobody, on every system: the server reads what all may read, and owns nothing.
const USER: &str = "65534:65534";

/// An image that is not loaded yet.
#[derive(Debug)]
pub struct Image {
    /// The id that the engine gives it: its configuration's SHA-256.
    pub digest: ImageDigest,
    /// The id that an engine with containerd's image store gives it: its manifest's SHA-256.
    pub manifest_digest: ImageDigest,
    config: Vec<u8>,
    layers: Vec<Layer>,
    /// How many files the site has, compressed copies not counted.
    pub files: usize,
}

impl Image {
    /// Writes the image of a commit's site, its layers to temporary files in `scratch`. The same files give the same
    /// image.
    ///
    /// # Errors
    /// [`LayerError`].
    pub fn of_site(
        repository: &Repository,
        revision: &Revision,
        scratch: &Path,
        deadline: &Deadline,
    ) -> Result<Self, LayerError> {
        let site = Site::find(repository, revision, deadline)?;
        let layers = vec![layer::server(scratch)?, layer::site(repository, &site, scratch, deadline)?];
        let config = config(&layers).to_string().into_bytes();
        let manifest = manifest(&config, &layers).to_string();
        Ok(Self {
            digest: digest(&config)?,
            manifest_digest: digest(manifest.as_bytes())?,
            config,
            layers,
            files: site.files.len(),
        })
    }

    /// Gives the size of its layers.
    pub fn bytes(&self) -> u64 {
        self.layers.iter().map(|layer| layer.bytes).sum()
    }

    /// Gives the archive, for [`func_runner::Make::load`].
    pub fn into_archive(self) -> ByteStream {
        written(move |out| self.write(out))
    }

    fn write(self, out: &mut impl Write) -> io::Result<()> {
        let mut tar = tar::Builder::new(out);
        let manifest = manifest(&self.config, &self.layers).to_string().into_bytes();
        let index = index(&manifest).to_string();
        let docker = docker_manifest(&self.config, &self.layers).to_string();
        small(&mut tar, "oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)?;
        small(&mut tar, "index.json", index.as_bytes())?;
        small(&mut tar, "manifest.json", docker.as_bytes())?;
        small(&mut tar, &blob(&sha256(&manifest)), &manifest)?;
        small(&mut tar, &blob(&sha256(&self.config)), &self.config)?;
        for mut layer in self.layers {
            layer.file.seek(SeekFrom::Start(0))?;
            let mut header = header(EntryType::Regular, 0o644);
            header.set_size(layer.bytes);
            tar.append_data(&mut header, blob(&layer.sha256), &mut layer.file)?;
        }
        tar.into_inner()?.flush()
    }
}

fn small(tar: &mut tar::Builder<impl Write>, path: &str, bytes: &[u8]) -> io::Result<()> {
    let mut header = header(EntryType::Regular, 0o644);
    header.set_size(bytes.len() as u64);
    tar.append_data(&mut header, path, bytes)
}

fn digest(bytes: &[u8]) -> io::Result<ImageDigest> {
    format!("sha256:{}", sha256(bytes)).parse().map_err(io::Error::other)
}

fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

fn blob(sha256: &str) -> String {
    format!("blobs/sha256/{sha256}")
}

/// Source: OCI image specification, config.md.
fn config(layers: &[Layer]) -> Value {
    let diff_ids: Vec<String> = layers.iter().map(|layer| format!("sha256:{}", layer.sha256)).collect();
    json!({
        "created": "1970-01-01T00:00:00Z",
        "architecture": architecture(),
        "os": "linux",
        "config": {
            "User": USER,
            "ExposedPorts": { format!("{PORT}/tcp"): {} },
            "Entrypoint": ["/func-static"],
            "WorkingDir": "/",
        },
        "rootfs": { "type": "layers", "diff_ids": diff_ids },
        "history": [
            { "created": "1970-01-01T00:00:00Z", "created_by": "func: the file server" },
            { "created": "1970-01-01T00:00:00Z", "created_by": "func: the site" },
        ],
    })
}

/// Gives this machine's processor as images name it.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// Source: OCI image specification, manifest.md.
fn manifest(config: &[u8], layers: &[Layer]) -> Value {
    let layers: Vec<Value> = layers
        .iter()
        .map(|layer| descriptor("application/vnd.oci.image.layer.v1.tar", &layer.sha256, layer.bytes))
        .collect();
    json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": descriptor("application/vnd.oci.image.config.v1+json", &sha256(config), config.len() as u64),
        "layers": layers,
    })
}

/// Source: OCI image specification, image-index.md.
fn index(manifest: &[u8]) -> Value {
    let kind = "application/vnd.oci.image.manifest.v1+json";
    json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [descriptor(kind, &sha256(manifest), manifest.len() as u64)],
    })
}

/// Source: moby, image/tarexport.
fn docker_manifest(config: &[u8], layers: &[Layer]) -> Value {
    let layers: Vec<String> = layers.iter().map(|layer| blob(&layer.sha256)).collect();
    json!([{ "Config": blob(&sha256(config)), "RepoTags": null, "Layers": layers }])
}

fn descriptor(kind: &str, sha256: &str, bytes: u64) -> Value {
    json!({ "mediaType": kind, "digest": format!("sha256:{sha256}"), "size": bytes })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::io::Read as _;

    use super::*;
    use crate::testing::{Pushed, minute};

    fn archive(pushed: &Pushed, revision: &Revision) -> (ImageDigest, Vec<u8>) {
        let repository = Repository::open(&pushed.path()).expect("opened");
        let image =
            Image::of_site(&repository, revision, &std::env::temp_dir(), &minute()).expect("an image");
        let (digest, mut bytes) = (image.digest.clone(), Vec::new());
        image.write(&mut bytes).expect("written");
        (digest, bytes)
    }

    fn files(tar: &[u8]) -> BTreeMap<String, (u64, u64, u32, Vec<u8>)> {
        let mut found = BTreeMap::new();
        for entry in tar::Archive::new(tar).entries().expect("a tar") {
            let mut entry = entry.expect("an entry");
            let path = entry.path().expect("a path").to_string_lossy().into_owned();
            let header = entry.header();
            let (mtime, uid) = (header.mtime().expect("a time"), header.uid().expect("an owner"));
            let mode = header.mode().expect("a mode");
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).expect("read");
            found.insert(path, (mtime, uid, mode, bytes));
        }
        found
    }

    #[test]
    fn the_same_files_are_the_same_bytes_and_other_files_another_image() {
        let pushed = Pushed::new();
        let html = "<p>hello</p>".repeat(1_000);
        let first = pushed.commit(&[("index.html", &html), ("a/b.css", "x")]);
        let (digest, bytes) = archive(&pushed, &first);
        let other = Pushed::new();
        let again =
            other.commit(&[("public/index.html", &html), ("public/a/b.css", "x"), ("README.md", "r")]);
        assert_eq!(archive(&other, &again), (digest.clone(), bytes));
        let changed = pushed.commit(&[("index.html", "bye")]);
        assert_ne!(archive(&pushed, &changed).0, digest);
    }

    /// Both as an object of its own and out of a pack: libgit2 streams only the first.
    #[test]
    fn a_large_file_is_streamed_into_the_image_as_it_is() {
        let pushed = Pushed::new();
        let large: String = (0..1_200_000).map(|n| format!("{n:08}")).collect();
        assert!(large.len() as u64 > crate::limits::STREAM_BYTES);
        let revision = pushed.commit(&[("index.html", "x"), ("data/large.bin", &large), ("z.css", "z")]);
        let loose = archive(&pushed, &revision).1;
        pushed.pack(&revision);
        let packed = archive(&pushed, &revision).1;
        assert!(loose == packed, "the same files are the same image");
        let docker: Value = serde_json::from_slice(&files(&packed)["manifest.json"].3).expect("json");
        let site = files(&files(&packed)[docker[0]["Layers"][1].as_str().expect("a path")].3);
        assert!(site["site/data/large.bin"].3 == large.as_bytes());
        assert_eq!(site["site/z.css"].3, b"z");
    }

    #[test]
    fn every_blob_is_named_by_its_hash_and_the_site_is_in_the_second_layer() {
        let pushed = Pushed::new();
        let html = "<p>hello</p>".repeat(1_000);
        let long = format!("{}/{}.html", "d".repeat(100), "f".repeat(150));
        let revision = pushed.commit(&[
            ("index.html", &html),
            ("kept.html", &html),
            ("kept.html.gz", "own"),
            (&long, "x"),
        ]);
        let (digest, bytes) = archive(&pushed, &revision);
        let outer = files(&bytes);
        for (path, (.., content)) in &outer {
            if let Some(name) = path.strip_prefix("blobs/sha256/") {
                assert_eq!(sha256(content), name);
            }
        }
        let docker: Value = serde_json::from_slice(&outer["manifest.json"].3).expect("json");
        assert_eq!(docker[0]["Config"], blob(&digest.as_str()["sha256:".len()..]));
        let server = files(&outer[docker[0]["Layers"][0].as_str().expect("a path")].3);
        assert_eq!(server.keys().collect::<Vec<_>>(), ["func-static"]);
        let site = files(&outer[docker[0]["Layers"][1].as_str().expect("a path")].3);
        assert!(site.values().all(|(mtime, uid, mode, _)| (*mtime, *uid) == (0, 0) && mode & 0o444 == 0o444));
        assert_eq!(site["site/index.html"].3, html.as_bytes());
        assert!(site["site/index.html.br"].3.len() < 100 && site["site/index.html.gz"].3.len() < 200);
        assert_eq!(site["site/kept.html.gz"].3, b"own", "a copy that the site brings is kept");
        assert!(site.contains_key(&format!("site/{long}")));
    }
}

//! Images and build contexts, made here without any registry.

use std::fs;
use std::path::PathBuf;

use bytes::Bytes;
use func_model::ImageDigest;
use func_runner::ByteStream;
use futures_util::stream;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// Gives the static program of `examples/probe.rs`, which cargo builds beside this test.
pub fn probe() -> Vec<u8> {
    let test = std::env::current_exe().unwrap();
    let path: PathBuf = test.parent().unwrap().parent().unwrap().join("examples/probe");
    fs::read(&path).unwrap_or_else(|e| {
        panic!("{}: {e}; run `cargo build -p func-runner --examples` first", path.display())
    })
}

/// Gives a docker-archive of one layer, and the id of its image.
pub fn archive(installation: &str, entrypoint: &[&str], files: &[(&str, Vec<u8>)]) -> (ImageDigest, Vec<u8>) {
    let config = json!({
        "Entrypoint": entrypoint,
        "ExposedPorts": { "9090/tcp": {}, "8080/tcp": {}, "53/udp": {} },
        "Labels": { "func.installation": installation },
    });
    archive_of(config, tar(files))
}

/// Gives a docker-archive of one layer, with this configuration, and the id of its image.
pub fn archive_of(config: Value, layer: Vec<u8>) -> (ImageDigest, Vec<u8>) {
    let config = json!({
        "architecture": "amd64",
        "os": "linux",
        "config": config,
        "rootfs": { "type": "layers", "diff_ids": [sha256(&layer)] },
    });
    let config = serde_json::to_vec(&config).unwrap();
    let digest = sha256(&config);
    let manifest = json!([{ "Config": "config.json", "RepoTags": null, "Layers": ["layer.tar"] }]);
    let manifest = serde_json::to_vec(&manifest).unwrap();
    let files = [("manifest.json", manifest), ("config.json", config), ("layer.tar", layer)];
    (digest.parse().unwrap(), tar(&files))
}

/// Gives a build context of these files.
pub fn context(files: &[(&str, &[u8])]) -> ByteStream {
    let files: Vec<(&str, Vec<u8>)> = files.iter().map(|(name, data)| (*name, data.to_vec())).collect();
    bytes(tar(&files))
}

/// Gives bytes as a stream, in pieces.
pub fn bytes(all: Vec<u8>) -> ByteStream {
    let pieces: Vec<std::io::Result<Bytes>> =
        all.chunks(64 * 1024).map(|piece| Ok(Bytes::copy_from_slice(piece))).collect();
    Box::pin(stream::iter(pieces))
}

fn tar(files: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let files: Vec<_> = files.iter().map(|(name, data)| (*name, data.as_slice(), 0o755)).collect();
    tar_of(&files)
}

/// Gives a tar of files with these permissions.
pub fn tar_of(files: &[(&str, &[u8], u32)]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for (name, data, mode) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(data.len() as u64);
        header.set_mode(*mode);
        tar.append_data(&mut header, name, *data).unwrap();
    }
    tar.into_inner().unwrap()
}

fn sha256(data: &[u8]) -> String {
    let digits: String = Sha256::digest(data).iter().map(|b| format!("{b:02x}")).collect();
    format!("sha256:{digits}")
}

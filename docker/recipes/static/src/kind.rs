//! What kind of content a file is, by the ending of its name.

use crate::limits::{COMPRESS_BYTES_MAX, COMPRESS_BYTES_MIN};

/// Whether compression finds something to gain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Density {
    Loose,
    /// Already compressed inside.
    Packed,
}

use Density::{Loose, Packed};

/// What browsers do not try to interpret.
const UNKNOWN: (&str, Density) = ("application/octet-stream", Packed);

/// Content type and density by extension; text says that it is UTF-8.
///
/// Source: the IANA media type registry, and the WHATWG MIME Sniffing Standard for scripts and fonts.
const KINDS: &[(&str, &str, Density)] = &[
    ("html", "text/html; charset=utf-8", Loose),
    ("htm", "text/html; charset=utf-8", Loose),
    ("css", "text/css; charset=utf-8", Loose),
    ("js", "text/javascript; charset=utf-8", Loose),
    ("mjs", "text/javascript; charset=utf-8", Loose),
    ("cjs", "text/javascript; charset=utf-8", Loose),
    ("json", "application/json", Loose),
    ("map", "application/json", Loose),
    ("jsonld", "application/ld+json", Loose),
    ("geojson", "application/geo+json", Loose),
    ("topojson", "application/json", Loose),
    ("ndjson", "application/x-ndjson", Loose),
    ("webmanifest", "application/manifest+json", Loose),
    ("wasm", "application/wasm", Loose),
    ("txt", "text/plain; charset=utf-8", Loose),
    ("text", "text/plain; charset=utf-8", Loose),
    ("log", "text/plain; charset=utf-8", Loose),
    ("asc", "text/plain; charset=utf-8", Loose),
    ("md", "text/markdown; charset=utf-8", Loose),
    ("markdown", "text/markdown; charset=utf-8", Loose),
    ("csv", "text/csv; charset=utf-8", Loose),
    ("tsv", "text/tab-separated-values; charset=utf-8", Loose),
    ("ics", "text/calendar; charset=utf-8", Loose),
    ("vcf", "text/vcard; charset=utf-8", Loose),
    ("vtt", "text/vtt; charset=utf-8", Loose),
    ("srt", "text/plain; charset=utf-8", Loose),
    ("yaml", "application/yaml", Loose),
    ("yml", "application/yaml", Loose),
    ("toml", "application/toml", Loose),
    ("xml", "application/xml", Loose),
    ("xsl", "application/xml", Loose),
    ("xhtml", "application/xhtml+xml", Loose),
    ("rss", "application/rss+xml", Loose),
    ("atom", "application/atom+xml", Loose),
    ("rtf", "application/rtf", Loose),
    ("svg", "image/svg+xml", Loose),
    ("ico", "image/vnd.microsoft.icon", Loose),
    ("bmp", "image/bmp", Loose),
    ("png", "image/png", Packed),
    ("apng", "image/apng", Packed),
    ("jpg", "image/jpeg", Packed),
    ("jpeg", "image/jpeg", Packed),
    ("gif", "image/gif", Packed),
    ("webp", "image/webp", Packed),
    ("avif", "image/avif", Packed),
    ("heic", "image/heic", Packed),
    ("jxl", "image/jxl", Packed),
    ("tif", "image/tiff", Packed),
    ("tiff", "image/tiff", Packed),
    ("ttf", "font/ttf", Loose),
    ("otf", "font/otf", Loose),
    ("ttc", "font/collection", Loose),
    ("eot", "application/vnd.ms-fontobject", Loose),
    ("woff", "font/woff", Packed),
    ("woff2", "font/woff2", Packed),
    ("mp3", "audio/mpeg", Packed),
    ("m4a", "audio/mp4", Packed),
    ("aac", "audio/aac", Packed),
    ("ogg", "audio/ogg", Packed),
    ("oga", "audio/ogg", Packed),
    ("opus", "audio/ogg", Packed),
    ("flac", "audio/flac", Packed),
    ("wav", "audio/wav", Loose),
    ("mid", "audio/midi", Loose),
    ("mp4", "video/mp4", Packed),
    ("m4v", "video/mp4", Packed),
    ("webm", "video/webm", Packed),
    ("ogv", "video/ogg", Packed),
    ("mov", "video/quicktime", Packed),
    ("avi", "video/x-msvideo", Packed),
    ("mpeg", "video/mpeg", Packed),
    ("mpg", "video/mpeg", Packed),
    ("m3u8", "application/vnd.apple.mpegurl", Loose),
    ("ts", "video/mp2t", Packed),
    ("mpd", "application/dash+xml", Loose),
    ("gltf", "model/gltf+json", Loose),
    ("glb", "model/gltf-binary", Loose),
    ("obj", "model/obj", Loose),
    ("stl", "model/stl", Loose),
    ("pdf", "application/pdf", Packed),
    ("epub", "application/epub+zip", Packed),
    ("doc", "application/msword", Loose),
    ("docx", "application/vnd.openxmlformats-officedocument.wordprocessingml.document", Packed),
    ("xlsx", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet", Packed),
    ("pptx", "application/vnd.openxmlformats-officedocument.presentationml.presentation", Packed),
    ("odt", "application/vnd.oasis.opendocument.text", Packed),
    ("ods", "application/vnd.oasis.opendocument.spreadsheet", Packed),
    ("zip", "application/zip", Packed),
    ("gz", "application/gzip", Packed),
    ("tgz", "application/gzip", Packed),
    ("br", "application/octet-stream", Packed),
    ("bz2", "application/x-bzip2", Packed),
    ("xz", "application/x-xz", Packed),
    ("zst", "application/zstd", Packed),
    ("7z", "application/x-7z-compressed", Packed),
    ("tar", "application/x-tar", Loose),
    ("sqlite", "application/vnd.sqlite3", Loose),
];

/// Names without an extension whose type is fixed by those who read them.
const NAMED: &[(&str, &str, Density)] = &[("apple-app-site-association", "application/json", Loose)];

/// Gives the `Content-Type` of a file by its path.
pub fn content_type(path: &str) -> &'static str {
    kind(path).0
}

/// Says whether a file of this path and size has compressed copies: `<path>.br` and `<path>.gz`.
///
/// The builder asks before it writes them, the server before it looks for them.
pub fn compressible(path: &str, len: u64) -> bool {
    kind(path).1 == Loose && (COMPRESS_BYTES_MIN..=COMPRESS_BYTES_MAX).contains(&len)
}

fn kind(path: &str) -> (&'static str, Density) {
    let name = path.rsplit('/').next().unwrap_or(path);
    let (wanted, table) = match name.rsplit_once('.') {
        Some((_, extension)) => (extension, KINDS),
        None => (name, NAMED),
    };
    let found = table.iter().find(|(key, ..)| key.eq_ignore_ascii_case(wanted));
    found.map_or(UNKNOWN, |(_, content_type, density)| (content_type, *density))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_extension_counts_in_any_case() {
        assert_eq!(content_type("a/jquery.min.JS"), "text/javascript; charset=utf-8");
        assert_eq!(content_type("a.html/archive.tar.gz"), "application/gzip");
        assert_eq!(content_type("index.html"), "text/html; charset=utf-8");
    }

    #[test]
    fn what_is_not_known_is_bytes() {
        for path in ["LICENSE", "a.html/LICENSE", "x.unheard", "x.", "html", "js"] {
            assert_eq!(content_type(path), "application/octet-stream", "{path}");
        }
        assert_eq!(content_type(".well-known/apple-app-site-association"), "application/json");
    }

    #[test]
    fn text_of_some_size_is_compressible() {
        assert!(compressible("a.css", COMPRESS_BYTES_MIN));
        assert!(compressible("a.css", COMPRESS_BYTES_MAX));
        assert!(!compressible("a.css", COMPRESS_BYTES_MIN - 1));
        assert!(!compressible("a.css", COMPRESS_BYTES_MAX + 1));
        assert!(!compressible("a.png", 10_000));
        assert!(!compressible("a.css.gz", 10_000));
        assert!(!compressible("unknown", 10_000));
    }

    #[test]
    fn every_text_says_that_it_is_utf_8_and_no_extension_is_listed_twice() {
        for (index, (extension, content_type, _)) in KINDS.iter().enumerate() {
            assert_eq!(
                content_type.starts_with("text/"),
                content_type.ends_with("; charset=utf-8"),
                "{extension}"
            );
            assert!(KINDS[index + 1..].iter().all(|(other, ..)| other != extension), "{extension}");
        }
    }
}

//! Which file a path leads to.

use std::path::{Path, PathBuf};

/// What a manager was told to open.
pub(super) struct Location {
    given: PathBuf,
    /// Where the process was at the time: it may go elsewhere, the database does not.
    directory: Option<PathBuf>,
}

impl Location {
    pub(super) fn new(given: PathBuf) -> Self {
        Self { given, directory: std::env::current_dir().ok() }
    }

    /// What to open, and the path of the file, unless the database is in memory.
    pub(super) fn resolve(&self, may_be_uri: bool) -> (PathBuf, Option<PathBuf>) {
        let uri = self.given.to_str().filter(|given| may_be_uri && given.starts_with(SCHEME));
        if let Some(uri) = uri {
            return self.resolve_uri(uri);
        }
        if ["", ":memory:"].iter().any(|nameless| self.given.as_os_str() == *nameless) {
            return (self.given.clone(), None);
        }
        let path = self.at_home(&self.given);
        (path.clone(), Some(path))
    }

    fn at_home(&self, path: &Path) -> PathBuf {
        self.directory.as_deref().map_or_else(|| path.into(), |directory| directory.join(path))
    }

    /// Cuts a URI as SQLite does.
    #[cfg(unix)]
    fn resolve_uri(&self, uri: &str) -> (PathBuf, Option<PathBuf>) {
        use std::os::unix::ffi::{OsStrExt, OsStringExt};
        let rest = &uri[SCHEME.len()..];
        let path = match rest.strip_prefix("//") {
            Some(behind) => &behind[behind.find('/').unwrap_or(behind.len())..],
            None => rest,
        };
        let (path, settings) = path.split_at(path.find(['?', '#']).unwrap_or(path.len()));
        let settings = settings.split('#').next().unwrap_or_default();
        let has_file = !settings.split(['?', '&']).any(|setting| {
            // Other file systems may give a path any meaning.
            setting == "mode=memory" || setting.starts_with("vfs=")
        });
        let path = std::ffi::OsString::from_vec(unescaped(path));
        if !has_file || path.is_empty() || path == ":memory:" {
            return (uri.into(), None);
        }
        let path = PathBuf::from(path);
        let mut absolute = String::from(SCHEME);
        if let Some(directory) = self.directory.as_ref().filter(|_| path.is_relative()) {
            escape(directory.as_os_str().as_bytes(), b"/", &mut absolute);
            absolute.push('/');
        }
        absolute.push_str(rest);
        (absolute.into(), Some(self.at_home(&path)))
    }

    #[cfg(not(unix))]
    fn resolve_uri(&self, uri: &str) -> (PathBuf, Option<PathBuf>) {
        (uri.into(), None)
    }
}

const SCHEME: &str = "file:";

/// Adds a name to a URI, so that no character of it can be taken for a part of the URI but those to
/// `keep`.
pub(super) fn escape(name: &[u8], keep: &[u8], uri: &mut String) {
    for &byte in name {
        match byte {
            b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' | b'-' | b'.' | b'_' => uri.push(byte.into()),
            _ if keep.contains(&byte) => uri.push(byte.into()),
            _ => uri.push_str(&format!("%{byte:02X}")),
        }
    }
}

/// As SQLite reads it: what is no escape stays, and a zero ends it.
#[cfg(unix)]
fn unescaped(path: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.as_bytes();
    while let Some((&first, behind)) = rest.split_first() {
        let digits = behind.get(..2).filter(|digits| digits.iter().all(u8::is_ascii_hexdigit));
        let digits = digits.filter(|_| first == b'%').and_then(|it| str::from_utf8(it).ok());
        let escaped = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        if escaped == Some(0) {
            break;
        }
        bytes.push(escaped.unwrap_or(first));
        rest = if escaped.is_some() { &behind[2..] } else { behind };
    }
    bytes
}

/// A file that is open, by the path that has led to it.
#[derive(Clone, Debug)]
pub(super) struct OpenFile {
    path: PathBuf,
    id: FileId,
}

impl OpenFile {
    /// `None`: there is none, or the system tells no files apart.
    pub(super) fn at(path: &Path) -> Option<Self> {
        Some(Self { path: path.into(), id: FileId::of(path)? })
    }

    /// Whether the path still leads to it.
    pub(super) fn is_in_place(&self) -> bool {
        FileId::of(&self.path) == Some(self.id)
    }
}

/// Tells a file from another that was put in its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct FileId {
    device: u64,
    number: u64,
}

impl FileId {
    /// `None`: there is none, or the system does not tell.
    #[cfg(unix)]
    fn of(path: &Path) -> Option<Self> {
        use std::os::unix::fs::MetadataExt;
        let metadata = path.metadata().ok()?;
        Some(Self { device: metadata.dev(), number: metadata.ino() })
    }

    #[cfg(not(unix))]
    fn of(_: &Path) -> Option<Self> {
        None
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    /// What is opened, and its file, for a manager made in `/a b`.
    fn resolve(given: &str, may_be_uri: bool) -> (String, Option<String>) {
        let location = Location { given: given.into(), directory: Some("/a b".into()) };
        let (opened, file) = location.resolve(may_be_uri);
        let text = |path: PathBuf| path.into_os_string().into_string().unwrap();
        (text(opened), file.map(text))
    }

    #[test]
    fn a_path_is_that_of_the_directory_in_which_the_manager_was_made() {
        for (given, opened, file) in [
            ("app.db", "/a b/app.db", "/a b/app.db"),
            ("../app.db", "/a b/../app.db", "/a b/../app.db"),
            ("/app.db", "/app.db", "/app.db"),
            ("file:app.db", "file:/a%20b/app.db", "/a b/app.db"),
            (
                "file:x%2Fapp.db?mode=ro#x?vfs=y",
                "file:/a%20b/x%2Fapp.db?mode=ro#x?vfs=y",
                "/a b/x/app.db",
            ),
            ("file:/app%3f.db%00x", "file:/app%3f.db%00x", "/app?.db"),
            ("file:///100%.db", "file:///100%.db", "/100%.db"),
            (
                "file://localhost/app.db?cache=private",
                "file://localhost/app.db?cache=private",
                "/app.db",
            ),
        ] {
            assert_eq!(resolve(given, true), (opened.into(), Some(file.into())), "{given}");
        }
        assert_eq!(resolve("file:app.db", false).0, "/a b/file:app.db");
    }

    #[test]
    fn what_has_no_file_is_left_as_it_is() {
        let uris = [
            "",
            ":memory:",
            "file:",
            "file:?cache=private",
            "file::memory:?cache=shared",
            "file:songs?cache=shared&mode=memory",
            "file:/songs?vfs=memdb",
        ];
        for uri in uris {
            assert_eq!(resolve(uri, true), (uri.into(), None));
        }
    }
}

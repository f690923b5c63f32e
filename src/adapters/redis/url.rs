//! What names a server, and what is wrong with a URL, without a word of it.

use redis::{
    ConnectionAddr, ConnectionInfo, ErrorKind, IntoConnectionInfo, RedisError, RedisResult,
};

/// What the managers accept as a server: all that the driver accepts, if they can see its URL.
///
/// In a URL whose password was not escaped, part of the password may pass for the port, and the
/// user for the host. So the managers refuse a URL with an `@` behind its host.
///
/// Of a `url::Url`, pass its [`IntoConnectionInfo::into_connection_info`].
///
/// ```
/// use caliburn::adapters::redis::IntoServer;
///
/// assert_eq!("redis://cache.internal/0".url(), Some("redis://cache.internal/0"));
/// assert_eq!(("cache.internal", 6379).url(), None);
/// ```
pub trait IntoServer: IntoConnectionInfo {
    /// Returns the URL, if the server is given by one.
    fn url(&self) -> Option<&str> {
        None
    }
}

impl IntoServer for &str {
    fn url(&self) -> Option<&str> {
        Some(self)
    }
}

impl IntoServer for String {
    fn url(&self) -> Option<&str> {
        Some(self)
    }
}

impl<T: Into<String>> IntoServer for (T, u16) {}
impl IntoServer for ConnectionAddr {}
impl IntoServer for ConnectionInfo {}

/// What the driver makes of it, if it can be cut in one way only.
pub(super) fn connection_info(server: impl IntoServer) -> RedisResult<ConnectionInfo> {
    if server.url().is_some_and(is_unescaped) {
        return Err(unescaped());
    }
    server.into_connection_info()
}

fn is_unescaped(url: &str) -> bool {
    let Some((scheme, address)) = url.split_once("://") else { return false };
    // A socket has a path for a host, and its password behind that.
    if scheme.to_ascii_lowercase().ends_with("unix") {
        return false;
    }
    let end = address.find(['/', '?', '#']).unwrap_or(address.len());
    address[end..].contains('@')
}

fn unescaped() -> RedisError {
    let what = "the URL has an `@` behind its host; in user and password, `@`, `/`, `?`, `#` and \
                `%` must be escaped as %40, %2F, %3F, %23 and %25";
    (ErrorKind::InvalidClientConfig, what).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_in_which_a_password_is_not_escaped_is_refused_without_a_word_of_it() {
        for cut in ["#", "?", "/", "?protocol=resp3&", "/#"] {
            for url in [
                format!("redis://secretary:7712{cut}3@127.0.0.1:1/"),
                format!("RediSS://:7712{cut}3@127.0.0.1"),
                format!(" redis://secretary:7712{cut}3@127.0.0.1"),
            ] {
                let error = connection_info(url.as_str()).expect_err(&url);
                assert_eq!(error.kind(), ErrorKind::InvalidClientConfig);
                let shown = format!("{error:#} {error:?}");
                assert!(shown.contains("%40") && !shown.contains("7712"), "{shown}");
                assert!(!shown.contains("secretary"), "{shown}");
            }
        }
    }

    #[test]
    fn a_url_that_can_be_cut_in_one_way_only_is_taken() {
        for url in [
            "redis://secretary:p@ss\\word@127.0.0.1:1/3?protocol=resp3",
            "redis://secretary:%23%40%3F@127.0.0.1",
            "redis://[::1]:7712",
            "unix:///tmp/a@b?pass=p@ss",
            "redis+unix:///tmp/a@b?pass=p@ss",
        ] {
            connection_info(url).unwrap_or_else(|error| panic!("{url}: {error}"));
        }
    }
}

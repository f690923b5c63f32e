//! What is wrong with a URL, without a word of it.

use std::fmt;

/// Why a URL names no server.
///
/// It shows nothing of the URL except the name of an option. If a password was not escaped, the URL
/// is cut at the wrong places, and what looks like a host or an option may be part of the password.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum UrlError {
    /// It does not begin with `mysql://`, or the host or the port is not one.
    Malformed,
    /// There is an `@` behind what would be the host: a `/`, `?` or `#` of user or password, or an
    /// `@` of database or options, is not escaped (`%2F`, `%3F`, `%23`, `%40`).
    Unescaped,
    /// An option that the driver does not know, or not as it was compiled.
    UnknownOption(String),
    /// An option with a value that it cannot have.
    InvalidOption(String),
}

impl fmt::Display for UrlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed => {
                f.write_str("the URL is not of the form mysql://user:password@host:port/database")
            }
            Self::Unescaped => f.write_str(
                "the URL has an `@` behind its host; in user and password, `@`, `/`, `?`, `#` and \
                 `%` must be escaped as %40, %2F, %3F, %23 and %25",
            ),
            Self::UnknownOption(name) => {
                write!(f, "the driver has no option `{name}`, as it was compiled")
            }
            Self::InvalidOption(name) => write!(f, "the option `{name}` cannot have this value"),
        }
    }
}

impl std::error::Error for UrlError {}

/// What the driver makes of a URL that can be cut in one way only.
pub(in crate::adapters::mysql) fn parse<T, E: Into<UrlError>>(
    url: &str,
    by_driver: impl FnOnce(&str) -> Result<T, E>,
) -> Result<T, UrlError> {
    const SCHEME: &str = "mysql://";
    let is_ours = url.get(..SCHEME.len()).is_some_and(|own| own.eq_ignore_ascii_case(SCHEME));
    if !is_ours {
        return Err(UrlError::Malformed);
    }
    let address = &url[SCHEME.len()..];
    let end = address.find(['/', '?', '#', '\\']).unwrap_or(address.len());
    if address[end..].contains('@') {
        return Err(UrlError::Unescaped);
    }
    by_driver(url).map_err(|error| match error.into() {
        // Perhaps a part of a password that is given as an option.
        UrlError::UnknownOption(_) if address[end..].contains("pass") => {
            UrlError::UnknownOption("…".into())
        }
        error => error,
    })
}

#[cfg(feature = "mysql")]
impl From<mysql::UrlError> for UrlError {
    fn from(error: mysql::UrlError) -> Self {
        use mysql::UrlError as Driver;
        match error {
            Driver::UnknownParameter(name) | Driver::FeatureRequired(_, name) => {
                Self::UnknownOption(name)
            }
            Driver::InvalidValue(name, _) => Self::InvalidOption(name),
            Driver::InvalidPoolConstraints { .. } => Self::InvalidOption("pool_min".into()),
            _ => Self::Malformed,
        }
    }
}

#[cfg(feature = "mysql_async")]
impl From<mysql_async::UrlError> for UrlError {
    fn from(error: mysql_async::UrlError) -> Self {
        use mysql_async::UrlError as Driver;
        match error {
            Driver::UnknownParameter { param } | Driver::FeatureRequired { param, .. } => {
                Self::UnknownOption(param)
            }
            Driver::InvalidParamValue { param, .. } => Self::InvalidOption(param),
            Driver::InvalidPoolConstraints { .. } => Self::InvalidOption("pool_min".into()),
            _ => Self::Malformed,
        }
    }
}

//! What goes wrong with a manager that was written for another pool.

use crate::ErrorClass;
use std::any::Any;
use std::borrow::Cow;
use std::error::Error;
use std::fmt;
use std::sync::{Mutex, PoisonError};

/// The error `E` of a manager written for another pool, or why the manager could not be asked.
///
/// It reads like the manager's own error, and has the same source.
///
/// ```
/// use caliburn::adapters::bridges::BridgeError;
/// use std::io;
///
/// fn is_refused(error: &BridgeError<io::Error>) -> bool {
///     error.driver().is_some_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
/// }
///
/// // An error that does not implement `Error` can only be looked at.
/// fn is_closed(error: &BridgeError<String>) -> bool {
///     error.is_runtime_lost() || error.inspect(|text| text == "closed").unwrap_or(false)
/// }
/// ```
pub struct BridgeError<E> {
    what: What<E>,
    class: ErrorClass,
}

enum What<E> {
    Typed(Box<dyn Typed>),
    /// Behind a lock, as it need not be `Sync`.
    Plain(String, Mutex<E>),
    #[cfg_attr(not(feature = "deadpool"), expect(dead_code, reason = "only deadpool's do that"))]
    Refused(Cow<'static, str>),
    RuntimeLost,
}

/// An error that can be told from others.
trait Typed: Error + Send + Sync {
    fn as_any(&self) -> &dyn Any;
}

impl<E: Error + Send + Sync + 'static> Typed for E {
    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// How a manager's error becomes this one.
pub(super) type Wrap<E> = fn(E, ErrorClass) -> BridgeError<E>;

impl<E: 'static> BridgeError<E> {
    pub(super) fn typed(error: E, class: ErrorClass) -> Self
    where
        E: Error + Send + Sync,
    {
        Self { what: What::Typed(Box::new(error)), class }
    }

    pub(super) fn plain(error: E, class: ErrorClass) -> Self
    where
        E: fmt::Debug,
    {
        Self { what: What::Plain(text_of(&error), Mutex::new(error)), class }
    }

    /// The manager will not have the connection any more, and says why.
    #[cfg(feature = "deadpool")]
    pub(super) fn refused(reason: Cow<'static, str>) -> Self {
        Self { what: What::Refused(reason), class: ErrorClass::Transient }
    }

    /// The runtime in which the connection lived is gone.
    pub(super) fn runtime_lost() -> Self {
        Self { what: What::RuntimeLost, class: ErrorClass::Transient }
    }

    pub(super) fn class(&self) -> ErrorClass {
        self.class
    }

    /// Returns the manager's own error. `None` if there is none, or if it does not implement
    /// [`Error`]: then [`inspect`](Self::inspect) it.
    pub fn driver(&self) -> Option<&E> {
        match &self.what {
            What::Typed(error) => (**error).as_any().downcast_ref(),
            _ => None,
        }
    }

    /// Calls `look` with the manager's own error, of whatever type, if there is one.
    pub fn inspect<T>(&self, look: impl FnOnce(&E) -> T) -> Option<T> {
        match &self.what {
            What::Plain(_, error) => {
                Some(look(&error.lock().unwrap_or_else(PoisonError::into_inner)))
            }
            _ => self.driver().map(look),
        }
    }

    /// Returns whether the connection was lost together with the tokio runtime on which it lived.
    pub fn is_runtime_lost(&self) -> bool {
        matches!(self.what, What::RuntimeLost)
    }
}

/// A text as it is, anything else as `Debug` has it.
fn text_of<E: fmt::Debug + 'static>(error: &E) -> String {
    let any: &dyn Any = error;
    let text = any.downcast_ref().cloned();
    let text = text.or_else(|| any.downcast_ref::<&str>().map(|text| (*text).to_owned()));
    let text = text.or_else(|| any.downcast_ref::<Cow<'static, str>>().map(Cow::to_string));
    text.unwrap_or_else(|| format!("{error:?}"))
}

impl<E> fmt::Display for BridgeError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.what {
            What::Typed(error) => error.fmt(f),
            What::Plain(text, _) => f.write_str(text),
            What::Refused(reason) => f.write_str(reason),
            What::RuntimeLost => f.write_str("the connection's tokio runtime is gone"),
        }
    }
}

impl<E> fmt::Debug for BridgeError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.what {
            What::Typed(error) => f.debug_tuple("Driver").field(error).finish(),
            What::Plain(text, _) => f.debug_tuple("Driver").field(text).finish(),
            What::Refused(reason) => f.debug_tuple("Refused").field(reason).finish(),
            What::RuntimeLost => f.write_str("RuntimeLost"),
        }
    }
}

impl<E> Error for BridgeError<E> {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match &self.what {
            What::Typed(error) => error.source(),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    const fn crosses_threads<T: Error + Send + Sync>() {}

    #[test]
    fn a_typed_error_is_found_again_and_reads_as_before() {
        let error = std::io::Error::other("no route");
        let error = BridgeError::typed(error, ErrorClass::Permanent);
        assert_eq!(error.to_string(), "no route");
        assert_eq!(error.class(), ErrorClass::Permanent);
        assert_eq!(error.driver().unwrap().kind(), std::io::ErrorKind::Other);
        assert_eq!(error.inspect(ToString::to_string).as_deref(), Some("no route"));
    }

    #[test]
    fn an_error_that_is_none_becomes_one() {
        #[derive(Debug)]
        struct Odd(Cell<u8>);
        crosses_threads::<BridgeError<Odd>>();
        let odd = BridgeError::plain(Odd(Cell::new(7)), ErrorClass::Transient);
        assert!(odd.to_string().starts_with("Odd(Cell"), "{odd}");
        assert!(odd.driver().is_none());
        assert_eq!(odd.inspect(|odd| odd.0.get()), Some(7));
        let text = BridgeError::plain("no \"route\"".to_owned(), ErrorClass::Transient);
        assert_eq!(text.to_string(), "no \"route\"");
        assert_eq!(BridgeError::plain("refused", ErrorClass::Transient).to_string(), "refused");
    }

    #[test]
    fn a_lost_runtime_is_no_error_of_the_driver() {
        let lost = BridgeError::<std::io::Error>::runtime_lost();
        assert!(lost.is_runtime_lost() && lost.driver().is_none() && lost.source().is_none());
    }
}

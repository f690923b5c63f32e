//! How the time that a connect may take is shared out among the addresses to try, and which socket
//! it has found in the end.
//!
//! The drivers try one address after the other. Each gets its share of the time, whatever keeps it:
//! packets that vanish, a server that accepts and says nothing, at whichever step. The share of one
//! that failed early goes to those after it.

#[cfg(all(target_os = "linux", feature = "postgres"))]
use super::local::Before;
use super::reach::Reachable;
use super::tap::Tap;
#[cfg(unix)]
use crate::adapters::addresses::distinct;
use crate::adapters::socket::Socket;
#[cfg(target_os = "linux")]
use crate::adapters::socket::{Leash, Mark, Tied};
#[cfg(feature = "tokio-postgres")]
use std::collections::hash_map::RandomState;
#[cfg(feature = "tokio-postgres")]
use std::hash::{BuildHasher as _, Hasher as _};
use std::net::{IpAddr, SocketAddr};
#[cfg(feature = "postgres")]
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio_postgres::config::Host;

/// By how much a socket outlives the limit that its stream has itself.
#[cfg(target_os = "linux")]
const GRACE: Duration = Duration::from_millis(5);

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Course {
    begun: Instant,
    /// Of each address.
    share: Duration,
    limit: Instant,
    /// Not all sockets are files.
    #[cfg(target_os = "linux")]
    is_network: bool,
    #[cfg(target_os = "linux")]
    mark: Mark,
    /// What the socket is to have instead of the mark.
    #[cfg(target_os = "linux")]
    user_timeout: Option<Duration>,
    /// Until a socket is connected to a file.
    #[cfg(all(target_os = "linux", feature = "postgres"))]
    before: Mutex<Option<Before>>,
    /// How many of the servers would not let us in, and will not.
    #[cfg(feature = "postgres")]
    refusals: AtomicUsize,
    met: Mutex<Met>,
}

/// Of the address that is being tried.
#[derive(Debug, Default)]
struct Met {
    #[cfg(target_os = "linux")]
    leash: Option<Leash>,
    #[cfg(unix)]
    socket: Option<Arc<Socket>>,
}

impl Course {
    /// `addresses` are those of the configuration's hosts, as far as there are names to look up.
    pub(super) fn plot(
        config: &mut impl Reachable,
        limit: Instant,
        addresses: &[Vec<IpAddr>],
    ) -> Self {
        let begun = Instant::now();
        let count: usize = addresses.iter().map(|addresses| addresses.len().max(1)).sum();
        let count = u32::try_from(count.max(config.host_count()).max(1)).unwrap_or(u32::MAX);
        // The drivers take zero for no limit at all.
        let share = limit.saturating_duration_since(begun) / count;
        let share = share.max(Duration::from_millis(1));
        config.limit_connect(share);
        // So that they are not looked up twice.
        if let Some(only) = addresses.iter().map(|one| only(one)).collect::<Option<Vec<_>>>() {
            config.set_addresses(&only);
        }
        #[cfg(target_os = "linux")]
        let (mark, user_timeout) = {
            let user_timeout = config.user_timeout();
            let mark = Mark::instead_of(user_timeout);
            config.set_user_timeout(mark.user_timeout());
            (mark, user_timeout)
        };
        Self {
            begun,
            share,
            limit,
            #[cfg(target_os = "linux")]
            is_network: config.has_addresses()
                || config.all_hosts().iter().any(|host| matches!(host, Host::Tcp(_))),
            #[cfg(target_os = "linux")]
            mark,
            #[cfg(target_os = "linux")]
            user_timeout,
            #[cfg(all(target_os = "linux", feature = "postgres"))]
            before: Mutex::default(),
            #[cfg(feature = "postgres")]
            refusals: AtomicUsize::default(),
            met: Mutex::default(),
        }
    }

    fn met(&self) -> MutexGuard<'_, Met> {
        self.met.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The driver is connected to the next address, and about to speak.
    pub(super) fn begin_attempt(&self, tap: &Tap) {
        let limit = self.end_of_share(Instant::now());
        #[cfg(feature = "postgres")]
        self.end_attempt(tap);
        // The server before in the list may have had TLS, and this one may not.
        tap.detach();
        tap.set_limit(Some(limit));
        let met = self.first_of(limit);
        #[cfg(all(target_os = "linux", feature = "postgres"))]
        let met = match self.before().take().and_then(Before::find) {
            Some(socket) => Self::file(Arc::new(socket), limit),
            None => met,
        };
        *self.met() = met;
    }

    #[cfg(all(target_os = "linux", feature = "postgres"))]
    fn file(socket: Arc<Socket>, limit: Instant) -> Met {
        let leash = Leash::until(limit + GRACE, Tied::Known(socket.clone()));
        Met { leash: leash.ok(), socket: Some(socket) }
    }

    /// At the address where the tap is.
    #[cfg(feature = "postgres")]
    pub(super) fn end_attempt(&self, tap: &Tap) {
        // O11: a counter.
        self.refusals.fetch_add(tap.is_refused().into(), Ordering::Relaxed);
    }

    /// Of so many addresses some may yet let us in.
    #[cfg(feature = "postgres")]
    pub(super) fn is_undecided(&self, addresses: usize) -> bool {
        // O11: a counter, read by the thread that has counted.
        addresses > 1 && self.refusals.load(Ordering::Relaxed) < addresses
    }

    #[cfg(all(target_os = "linux", feature = "postgres"))]
    fn before(&self) -> MutexGuard<'_, Option<Before>> {
        self.before.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// If the only host is a file, the driver is about to connect a socket to it.
    #[cfg(all(target_os = "linux", feature = "postgres"))]
    pub(super) fn watch_files(&self, config: &impl Reachable) {
        if let ([Host::Unix(_)], false) = (config.all_hosts(), config.has_addresses()) {
            let port = config.all_ports().first().copied().unwrap_or(5432);
            *self.before() = Before::of(port);
        }
    }

    /// No sooner than after half a share, as the one before may have had some of this one.
    fn end_of_share(&self, now: Instant) -> Instant {
        let passed = now.saturating_duration_since(self.begun) + self.share / 2;
        let shares = passed.as_nanos() / self.share.as_nanos().max(1) + 1;
        let shares = u32::try_from(shares).unwrap_or(u32::MAX);
        let end = self.share.checked_mul(shares).and_then(|time| self.begun.checked_add(time));
        end.map_or(self.limit, |end| end.min(self.limit))
    }

    /// The driver asks whether the server has TLS over a stream that only the driver sees.
    /// Nor is any other that the driver has put nothing of ours on.
    #[cfg(target_os = "linux")]
    fn first_of(&self, limit: Instant) -> Met {
        let leash = Leash::until(limit + GRACE, Tied::Marked(self.mark));
        Met { leash: leash.ok(), socket: None }
    }

    #[cfg(not(target_os = "linux"))]
    fn first_of(&self, _: Instant) -> Met {
        Met::default()
    }

    /// From here on the stream is seen, and keeps its limit by itself.
    pub(super) fn meet(&self, socket: &tokio_postgres::Socket) {
        #[cfg(target_os = "linux")]
        {
            let socket = number_in(&format!("{socket:?}"));
            let socket = socket.and_then(|number| self.mark.of(number)).map(Arc::new);
            let leash = {
                let mut met = self.met();
                met.socket = socket;
                met.leash.take()
            };
            drop(leash);
        }
        #[cfg(not(target_os = "linux"))]
        let _ = socket;
    }

    /// It is connected. The socket, if it could be found; it bears no mark any more.
    #[cfg(target_os = "linux")]
    pub(super) fn arrive(&self) -> Option<Arc<Socket>> {
        let met = std::mem::take(&mut *self.met());
        let find = || self.is_network.then(|| self.mark.find()).flatten().map(Arc::new);
        let socket = met.socket.or_else(find)?;
        Mark::replace(&socket, self.user_timeout);
        Some(socket)
    }

    #[cfg(all(unix, not(target_os = "linux")))]
    pub(super) fn arrive(&self) -> Option<Arc<Socket>> {
        None
    }

    /// Of the sockets over which a request to cancel goes: the drivers make them as they have made
    /// the connection's.
    #[cfg(all(target_os = "linux", feature = "postgres"))]
    pub(super) fn mark(&self) -> Mark {
        self.mark
    }
}

fn only(addresses: &[IpAddr]) -> Option<IpAddr> {
    if let [address] = addresses { Some(*address) } else { None }
}

/// Tokio shows the number of a socket's descriptor only in `Debug`. It is believed only if the
/// descriptor bears the mark.
#[cfg(target_os = "linux")]
fn number_in(debug: &str) -> Option<std::os::fd::RawFd> {
    let (_, rest) = debug.rsplit_once("fd: ")?;
    let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    rest[..end].parse().ok()
}

/// The hosts whose addresses must be looked up, with their ports; none if the configuration has
/// addresses, or sockets that are files.
pub(super) fn names(config: &impl Reachable) -> Vec<(String, u16)> {
    if config.has_addresses() {
        return Vec::new();
    }
    let ports = config.all_ports();
    let named = config.all_hosts().iter().enumerate().map(|(at, host)| match host {
        Host::Tcp(name) => {
            let port = ports.get(at).or(ports.first()).copied().unwrap_or(5432);
            Some((name.clone(), port))
        }
        #[cfg(unix)]
        Host::Unix(_) => None,
    });
    named.collect::<Option<Vec<_>>>().unwrap_or_default()
}

/// Beginning anywhere.
#[cfg(feature = "tokio-postgres")]
pub(super) fn anywhere(mut addresses: Vec<IpAddr>) -> Vec<IpAddr> {
    let any = RandomState::new().build_hasher().finish();
    let length = addresses.len().max(1);
    addresses.rotate_left((any % length as u64) as usize);
    addresses
}

/// Without ports, each once.
pub(super) fn hosts_of(found: impl IntoIterator<Item = SocketAddr>) -> Vec<IpAddr> {
    distinct(found.into_iter().map(|address| address.ip()))
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(feature = "postgres")]
    use crate::adapters::postgres::messages::Message;

    #[test]
    fn each_address_gets_a_share_of_the_time_and_the_last_one_what_is_left() {
        let begun = Instant::now();
        let share = Duration::from_secs(1);
        let mut config = tokio_postgres::Config::new();
        let course = Course {
            begun,
            share,
            limit: begun + 3 * share,
            ..Course::plot(&mut config, begun + share, &[])
        };
        let end = |ms| course.end_of_share(begun + Duration::from_millis(ms)) - begun;
        assert_eq!(end(0), share);
        assert_eq!(end(499), share);
        assert_eq!(end(900), 2 * share);
        assert_eq!(end(1001), 2 * share);
        assert_eq!(end(2001), 3 * share);
        assert_eq!(end(2900), 3 * share);
    }

    #[cfg(feature = "postgres")]
    #[test]
    fn addresses_are_undecided_until_each_has_refused() {
        let mut config = tokio_postgres::Config::new();
        let course = Course::plot(&mut config, Instant::now() + Duration::from_secs(9), &[]);
        let tap = Tap::default();
        for (code, is_undecided) in [("28P01", true), ("53300", true), ("28P01", false)] {
            course.begin_attempt(&tap);
            tap.attach();
            let fields = format!("SFATAL\0C{code}\0Mno\0\0");
            let (tag, body) = (b'E', fields.as_bytes());
            tap.state().received(Message { tag, length: body.len(), body });
            let told = tap.clone();
            // The driver begins with the next address, or gives up.
            course.end_attempt(&told);
            assert_eq!(course.is_undecided(2), is_undecided, "{code}");
            told.detach();
        }
        assert!(!course.is_undecided(1), "of a lone address all is known");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_number_of_a_descriptor_is_read_off_what_a_socket_shows() {
        let shown = "Socket(Tcp(PollEvented { io: Some(TcpStream { addr: [::1]:1, fd: 17 }) }))";
        assert_eq!(number_in(shown), Some(17));
        assert_eq!(number_in("Socket"), None);
    }

    #[cfg(feature = "tokio-postgres")]
    #[test]
    fn to_begin_anywhere_loses_no_address() {
        let mut all = anywhere(vec!["::1".parse().unwrap(), "::2".parse().unwrap()]);
        all.sort_unstable();
        assert_eq!(all.len(), 2);
    }
}

//! How a PostgreSQL server is to be reached, as a configuration says. Shared by both drivers.

use std::net::IpAddr;
use std::time::Duration;
use tokio_postgres::config::{Host, SslMode, SslNegotiation};

/// What the two drivers' configurations have in common.
pub(super) trait Reachable: Clone {
    fn host_count(&self) -> usize;
    fn wants_tls(&self) -> SslMode;
    fn all_hosts(&self) -> &[Host];
    fn all_ports(&self) -> &[u16];
    fn has_addresses(&self) -> bool;
    /// One for each host.
    fn set_addresses(&mut self, addresses: &[IpAddr]);
    /// To one address; less if that is set already.
    fn limit_connect(&mut self, limit: Duration);
    fn user_timeout(&self) -> Option<Duration>;
    fn set_user_timeout(&mut self, timeout: Duration);
    /// As it is, but for what the plain connector needs to be called.
    fn in_plain(&self) -> Self;
}

macro_rules! reachable {
    ($config:ty) => {
        impl Reachable for $config {
            fn wants_tls(&self) -> SslMode {
                self.get_ssl_mode()
            }

            fn host_count(&self) -> usize {
                self.get_hosts().len().max(self.get_hostaddrs().len())
            }

            fn all_hosts(&self) -> &[Host] {
                self.get_hosts()
            }

            fn all_ports(&self) -> &[u16] {
                self.get_ports()
            }

            fn has_addresses(&self) -> bool {
                !self.get_hostaddrs().is_empty()
            }

            fn set_addresses(&mut self, addresses: &[IpAddr]) {
                for address in addresses {
                    self.hostaddr(*address);
                }
            }

            fn limit_connect(&mut self, limit: Duration) {
                let own = self.get_connect_timeout().copied().unwrap_or(limit);
                self.connect_timeout(own.min(limit));
            }

            fn user_timeout(&self) -> Option<Duration> {
                self.get_tcp_user_timeout().copied()
            }

            fn set_user_timeout(&mut self, timeout: Duration) {
                self.tcp_user_timeout(timeout);
            }

            fn in_plain(&self) -> Self {
                let mut config = self.clone();
                if self.get_hosts().is_empty() {
                    for address in self.get_hostaddrs() {
                        config.host(&address.to_string());
                    }
                }
                // Without a question to the server first, so that nothing is said that is not in
                // plain.
                config.ssl_mode(SslMode::Require).ssl_negotiation(SslNegotiation::Direct);
                config
            }
        }
    };
}

#[cfg(feature = "postgres")]
reachable!(postgres::Config);
reachable!(tokio_postgres::Config);

/// Which connector goes with a configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Route {
    /// The caller's TLS, tapped where the server agrees to it.
    Secured,
    /// None, tapped: the driver lets only what calls itself TLS between itself and the socket.
    Plain,
    /// None, and no tap: over a Unix socket the driver lets nothing in between. Also if TLS is
    /// required and there is none: the driver says so best.
    Untapped,
}

impl Route {
    pub(super) fn of(config: &impl Reachable, has_tls: bool) -> Self {
        let is_network = config.all_hosts().iter().all(|host| matches!(host, Host::Tcp(_)));
        match config.wants_tls() {
            SslMode::Disable if is_network => Self::Plain,
            SslMode::Disable => Self::Untapped,
            _ if has_tls => Self::Secured,
            SslMode::Prefer if is_network => Self::Plain,
            _ => Self::Untapped,
        }
    }
}

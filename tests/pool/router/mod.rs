//! Routers over pools with fake managers.

mod choice;
mod figures;
mod members;
mod roles;
mod states;
mod waiting;

use crate::common::{Fake, PLENTY};
use caliburn::{
    BlockingManager, Clock, MockClock, Pool, PooledConnection, Role, RoleReport, RouteError,
    Router, RouterBuilder, Target, router::EndpointState,
};
use std::time::Duration;

/// Time passes by this, as long as nothing says otherwise.
const STEP: Duration = Duration::from_millis(25);

const PRIMARY: Role = Role::Primary;
const REPLICA: Role = Role::Replica;

/// Servers `db1`, `db2`, …, each with a pool of four, under a clock that the test turns.
struct Group {
    servers: Vec<Fake>,
    router: Router<Fake>,
    hand: MockClock,
}

fn report(role: Role) -> RoleReport {
    match role {
        Role::Primary => RoleReport::primary(None),
        Role::Replica => RoleReport::replica(None),
        _ => RoleReport::default(),
    }
}

impl Group {
    /// The servers say that they have these roles.
    fn of(roles: &[Role]) -> Self {
        Self::with(roles, |builder| builder)
    }

    fn with(roles: &[Role], more: impl FnOnce(RouterBuilder<Fake>) -> RouterBuilder<Fake>) -> Self {
        let (clock, hand) = Clock::mock();
        let mut builder = Router::builder().clock(clock.clone()).manual_maintenance();
        let mut servers = Vec::new();
        for (n, role) in roles.iter().enumerate() {
            let server = Fake::new();
            server.set_role(report(*role));
            builder = builder.endpoint(format!("db{}", n + 1), pool_of(&server, &clock));
            servers.push(server);
        }
        let router = more(builder).build().unwrap();
        let group = Self { servers, router, hand };
        group.pass(Duration::from_millis(200));
        group
    }

    /// Time passes.
    fn pass(&self, time: Duration) {
        let steps = time.as_millis() / STEP.as_millis();
        (0..steps).for_each(|_| self.step());
    }

    fn step(&self) {
        self.hand.advance(STEP);
        self.router.maintain();
    }

    fn state(&self, name: &str) -> EndpointState {
        self.router.stats().endpoint(name).unwrap().state
    }

    fn role(&self, name: &str) -> Role {
        self.router.stats().endpoint(name).unwrap().role
    }

    /// Where a borrower is sent that does not wait.
    #[track_caller]
    fn sent_to(&self, target: Target) -> Option<String> {
        let lent = self.get(target).ok()?;
        Some(self.router.endpoint_of(&lent).unwrap().to_string())
    }

    /// Tries for a while, without waiting in any line.
    fn get(&self, target: Target) -> Result<PooledConnection<Fake>, RouteError<Fault>> {
        let mut last = self.router.get_timeout(target, Duration::ZERO);
        for _ in 0..4 {
            if last.is_ok() {
                break;
            }
            self.step();
            last = self.router.get_timeout(target, Duration::ZERO);
        }
        last
    }
}

type Fault = crate::common::FakeError;

fn pool_of(server: &Fake, clock: &Clock) -> caliburn::Builder<Fake> {
    Pool::builder(server.clone())
        .max_size(4)
        .idle_timeout(None)
        .clock(clock.clone())
        .manual_maintenance()
}

/// A router that looks after itself, by the machine's clock, over pools of `size`.
fn live<M: BlockingManager>(servers: Vec<(Role, M)>, size: usize) -> RouterBuilder<M> {
    let mut builder = Router::builder().checkout_timeout(PLENTY);
    for (n, (role, server)) in servers.into_iter().enumerate() {
        let pool = Pool::builder(server).max_size(size);
        let name = format!("db{}", n + 1);
        builder = match role {
            Role::Primary => builder.primary(name, pool),
            Role::Replica => builder.replica(name, pool),
            _ => builder.endpoint(name, pool),
        };
    }
    builder
}

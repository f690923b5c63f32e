//! Routers and forks.

use crate::alone;
use crate::common::fork::{LIMIT, in_a_child, require};
use crate::common::{Fake, PLENTY};
use caliburn::{Pool, Role, RouteError, Router, Target, TryGetError, router::RouterError};
use std::time::{Duration, Instant};

fn router(fakes: &[Fake]) -> Router<Fake> {
    let mut builder = Router::builder().checkout_timeout(PLENTY);
    for (n, fake) in fakes.iter().enumerate() {
        builder = builder.replica(format!("db{n}"), Pool::builder(fake.clone()).max_size(2));
    }
    builder.build().unwrap()
}

#[test]
fn a_child_gets_nothing_from_its_parents_router_and_builds_its_own() {
    let _alone = alone();
    let fakes = [Fake::new(), Fake::new()];
    let parents = router(&fakes);
    let held = parents.get(Target::Replica).unwrap();
    let found = in_a_child(|| {
        let begun = Instant::now();
        for target in [Target::Primary, Target::Replica, Target::Any] {
            let error = parents.get(target).unwrap_err();
            require(matches!(error, RouteError::Forked), &error)?;
        }
        let tried = parents.try_get(Target::Replica).unwrap_err();
        require(tried == TryGetError::Forked, tried)?;
        let added = parents.add("db9", Role::Replica, Pool::builder(Fake::new()));
        require(matches!(added, Err(RouterError::Forked)), "it took an endpoint")?;
        parents.drain("db0");
        parents.recheck();
        parents.close();
        parents.maintain();
        require(parents.remove("db0").is_none(), "it gave an endpoint away")?;
        require(parents.stats().endpoints.len() == 2, "its figures are gone")?;
        drop(parents.clone());
        let own = router(&[Fake::new()]);
        let lent = own.get_timeout(Target::Replica, LIMIT).map_err(|error| error.to_string())?;
        require(own.endpoint_of(&lent).is_some(), "it does not know its own")?;
        require(begun.elapsed() < 2 * LIMIT, "it took too long")
    });
    assert_eq!(found, Ok(()));
    drop(held);
    for _ in 0..10 {
        drop(parents.get_timeout(Target::Replica, Duration::from_secs(5)).unwrap());
    }
}

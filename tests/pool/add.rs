//! Connections that were opened elsewhere.

use crate::common::*;
use caliburn::error::AddReason;
use caliburn::{Pool, PooledConnection};

#[test]
fn a_connection_moves_from_one_pool_to_another() {
    let fake = Fake::new();
    let (from, _) = full_manual(&fake, 1, |builder| builder.record_events(16));
    let to = Pool::builder(fake.clone()).max_size(1).manual_maintenance().build().unwrap();
    let conn = PooledConnection::detach(from.get().unwrap());
    let id = conn.id;
    to.add(conn).unwrap();
    let stats = to.stats();
    assert_eq!((stats.size, stats.idle, stats.added, stats.connects), (1, 1, 1, 0));
    let conn = to.get().unwrap();
    assert_eq!(conn.id, id);
    assert_eq!(PooledConnection::info(&conn).uses(), 1);
    drop(conn);
    // No room: it is given back.
    from.maintain();
    let error = to.add(PooledConnection::detach(from.get().unwrap())).unwrap_err();
    assert_eq!(error.reason, AddReason::Full);
    assert!(error.to_string().contains("max_size"), "{error}");
    drop(error.connection);
    assert_eq!(to.stats().size, 1);
    to.close();
    let conn = PooledConnection::detach({
        from.maintain();
        from.get().unwrap()
    });
    assert_eq!(to.add(conn).unwrap_err().reason, AddReason::Closed);
}

#[test]
fn a_connection_that_is_added_serves_the_first_in_line() {
    let fake = Fake::new();
    let (from, _) = full_manual(&fake, 1, |builder| builder);
    fake.on_connect(Mode::Fail);
    let to = Pool::builder(fake.clone()).max_size(2).manual_maintenance().build().unwrap();
    let mut waiting = Box::pin(to.get_async());
    assert!(poll_once(&mut waiting).is_pending());
    to.add(PooledConnection::detach(from.get().unwrap())).unwrap();
    assert!(poll_once(&mut waiting).is_ready());
}

#[test]
fn what_is_added_while_a_lower_limit_is_paid_off_takes_no_slot() {
    let fake = Fake::new();
    let (from, _) = full_manual(&fake, 1, |builder| builder);
    let to =
        Pool::builder(fake.clone()).max_size(1).capacity(2).manual_maintenance().build().unwrap();
    to.add(PooledConnection::detach(from.get().unwrap())).unwrap();
    from.maintain();
    let error = to.add(PooledConnection::detach(from.get().unwrap())).unwrap_err();
    assert_eq!(error.reason, AddReason::Full);
    to.change(|settings| settings.max_size = 2).unwrap();
    to.add(error.connection).unwrap();
    assert_eq!(to.stats().size, 2);
}

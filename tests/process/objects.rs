//! Pools of plain objects: no threads, and forks.

use crate::common::*;
use caliburn::{Object, ObjectError, ObjectPool};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::task::Poll;

/// The process has those threads that the harness and this test have.
#[cfg(target_os = "linux")]
#[test]
fn a_pool_of_objects_has_no_thread() {
    let _alone = crate::alone();
    in_child("a_pool_of_objects_has_no_thread", PLENTY, || {
        let threads = || std::fs::read_dir("/proc/self/task").unwrap().count();
        let before = threads();
        let pool = ObjectPool::builder(1).reset(|_: &mut u32| false).build(|| 0).unwrap();
        let held = pool.get().unwrap();
        let mut waits = pin!(pool.get_async());
        assert!(poll_once(&mut waits).is_pending());
        pool.get_timeout(std::time::Duration::from_millis(1)).unwrap_err();
        drop(held);
        assert!(matches!(poll_once(&mut waits), Poll::Ready(Ok(_))));
        assert_eq!(threads(), before);
    });
}

#[cfg(unix)]
#[test]
fn a_forked_child_gets_no_objects_of_its_parent_and_drops_none() {
    use crate::common::fork::{in_a_child, require};

    struct Counted(Arc<AtomicUsize>);
    impl Drop for Counted {
        fn drop(&mut self) {
            self.0.fetch_add(1, SeqCst);
        }
    }
    let _alone = crate::alone();
    let dropped = Arc::new(AtomicUsize::new(0));
    let counter = dropped.clone();
    let pool = ObjectPool::new(2, move || Counted(counter.clone())).unwrap();
    pool.prepare(2).unwrap();
    let held = [pool.get().unwrap(), pool.get().unwrap()];
    let mut waits = Box::pin(pool.get_async());
    assert!(poll_once(&mut waits).is_pending());
    // The child's are copies, also of what is moved into it.
    let mut inherited = Some((held, pool.clone()));
    let finding = in_a_child(|| {
        let (held, handle) = inherited.take().unwrap();
        let [first, second] = held;
        require(matches!(pool.try_get(), Err(ObjectError::Forked)), "it lends")?;
        require(matches!(pool.get(), Err(ObjectError::Forked)), "it lends to a thread")?;
        let polled = poll_once(&mut waits);
        require(matches!(polled, Poll::Ready(Err(ObjectError::Forked))), "the wait goes on")?;
        drop(first);
        Object::discard(second);
        drop(handle);
        require(pool.add(Counted(dropped.clone())).is_err(), "it takes objects")?;
        require(dropped.load(SeqCst) == 1, "an object of the parent's was dropped")?;
        let own = ObjectPool::new(1, || 1).unwrap();
        require(own.get().is_ok_and(|object| *object == 1), "its own pools do not work")
    });
    assert_eq!(finding, Ok(()));
    drop(waits);
    drop(inherited);
    drop(pool);
    assert_eq!(dropped.load(SeqCst), 2, "the parent's pool goes on");
}

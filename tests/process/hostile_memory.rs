//! What a connection takes of memory while its server sends as much as it can to the pool, or
//! unasked. In a process of its own, as it is the memory of the process that is measured.
#![cfg(target_os = "linux")]

use crate::common::hostile::{Face, Manner, NOISY, Step, most_memory};
use crate::common::hostile_faces as faces;

/// What a connection may take beyond the longest message that is taken, in KiB.
const MORE: usize = 1024;
const MIB: usize = 1024;

/// `longest` is of a message, in KiB.
fn assert_little_memory<F: Face>(longest: usize) {
    let _alone = crate::alone();
    // What is there once for all is there.
    most_memory::<F>(Step::Ping, Manner::Mute);
    let start_ups = (0..F::START_UPS).map(Step::StartUp);
    let later = [Step::Ping, Step::Reset, Step::Return, Step::Close];
    let mut red = Vec::new();
    for step in start_ups.chain(later) {
        for manner in NOISY {
            let most = most_memory::<F>(step, manner);
            println!("{} {step:?} {manner:?}: {most} KiB", F::NAME);
            if most > longest + MORE {
                red.push((step, manner, most));
            }
        }
    }
    assert!(red.is_empty(), "{}: {red:?}", F::NAME);
}

#[cfg(all(feature = "postgres", feature = "tokio-postgres"))]
#[test]
fn a_connection_to_postgres_takes_little_memory_whatever_its_server_sends() {
    use crate::common::pg_hostile::FakePostgres;
    assert_little_memory::<faces::postgres::Threads<FakePostgres>>(16 * MIB);
    assert_little_memory::<faces::postgres::Tasks<FakePostgres>>(16 * MIB);
}

#[cfg(all(feature = "mysql", feature = "mysql_async"))]
#[test]
fn a_connection_to_mysql_takes_little_memory_whatever_its_server_sends() {
    use crate::common::my_fake::FakeMySql;
    // The server's `max_allowed_packet` is 16 MiB, which the drivers have up to three times.
    assert_little_memory::<faces::mysql::Threads<FakeMySql>>(3 * 16 * MIB);
    assert_little_memory::<faces::mysql::Tasks<FakeMySql>>(3 * 16 * MIB);
}

/// For threads the driver has the stream to itself, and there is a bound in the greeting alone. For
/// tasks it is 4 MiB, for which the driver may have a buffer of twice the size.
#[cfg(feature = "redis-tokio")]
#[test]
fn a_task_s_connection_to_redis_takes_little_memory_whatever_its_server_sends() {
    assert_little_memory::<faces::redis::Tasks<crate::common::resp::Resp>>(8 * MIB);
}

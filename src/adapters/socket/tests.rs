use super::*;
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

const ENOUGH: Duration = Duration::from_secs(20);

fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (near, listener.accept().unwrap().0)
}

fn soon(what: &str, is_so: impl Fn() -> bool) {
    let end = Instant::now() + ENOUGH;
    while !is_so() {
        assert!(Instant::now() < end, "not soon: {what}");
        thread::yield_now();
    }
}

#[test]
fn a_look_tells_silence_from_words_and_from_a_farewell() {
    let (near, mut far) = pair();
    let socket = Socket::of(near.as_raw_fd()).unwrap();
    assert_eq!(socket.look(), Sight::Quiet);
    far.write_all(b"x").unwrap();
    soon("data", || socket.look() == Sight::Data);
    assert_eq!(socket.look(), Sight::Data, "it is still there");
    drop(far);
    soon("the end", || socket.look() == Sight::HungUp);
}

#[test]
fn a_descriptor_that_is_none_makes_no_socket() {
    assert!(Socket::of(-1).is_none());
    assert!(Socket::of(RawFd::MAX).is_none());
}

#[test]
fn a_call_that_blocks_ends_when_its_time_is_up_though_bytes_trickle() {
    let (mut near, mut far) = pair();
    let socket = Arc::new(Socket::of(near.as_raw_fd()).unwrap());
    let trickle = thread::spawn(move || {
        while far.write_all(b"x").is_ok() {
            thread::sleep(Duration::from_millis(5));
        }
    });
    let begun = Instant::now();
    let leash = Leash::until(begun + Duration::from_millis(100), Tied::Known(socket)).unwrap();
    let mut bytes = [0; 1];
    while near.read(&mut bytes).is_ok_and(|read| read > 0) {}
    assert!(begun.elapsed() >= Duration::from_millis(100));
    assert!(begun.elapsed() < ENOUGH);
    assert!(!leash.end());
    trickle.join().unwrap();
}

#[test]
fn a_call_that_reads_slowly_is_not_kept_by_what_came_before_its_time_was_up() {
    let (mut near, mut far) = pair();
    let socket = Arc::new(Socket::of(near.as_raw_fd()).unwrap());
    let flood = thread::spawn(move || while far.write_all(&[0; 1 << 16]).is_ok() {});
    let limit = Duration::from_millis(100);
    let begun = Instant::now();
    let leash = Leash::until(begun + limit, Tied::Known(socket)).unwrap();
    let mut bytes = [0; 64];
    while near.read(&mut bytes).is_ok_and(|read| read > 0) {
        // It has much to do with each piece.
        thread::sleep(Duration::from_millis(1));
    }
    // A mebibyte would take a quarter of a minute.
    assert!(begun.elapsed() < 20 * limit, "{:?}", begun.elapsed());
    assert!(!leash.end());
    flood.join().unwrap();
}

#[test]
fn a_call_that_ends_in_time_keeps_its_socket() {
    let (mut near, mut far) = pair();
    let socket = Arc::new(Socket::of(near.as_raw_fd()).unwrap());
    let soon = Instant::now() + Duration::from_millis(20);
    let leash = Leash::until(soon, Tied::Known(Arc::clone(&socket))).unwrap();
    assert!(leash.end());
    // One that ends later has been watched meanwhile.
    let (other, _far) = pair();
    let other = Arc::new(Socket::of(other.as_raw_fd()).unwrap());
    let leash = Leash::until(soon, Tied::Known(Arc::clone(&other))).unwrap();
    self::soon("the other's end", || other.look() == Sight::HungUp);
    drop(leash);
    far.write_all(b"x").unwrap();
    let mut bytes = [0; 1];
    near.read_exact(&mut bytes).unwrap();
}

#[test]
fn the_nearest_of_several_limits_is_kept_first() {
    let sockets: Vec<_> = (0..4).map(|_| pair()).collect();
    let known =
        |(near, _): &(TcpStream, TcpStream)| Arc::new(Socket::of(near.as_raw_fd()).unwrap());
    let far_off = Instant::now() + 10 * ENOUGH;
    let _later = Leash::until(far_off, Tied::Known(known(&sockets[0]))).unwrap();
    let near = known(&sockets[1]);
    let _now = Leash::until(Instant::now(), Tied::Known(Arc::clone(&near))).unwrap();
    soon("its end", || near.look() == Sight::HungUp);
    sockets[0].0.set_nonblocking(true).unwrap();
    let read = (&sockets[0].0).read(&mut [0; 1]);
    assert_eq!(read.unwrap_err().kind(), ErrorKind::WouldBlock);
}

#[cfg(target_os = "linux")]
#[test]
fn a_socket_is_found_by_its_mark_and_by_no_other() {
    use rustix::net::sockopt::set_tcp_user_timeout;
    let (near, mut far) = pair();
    let (mark, other) = (Mark::instead_of(None), Mark::instead_of(None));
    assert!(mark.find().is_none());
    set_tcp_user_timeout(&near, mark.user_timeout().as_millis() as u32).unwrap();
    let socket = mark.find().unwrap();
    assert!(other.find().is_none());
    assert_eq!(socket.look(), Sight::Quiet);
    far.write_all(b"x").unwrap();
    soon("data", || socket.look() == Sight::Data);
    let _leash = Leash::until(Instant::now(), Tied::Marked(mark)).unwrap();
    soon("the end", || socket.look() == Sight::HungUp);
}

#[cfg(target_os = "linux")]
#[test]
fn no_timeout_that_anyone_would_set_is_a_mark() {
    let asked = Some(Duration::from_secs(7));
    for _ in 0..100_000 {
        let mark = Mark::instead_of(asked).user_timeout().as_millis();
        assert!(mark > 4 * 60 * 60 * 1000 && mark % 2 == 1, "{mark}");
        let idle = Mark::by_keepalive().setting().as_secs();
        // More the system does not take.
        assert!(idle > 4 * 60 * 60 && idle % 2 == 1 && idle <= 32_767, "{idle}");
    }
    assert_ne!(Mark::instead_of(asked), Mark::instead_of(asked));
}

#[cfg(target_os = "linux")]
#[test]
fn a_mark_is_replaced_by_what_was_asked_for() {
    use rustix::net::sockopt::{set_tcp_user_timeout, tcp_user_timeout};
    let (near, _far) = pair();
    let mark = Mark::instead_of(None);
    for asked in [Some(Duration::from_secs(7)), None] {
        set_tcp_user_timeout(&near, mark.user_timeout().as_millis() as u32).unwrap();
        Mark::replace(&mark.find().unwrap(), asked);
        assert!(mark.find().is_none());
        let asked = asked.unwrap_or_default().as_millis() as u32;
        assert_eq!(tcp_user_timeout(&near).unwrap(), asked);
    }
}

/// The driver marks its socket once it is connected, which may be after the limit.
#[cfg(target_os = "linux")]
#[test]
fn a_socket_that_is_marked_after_its_limit_is_shut_down_all_the_same() {
    use rustix::net::sockopt::set_tcp_user_timeout;
    let (mut near, _far) = pair();
    let mark = Mark::instead_of(None);
    let leash = Leash::until(Instant::now(), Tied::Marked(mark)).unwrap();
    // It was looked for by now.
    let (other, _far_of_other) = pair();
    let other = Arc::new(Socket::of(other.as_raw_fd()).unwrap());
    let _second = Leash::until(Instant::now(), Tied::Known(Arc::clone(&other))).unwrap();
    soon("the other's end", || other.look() == Sight::HungUp);
    set_tcp_user_timeout(&near, mark.user_timeout().as_millis() as u32).unwrap();
    near.set_read_timeout(Some(ENOUGH)).unwrap();
    assert_eq!(near.read(&mut [0; 1]).unwrap(), 0);
    assert!(!leash.end());
}

#[cfg(target_os = "linux")]
#[test]
fn what_is_no_socket_makes_none_and_is_not_closed() {
    let file = tempfile::tempfile().unwrap();
    assert!(Socket::of(file.as_raw_fd()).is_none());
    // As if it had taken the number of a socket at the worst of moments.
    let second = fcntl_dupfd_cloexec(&file, 0).unwrap();
    let number = second.as_raw_fd();
    assert!(keep(second).is_none());
    assert!(std::path::Path::new(&format!("/proc/self/fd/{number}")).exists());
}

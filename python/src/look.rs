//! A look at a connection's socket, without a round trip and without Python.

#[cfg(not(unix))]
pub(crate) use self::none::Socket;
#[cfg(unix)]
pub(crate) use self::unix::Socket;

/// What can be seen of an idle connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(not(unix), allow(dead_code))]
pub(crate) enum Sight {
    /// Nothing has come.
    Quiet,
    /// Something has come that was not asked for.
    Data,
    /// The peer has closed the connection, or the system has given it up.
    HungUp,
}

#[cfg(unix)]
mod unix {
    use super::Sight;
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    use rustix::io::{Errno, fcntl_dupfd_cloexec};
    use rustix::net::sockopt::socket_type;
    use rustix::net::{RecvFlags, recv};
    use std::os::fd::{BorrowedFd, OwnedFd, RawFd};

    /// A second descriptor for a driver's socket: good for as long as it is kept, whatever the
    /// driver does with its own.
    #[derive(Debug)]
    pub(crate) struct Socket(OwnedFd);

    impl Socket {
        /// Of a descriptor that the driver has just told of. `None`: it is no socket.
        #[allow(unsafe_code)]
        pub(crate) fn of(number: RawFd) -> Option<Self> {
            if number < 0 {
                return None;
            }
            // SAFETY: it is not -1, the connection that has it open is held by the caller, and it
            // is used for the next two calls only.
            let descriptor = unsafe { BorrowedFd::borrow_raw(number) };
            // To close a second descriptor of a file would end the process's locks on the file.
            socket_type(descriptor).ok()?;
            fcntl_dupfd_cloexec(descriptor, 0).ok().map(Self)
        }

        /// One system call that does not wait; two if there is something to read.
        pub(crate) fn look(&self) -> Sight {
            let mut byte = [0_u8];
            match recv(&self.0, &mut byte[..], RecvFlags::PEEK | RecvFlags::DONTWAIT) {
                Err(Errno::AGAIN | Errno::INTR) => Sight::Quiet,
                Ok((0, _)) | Err(_) => Sight::HungUp,
                // Perhaps a farewell.
                Ok(_) if self.has_hung_up() => Sight::HungUp,
                Ok(_) => Sight::Data,
            }
        }

        fn has_hung_up(&self) -> bool {
            #[cfg(target_os = "linux")]
            let farewell = PollFlags::RDHUP;
            #[cfg(not(target_os = "linux"))]
            let farewell = PollFlags::empty();
            let mut polled = [PollFd::new(&self.0, farewell)];
            let is_told = poll(&mut polled, Some(&Timespec::default())).is_ok();
            let gone = PollFlags::HUP | PollFlags::ERR | farewell;
            is_told && polled[0].revents().intersects(gone)
        }
    }

    #[cfg(test)]
    mod tests {
        use super::*;
        use std::io::Write;
        use std::os::fd::AsRawFd;
        use std::os::unix::net::UnixStream;

        #[test]
        fn a_socket_shows_what_has_come_and_who_has_gone() {
            let (ours, mut theirs) = UnixStream::pair().unwrap();
            let socket = Socket::of(ours.as_raw_fd()).unwrap();
            assert_eq!(socket.look(), Sight::Quiet);
            theirs.write_all(b"x").unwrap();
            assert_eq!(socket.look(), Sight::Data);
            drop(theirs);
            assert_eq!(socket.look(), Sight::HungUp);
        }

        #[test]
        fn a_file_is_no_socket() {
            let file = std::fs::File::open("/dev/null").unwrap();
            assert!(Socket::of(file.as_raw_fd()).is_none());
            assert!(Socket::of(-1).is_none());
        }
    }
}

#[cfg(not(unix))]
mod none {
    use super::Sight;

    /// Cannot be made here.
    #[derive(Debug)]
    pub(crate) enum Socket {}

    impl Socket {
        pub(crate) fn of(_: i32) -> Option<Self> {
            None
        }

        pub(crate) fn look(&self) -> Sight {
            match *self {}
        }
    }
}

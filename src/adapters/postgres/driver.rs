//! The half of a tokio-postgres connection that does the talking, over whatever stream.

use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_postgres::{AsyncMessage, Connection, Error, Socket};

pub(super) type Driver = Box<dyn Converse>;

/// What a [`Connection`] does, whatever its stream.
pub(super) trait Converse: Send {
    fn poll_message(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<AsyncMessage, Error>>>;
}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Converse for Connection<Socket, T> {
    fn poll_message(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<AsyncMessage, Error>>> {
        Connection::poll_message(self, context)
    }
}

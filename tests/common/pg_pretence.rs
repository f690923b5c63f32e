//! A TLS that is none: what matters is who stands between the driver and the socket.

use super::pg_hostile::HELLO;
use std::convert::Infallible;
use std::future::{Future, Ready, poll_fn, ready};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_postgres::Socket;
use tokio_postgres::tls::{ChannelBinding, MakeTlsConnect, TlsConnect, TlsStream};

/// Trusts every server and hides nothing.
#[derive(Clone, Debug)]
pub struct Pretence;

pub struct Pretended(Socket);

impl MakeTlsConnect<Socket> for Pretence {
    type Stream = Pretended;
    type TlsConnect = Self;
    type Error = Infallible;

    fn make_tls_connect(&mut self, _: &str) -> Result<Self, Infallible> {
        Ok(self.clone())
    }
}

impl TlsConnect<Socket> for Pretence {
    type Stream = Pretended;
    type Error = Infallible;
    type Future = Ready<Result<Pretended, Infallible>>;

    fn connect(self, socket: Socket) -> Self::Future {
        ready(Ok(Pretended(socket)))
    }
}

/// The same, once either side has said hello: the client with one byte, the server with these.
#[derive(Clone, Debug)]
pub struct PretenceWithHellos;

impl MakeTlsConnect<Socket> for PretenceWithHellos {
    type Stream = Pretended;
    type TlsConnect = Self;
    type Error = Infallible;

    fn make_tls_connect(&mut self, _: &str) -> Result<Self, Infallible> {
        Ok(self.clone())
    }
}

impl TlsConnect<Socket> for PretenceWithHellos {
    type Stream = Pretended;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Pretended>> + Send>>;

    fn connect(self, mut socket: Socket) -> Self::Future {
        Box::pin(async move {
            poll_fn(|context| Pin::new(&mut socket).poll_write(context, b"!")).await?;
            let mut hello = [0; HELLO.len()];
            let mut buffer = ReadBuf::new(&mut hello);
            let mut before = None;
            while buffer.remaining() > 0 && before != Some(buffer.filled().len()) {
                before = Some(buffer.filled().len());
                poll_fn(|context| Pin::new(&mut socket).poll_read(context, &mut buffer)).await?;
            }
            if hello == HELLO { Ok(Pretended(socket)) } else { Err(io::Error::other("no hello")) }
        })
    }
}

impl TlsStream for Pretended {
    fn channel_binding(&self) -> ChannelBinding {
        ChannelBinding::none()
    }
}

impl AsyncRead for Pretended {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl AsyncWrite for Pretended {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}

//! TLS in front of a fake that knows none, and handshakes that lead nowhere.

use crate::common::hostile::{Manner, Server, Step};
use crate::common::servers::process::run;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy, copy_bidirectional, sink};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Runtime};
use tokio::task::AbortHandle;
use tokio_native_tls::TlsAcceptor;
use tokio_native_tls::native_tls::{Identity, TlsAcceptor as Acceptor};

/// Not that of the async drivers: a server is another machine.
static RUNTIME: LazyLock<Runtime> =
    LazyLock::new(|| Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap());

static ACCEPTOR: LazyLock<TlsAcceptor> = LazyLock::new(|| {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let (key, certificate) = (path("key"), path("certificate"));
    let to = ["-keyout", &key, "-out", &certificate, "-subj", "/CN=localhost", "-days", "2"];
    let new = ["req", "-x509", "-newkey", "rsa:2048", "-nodes"];
    run(false, "openssl", &[&new[..], &to[..]].concat());
    let (key, certificate) = (fs::read(key).unwrap(), fs::read(certificate).unwrap());
    let identity = Identity::from_pkcs8(&certificate, &key).unwrap();
    Acceptor::new(identity).unwrap().into()
});

/// Before a server `S`, which speaks first if `GREETS`: as MySQL's does, and in plain then, until
/// its client asks for TLS.
pub(crate) struct Front<S, const GREETS: bool> {
    server: S,
    address: SocketAddr,
    told: Arc<Mutex<Option<Manner>>>,
    relays: Arc<Mutex<Vec<AbortHandle>>>,
}

impl<S: Server, const GREETS: bool> Server for Front<S, GREETS> {
    const HANDSHAKES: usize = 1;

    fn start() -> Self {
        let server = S::start();
        let (told, relays) = (Arc::<Mutex<_>>::default(), Arc::<Mutex<Vec<_>>>::default());
        let listener = RUNTIME.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let (address, behind) = (listener.local_addr().unwrap(), server.address());
        LazyLock::force(&ACCEPTOR);
        RUNTIME.spawn({
            let (told, relays) = (Arc::clone(&told), Arc::clone(&relays));
            async move {
                while let Ok((client, _)) = listener.accept().await {
                    let relay = tokio::spawn(relay::<GREETS>(client, behind, Arc::clone(&told)));
                    relays.lock().unwrap().push(relay.abort_handle());
                }
            }
        });
        Self { server, address, told, relays }
    }

    fn address(&self) -> SocketAddr {
        self.address
    }

    fn turn_hostile(&self, step: Step, manner: Manner) {
        match step {
            Step::Handshake(_) => *self.told.lock().unwrap() = Some(manner),
            _ => self.server.turn_hostile(step, manner),
        }
    }

    fn hang_up(&self) {
        *self.told.lock().unwrap() = None;
        self.server.hang_up();
        for relay in self.relays.lock().unwrap().drain(..) {
            relay.abort();
        }
    }
}

async fn relay<const GREETS: bool>(
    mut client: TcpStream,
    behind: SocketAddr,
    told: Arc<Mutex<Option<Manner>>>,
) -> io::Result<()> {
    let mut server = TcpStream::connect(behind).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    if GREETS && !asks_for_tls(&mut client, &mut server).await? {
        return Ok(());
    }
    let manner = told.lock().unwrap().take();
    if let Some(manner) = manner {
        return shake_no_hand(&mut client, manner).await;
    }
    let mut client = ACCEPTOR.accept(client).await.map_err(io::Error::other)?;
    copy_bidirectional(&mut client, &mut server).await.map(drop)
}

/// The greeting goes by, and the client's answer to it is kept from the server. Whether it came.
async fn asks_for_tls(client: &mut TcpStream, server: &mut TcpStream) -> io::Result<bool> {
    let (mut from_client, mut to_client) = client.split();
    let (mut from_server, _) = server.split();
    let mut question = [0; 36];
    tokio::select! {
        asked = from_client.read_exact(&mut question) => return asked.map(|_| true),
        greeted = copy(&mut from_server, &mut to_client) => drop(greeted?),
    }
    to_client.shutdown().await?;
    copy(&mut from_client, &mut sink()).await?;
    Ok(false)
}

async fn shake_no_hand(client: &mut TcpStream, manner: Manner) -> io::Result<()> {
    // The head of a record of 16 KiB that holds a part of the handshake, and the like.
    let record = [22, 3, 3, 0x40, 0];
    match manner {
        Manner::Mute => {}
        Manner::Trickle => {
            client.write_all(&[&record[..], &[2, 0, 0x3f, 0xfc]].concat()).await?;
            loop {
                client.write_all(&[3]).await?;
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        // Requests to begin the handshake, of which the client is to take no notice.
        Manner::Flood => loop {
            client.write_all(&[22, 3, 3, 0, 4, 0, 0, 0, 0].repeat(1024)).await?;
        },
        Manner::Huge => {
            client.write_all(&[&record[..], &[2, 0xff, 0xff, 0xff]].concat()).await?;
            loop {
                client.write_all(&[3; 1 << 14]).await?;
            }
        }
        // Something that is no TLS.
        Manner::Extra => client.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await?,
        Manner::Cut => {
            client.write_all(&[&record[..], &[2, 0, 0x3f, 0xfc, 3, 3]].concat()).await?;
            client.shutdown().await?;
        }
    }
    copy(client, &mut sink()).await.map(drop)
}

//! Connections as they come in: accepted, secured if there is a certificate, and cut off if they stay silent.
//!
//! Knows sockets and time. Who is at the other end it learns from the door, which marks a
//! connection once somebody has proved who they are.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use futures::Stream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::{Instant, Sleep};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tonic::transport::server::Connected;

use super::session::Held;

/// How long a client may take to begin to speak, TLS included.
const GREETING: Duration = Duration::from_secs(10);
/// Bytes that begin an HTTP/2 connection. Source: RFC 9113, section 3.4.
const PREFACE_BYTES: usize = 24;
/// How long a connection may stay without anybody who has proved who they are.
const AUTHENTICATION: Duration = Duration::from_secs(60);
/// TLS handshakes under way at once.
const HANDSHAKES_MAX: usize = 128;
/// How long to wait after a failed accept, which is mostly a lack of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// One connection, shared by the calls on it.
#[derive(Debug)]
pub(crate) struct Connection {
    /// The other end.
    pub(crate) address: SocketAddr,
    /// Sessions of clients that say who they are with every call; they end with the connection.
    pub(crate) held: Held,
    known: AtomicBool,
}

impl Connection {
    pub(crate) fn new(address: SocketAddr) -> Self {
        Self {
            address,
            held: Held::default(),
            known: AtomicBool::new(false),
        }
    }

    /// Somebody has proved who they are.
    pub(crate) fn authenticated(&self) {
        self.known.store(true, Ordering::Relaxed);
    }
}

/// What a call knows of its connection.
#[derive(Clone, Debug)]
pub(crate) struct Peer(pub(crate) Arc<Connection>);

enum Socket {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// A connection that tonic serves.
pub(crate) struct Wire {
    socket: Socket,
    connection: Arc<Connection>,
    deadline: Pin<Box<Sleep>>,
    read: usize,
}

impl Wire {
    fn new(socket: Socket, address: SocketAddr) -> Self {
        Self {
            socket,
            connection: Arc::new(Connection::new(address)),
            deadline: Box::pin(tokio::time::sleep(GREETING)),
            read: 0,
        }
    }

    fn overdue(&mut self, cx: &mut Context<'_>) -> bool {
        if self.connection.known.load(Ordering::Relaxed) {
            return false;
        }
        self.deadline.as_mut().poll(cx).is_ready()
    }
}

impl Connected for Wire {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        Peer(Arc::clone(&self.connection))
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let before = buffer.filled().len();
        let polled = match &mut this.socket {
            Socket::Plain(socket) => Pin::new(socket).poll_read(cx, buffer),
            Socket::Tls(socket) => Pin::new(socket.as_mut()).poll_read(cx, buffer),
        };
        if this.read < PREFACE_BYTES && polled.is_ready() {
            this.read += buffer.filled().len() - before;
            if this.read >= PREFACE_BYTES {
                let deadline = Instant::now() + AUTHENTICATION;
                this.deadline.as_mut().reset(deadline);
            }
        }
        if polled.is_pending() && this.overdue(cx) {
            return Poll::Ready(Err(io::Error::new(
                io::ErrorKind::TimedOut,
                "the client said nothing, or not who it is, in time",
            )));
        }
        polled
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut self.socket {
            Socket::Plain(socket) => Pin::new(socket).poll_write(cx, bytes),
            Socket::Tls(socket) => Pin::new(socket.as_mut()).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut self.socket {
            Socket::Plain(socket) => Pin::new(socket).poll_write_vectored(cx, parts),
            Socket::Tls(socket) => Pin::new(socket.as_mut()).poll_write_vectored(cx, parts),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match &self.socket {
            Socket::Plain(socket) => socket.is_write_vectored(),
            Socket::Tls(socket) => socket.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.socket {
            Socket::Plain(socket) => Pin::new(socket).poll_flush(cx),
            Socket::Tls(socket) => Pin::new(socket.as_mut()).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.socket {
            Socket::Plain(socket) => Pin::new(socket).poll_shutdown(cx),
            Socket::Tls(socket) => Pin::new(socket.as_mut()).poll_shutdown(cx),
        }
    }
}

/// The connections of `listener`. It never ends and never fails: a client that cannot be
/// accepted is its own problem.
pub(crate) fn incoming(
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
) -> impl Stream<Item = io::Result<Wire>> + Send {
    async_stream::stream! {
        let Some(tls) = tls else {
            loop {
                let (socket, address) = accept(&listener).await;
                yield Ok(Wire::new(Socket::Plain(socket), address));
            }
        };
        let handshakes = Arc::new(Semaphore::new(HANDSHAKES_MAX));
        let (secured, mut ready) = mpsc::channel(HANDSHAKES_MAX);
        loop {
            tokio::select! {
                Some(wire) = ready.recv() => yield Ok(wire),
                (socket, address) = accept(&listener) => {
                    let Ok(permit) = Arc::clone(&handshakes).try_acquire_owned() else {
                        // As many as that only begin handshakes and never finish.
                        tracing::warn!(%address, "too many TLS handshakes at once; connection refused");
                        continue;
                    };
                    let (tls, secured) = (tls.clone(), secured.clone());
                    tokio::spawn(async move {
                        let _permit = permit;
                        match tokio::time::timeout(GREETING, tls.accept(socket)).await {
                            Ok(Ok(socket)) => {
                                let wire = Wire::new(Socket::Tls(Box::new(socket)), address);
                                let _ = secured.send(wire).await;
                            }
                            Ok(Err(error)) => {
                                tracing::debug!(%address, %error, "TLS handshake failed");
                            }
                            Err(_) => tracing::debug!(%address, "TLS handshake took too long"),
                        }
                    });
                }
            }
        }
    }
}

async fn accept(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    loop {
        match listener.accept().await {
            Ok((socket, address)) => {
                if let Err(error) = socket.set_nodelay(true) {
                    tracing::debug!(%error, "TCP_NODELAY cannot be set");
                }
                return (socket, address);
            }
            Err(error) => {
                tracing::warn!(%error, "a Flight connection cannot be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::StreamExt;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    async fn connected() -> (TcpStream, Wire) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut incoming = Box::pin(incoming(listener, None));
        let client = TcpStream::connect(address);
        let (client, wire) = tokio::join!(client, incoming.next());
        (client.unwrap(), wire.unwrap().unwrap())
    }

    #[tokio::test]
    async fn a_silent_client_is_cut_off() {
        let (_client, mut wire) = connected().await;
        tokio::time::pause();
        let error = wire.read_u8().await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn a_client_that_never_says_who_it_is_is_cut_off() {
        let (mut client, mut wire) = connected().await;
        client.write_all(&[b'x'; PREFACE_BYTES]).await.unwrap();
        wire.read_exact(&mut [0; PREFACE_BYTES]).await.unwrap();
        tokio::time::pause();
        let started = Instant::now();
        let error = wire.read_u8().await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(started.elapsed() >= AUTHENTICATION - GREETING);
    }

    #[tokio::test]
    async fn a_known_client_may_be_silent() {
        let (mut client, mut wire) = connected().await;
        wire.connection.authenticated();
        tokio::time::pause();
        let waiting = tokio::time::timeout(AUTHENTICATION * 3, wire.read_u8()).await;
        assert!(waiting.is_err());
        tokio::time::resume();
        client.write_all(b"y").await.unwrap();
        assert_eq!(wire.read_u8().await.unwrap(), b'y');
    }
}

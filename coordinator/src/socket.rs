//! How the HTTP and the Flight door take connections: plain TCP or TLS, with bounds on how many there
//! are, how long a client may say nothing at first and how long it may take nothing in the end.
//!
//! Knows no protocol above TLS.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures::Stream;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::Sleep;
use tokio_rustls::server::TlsStream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::server::Connected;

use crate::tls::{HANDSHAKE_TIMEOUT, Tls, TlsProtocol};

/// Open connections of one door.
const CONNECTIONS_MAX: usize = 8192;
/// Connections that are ready and that the door has not taken yet.
const READY_MAX: usize = 64;
/// So many bytes are needed to tell HTTP/2 from HTTP/1: the length of HTTP/2's preface.
const OPENING_BYTES: usize = 24;
/// Pause when the system gives no more connections.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);
/// First byte of a TLS handshake.
const TLS_HANDSHAKE: u8 = 22;
/// What an HTTP client without TLS is told at a door with TLS.
const SPEAK_TLS: &[u8] = b"HTTP/1.1 400 Bad Request\r\ncontent-type: application/problem+json\r\nconnection: close\r\ncontent-length: 169\r\n\r\n{\"type\":\"about:blank\",\"title\":\"Bad Request\",\"status\":400,\"detail\":\"this door speaks TLS only\",\"code\":\"08P01\",\"hint\":\"use https:// instead of http://\",\"retryable\":false}\n";

/// How long a client may keep a connection waiting.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// A client sends its first bytes within this time.
    pub opening: Duration,
    /// A client takes a byte of an answer within this time.
    pub stall: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            opening: Duration::from_secs(15),
            stall: Duration::from_mins(10),
        }
    }
}

/// Who is at the other end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its address.
    pub address: SocketAddr,
    /// Whether the connection is encrypted.
    pub encrypted: bool,
}

/// The connections of one door as they become ready, until the listener fails or the stream is
/// dropped. Handshakes are done beside each other.
pub fn incoming(
    listener: TcpListener,
    tls: Option<Tls>,
    patience: Patience,
) -> impl Stream<Item = io::Result<Socket>> + Send + Unpin {
    let (ready, taken) = mpsc::channel(READY_MAX);
    tokio::spawn(async move {
        let slots = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        loop {
            let Ok(slot) = Arc::clone(&slots).acquire_owned().await else {
                return;
            };
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = ready.closed() => return,
            };
            let (socket, address) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Mostly too many open files: connections that end make room.
                    tracing::warn!(%error, "a connection cannot be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let (ready, tls) = (ready.clone(), tls.clone());
            tokio::spawn(async move {
                tune(&socket);
                match secure(socket, tls.as_ref()).await {
                    Ok(wire) => {
                        // A door that is closed drops the connection.
                        let socket = Socket::new(wire, address, slot, patience);
                        let _ = ready.send(Ok(socket)).await;
                    }
                    Err(error) => tracing::debug!(%address, %error, "connection refused"),
                }
            });
        }
    });
    ReceiverStream::new(taken)
}

/// Small answers go out at once, and a peer that is gone without a word is noticed.
fn tune(socket: &TcpStream) {
    let keepalive = TcpKeepalive::new()
        .with_time(Duration::from_mins(1))
        .with_interval(Duration::from_secs(15))
        .with_retries(4);
    let tuned = socket
        .set_nodelay(true)
        .and_then(|()| SockRef::from(socket).set_tcp_keepalive(&keepalive));
    if let Err(error) = tuned {
        tracing::debug!(%error, "socket options cannot be set");
    }
}

async fn secure(mut socket: TcpStream, tls: Option<&Tls>) -> io::Result<Wire> {
    let Some(tls) = tls else {
        return Ok(Wire::Plain(socket));
    };
    let mut first = [0u8; 1];
    let peeked = tokio::time::timeout(HANDSHAKE_TIMEOUT, socket.peek(&mut first)).await??;
    if peeked == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    if first[0] == TLS_HANDSHAKE {
        let stream = tls.handshake(socket, TlsProtocol::Http).await?;
        return Ok(Wire::Tls(Box::new(stream)));
    }
    if !tls.required() {
        return Ok(Wire::Plain(socket));
    }
    // What was sent is read first: closing with bytes unread would take back the answer.
    let mut unread = [0u8; 4096];
    let _ = socket.try_read(&mut unread);
    tokio::time::timeout(HANDSHAKE_TIMEOUT, async {
        socket.write_all(SPEAK_TLS).await?;
        socket.shutdown().await
    })
    .await??;
    Err(io::Error::other("the client does not speak TLS"))
}

enum Wire {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// One connection.
pub struct Socket {
    wire: Wire,
    peer: Peer,
    /// Until the first bytes are there: when they must be, and how many are missing.
    opening: Option<(Pin<Box<Sleep>>, usize)>,
    stall: Duration,
    /// While the peer takes nothing: when it is cut off.
    stalled: Option<Pin<Box<Sleep>>>,
    _slot: OwnedSemaphorePermit,
}

impl Socket {
    fn new(
        wire: Wire,
        address: SocketAddr,
        slot: OwnedSemaphorePermit,
        patience: Patience,
    ) -> Self {
        let encrypted = matches!(wire, Wire::Tls(_));
        Self {
            wire,
            peer: Peer { address, encrypted },
            opening: Some((
                Box::pin(tokio::time::sleep(patience.opening)),
                OPENING_BYTES,
            )),
            stall: patience.stall,
            stalled: None,
            _slot: slot,
        }
    }

    /// Who is at the other end.
    pub fn peer(&self) -> Peer {
        self.peer
    }

    /// Lets a write that waits wait on, unless it has for too long.
    fn bounded<T>(
        &mut self,
        cx: &mut Context<'_>,
        polled: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if polled.is_ready() {
            self.stalled = None;
            return polled;
        }
        let stall = self.stall;
        let limit = self
            .stalled
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(stall)));
        ready!(limit.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl std::fmt::Debug for Socket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Socket")
            .field("peer", &self.peer)
            .finish_non_exhaustive()
    }
}

impl Connected for Socket {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        self.peer
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let before = buffer.filled().len();
        let polled = match &mut this.wire {
            Wire::Plain(socket) => Pin::new(socket).poll_read(cx, buffer),
            Wire::Tls(stream) => Pin::new(stream.as_mut()).poll_read(cx, buffer),
        };
        let Some((limit, missing)) = &mut this.opening else {
            return polled;
        };
        if polled.is_ready() {
            *missing = missing.saturating_sub(buffer.filled().len() - before);
            if *missing == 0 {
                this.opening = None;
            }
            return polled;
        }
        ready!(limit.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = match &mut self.wire {
            Wire::Plain(socket) => Pin::new(socket).poll_write(cx, bytes),
            Wire::Tls(stream) => Pin::new(stream.as_mut()).poll_write(cx, bytes),
        };
        self.bounded(cx, polled)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = match &mut self.wire {
            Wire::Plain(socket) => Pin::new(socket).poll_write_vectored(cx, bytes),
            Wire::Tls(stream) => Pin::new(stream.as_mut()).poll_write_vectored(cx, bytes),
        };
        self.bounded(cx, polled)
    }

    fn is_write_vectored(&self) -> bool {
        match &self.wire {
            Wire::Plain(socket) => socket.is_write_vectored(),
            Wire::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = match &mut self.wire {
            Wire::Plain(socket) => Pin::new(socket).poll_flush(cx),
            Wire::Tls(stream) => Pin::new(stream.as_mut()).poll_flush(cx),
        };
        self.bounded(cx, polled)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = match &mut self.wire {
            Wire::Plain(socket) => Pin::new(socket).poll_shutdown(cx),
            Wire::Tls(stream) => Pin::new(stream.as_mut()).poll_shutdown(cx),
        };
        self.bounded(cx, polled)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::StreamExt;
    use tokio::io::AsyncReadExt;

    const SHORT: Patience = Patience {
        opening: Duration::from_millis(200),
        stall: Duration::from_millis(200),
    };

    async fn door(
        tls: Option<Tls>,
        patience: Patience,
    ) -> (
        SocketAddr,
        impl Stream<Item = io::Result<Socket>> + Send + Unpin,
    ) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        (address, incoming(listener, tls, patience))
    }

    #[test]
    fn what_a_client_without_tls_is_told_has_the_length_it_says() {
        let text = std::str::from_utf8(SPEAK_TLS).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(
            head.contains(&format!("content-length: {}", body.len())),
            "{}",
            body.len()
        );
        let problem: serde_json::Value = serde_json::from_str(body).unwrap();
        assert_eq!(problem["status"], 400);
    }

    #[tokio::test]
    async fn without_tls_bytes_go_through() {
        let (address, mut door) = door(None, Patience::default()).await;
        let mut client = TcpStream::connect(address).await.unwrap();
        client.write_all(b"hello").await.unwrap();
        let mut socket = door.next().await.unwrap().unwrap();
        let mut read = [0; 5];
        socket.read_exact(&mut read).await.unwrap();
        assert_eq!((&read, socket.peer().encrypted), (b"hello", false));
    }

    #[tokio::test]
    async fn a_plain_client_is_refused_where_tls_is_required_and_served_where_it_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let required = Tls::self_signed(dir.path(), &[], true).unwrap();
        let (address, _door) = door(Some(required), Patience::default()).await;
        let mut client = TcpStream::connect(address).await.unwrap();
        client.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        assert!(answer.contains("use https://"), "{answer}");

        let optional = Tls::self_signed(dir.path(), &[], false).unwrap();
        let (address, mut door) = door(Some(optional), Patience::default()).await;
        let mut client = TcpStream::connect(address).await.unwrap();
        client.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
        let socket = door.next().await.unwrap().unwrap();
        assert!(!socket.peer().encrypted);
    }

    #[tokio::test]
    async fn a_client_that_says_nothing_is_cut_off() {
        let (address, mut door) = door(None, SHORT).await;
        let mut client = TcpStream::connect(address).await.unwrap();
        client.write_all(b"P").await.unwrap();
        let mut socket = door.next().await.unwrap().unwrap();
        assert_eq!(socket.read_u8().await.unwrap(), b'P');
        let error = socket.read_u8().await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn a_client_that_takes_nothing_is_cut_off() {
        let (address, mut door) = door(None, SHORT).await;
        let _client = TcpStream::connect(address).await.unwrap();
        let mut socket = door.next().await.unwrap().unwrap();
        let block = vec![0u8; 1 << 20];
        let error = loop {
            if let Err(error) = socket.write_all(&block).await {
                break error;
            }
        };
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }
}

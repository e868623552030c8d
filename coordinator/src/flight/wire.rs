//! Connections of this door: what the calls on one share, and the end of one on which nobody says who they are.
//!
//! How connections are accepted and secured is `socket.rs`'s.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use futures::{Stream, StreamExt};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpListener;
use tokio::time::Sleep;
use tonic::transport::server::Connected;

use super::session::Held;
use crate::socket::{Patience, Socket};
use crate::tls::Tls;

/// How long a connection may stay without anybody who has proved who they are.
const AUTHENTICATION: Duration = Duration::from_mins(1);

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

/// A connection that tonic serves.
pub(crate) struct Wire<S> {
    socket: S,
    connection: Arc<Connection>,
    deadline: Pin<Box<Sleep>>,
}

impl<S> Wire<S> {
    fn new(socket: S, address: SocketAddr, limit: Duration) -> Self {
        Self {
            socket,
            connection: Arc::new(Connection::new(address)),
            deadline: Box::pin(tokio::time::sleep(limit)),
        }
    }

    fn overdue(&mut self, cx: &mut Context<'_>) -> bool {
        !self.connection.known.load(Ordering::Relaxed) && self.deadline.as_mut().poll(cx).is_ready()
    }
}

impl<S> Connected for Wire<S> {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        Peer(Arc::clone(&self.connection))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Wire<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.socket).poll_read(cx, buffer);
        if polled.is_pending() && self.overdue(cx) {
            return Poll::Ready(Err(io::Error::new(
                io::ErrorKind::TimedOut,
                "nobody said in time who they are",
            )));
        }
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Wire<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write_vectored(cx, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}

/// The connections of `listener`, secured if there is a certificate.
pub(crate) fn incoming(
    listener: TcpListener,
    tls: Option<Tls>,
) -> impl Stream<Item = io::Result<Wire<Socket>>> + Send + Unpin {
    crate::socket::incoming(listener, tls, Patience::default()).map(|socket| {
        let socket = socket?;
        let address = socket.peer().address;
        Ok(Wire::new(socket, address, AUTHENTICATION))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

    const LIMIT: Duration = Duration::from_millis(10);

    fn connected() -> (DuplexStream, Wire<DuplexStream>) {
        let (client, server) = duplex(64);
        (client, Wire::new(server, ([127, 0, 0, 1], 1).into(), LIMIT))
    }

    #[tokio::test]
    async fn a_client_that_never_says_who_it_is_is_cut_off() {
        let (_client, mut wire) = connected();
        let error = wire.read_u8().await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn a_known_client_may_be_silent() {
        let (mut client, mut wire) = connected();
        wire.connection.authenticated();
        let waiting = tokio::time::timeout(LIMIT * 3, wire.read_u8()).await;
        assert!(waiting.is_err());
        client.write_all(b"y").await.unwrap();
        assert_eq!(wire.read_u8().await.unwrap(), b'y');
    }
}

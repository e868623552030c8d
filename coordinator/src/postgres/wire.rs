//! Bytes of one connection: frames in, under bounds; messages out, from one buffer.
//!
//! While something else is waited for, the socket is read ahead a little: that is how a client that
//! went away is noticed, and why a client that sends much before it reads does not block us. Knows
//! frames, not what is in them.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use bytes::{Buf, Bytes, BytesMut};
use tarn_engine::BackendTls;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::rustls::ProtocolVersion;
use tokio_rustls::server::TlsStream;

/// Bytes read ahead while a statement runs or rows go out.
const AHEAD_BYTES_MAX: usize = 256 << 10;
/// Bytes asked of the socket at once.
const READ_BYTES: usize = 8 << 10;
/// Buffers above this are given back when a session is idle.
const KEEP_BYTES_MAX: usize = 16 << 10;
/// Output is sent when it has grown to this.
pub(crate) const FLUSH_BYTES: usize = 64 << 10;
/// Bytes of a message that has no business being longer. Source: PostgreSQL, `PQ_SMALL_MESSAGE_LIMIT`.
const SMALL_BYTES_MAX: usize = 10_000;

/// A connection with or without TLS.
pub(crate) enum Socket {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_read(cx, buf),
            Self::Tls(socket) => Pin::new(socket.as_mut()).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_write(cx, buf),
            Self::Tls(socket) => Pin::new(socket.as_mut()).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_flush(cx),
            Self::Tls(socket) => Pin::new(socket.as_mut()).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_shutdown(cx),
            Self::Tls(socket) => Pin::new(socket.as_mut()).poll_shutdown(cx),
        }
    }
}

/// What OpenSSL calls a cipher suite. Source: RFC 8446 for TLS 1.3, `openssl-ciphers(1)` for TLS 1.2.
fn openssl_name(name: &str) -> String {
    if let Some(rest) = name.strip_prefix("TLS13_") {
        return format!("TLS_{rest}");
    }
    let name = name.trim_start_matches("TLS_").replace("_WITH_", "_");
    let name = name.replace("AES_", "AES").replace('_', "-");
    match name.strip_suffix("POLY1305-SHA256") {
        Some(rest) => format!("{rest}POLY1305"),
        None => name,
    }
}

/// Why a connection cannot go on.
#[derive(Debug)]
pub(crate) enum WireError {
    /// The client closed it, or the network did.
    Gone,
    /// A message claims a length that it may not have.
    Length {
        /// The message.
        tag: u8,
        /// The length it claims.
        bytes: u32,
    },
    /// A byte that begins no message.
    Tag(u8),
}

impl From<io::Error> for WireError {
    fn from(_: io::Error) -> Self {
        Self::Gone
    }
}

/// A message of the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) tag: u8,
    pub(crate) body: Bytes,
}

/// One connection's bytes.
pub(crate) struct Wire {
    socket: Socket,
    input: BytesMut,
    /// Whole messages that have not been sent yet.
    pub(crate) output: Vec<u8>,
    sent: usize,
    closed: bool,
    message_bytes_max: usize,
}

impl Wire {
    pub(crate) fn new(socket: Socket) -> Self {
        Self {
            socket,
            input: BytesMut::new(),
            output: Vec::new(),
            sent: 0,
            closed: false,
            message_bytes_max: SMALL_BYTES_MAX,
        }
    }

    /// After authentication messages may be this long.
    pub(crate) fn admit(&mut self, message_bytes_max: usize) {
        self.message_bytes_max = message_bytes_max;
    }

    /// The socket, if nothing was read ahead: TLS must not begin after bytes in the clear.
    pub(crate) fn into_socket(self) -> Option<Socket> {
        self.input.is_empty().then_some(self.socket)
    }

    /// The protocol that TLS has agreed upon, if any.
    pub(crate) fn protocol(&self) -> Option<&[u8]> {
        match &self.socket {
            Socket::Plain(_) => None,
            Socket::Tls(socket) => socket.get_ref().1.alpn_protocol(),
        }
    }

    /// How the connection is encrypted.
    pub(crate) fn tls(&self) -> Option<BackendTls> {
        let Socket::Tls(socket) = &self.socket else {
            return None;
        };
        let session = socket.get_ref().1;
        let suite = session.negotiated_cipher_suite()?.suite();
        let name = suite.as_str().unwrap_or_default();
        Some(BackendTls {
            version: match session.protocol_version()? {
                ProtocolVersion::TLSv1_2 => "TLSv1.2",
                ProtocolVersion::TLSv1_3 => "TLSv1.3",
                _ => "unknown",
            },
            cipher: openssl_name(name),
            bits: if name.contains("AES_128") { 128 } else { 256 },
        })
    }

    /// The client's port.
    pub(crate) fn port(&self) -> Option<u16> {
        let socket = match &self.socket {
            Socket::Plain(socket) => socket,
            Socket::Tls(socket) => socket.get_ref().0,
        };
        socket.peer_addr().ok().map(|address| address.port())
    }

    pub(crate) fn is_encrypted(&self) -> bool {
        matches!(self.socket, Socket::Tls(_))
    }

    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        self.input.reserve(READ_BYTES);
        tokio_util::io::poll_read_buf(Pin::new(&mut self.socket), cx, &mut self.input)
    }

    async fn fill(&mut self) -> Result<(), WireError> {
        if self.closed {
            return Err(WireError::Gone);
        }
        match poll_fn(|cx| self.poll_fill(cx)).await? {
            0 => {
                self.closed = true;
                Err(WireError::Gone)
            }
            _ => Ok(()),
        }
    }

    /// Reads ahead as far as allowed. Ready if the client is gone.
    fn poll_ahead(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while !self.closed && self.input.len() < AHEAD_BYTES_MAX {
            match self.poll_fill(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(0) | Err(_)) => self.closed = true,
                Poll::Ready(Ok(_)) => {}
            }
        }
        if self.closed {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }

    /// The first packet of a connection: its body after the length.
    pub(crate) async fn startup(&mut self) -> Result<Bytes, WireError> {
        while self.input.len() < 4 {
            self.fill().await?;
        }
        let bytes = (&self.input[..4]).get_u32();
        let length = checked(0, bytes, SMALL_BYTES_MAX)?;
        if length < 4 {
            return Err(WireError::Length { tag: 0, bytes });
        }
        while self.input.len() < 4 + length {
            self.fill().await?;
        }
        self.input.advance(4);
        Ok(self.input.split_to(length).freeze())
    }

    /// Length of the first message's body, if its head is there.
    fn head(&self) -> Result<Option<usize>, WireError> {
        if self.input.is_empty() {
            return Ok(None);
        }
        let tag = self.input[0];
        let limit = match tag {
            b'Q' | b'P' | b'B' | b'd' | b'F' => self.message_bytes_max,
            b'p' => SMALL_BYTES_MAX,
            b'D' | b'E' | b'C' | b'H' | b'S' | b'X' | b'c' | b'f' => {
                SMALL_BYTES_MAX.min(self.message_bytes_max)
            }
            other => return Err(WireError::Tag(other)),
        };
        if self.input.len() < 5 {
            return Ok(None);
        }
        let bytes = (&self.input[1..5]).get_u32();
        checked(tag, bytes, limit).map(Some)
    }

    /// The next message. Dropping the future loses nothing.
    pub(crate) async fn next(&mut self) -> Result<Frame, WireError> {
        loop {
            if let Some(length) = self.head()?
                && self.input.len() >= 5 + length
            {
                let tag = self.input[0];
                self.input.advance(5);
                let body = self.input.split_to(length).freeze();
                return Ok(Frame { tag, body });
            }
            self.fill().await?;
        }
    }

    /// The message that comes next, if it is already here whole.
    pub(crate) fn peek(&self) -> Option<u8> {
        let length = self.head().ok()??;
        (self.input.len() >= 5 + length).then(|| self.input[0])
    }

    /// Gives memory back before a long wait.
    pub(crate) fn rest(&mut self) {
        if self.input.is_empty() {
            self.input = BytesMut::new();
        }
        if self.output.is_empty() && self.output.capacity() > KEEP_BYTES_MAX {
            self.output = Vec::new();
        }
    }

    /// Runs `work` and watches the client meanwhile.
    ///
    /// # Errors
    /// [`WireError::Gone`] if the client leaves first; `work` is then dropped.
    pub(crate) async fn beside<F: Future>(&mut self, work: F) -> Result<F::Output, WireError> {
        let mut work = pin!(work);
        poll_fn(|cx| {
            if let Poll::Ready(done) = work.as_mut().poll(cx) {
                return Poll::Ready(Ok(done));
            }
            match self.poll_ahead(cx) {
                Poll::Ready(()) => Poll::Ready(Err(WireError::Gone)),
                Poll::Pending => Poll::Pending,
            }
        })
        .await
    }

    /// Sends all output, reading ahead meanwhile.
    pub(crate) async fn flush(&mut self) -> Result<(), WireError> {
        poll_fn(|cx| self.poll_send(cx)).await?;
        Ok(())
    }

    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.sent < self.output.len() {
            let socket = Pin::new(&mut self.socket);
            match socket.poll_write(cx, &self.output[self.sent..]) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(n)) => self.sent += n,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => {
                    // Whether the client still sends decides nothing here; it may only read.
                    let _ = self.poll_ahead(cx);
                    return Poll::Pending;
                }
            }
        }
        self.output.clear();
        self.sent = 0;
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    /// Sends output if there is much of it.
    pub(crate) async fn flush_if_large(&mut self) -> Result<(), WireError> {
        if self.output.len() >= FLUSH_BYTES {
            self.flush().await?;
        }
        Ok(())
    }

    /// Says goodbye to the socket.
    pub(crate) async fn close(&mut self) {
        let _ = poll_fn(|cx| Pin::new(&mut self.socket).poll_shutdown(cx)).await;
    }
}

/// The length of a body, from the length in the message that counts itself.
fn checked(tag: u8, bytes: u32, limit: usize) -> Result<usize, WireError> {
    let length = usize::try_from(bytes)
        .ok()
        .and_then(|bytes| bytes.checked_sub(4))
        .filter(|length| *length <= limit);
    length.ok_or(WireError::Length { tag, bytes })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ciphers_are_called_as_openssl_calls_them() {
        for (name, openssl) in [
            ("TLS13_AES_256_GCM_SHA384", "TLS_AES_256_GCM_SHA384"),
            (
                "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
                "ECDHE-RSA-AES128-GCM-SHA256",
            ),
            (
                "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
                "ECDHE-ECDSA-CHACHA20-POLY1305",
            ),
        ] {
            assert_eq!(openssl_name(name), openssl);
        }
    }
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    async fn pair() -> (Wire, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap())
            .await
            .unwrap();
        let (server, _) = listener.accept().await.unwrap();
        (Wire::new(Socket::Plain(server)), client)
    }

    #[tokio::test]
    async fn a_length_is_refused_before_its_bytes_come() {
        for (head, tag) in [
            (&b"Q\x7f\xff\xff\xff"[..], b'Q'),
            (b"Q\x00\x00\x00\x03", b'Q'),
            (b"S\x00\x00\x40\x00", b'S'),
            (b"Q\xff\xff\xff\xff", b'Q'),
        ] {
            let (mut wire, mut client) = pair().await;
            client.write_all(head).await.unwrap();
            let error = wire.next().await.unwrap_err();
            assert!(matches!(error, WireError::Length { tag: t, .. } if t == tag));
            assert!(wire.input.capacity() <= 2 * READ_BYTES);
        }
        let (mut wire, mut client) = pair().await;
        client.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
        assert!(matches!(wire.next().await, Err(WireError::Tag(b'G'))));
    }

    #[tokio::test]
    async fn messages_come_whole_however_they_are_cut() {
        let (mut wire, mut client) = pair().await;
        let sender = tokio::spawn(async move {
            for byte in b"Q\0\0\0\x06ab\0S\0\0\0\x04" {
                client.write_all(&[*byte]).await.unwrap();
                client.flush().await.unwrap();
            }
            client
        });
        let first = wire.next().await.unwrap();
        assert_eq!((first.tag, &first.body[..]), (b'Q', &b"ab"[..]));
        // The NUL after it begins no message.
        assert!(matches!(wire.next().await, Err(WireError::Tag(0))));
        drop(sender.await.unwrap());
    }

    #[tokio::test]
    async fn work_ends_when_the_client_leaves() {
        let (mut wire, client) = pair().await;
        drop(client);
        let result = wire.beside(std::future::pending::<()>()).await;
        assert!(matches!(result, Err(WireError::Gone)));
    }

    #[tokio::test]
    async fn a_client_that_sends_before_it_reads_blocks_nobody() {
        let (mut wire, mut client) = pair().await;
        wire.output = vec![b'x'; 8 << 20];
        let talker = tokio::spawn(async move {
            // More than a socket's buffers hold; the client reads only after it has sent it all.
            client.write_all(&vec![0; 128 << 10]).await.unwrap();
            let mut all = vec![0; 8 << 20];
            client.read_exact(&mut all).await.unwrap();
            client
        });
        wire.flush().await.unwrap();
        assert!(wire.output.is_empty());
        drop(talker.await.unwrap());
    }
}

//! A proxy in front of an S3 server that is slow, fails or lies, as it is told.
//!
//! One request a connection, forwarded byte for byte: signatures stay valid. Knows HTTP/1.1 as far as S3 clients speak
//! it, and nothing of S3.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::AbortOnDropHandle;

/// What is done to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Nothing.
    None,
    /// It is answered after this time.
    Slow(Duration),
    /// It is answered with this status, and not carried out.
    Status(u16),
    /// The connection is reset before it is carried out.
    Reset,
    /// It is carried out, and half of the answer comes.
    ShortBody,
    /// It is carried out, and the connection is reset instead of an answer.
    Lie,
    /// It is not carried out and never answered.
    Silence,
}

/// A request, as a rule sees it.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    /// Its method.
    pub(crate) method: String,
    /// Its path and query.
    pub(crate) target: String,
    /// How many came before it.
    pub(crate) number: usize,
}

type Rule = Arc<dyn Fn(&Seen) -> Fault + Send + Sync>;

/// A running proxy.
pub(crate) struct Proxy {
    port: u16,
    state: Arc<State>,
    _accepts: AbortOnDropHandle<()>,
}

struct State {
    upstream: String,
    rule: Mutex<Rule>,
    requests: AtomicUsize,
    faults: AtomicUsize,
}

impl Proxy {
    /// A proxy in front of `endpoint` (`http://host:port`) that does nothing yet.
    pub(crate) async fn start(endpoint: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::new(State {
            upstream: endpoint.trim_start_matches("http://").to_owned(),
            rule: Mutex::new(Arc::new(|_| Fault::None)),
            requests: AtomicUsize::new(0),
            faults: AtomicUsize::new(0),
        });
        let shared = Arc::clone(&state);
        let accepts = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let state = Arc::clone(&shared);
                tokio::spawn(async move {
                    // A client that leaves is no matter of ours.
                    let _ = serve(client, &state).await;
                });
            }
        });
        Self {
            port,
            state,
            _accepts: AbortOnDropHandle::new(accepts),
        }
    }

    /// Its URL.
    pub(crate) fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// From now on `rule` says what is done to each request.
    pub(crate) fn set(&self, rule: impl Fn(&Seen) -> Fault + Send + Sync + 'static) {
        *self.state.rule.lock().unwrap() = Arc::new(rule);
    }

    /// Requests that something was done to.
    pub(crate) fn faults(&self) -> usize {
        self.state.faults.load(Ordering::SeqCst)
    }
}

async fn serve(mut client: TcpStream, state: &State) -> io::Result<()> {
    let Some((head, body)) = request(&mut client).await? else {
        return Ok(());
    };
    let mut words = head.split(' ');
    let mut word = || words.next().unwrap_or_default().to_owned();
    let seen = Seen {
        method: word(),
        target: word(),
        number: state.requests.fetch_add(1, Ordering::SeqCst),
    };
    let rule = Arc::clone(&state.rule.lock().unwrap());
    let fault = rule(&seen);
    if fault != Fault::None {
        state.faults.fetch_add(1, Ordering::SeqCst);
    }
    match fault {
        Fault::Status(status) => {
            let answer = format!(
                "HTTP/1.1 {status} Fault\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
            );
            client.write_all(answer.as_bytes()).await?;
            return client.shutdown().await;
        }
        Fault::Reset => return reset(&client),
        Fault::Silence => {
            // Until the client leaves.
            let mut rest = [0; 1];
            let _ = client.read(&mut rest).await;
            return Ok(());
        }
        Fault::Slow(time) => tokio::time::sleep(time).await,
        Fault::None | Fault::ShortBody | Fault::Lie => {}
    }
    let answer = forward(&state.upstream, &head, &body).await?;
    match fault {
        Fault::Lie => return reset(&client),
        Fault::ShortBody => client.write_all(&answer[..answer.len() / 2]).await?,
        _ => client.write_all(&answer).await?,
    }
    client.shutdown().await
}

/// Ends a connection as a crash of the machine would.
fn reset(client: &TcpStream) -> io::Result<()> {
    client.set_zero_linger()
}

/// The head of a request, without the empty line, and its body.
async fn request(client: &mut TcpStream) -> io::Result<Option<(String, Vec<u8>)>> {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break end;
        }
        if client.read_buf(&mut bytes).await? == 0 {
            return Ok(None);
        }
    };
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length")
            .then(|| value.trim().parse::<usize>().ok())?
    });
    let mut body = bytes.split_off(end + 4);
    while body.len() < length.unwrap_or(0) {
        if client.read_buf(&mut body).await? == 0 {
            return Ok(None);
        }
    }
    Ok(Some((head, body)))
}

/// The whole answer of the server.
async fn forward(upstream: &str, head: &str, body: &[u8]) -> io::Result<Vec<u8>> {
    let mut server = TcpStream::connect(upstream).await?;
    let kept = head
        .lines()
        .filter(|line| !line.to_ascii_lowercase().starts_with("connection:"));
    let head: Vec<&str> = kept.chain(["Connection: close", "", ""]).collect();
    server.write_all(head.join("\r\n").as_bytes()).await?;
    server.write_all(body).await?;
    let mut answer = Vec::new();
    server.read_to_end(&mut answer).await?;
    Ok(answer)
}

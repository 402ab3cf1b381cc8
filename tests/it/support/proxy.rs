//! A TCP proxy in front of PostgreSQL or an object store that injects network and server faults.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// The injected fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// None.
    None,
    /// Connections, open ones too, are closed at once.
    Unavailable,
    /// Each connection ends after this many response bytes.
    Cut(usize),
    /// The `ETag` in responses to this method is changed.
    WrongEtag(&'static str),
    /// Requests that contain this are forwarded but their responses are lost.
    ResponsesLost(&'static str),
    /// The next request that contains this is forwarded, its response is lost and its connection
    /// closed. Then the fault clears.
    ResponseLost(&'static str),
    /// This text is altered in requests.
    RequestAltered(&'static str),
    /// This text is altered in responses.
    ResponseAltered(&'static str),
    /// The next request that contains this is not forwarded and its connection is closed. Then the
    /// fault clears.
    RequestLost(&'static str),
    /// Requests that need this right are denied, as by a bucket policy.
    Denied(Right),
    /// Requests whose head contains this are denied.
    Rejected(&'static str),
    /// Every request is denied because of clock skew.
    Skewed,
    /// This many requests get `SlowDown`. Then the fault clears.
    Slow(u32),
    /// Nothing is forwarded in either direction; connections end with the fault.
    Silent,
    /// The next request that contains this is forwarded twice and the second response returned.
    /// Then the fault clears.
    Doubled(&'static str),
    /// The first PUT of an original is kept until [`Proxy::deliver_late`], later ones are lost; all
    /// their connections are closed.
    Late,
}

/// The permission that a request needs in a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Right {
    List,
    Get,
    Put,
    Delete,
}

impl Right {
    fn of(head: &str) -> Option<Self> {
        let (method, rest) = head.split_once(' ')?;
        match method {
            "GET" if rest.split(' ').next()?.contains("list-type=") => Some(Self::List),
            "GET" | "HEAD" => Some(Self::Get),
            "PUT" | "POST" => Some(Self::Put),
            "DELETE" => Some(Self::Delete),
            _ => None,
        }
    }
}

/// A proxy that lives until the test ends.
pub(crate) struct Proxy {
    /// The listening address.
    pub(crate) address: SocketAddr,
    state: Arc<State>,
    cut: watch::Sender<()>,
    _task: JoinSet<()>,
}

struct State {
    server: String,
    fault: Mutex<Fault>,
    /// The request kept by [`Fault::Late`].
    late: Mutex<Option<Vec<u8>>>,
}

impl Proxy {
    /// Starts a proxy in front of `server`, given as `host:port`.
    pub(crate) async fn in_front_of(server: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (fault, late) = (Mutex::new(Fault::None), Mutex::default());
        let state = Arc::new(State { server, fault, late });
        let (cut, _) = watch::channel(());
        let (shared, cuts) = (Arc::clone(&state), cut.clone());
        let mut task = JoinSet::new();
        task.spawn(async move {
            let mut open = JoinSet::new();
            loop {
                let (client, _) = listener.accept().await.unwrap();
                while open.try_join_next().is_some() {}
                let mut ended = cuts.subscribe();
                let state = Arc::clone(&shared);
                if *state.fault.lock().unwrap() == Fault::Unavailable {
                    open.spawn(async move {
                        // Closing with unread bytes resets the connection.
                        let _ = client.peek(&mut [0]).await;
                    });
                    continue;
                }
                let server = TcpStream::connect(&state.server).await.unwrap();
                open.spawn(async move {
                    tokio::select! {
                        // Tests expect connections to end.
                        _ = relay(client, server, &state) => {}
                        _ = ended.changed() => {}
                    }
                });
            }
        });
        Self { address, state, cut, _task: task }
    }

    /// Injects a fault from now on, also into open connections.
    pub(crate) fn set_fault(&self, fault: Fault) {
        let before = std::mem::replace(&mut *self.state.fault.lock().unwrap(), fault);
        if fault == Fault::Unavailable || before == Fault::Silent {
            // Nobody may be connected.
            let _ = self.cut.send(());
        }
    }

    /// Whether a one-time fault has happened.
    pub(crate) fn has_failed(&self) -> bool {
        *self.state.fault.lock().unwrap() == Fault::None
    }

    /// Forwards the late request and returns its status line.
    pub(crate) async fn deliver_late(&self) -> String {
        let late = self.state.late.lock().unwrap().take().unwrap();
        let response = exchange(&self.state.server, &late).await.unwrap();
        String::from_utf8_lossy(&response).lines().next().unwrap_or_default().to_owned()
    }
}

/// Sends a request on a new connection and reads the beginning of the response.
async fn exchange(server: &str, request: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut server = TcpStream::connect(server).await?;
    server.write_all(request).await?;
    let mut response = vec![0; 64 << 10];
    let read = server.read(&mut response).await?;
    response.truncate(read);
    Ok(response)
}

/// What the proxy must know of the request on a connection.
#[derive(Default)]
struct PendingRequest {
    method: String,
    /// Bytes of the body still to come.
    remaining: usize,
    /// The response to send instead of forwarding the request.
    rejection: Option<Vec<u8>>,
    /// Whether it is forwarded only once it is complete.
    is_held: bool,
    /// The bytes held so far.
    held: Vec<u8>,
}

impl PendingRequest {
    /// Consumes the next bytes. Without an HTTP head, each read counts as a request.
    fn consume(&mut self, fault: &Mutex<Fault>, bytes: &[u8]) {
        let mut body = bytes.len();
        if self.remaining == 0 {
            let end = bytes.windows(4).position(|window| window == b"\r\n\r\n");
            let head = String::from_utf8_lossy(&bytes[..end.unwrap_or(0)]).into_owned();
            let length = head.lines().find_map(|line| {
                let (name, length) = line.split_once(": ")?;
                name.eq_ignore_ascii_case("content-length").then(|| length.parse().ok())?
            });
            head.split(' ').next().unwrap_or_default().clone_into(&mut self.method);
            self.remaining = length.unwrap_or(0);
            self.rejection = rejection(fault, &head);
            let fault = *fault.lock().unwrap();
            self.is_held = fault == Fault::Late || matches!(fault, Fault::Doubled(_));
            body = end.map_or(0, |end| bytes.len() - end - 4);
        }
        self.remaining = self.remaining.saturating_sub(body);
    }
}

/// The response to send instead of forwarding the request, if the fault demands one.
fn rejection(fault: &Mutex<Fault>, head: &str) -> Option<Vec<u8>> {
    let mut fault = fault.lock().unwrap();
    let (status, code) = match *fault {
        Fault::Denied(right) if Right::of(head) == Some(right) => ("403 Forbidden", "AccessDenied"),
        Fault::Rejected(mark) if head.contains(mark) => ("403 Forbidden", "AccessDenied"),
        Fault::Skewed => ("403 Forbidden", "RequestTimeTooSkewed"),
        Fault::Slow(remaining) => {
            *fault = if remaining > 1 { Fault::Slow(remaining - 1) } else { Fault::None };
            ("503 Slow Down", "SlowDown")
        }
        _ => return None,
    };
    let server_time = "<ServerTime>2031-02-03T04:05:06Z</ServerTime>";
    let mut body = format!("<Error><Code>{code}</Code><Message>No.</Message>{server_time}</Error>");
    if head.starts_with("HEAD ") {
        body.clear();
    }
    let length = body.len();
    let kind = "content-type: application/xml";
    Some(format!("HTTP/1.1 {status}\r\n{kind}\r\ncontent-length: {length}\r\n\r\n{body}").into())
}

/// What happens to a request or a part of it.
enum Fate {
    Passed,
    Lost,
    WithoutResponse,
}

fn fate(fault: &Mutex<Fault>, from_client: &[u8]) -> Fate {
    let has = |mark: &str| from_client.windows(mark.len()).any(|window| window == mark.as_bytes());
    let mut fault = fault.lock().unwrap();
    match *fault {
        Fault::ResponsesLost(mark) if has(mark) => Fate::WithoutResponse,
        Fault::ResponseLost(mark) if has(mark) => {
            *fault = Fault::None;
            Fate::WithoutResponse
        }
        Fault::RequestLost(mark) if has(mark) => {
            *fault = Fault::None;
            Fate::Lost
        }
        _ => Fate::Passed,
    }
}

/// Forwards a request or a part of it; false if its connection must end instead.
async fn forward(
    pending: &mut PendingRequest,
    state: &State,
    server: &mut TcpStream,
    bytes: &[u8],
) -> std::io::Result<bool> {
    if !pending.is_held {
        server.write_all(bytes).await?;
        return Ok(true);
    }
    pending.held.extend_from_slice(bytes);
    if pending.remaining > 0 {
        return Ok(true);
    }
    let whole = std::mem::take(&mut pending.held);
    let has = |mark: &str| whole.windows(mark.len()).any(|window| window == mark.as_bytes());
    let fault = *state.fault.lock().unwrap();
    if fault == Fault::Late && pending.method == "PUT" && has("/blobs/") {
        state.late.lock().unwrap().get_or_insert(whole);
        return Ok(false);
    }
    if let Fault::Doubled(mark) = fault
        && has(mark)
    {
        *state.fault.lock().unwrap() = Fault::None;
        exchange(&state.server, &whole).await?;
    }
    server.write_all(&whole).await?;
    Ok(true)
}

async fn relay(mut client: TcpStream, mut server: TcpStream, state: &State) -> std::io::Result<()> {
    let fault = &state.fault;
    let (mut from_client, mut from_server) = (vec![0; 64 << 10], vec![0; 64 << 10]);
    let (mut returned_bytes, mut is_lost, mut pending) = (0, false, PendingRequest::default());
    loop {
        tokio::select! {
            read = client.read(&mut from_client) => {
                let read = read?;
                if read == 0 {
                    return Ok(());
                }
                if *fault.lock().unwrap() == Fault::Silent {
                    std::future::pending::<()>().await;
                }
                pending.consume(fault, &from_client[..read]);
                if let Some(rejection) = &pending.rejection {
                    if pending.remaining == 0 {
                        client.write_all(rejection).await?;
                    }
                    continue;
                }
                match fate(fault, &from_client[..read]) {
                    Fate::Passed => {}
                    Fate::Lost => return Ok(()),
                    Fate::WithoutResponse => is_lost = true,
                }
                if let Fault::RequestAltered(mark) = *fault.lock().unwrap() {
                    alter(&mut from_client[..read], mark);
                }
                if !forward(&mut pending, state, &mut server, &from_client[..read]).await? {
                    return Ok(());
                }
            }
            read = server.read(&mut from_server) => {
                let mut read = read?;
                // Waiting for the response ensures that the server has done the work.
                if read == 0 || is_lost {
                    return Ok(());
                }
                let fault = *fault.lock().unwrap();
                if let Fault::Cut(max) = fault {
                    read = read.min(max.saturating_sub(returned_bytes));
                }
                if let Fault::WrongEtag(method) = fault
                    && method == pending.method
                {
                    falsify_etag(&mut from_server[..read]);
                }
                if let Fault::ResponseAltered(mark) = fault {
                    alter(&mut from_server[..read], mark);
                }
                returned_bytes += read;
                client.write_all(&from_server[..read]).await?;
                if fault == Fault::Cut(returned_bytes) {
                    return Ok(());
                }
            }
        }
    }
}

fn alter(bytes: &mut [u8], mark: &str) {
    while let Some(start) = bytes.windows(mark.len()).position(|w| w == mark.as_bytes()) {
        bytes[start] ^= 1;
    }
}

fn falsify_etag(response: &mut [u8]) {
    const NAME: &[u8] = b"etag: \"";
    let found = response.windows(NAME.len()).position(|window| window.eq_ignore_ascii_case(NAME));
    if let Some(digit) = found.and_then(|start| response.get_mut(start + NAME.len())) {
        *digit = if *digit == b'0' { b'1' } else { b'0' };
    }
}

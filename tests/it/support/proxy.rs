//! A TCP proxy before PostgreSQL or a store that fails as networks and servers do.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// How it fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Not at all.
    None,
    /// Connections end at once, also those that are there.
    Away,
    /// Each connection ends after so many bytes of answers.
    Cut(usize),
    /// Every `ETag` in an answer to a request of this method is another one.
    WrongEtag(&'static str),
    /// Answers to requests that contain this are lost, though the requests arrive.
    AnswersLost(&'static str),
    /// The next request that contains this is handed on, but not its answer; its connection ends. Then
    /// nothing fails.
    AnswerLost(&'static str),
    /// This becomes something else in what is asked.
    AskedAltered(&'static str),
    /// This becomes something else in what is answered.
    AnsweredAltered(&'static str),
    /// The next request that contains this is not handed on; its connection ends. Then nothing fails.
    RequestLost(&'static str),
    /// Requests that need this right are refused, as by the rules of a bucket.
    Denied(Right),
    /// Requests whose first lines contain this are refused.
    Refused(&'static str),
    /// Every request is refused for its time.
    Skewed,
    /// So many requests are told to slow down. Then nothing fails.
    Slow(u32),
    /// Nothing is handed on or answered; the connections end with the fault.
    Silent,
    /// The next request that contains this is handed on twice, and the second answer is heard. Then nothing
    /// fails.
    Doubled(&'static str),
    /// The first PUT of an original is kept until [`Proxy::deliver`], the others are lost; the connections of
    /// all of them end.
    Late,
}

/// What a request wants of a store.
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

/// A proxy that lives as long as the test.
pub(crate) struct Proxy {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    state: Arc<State>,
    cut: watch::Sender<()>,
    _task: JoinSet<()>,
}

struct State {
    server: String,
    fault: Mutex<Fault>,
    /// The request that is late.
    late: Mutex<Option<Vec<u8>>>,
}

impl Proxy {
    /// Starts a proxy before the server at `server`, as `host:port`.
    pub(crate) async fn before(server: String) -> Self {
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
                if *state.fault.lock().unwrap() == Fault::Away {
                    open.spawn(async move {
                        // What was sent and is not read makes its end a reset.
                        let _ = client.peek(&mut [0]).await;
                    });
                    continue;
                }
                let server = TcpStream::connect(&state.server).await.unwrap();
                open.spawn(async move {
                    tokio::select! {
                        // A connection that ends is what a test wants to see.
                        _ = carry(client, server, &state) => {}
                        _ = ended.changed() => {}
                    }
                });
            }
        });
        Self { address, state, cut, _task: task }
    }

    /// From now on it fails so, also on connections that are there.
    pub(crate) fn fails(&self, fault: Fault) {
        let before = std::mem::replace(&mut *self.state.fault.lock().unwrap(), fault);
        if fault == Fault::Away || before == Fault::Silent {
            // Nobody may be connected.
            let _ = self.cut.send(());
        }
    }

    /// Whether a fault that comes once has come.
    pub(crate) fn has_failed(&self) -> bool {
        *self.state.fault.lock().unwrap() == Fault::None
    }

    /// Hands on what was late and returns the first line of its answer.
    pub(crate) async fn deliver(&self) -> String {
        let late = self.state.late.lock().unwrap().take().unwrap();
        let answer = ask(&self.state.server, &late).await.unwrap();
        String::from_utf8_lossy(&answer).lines().next().unwrap_or_default().to_owned()
    }
}

/// Makes a request on a connection of its own and waits for the beginning of its answer.
async fn ask(server: &str, request: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut server = TcpStream::connect(server).await?;
    server.write_all(request).await?;
    let mut answer = vec![0; 64 << 10];
    let read = server.read(&mut answer).await?;
    answer.truncate(read);
    Ok(answer)
}

/// The request that arrives on a connection, as far as it must be understood.
#[derive(Default)]
struct Asking {
    method: String,
    /// Bytes of its body that are still to come.
    left: usize,
    /// What it is answered, instead of being handed on.
    refusal: Option<Vec<u8>>,
    /// Whether it is handed on only when it is whole.
    is_held: bool,
    /// What has come of it until then.
    held: Vec<u8>,
}

impl Asking {
    /// Takes the next bytes. Whatever has no head of HTTP is one request after the other.
    fn take(&mut self, fault: &Mutex<Fault>, bytes: &[u8]) {
        let mut body = bytes.len();
        if self.left == 0 {
            let end = bytes.windows(4).position(|window| window == b"\r\n\r\n");
            let head = String::from_utf8_lossy(&bytes[..end.unwrap_or(0)]).into_owned();
            let length = head.lines().find_map(|line| {
                let (name, length) = line.split_once(": ")?;
                name.eq_ignore_ascii_case("content-length").then(|| length.parse().ok())?
            });
            head.split(' ').next().unwrap_or_default().clone_into(&mut self.method);
            self.left = length.unwrap_or(0);
            self.refusal = refusal(fault, &head);
            let fault = *fault.lock().unwrap();
            self.is_held = fault == Fault::Late || matches!(fault, Fault::Doubled(_));
            body = end.map_or(0, |end| bytes.len() - end - 4);
        }
        self.left = self.left.saturating_sub(body);
    }
}

/// What a request is answered instead of being handed on, if so.
fn refusal(fault: &Mutex<Fault>, head: &str) -> Option<Vec<u8>> {
    let mut fault = fault.lock().unwrap();
    let (status, code) = match *fault {
        Fault::Denied(right) if Right::of(head) == Some(right) => ("403 Forbidden", "AccessDenied"),
        Fault::Refused(mark) if head.contains(mark) => ("403 Forbidden", "AccessDenied"),
        Fault::Skewed => ("403 Forbidden", "RequestTimeTooSkewed"),
        Fault::Slow(left) => {
            *fault = if left > 1 { Fault::Slow(left - 1) } else { Fault::None };
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

/// What is to become of a request, or of a part of one.
enum Request {
    Passed,
    Lost,
    WithoutAnswer,
}

fn fate(fault: &Mutex<Fault>, asked: &[u8]) -> Request {
    let has = |mark: &str| asked.windows(mark.len()).any(|window| window == mark.as_bytes());
    let mut fault = fault.lock().unwrap();
    match *fault {
        Fault::AnswersLost(mark) if has(mark) => Request::WithoutAnswer,
        Fault::AnswerLost(mark) if has(mark) => {
            *fault = Fault::None;
            Request::WithoutAnswer
        }
        Fault::RequestLost(mark) if has(mark) => {
            *fault = Fault::None;
            Request::Lost
        }
        _ => Request::Passed,
    }
}

/// Hands a request on, or a part of one; false when its connection ends instead.
async fn hand_on(
    asking: &mut Asking,
    state: &State,
    server: &mut TcpStream,
    bytes: &[u8],
) -> std::io::Result<bool> {
    if !asking.is_held {
        server.write_all(bytes).await?;
        return Ok(true);
    }
    asking.held.extend_from_slice(bytes);
    if asking.left > 0 {
        return Ok(true);
    }
    let whole = std::mem::take(&mut asking.held);
    let has = |mark: &str| whole.windows(mark.len()).any(|window| window == mark.as_bytes());
    let fault = *state.fault.lock().unwrap();
    if fault == Fault::Late && asking.method == "PUT" && has("/blobs/") {
        state.late.lock().unwrap().get_or_insert(whole);
        return Ok(false);
    }
    if let Fault::Doubled(mark) = fault
        && has(mark)
    {
        *state.fault.lock().unwrap() = Fault::None;
        ask(&state.server, &whole).await?;
    }
    server.write_all(&whole).await?;
    Ok(true)
}

async fn carry(mut client: TcpStream, mut server: TcpStream, state: &State) -> std::io::Result<()> {
    let fault = &state.fault;
    let (mut asked, mut answered) = (vec![0; 64 << 10], vec![0; 64 << 10]);
    let (mut answered_bytes, mut is_lost, mut asking) = (0, false, Asking::default());
    loop {
        tokio::select! {
            read = client.read(&mut asked) => {
                let read = read?;
                if read == 0 {
                    return Ok(());
                }
                if *fault.lock().unwrap() == Fault::Silent {
                    std::future::pending::<()>().await;
                }
                asking.take(fault, &asked[..read]);
                if let Some(refusal) = &asking.refusal {
                    if asking.left == 0 {
                        client.write_all(refusal).await?;
                    }
                    continue;
                }
                match fate(fault, &asked[..read]) {
                    Request::Passed => {}
                    Request::Lost => return Ok(()),
                    Request::WithoutAnswer => is_lost = true,
                }
                if let Fault::AskedAltered(mark) = *fault.lock().unwrap() {
                    alter(&mut asked[..read], mark);
                }
                if !hand_on(&mut asking, state, &mut server, &asked[..read]).await? {
                    return Ok(());
                }
            }
            read = server.read(&mut answered) => {
                let mut read = read?;
                // The answer comes when the work is done; nobody hears of it.
                if read == 0 || is_lost {
                    return Ok(());
                }
                let fault = *fault.lock().unwrap();
                if let Fault::Cut(most) = fault {
                    read = read.min(most.saturating_sub(answered_bytes));
                }
                if let Fault::WrongEtag(method) = fault
                    && method == asking.method
                {
                    falsify_etag(&mut answered[..read]);
                }
                if let Fault::AnsweredAltered(mark) = fault {
                    alter(&mut answered[..read], mark);
                }
                answered_bytes += read;
                client.write_all(&answered[..read]).await?;
                if fault == Fault::Cut(answered_bytes) {
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

fn falsify_etag(answer: &mut [u8]) {
    const NAME: &[u8] = b"etag: \"";
    let found = answer.windows(NAME.len()).position(|window| window.eq_ignore_ascii_case(NAME));
    if let Some(digit) = found.and_then(|start| answer.get_mut(start + NAME.len())) {
        *digit = if *digit == b'0' { b'1' } else { b'0' };
    }
}

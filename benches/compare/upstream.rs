//! The service behind the peers, without cryptography so that the proxy is what is measured. On 443 it swallows the TLS
//! records of the ClientHello and then runs commands of nine bytes, a letter and a big-endian number:
//!
//! `E n` echo the next n bytes · `D n` send n bytes · `U n` take n bytes · `V` send length and CRC32C of the hello · `C` close
//!
//! On 80 it answers HTTP/1.x requests with 256 bytes of body, and those for [`LARGE`] with more than any run reads.

use std::cell::RefCell;
use std::io::{ErrorKind, Result};
use std::net::Ipv4Addr;
use std::thread;

use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::runtime;

use crate::preface::HANDSHAKE;

/// An address that VPC Lattice uses.
pub const PLAIN: Ipv4Addr = Ipv4Addr::new(169, 254, 171, 10);
/// Its neighbour, where `tls.rs` listens.
pub const TLS: Ipv4Addr = Ipv4Addr::new(169, 254, 171, 11);

/// The path of a body of a tebibyte.
pub const LARGE: &str = "/large";

const SCRATCH: usize = 256 * 1024;
const SERVER_RESPONSE: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 256\r\n";

thread_local! {
    /// One buffer for all connections of the thread, so that 9 000 idle ones own none.
    pub static BUFFER: RefCell<Vec<u8>> = RefCell::new(vec![0; SCRATCH]);
}
static ZEROES: [u8; SCRATCH] = [0; SCRATCH];

/// Binds both ports and starts the thread that serves them, and the one for TLS.
pub fn start() -> anyhow::Result<()> {
    let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
    let (commands, http, tls) = {
        let _inside = runtime.enter();
        (listen(PLAIN, 443)?, listen(PLAIN, 80)?, listen(TLS, 443)?)
    };
    let acceptor = crate::tls::acceptor()?;
    thread::Builder::new().name("upstream".into()).spawn(move || {
        runtime.block_on(async {
            tokio::join!(
                accept(commands, serve_commands),
                accept(http, serve_http),
                accept(tls, move |stream| crate::tls::serve(acceptor.clone(), stream)),
            )
        })
    })?;
    Ok(())
}

fn listen(address: Ipv4Addr, port: u16) -> Result<TcpListener> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind((address, port).into())?;
    socket.listen(4096)
}

async fn accept<Served, Serving>(listener: TcpListener, serve: Served)
where
    Served: Fn(TcpStream) -> Serving,
    Serving: Future<Output = Result<()>> + Send + 'static,
{
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let _ = stream.set_nodelay(true);
        // A peer that was stopped resets its connections; that is no news.
        tokio::spawn(serve(stream));
    }
}

async fn serve_commands(mut stream: TcpStream) -> Result<()> {
    let mut session = Session::new();
    loop {
        let Some(step) = receive(&stream, |bytes| session.take(bytes)).await? else { return Ok(()) };
        if !step.reply.is_empty() {
            stream.write_all(&step.reply).await?;
        }
        let mut left = step.download;
        while left > 0 {
            let length = usize::try_from(left).unwrap_or(SCRATCH).min(SCRATCH);
            stream.write_all(&ZEROES[..length]).await?;
            left -= length as u64;
        }
        if step.close {
            return Ok(());
        }
    }
}

async fn serve_http(mut stream: TcpStream) -> Result<()> {
    let mut head = Vec::new();
    while receive(&stream, |bytes| head.extend_from_slice(bytes)).await?.is_some() {
        while let Some(end) = head.windows(4).position(|window| window == b"\r\n\r\n") {
            let request = String::from_utf8_lossy(&head[..end]).to_ascii_lowercase();
            if request.starts_with("get /large ") {
                return serve_large(stream).await;
            }
            let last = request.contains("connection: close") || request.contains(" http/1.0\r\n");
            let mut response = SERVER_RESPONSE.to_vec();
            response.extend_from_slice(if last { b"Connection: close\r\n\r\n" } else { b"\r\n" });
            response.extend_from_slice(&[b' '; 256]);
            stream.write_all(&response).await?;
            if last {
                return Ok(());
            }
            head.drain(..end + 4);
        }
    }
    Ok(())
}

async fn serve_large(mut stream: TcpStream) -> Result<()> {
    stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1099511627776\r\n\r\n").await?;
    loop {
        stream.write_all(&ZEROES).await?;
    }
}

/// Waits for bytes and hands them over in the shared buffer; `None` at the end of the stream.
pub async fn receive<T>(stream: &TcpStream, mut take: impl FnMut(&[u8]) -> T) -> Result<Option<T>> {
    loop {
        stream.readable().await?;
        let read = BUFFER.with_borrow_mut(|buffer| {
            let length = stream.try_read(buffer)?;
            Ok((length > 0).then(|| take(&buffer[..length])))
        });
        match read {
            Err(error) if ErrorKind::WouldBlock == std::io::Error::kind(&error) => {}
            other => return other,
        }
    }
}

/// Where one connection stands in its dialogue.
struct Session {
    expect: Expect,
    /// The part of a record header or command that has arrived.
    partial: Vec<u8>,
    hello_length: u32,
    hello_checksum: u32,
}

enum Expect {
    RecordHeader,
    Record(u64),
    Command,
    Echo(u64),
    Upload(u64),
}

/// What the bytes of one read call for.
#[derive(Default)]
struct Step {
    reply: Vec<u8>,
    /// To be sent after `reply`.
    download: u64,
    close: bool,
}

impl Session {
    fn new() -> Self {
        Self { expect: Expect::RecordHeader, partial: Vec::new(), hello_length: 0, hello_checksum: 0 }
    }

    fn take(&mut self, mut bytes: &[u8]) -> Step {
        let mut step = Step::default();
        while !bytes.is_empty() {
            match &mut self.expect {
                Expect::Record(left) | Expect::Echo(left) | Expect::Upload(left) => {
                    let (now, later) = bytes.split_at(bytes.len().min(usize::try_from(*left).unwrap_or(usize::MAX)));
                    *left -= now.len() as u64;
                    let done = *left == 0;
                    match self.expect {
                        Expect::Record(_) => self.note_hello(now),
                        Expect::Echo(_) => step.reply.extend_from_slice(now),
                        Expect::Upload(_) if done => step.reply.push(b'U'),
                        _ => {}
                    }
                    if done {
                        self.expect = Expect::Command;
                    }
                    bytes = later;
                }
                Expect::RecordHeader => {
                    bytes = self.fill(5, bytes);
                    if let [_, _, _, high, low] = self.partial[..] {
                        let header = std::mem::take(&mut self.partial);
                        self.note_hello(&header);
                        self.expect = Expect::Record(u64::from(u16::from_be_bytes([high, low])));
                    }
                }
                // The hello has one more record: no command is such a letter.
                Expect::Command if self.partial.is_empty() && bytes.first() == Some(&HANDSHAKE) => {
                    self.expect = Expect::RecordHeader;
                }
                Expect::Command => {
                    bytes = self.fill(9, bytes);
                    if let [letter, number @ ..] = &self.partial[..]
                        && let Ok(number) = <[u8; 8]>::try_from(number)
                    {
                        let (letter, number) = (*letter, u64::from_be_bytes(number));
                        self.partial.clear();
                        self.run(letter, number, &mut step);
                    }
                }
            }
        }
        step
    }

    fn run(&mut self, letter: u8, number: u64, step: &mut Step) {
        match letter {
            b'E' => self.expect = Expect::Echo(number),
            b'U' => self.expect = Expect::Upload(number),
            b'D' if number <= 65_536 => step.reply.resize(step.reply.len() + number as usize, 0),
            b'D' => step.download += number,
            b'V' => {
                step.reply.extend_from_slice(&self.hello_length.to_be_bytes());
                step.reply.extend_from_slice(&self.hello_checksum.to_be_bytes());
            }
            _ => step.close = true,
        }
    }

    fn note_hello(&mut self, bytes: &[u8]) {
        self.hello_length += bytes.len() as u32;
        self.hello_checksum = crc32c::crc32c_append(self.hello_checksum, bytes);
    }

    /// Completes `partial` up to `length` bytes and returns the rest.
    fn fill<'a>(&mut self, length: usize, bytes: &'a [u8]) -> &'a [u8] {
        let (now, later) = bytes.split_at(bytes.len().min(length - self.partial.len()));
        self.partial.extend_from_slice(now);
        later
    }
}

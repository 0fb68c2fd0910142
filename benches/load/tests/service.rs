//! Services on loopback that answer as a test says, and count what came.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

pub(crate) const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// Hands each connection to a function in a thread of its own.
pub(crate) fn serve(connection: impl Fn(TcpStream) + Clone + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let connection = connection.clone();
            thread::spawn(move || connection(stream.unwrap()));
        }
    });
    address
}

/// Gives every request this answer; the heads that came can be read afterwards.
pub(crate) fn answering(answer: &'static str) -> (SocketAddr, Receiver<String>) {
    let (sender, heads) = channel();
    let address = serve(move |mut stream| {
        while let Some(head) = head(&stream) {
            // The test may be over.
            let _ = sender.send(head);
            stream.write_all(answer.as_bytes()).unwrap();
        }
    });
    (address, heads)
}

/// The next request's head, nothing at the end. Requests have no body, and the next one comes after the answer.
pub(crate) fn head(stream: &TcpStream) -> Option<String> {
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let mut head = String::new();
    let mut reader = BufReader::new(stream);
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head).unwrap_or(0) == 0 {
            return None;
        }
    }
    Some(head)
}

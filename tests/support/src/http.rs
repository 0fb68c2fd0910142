//! One HTTP request, and a server that gives one answer to all.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::thread;

use crate::peer::Peer;
use crate::until;

/// Status and body of a GET.
pub fn get(address: SocketAddr, path: &str) -> (u16, String) {
    request(address, b"", path, "")
}

/// The same, with bytes before the request.
pub fn get_after(address: SocketAddr, before: &[u8], path: &str) -> (u16, String) {
    request(address, before, path, "")
}

/// The same, with lines of its head.
pub fn get_with(address: SocketAddr, path: &str, fields: &str) -> (u16, String) {
    request(address, b"", path, fields)
}

fn request(address: SocketAddr, before: &[u8], path: &str, fields: &str) -> (u16, String) {
    let mut peer = Peer::connect(address);
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\n{fields}Connection: close\r\n\r\n");
    peer.stream.write_all(&[before, request.as_bytes()].concat()).unwrap();
    let mut response = String::new();
    peer.stream.read_to_string(&mut response).unwrap();
    let (head, body) = response.split_once("\r\n\r\n").expect("a response");
    assert!(!head.to_ascii_lowercase().contains("transfer-encoding"), "{head}");
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

/// Waits until the health port at this address says that the program is ready.
#[track_caller]
pub fn until_ready(health: SocketAddr) {
    until("ready", || get(health, "/readyz").0 == 200);
}

/// Answers each request with this response until the test ends. Returns the URL of an access list there.
pub fn serve(response: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/ipcontrol.yaml", listener.local_addr().unwrap());
    thread::spawn(move || {
        for mut client in listener.incoming().flatten() {
            let _ = client.read(&mut [0; 4096]);
            let _ = client.write_all(response.as_bytes());
        }
    });
    url
}

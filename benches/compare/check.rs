//! Proof that a peer does the work before it is measured: the hello arrives unchanged, bytes go both ways unchanged, a refused
//! client and an unknown name get nothing, port 80 answers.

use std::io::{Error, ErrorKind};

use anyhow::{Context, Result, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::client::{Target, command, drain, open, open_tunnel, skip};
use crate::peers::Role;
use crate::preface::{ALLOWED_CLIENT, DENIED_NAME, Hello, REFUSED_CLIENT, Shape, known_name, unknown_name};
use crate::tls;

const ECHOED: usize = 300_000;
const MOVED: usize = 5_000_000;

/// One exchange works. Used to wait for a peer's start.
pub async fn relays(target: Target, role: Role) -> Result<()> {
    let hello = Hello::of(Shape::Classic)?.with_name(&known_name(0));
    let commands = [hello, command(b'D', 8).to_vec()].concat();
    let mut stream = match role {
        Role::Ingress => open(target.tls, &[target.header(1), commands].concat()).await?,
        Role::Egress => {
            let mut stream = open_tunnel(&target, &target.header(1), &known_name(0)).await?;
            stream.write_all(&commands).await?;
            stream
        }
    };
    let mut answer = [0; 8];
    stream.read_exact(&mut answer).await?;
    Ok(())
}

pub async fn all(target: Target, role: Role) -> Result<()> {
    if role == Role::Egress {
        return explicit(target).await;
    }
    for hello in [Hello::of(Shape::Classic)?, Hello::of(Shape::PostQuantum)?] {
        let stream = hello_arrives(target, &hello.with_name(&known_name(7))).await.context("the hello")?;
        echoes(stream).await.context("echo")?;
    }
    moves(target).await.context("bulk")?;
    answers_http(target).await.context("HTTP")?;
    let stream = open(target.real_tls, &target.header(1)).await?;
    tls::exchange(&tls::connector()?, stream).await.context("TLS end to end")?;
    if target.proxied {
        let hello = Hello::of(Shape::Classic)?.with_name(&known_name(0));
        gets_nothing(target, [target.header_from(REFUSED_CLIENT, 1), hello].concat())
            .await
            .context("a refused client")?;
        let hello = Hello::of(Shape::Classic)?.with_name(&unknown_name(0));
        gets_nothing(target, [target.header(1), hello].concat()).await.context("an unknown name")?;
    }
    Ok(())
}

/// An explicit proxy: tunnels, requests, and refusals of a client and of a name.
async fn explicit(target: Target) -> Result<()> {
    let header = || target.header(1);
    let hello = Hello::of(Shape::PostQuantum)?.with_name(&known_name(7));
    let mut stream = open_tunnel(&target, &header(), &known_name(7)).await.context("the tunnel")?;
    stream.write_all(&[&hello, &command(b'V', 0)[..]].concat()).await?;
    echoes(unchanged(stream, &hello).await.context("the hello")?).await.context("echo")?;
    let request = format!("GET http://{0}/ HTTP/1.1\r\nHost: {0}\r\nConnection: close\r\n\r\n", known_name(0));
    answers(open(target.forward, &[header(), request.into_bytes()].concat()).await?).await.context("a request")?;
    for (client, name) in [(REFUSED_CLIENT, &*known_name(0)), (ALLOWED_CLIENT, DENIED_NAME)] {
        let refused = open_tunnel(&target, &target.header_from(client, 1), name).await;
        ensure!(
            refused.is_err_and(|error| error.kind() == ErrorKind::PermissionDenied),
            "no 403 for {client} to {name}"
        );
    }
    Ok(())
}

/// A hello of this shape arrives, too.
pub async fn relays_hello(target: Target, shape: Shape) -> Result<()> {
    hello_arrives(target, &Hello::of(shape)?.with_name(&known_name(7))).await.map(drop)
}

async fn hello_arrives(target: Target, hello: &[u8]) -> Result<TcpStream> {
    let first = [&target.header(1), hello, &command(b'V', 0)].concat();
    // In three segments with the cuts inside the hello, unlike the workloads. nginx and HAProxy need the PROXY header whole.
    let header = first.len() - hello.len() - 9;
    let (start, rest) = first.split_at(header + 3);
    let (middle, end) = rest.split_at(hello.len() / 2);
    let mut stream = open(target.tls, start).await?;
    for part in [middle, end] {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        stream.write_all(part).await?;
    }
    unchanged(stream, hello).await
}

/// The upstream has seen the hello as it was sent.
async fn unchanged(mut stream: TcpStream, hello: &[u8]) -> Result<TcpStream> {
    let (length, checksum) = (stream.read_u32().await?, stream.read_u32().await?);
    ensure!(length as usize == hello.len(), "{length} bytes of a hello of {} arrived", hello.len());
    ensure!(checksum == crc32c::crc32c(hello), "the hello was changed");
    Ok(stream)
}

async fn echoes(stream: TcpStream) -> Result<()> {
    let (mut reader, mut writer) = stream.into_split();
    let sent: Vec<u8> = (0..ECHOED).map(|at| (at * 7 % 251) as u8).collect();
    let message = [&command(b'E', ECHOED as u64)[..], &sent].concat();
    let write = async move { writer.write_all(&message).await.map(|()| writer) };
    let mut received = vec![0; ECHOED];
    let (written, read) = tokio::join!(write, reader.read_exact(&mut received));
    written?;
    read?;
    ensure!(received == sent, "the echo differs");
    Ok(())
}

async fn moves(target: Target) -> Result<()> {
    let hello = Hello::of(Shape::Classic)?.with_name(&known_name(0));
    let mut stream = open(target.tls, &[target.header(1), hello].concat()).await?;
    stream.write_all(&command(b'U', MOVED as u64)).await?;
    stream.write_all(&vec![0; MOVED]).await?;
    ensure!(stream.read_u8().await? == b'U', "the upload was not acknowledged");
    stream.write_all(&command(b'D', MOVED as u64)).await?;
    skip(&stream, MOVED).await?;
    stream.write_all(&command(b'C', 0)).await?;
    ensure!(drain(&stream).await? == 0, "bytes after the download");
    Ok(())
}

async fn answers_http(target: Target) -> Result<()> {
    let request = format!("GET / HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", known_name(0));
    answers(open(target.http, &[target.header(1), request.into_bytes()].concat()).await?).await
}

async fn answers(mut stream: TcpStream) -> Result<()> {
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    ensure!(answer.starts_with(b"HTTP/1.1 200 "), "no 200: {:?}", String::from_utf8_lossy(&answer));
    ensure!(answer.ends_with(&[b' '; 256]), "the body is cut");
    Ok(())
}

async fn gets_nothing(target: Target, first: Vec<u8>) -> Result<()> {
    let answered = async {
        let stream = open(target.tls, &first).await?;
        drain(&stream).await
    };
    match tokio::time::timeout(std::time::Duration::from_secs(15), answered).await {
        Ok(Ok(bytes)) if bytes <= 7 => Ok(()),
        Ok(Ok(bytes)) => Err(Error::other(format!("{bytes} bytes of answer")).into()),
        Ok(Err(error)) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        Ok(Err(error)) => Err(error.into()),
        Err(_) => anyhow::bail!("no end after 15 seconds"),
    }
}

//! The one run with real cryptography end to end: a TLS 1.3 service with a certificate made on the spot, and its client.

use std::io::{Error, Result};
use std::sync::Arc;

use anyhow::Context;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio_rustls::{TlsAcceptor, TlsConnector};

/// The DNS server leads every name that begins with `t` to the TLS service.
pub const NAME: &str = "tls.orders.lattice.example";
const MESSAGE: usize = 1024;

struct Identity {
    certificate: CertificateDer<'static>,
    key: PrivateKeyDer<'static>,
}

/// The certificate is the same for both sides of this process.
fn identity() -> anyhow::Result<&'static Identity> {
    static MADE: std::sync::OnceLock<Option<Identity>> = std::sync::OnceLock::new();
    let make = || {
        let made = rcgen::generate_simple_self_signed(vec![NAME.to_owned()]).ok()?;
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).ok()?;
        Some(Identity { certificate: made.cert.der().clone(), key })
    };
    MADE.get_or_init(make).as_ref().context("making the certificate")
}

pub fn acceptor() -> anyhow::Result<TlsAcceptor> {
    let identity = identity()?;
    let config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![identity.certificate.clone()], identity.key.clone_key())?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

pub fn connector() -> anyhow::Result<TlsConnector> {
    let mut roots = RootCertStore::empty();
    roots.add(identity()?.certificate.clone())?;
    let mut config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    // Every connection is a full handshake.
    config.resumption = tokio_rustls::rustls::client::Resumption::disabled();
    Ok(TlsConnector::from(Arc::new(config)))
}

pub async fn serve(acceptor: TlsAcceptor, stream: TcpStream) -> Result<()> {
    let mut stream = acceptor.accept(stream).await?;
    let mut message = [0; MESSAGE];
    while stream.read_exact(&mut message).await.is_ok() {
        stream.write_all(&message).await?;
    }
    stream.shutdown().await
}

/// One handshake and one exchange over a connection on which the PROXY header has been sent.
pub async fn exchange(connector: &TlsConnector, stream: TcpStream) -> Result<()> {
    let name = ServerName::try_from(NAME).map_err(Error::other)?;
    let mut stream = connector.connect(name, stream).await?;
    let mut message = [b'x'; MESSAGE];
    stream.write_all(&message).await?;
    stream.read_exact(&mut message).await?;
    stream.shutdown().await
}

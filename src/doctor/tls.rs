//! Whether a service completes a TLS handshake, and with which certificate. It is reported and not trusted: nothing is
//! sent afterwards.

use std::net::SocketAddr;

use tokio::net::TcpStream;

use super::Finding;
use latticegate_core::hostname::Hostname;

const CHECK: &str = "tls";

#[cfg(not(feature = "tls"))]
pub(super) async fn examine(about: &str, _: &Hostname, _: TcpStream, _: SocketAddr) -> Finding {
    let help = "build it with `--features tls`; the image has it";
    Finding::warn(CHECK, about, "no handshake was made: this build has no TLS library", help)
}

#[cfg(feature = "tls")]
pub(super) use self::with_rustls::examine;

#[cfg(feature = "tls")]
mod with_rustls {
    use std::io;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::sync::{Arc, OnceLock};
    use std::time::{Duration, SystemTime};

    use rustls::client::ResolvesClientCert;
    use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
    use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
    use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
    use rustls::sign::CertifiedKey;
    use rustls::{ClientConfig, DigitallySignedStruct, Error, ProtocolVersion, SignatureScheme};
    use tokio_rustls::TlsConnector;

    use super::super::{certificate, within};
    use super::{CHECK, Finding, Hostname, SocketAddr, TcpStream};

    /// For the whole handshake.
    const PATIENCE: Duration = Duration::from_secs(5);

    pub(in super::super) async fn examine(
        about: &str,
        name: &Hostname,
        stream: TcpStream,
        address: SocketAddr,
    ) -> Finding {
        let observer = Arc::new(Observer::default());
        let shaken = match within(PATIENCE, handshake(name, stream, &observer)).await {
            Some(shaken) => shaken,
            None => Err(io::Error::other(format!("not complete within {} s", PATIENCE.as_secs()))),
        };
        let asks = observer.asks.load(Ordering::Relaxed);
        let (version, shown) = match (shaken, observer.certificate.get()) {
            (Ok(version), Some(shown)) => (version, shown),
            // It wants to know who the client is, and is right to end here.
            (Err(_), Some(shown)) if asks => ("TLS", shown),
            (shaken, _) => {
                let why = shaken.err().map_or_else(|| "no certificate".to_owned(), |error| error.to_string());
                let help = "does the service speak TLS on this port, and does it know this name? openssl s_client -connect \
                            ADDRESS -servername NAME shows the handshake";
                return Finding::fail(CHECK, about, format!("handshake with {address}: {why}"), help);
            }
        };
        let asks = if asks { "; it asks for a client certificate" } else { "" };
        certificate::judge(about, &format!("{version}{asks}"), shown, name, SystemTime::now())
    }

    async fn handshake(name: &Hostname, stream: TcpStream, observer: &Arc<Observer>) -> io::Result<&'static str> {
        let server = ServerName::try_from(name.as_str().to_owned()).map_err(io::Error::other)?;
        let (verifier, resolver): (Arc<dyn ServerCertVerifier>, Arc<dyn ResolvesClientCert>) =
            (observer.clone(), observer.clone());
        let config = ClientConfig::builder_with_provider(Arc::clone(&observer.provider))
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_client_cert_resolver(resolver);
        let connected = TlsConnector::from(Arc::new(config)).connect(server, stream).await?;
        Ok(match connected.get_ref().1.protocol_version() {
            Some(ProtocolVersion::TLSv1_3) => "TLS 1.3",
            Some(ProtocolVersion::TLSv1_2) => "TLS 1.2",
            _ => "TLS",
        })
    }

    /// Sees the server's certificate and whether it asks for one.
    #[derive(Debug)]
    struct Observer {
        provider: Arc<CryptoProvider>,
        certificate: OnceLock<CertificateDer<'static>>,
        asks: AtomicBool,
    }

    impl Default for Observer {
        fn default() -> Self {
            let provider = Arc::new(ring::default_provider());
            Self { provider, certificate: OnceLock::new(), asks: AtomicBool::new(false) }
        }
    }

    impl ServerCertVerifier for Observer {
        /// Any certificate will do: it is looked at afterwards, and nothing is sent to its owner.
        fn verify_server_cert(
            &self,
            shown: &CertificateDer<'_>,
            _: &[CertificateDer<'_>],
            _: &ServerName<'_>,
            _: &[u8],
            _: UnixTime,
        ) -> Result<ServerCertVerified, Error> {
            self.certificate.get_or_init(|| shown.clone().into_owned());
            Ok(ServerCertVerified::assertion())
        }

        fn verify_tls12_signature(
            &self,
            message: &[u8],
            shown: &CertificateDer<'_>,
            signed: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            verify_tls12_signature(message, shown, signed, &self.provider.signature_verification_algorithms)
        }

        fn verify_tls13_signature(
            &self,
            message: &[u8],
            shown: &CertificateDer<'_>,
            signed: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            verify_tls13_signature(message, shown, signed, &self.provider.signature_verification_algorithms)
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            self.provider.signature_verification_algorithms.supported_schemes()
        }
    }

    impl ResolvesClientCert for Observer {
        fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
            self.asks.store(true, Ordering::Relaxed);
            None
        }

        fn has_certs(&self) -> bool {
            false
        }
    }
}

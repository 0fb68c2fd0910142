//! The demo's certificate authority: made at each start, its key never leaves memory.

use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose,
};
use rustls::crypto::ring;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::ResolvesServerCertUsingSni;
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, RootCertStore, ServerConfig};

use super::Error;

const PART: &str = "the demo's certificates";

pub(super) struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub(super) fn new() -> Result<Self, Error> {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "latticegate demo authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().map_err(Error::of(PART))?;
        CertifiedIssuer::self_signed(params, key).map(Self).map_err(Error::of(PART))
    }

    /// The certificate for `curl --cacert`.
    pub(super) fn pem(&self) -> String {
        self.0.pem()
    }

    /// A TLS server with a certificate for each name, chosen by SNI.
    pub(super) fn server(&self, names: &[&str]) -> Result<ServerConfig, Error> {
        let mut resolver = ResolvesServerCertUsingSni::new();
        for name in names {
            resolver.add(name, self.issue(name)?).map_err(Error::of(PART))?;
        }
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(Error::of(PART))?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(resolver));
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(config)
    }

    /// A TLS client that trusts this authority only.
    pub(super) fn client(&self) -> Result<ClientConfig, Error> {
        let mut roots = RootCertStore::empty();
        roots.add(self.0.der().clone()).map_err(Error::of(PART))?;
        let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(Error::of(PART))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(config)
    }

    fn issue(&self, name: &str) -> Result<CertifiedKey, Error> {
        let mut params = CertificateParams::new([name.to_owned()]).map_err(Error::of(PART))?;
        params.distinguished_name.push(DnType::CommonName, name);
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let key = KeyPair::generate().map_err(Error::of(PART))?;
        let certificate = params.signed_by(&key, &self.0).map_err(Error::of(PART))?;
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let key = ring::sign::any_supported_type(&key).map_err(Error::of(PART))?;
        Ok(CertifiedKey::new(vec![certificate.der().clone()], key))
    }
}

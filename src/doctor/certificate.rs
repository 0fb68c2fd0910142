//! What a certificate says, and whether clients will accept it: the names, and from when to when. Who has signed it is
//! reported and not judged, as clients may trust whom they want.

use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use jiff::tz::TimeZone;
use rustls::client::verify_server_name;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::server::ParsedCertificate;
use x509_cert::Certificate;
use x509_cert::der::Decode;
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;

use super::Finding;
use latticegate_core::hostname::Hostname;

const CHECK: &str = "tls";
/// ACM has renewed by then, 60 days before the end at the latest; who renews by hand still has the time.
const SOON: Duration = Duration::from_hours(14 * 24);
/// Names of a certificate that are printed.
const MAX_NAMES: usize = 5;

pub(super) fn judge(
    about: &str,
    handshake: &str,
    shown: &CertificateDer<'_>,
    name: &Hostname,
    now: SystemTime,
) -> Finding {
    let (Ok(certificate), Ok(parsed)) = (Certificate::from_der(shown), ParsedCertificate::try_from(shown)) else {
        let help = "openssl s_client -connect ADDRESS -servername NAME -showcerts shows it";
        return Finding::fail(CHECK, about, format!("{handshake}; the certificate cannot be parsed"), help);
    };
    let content = certificate.tbs_certificate();
    let (from, until) = (content.validity().not_before.to_system_time(), content.validity().not_after.to_system_time());
    let names = names(&certificate);
    let issuer = content.issuer();
    let is_for = ServerName::try_from(name.as_str()).is_ok_and(|name| verify_server_name(&parsed, &name).is_ok());
    let text = format!("{handshake}; certificate for {names} until {}, issued by {issuer}", date(until));
    if !is_for {
        let help =
            "clients will refuse it: give the Lattice service this custom domain name and a certificate (ACM) for it";
        return Finding::fail(CHECK, about, format!("{text}: it is not for this name"), help);
    }
    if now > until {
        let help = "clients will refuse it: renew it; ACM renews by itself while the CNAME of its validation is there";
        return Finding::fail(CHECK, about, format!("{text}: it has expired"), help);
    }
    if now < from {
        let help = "clients will refuse it: is the clock right here, and where it was issued?";
        return Finding::fail(CHECK, about, format!("{text}: it is not valid before {}", date(from)), help);
    }
    if until.duration_since(now).is_ok_and(|left| left < SOON) {
        let help = "renew it; ACM renews by itself while the CNAME of its validation is there";
        return Finding::warn(CHECK, about, format!("{text}: soon"), help);
    }
    Finding::pass(CHECK, about, text)
}

/// DNS names only: clients ask for nothing else.
fn names(certificate: &Certificate) -> String {
    let alternative = certificate.tbs_certificate().get_extension::<SubjectAltName>();
    let alternative = alternative.ok().flatten().map(|(_, names)| names.0).unwrap_or_default();
    let names: Vec<&str> = alternative
        .iter()
        .filter_map(|name| match name {
            GeneralName::DnsName(name) => Some(name.as_str()),
            _ => None,
        })
        .collect();
    let shown = names.iter().take(MAX_NAMES).copied().collect::<Vec<_>>().join(" ");
    match names.len() {
        0 => "no name".to_owned(),
        1..=MAX_NAMES => shown,
        all => format!("{shown} and {} more", all - MAX_NAMES),
    }
}

fn date(time: SystemTime) -> String {
    let timestamp = Timestamp::try_from(time);
    timestamp.map_or_else(|_| "an unknown date".to_owned(), |at| at.to_zoned(TimeZone::UTC).date().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Grade;

    #[test]
    fn what_is_no_certificate_fails() {
        let name = Hostname::parse(b"orders.example.com").unwrap();
        let finding = judge("a", "TLS 1.3", &CertificateDer::from(vec![0x30, 0]), &name, SystemTime::now());
        assert!(finding.grade == Grade::Fail && finding.text.contains("cannot be parsed"), "{finding}");
    }

    #[test]
    fn of_many_names_some_are_printed() {
        let names: Vec<String> = (0..8).map(|number| format!("n{number}.example.com")).collect();
        let params = rcgen::CertificateParams::new(names).unwrap();
        let shown = params.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap();
        let name = Hostname::parse(b"n7.example.com").unwrap();
        let finding = judge("a", "TLS 1.3", shown.der(), &name, SystemTime::now());
        assert!(
            finding.text.contains(
                "for n0.example.com n1.example.com n2.example.com n3.example.com n4.example.com and 3 more until"
            ),
            "{finding}"
        );
        assert_eq!(finding.grade, Grade::Pass, "{finding}");
    }
}

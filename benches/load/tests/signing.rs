//! Signatures, and where the credentials come from. VPC Lattice's own check is played by botocore in `tests/lab`.

use std::collections::BTreeMap;
use std::io::Write;
use std::time::{Duration, UNIX_EPOCH};

use aws_credential_types::Credentials;
use latticegate_load::signing::Signer;

use crate::arguments;
use crate::service::{OK, answering, head, serve};

const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";

/// The signatures are botocore 1's, of the same request, credentials and time.
#[test]
fn the_signature_is_botocores() {
    let scope = "Credential=AKIDEXAMPLE/20261121/us-west-2/vpc-lattice-svcs/aws4_request";
    for (token, signed, signature) in [
        (
            None,
            "host;x-amz-content-sha256;x-amz-date",
            "79625154d62d65de633d9c19fbb64b968f35806e4f0ad14a638e5c9ec6cf3f45",
        ),
        (
            Some("session/token=="),
            "host;x-amz-content-sha256;x-amz-date;x-amz-security-token",
            "c1e188f4c66588171afe7cddb363041cffbbfb3e5dfc2303d40fbd72a22ca975",
        ),
    ] {
        let credentials = Credentials::new("AKIDEXAMPLE", SECRET, token.map(str::to_owned), None, "test");
        let signer = Signer::new("vpc-lattice-svcs", "us-west-2", credentials);
        // 2026-11-21 10:15:00
        let time = UNIX_EPOCH + Duration::from_secs(1_795_256_100);
        let fields = signer.fields("https://orders.example.com/invoices/a%20b?month=11&q=x%20y", time).unwrap();
        let fields: BTreeMap<&str, &str> = fields.iter().map(|(name, value)| (&**name, &**value)).collect();
        assert_eq!(fields["x-amz-date"], "20261121T101500Z");
        assert_eq!(fields["x-amz-content-sha256"], "UNSIGNED-PAYLOAD");
        assert_eq!(fields.get("x-amz-security-token").copied(), token);
        assert_eq!(
            fields["authorization"],
            format!("AWS4-HMAC-SHA256 {scope}, SignedHeaders={signed}, Signature={signature}")
        );
    }
}

#[test]
fn a_task_signs_with_its_roles_credentials() {
    let endpoint = serve(|mut stream| {
        let Some(head) = head(&stream) else { return };
        let known =
            head.starts_with("GET /v2/credentials?id=1 HTTP/1.1\r\n") && head.contains("authorization: own token\r\n");
        let body = format!(
            r#"{{"AccessKeyId":"AKIDTASK","SecretAccessKey":"{SECRET}","Token":"of the task","Expiration":"2027-01-01T00:00:00Z"}}"#
        );
        let status = if known { "200 OK" } else { "404 Not Found" };
        stream
            .write_all(format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{body}", body.len()).as_bytes())
            .unwrap();
    });
    let (address, heads) = answering(OK);
    let url = format!("http://{address}/");
    let given = arguments(&url, &["--sigv4", "vpc-lattice-svcs", "--region", "eu-central-1"]);
    let run = |path: &str, token: &str| {
        latticegate_load::run(&given, &|name| match name {
            "AWS_CONTAINER_CREDENTIALS_FULL_URI" => Some(format!("http://{endpoint}{path}")),
            "AWS_CONTAINER_AUTHORIZATION_TOKEN" => Some(token.to_owned()),
            _ => None,
        })
    };
    let report = run("/v2/credentials?id=1", "own token").unwrap();
    assert_eq!(report.total().succeeded(), report.total().planned, "{report}");
    let mut count = 0;
    for head in heads.try_iter() {
        assert!(
            head.contains("authorization: AWS4-HMAC-SHA256 Credential=AKIDTASK/")
                && head.contains("/eu-central-1/vpc-lattice-svcs/"),
            "{head}"
        );
        assert!(head.contains("x-amz-security-token: of the task\r\n"), "{head}");
        count += 1;
    }
    assert_eq!(count, report.total().planned);
    let error = format!("{:#}", run("/v2/credentials?id=1", "another").unwrap_err());
    assert!(error.contains("404") && error.contains(&endpoint.to_string()), "{error}");
}

#[test]
fn without_credentials_or_region_it_does_not_start() {
    let given = |more: &[&str]| arguments("http://127.0.0.1:1/", &[&["--sigv4", "vpc-lattice-svcs"], more].concat());
    let error = |arguments, variables: &'static [(&str, &str)]| {
        let environment =
            |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
        format!("{:#}", latticegate_load::run(&arguments, &environment).unwrap_err())
    };
    assert!(error(given(&[]), &[]).contains("--region"));
    assert!(error(given(&["--region", "x"]), &[]).contains("AWS_ACCESS_KEY_ID"));
    assert!(
        error(given(&[]), &[("AWS_REGION", "x"), ("AWS_ACCESS_KEY_ID", "a")]).contains("AWS_SECRET_ACCESS_KEY is not")
    );
    let elsewhere = &[("AWS_REGION", "x"), ("AWS_CONTAINER_CREDENTIALS_FULL_URI", "ftp://x/")];
    assert!(error(given(&[]), elsewhere).contains("ftp://x/"));
}

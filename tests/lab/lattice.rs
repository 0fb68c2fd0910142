//! The Lattice service: nginx for TLS, HTTP/2 and ranges, with `backend.py` behind it; and listeners on every
//! address that must never be dialled, which tell whether somebody came.

use std::fs;
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::path::Path;
use std::process::Command;

use crate::network::{BALANCER_NAME, FORBIDDEN, LATTICE, LATTICE6, Network};
use crate::process::{DEADLINE, Running, run};
use crate::{file, python};

/// Who signs requests, and with what: any pair will do, both sides know it.
pub(crate) const ACCESS_KEY: &str = "AKIDEXAMPLE";
pub(crate) const SECRET_KEY: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";

pub(crate) struct Lattice {
    _nginx: Running,
    _backend: Running,
    forbidden: Vec<TcpListener>,
}

impl Lattice {
    pub(crate) fn start(network: &Network, dir: &Path) -> Self {
        certify(dir);
        fs::write(dir.join("pattern"), pattern()).unwrap();

        let mut backend = network.vpc.command(python());
        backend.arg(file("backend.py")).env("ACCESS_KEY", ACCESS_KEY).env("SECRET_KEY", SECRET_KEY);
        let local = |port| SocketAddr::new([127, 0, 0, 1].into(), port);
        let backend = Running::start(&network.vpc, backend, &dir.join("backend.log"), &[local(7000), local(7001)]);

        let config = dir.join("lattice.conf");
        fs::write(&config, nginx(dir)).unwrap();
        let mut nginx = network.vpc.command("nginx");
        nginx.arg("-c").arg(&config).arg("-e").arg(dir.join("lattice.log"));
        let accepting = [LATTICE, LATTICE6].map(|address| SocketAddr::new(address.parse().unwrap(), 443));
        let nginx = Running::start(&network.vpc, nginx, &dir.join("lattice-out.log"), &accepting);

        let forbidden = network.vpc.enter(|| {
            let addresses = FORBIDDEN.iter().flat_map(|address| [443, 80].map(|port| (*address, port)));
            addresses.map(|(address, port)| listen(address.parse().unwrap(), port)).collect()
        });
        Self { _nginx: nginx, _backend: backend, forbidden }
    }

    /// How many requests have been answered, by the service's own log.
    pub(crate) fn answered(dir: &Path) -> u64 {
        fs::read_to_string(dir.join("lattice-access.log")).unwrap().lines().count().try_into().unwrap()
    }

    /// Nobody has ever connected to an address that is not Lattice's.
    pub(crate) fn assert_forbidden_untouched(&self) {
        for listener in &self.forbidden {
            let accepted = listener.accept();
            let quiet = accepted.as_ref().is_err_and(|error| error.kind() == ErrorKind::WouldBlock);
            assert!(quiet, "somebody reached {}: {accepted:?}", listener.local_addr().unwrap());
        }
    }
}

fn listen(address: IpAddr, port: u16) -> TcpListener {
    let listener = TcpListener::bind((address, port)).unwrap();
    listener.set_nonblocking(true).unwrap();
    listener
}

/// What ranges are cut from: no two places look alike.
pub(crate) fn pattern() -> Vec<u8> {
    (0u32..256 * 1024).flat_map(u32::to_be_bytes).collect()
}

/// ca.pem, server.pem/.key for every name, client.pem/.key.
fn certify(dir: &Path) {
    let names = format!("subjectAltName=DNS:*.example.com,DNS:{BALANCER_NAME}");
    // rustls takes no authority's certificate for a server's.
    let signed = ["-CA", "ca.pem", "-CAkey", "ca.key", "-addext", "basicConstraints=critical,CA:FALSE"];
    certificate(dir, "ca", &["-addext", "keyUsage=critical,keyCertSign", "-subj", "/CN=lab authority"]);
    certificate(dir, "server", &[&signed[..], &["-addext", &names, "-subj", "/CN=orders.example.com"]].concat());
    certificate(dir, "client", &[&signed[..], &["-subj", "/CN=lab client"]].concat());
}

fn certificate(dir: &Path, name: &str, more: &[&str]) {
    let (key, pem) = (format!("{name}.key"), format!("{name}.pem"));
    let mut command = Command::new("openssl");
    command
        .current_dir(dir)
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30"])
        .args(["-keyout", &key, "-out", &pem])
        .args(more);
    let output = run(command, b"", DEADLINE);
    assert!(output.ok(), "openssl req for {name}: {output:?}");
}

fn nginx(dir: &Path) -> String {
    let listen = |port: &str| format!("listen {LATTICE}:{port}; listen [{LATTICE6}]:{port};");
    let (tls, http) = (listen("443 ssl http2"), listen("80"));
    format!(
        r#"daemon off;
user root;
worker_processes 1;
pid {dir}/lattice.pid;
error_log {dir}/lattice.log info;
events {{ worker_connections 1024; }}
http {{
    access_log {dir}/lattice-access.log combined;
    ssl_certificate {dir}/server.pem;
    ssl_certificate_key {dir}/server.key;
    ssl_protocols TLSv1.2 TLSv1.3;
    ssl_session_cache shared:tls:1m;
    ssl_early_data on;
    client_body_temp_path {dir}/body;
    proxy_temp_path {dir}/proxy;
    fastcgi_temp_path {dir}/fastcgi;
    uwsgi_temp_path {dir}/uwsgi;
    scgi_temp_path {dir}/scgi;
    client_max_body_size 0;
    proxy_http_version 1.1;
    proxy_request_buffering off;
    proxy_buffering off;
    proxy_read_timeout 600s;
    proxy_set_header Host $host;
    proxy_set_header Connection "";
    proxy_set_header X-Lab-Tls "$ssl_protocol $server_protocol early=$ssl_early_data";
    proxy_set_header X-Lab-Subject $ssl_client_s_dn;
    server {{
        {tls}
        {http}
        server_name orders.example.com billing.example.com v6only.example.com;
        location / {{ proxy_pass http://127.0.0.1:7000; }}
        location = /pattern {{ root {dir}; }}
        location /lab.Echo/ {{ grpc_pass grpc://127.0.0.1:7001; }}
    }}
    server {{
        {tls}
        server_name mtls.example.com;
        ssl_client_certificate {dir}/ca.pem;
        ssl_verify_client on;
        location / {{ proxy_pass http://127.0.0.1:7000; }}
    }}
}}
"#,
        dir = dir.display(),
    )
}

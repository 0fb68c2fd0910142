//! nginx as the web server that has the list: files with ETags, a redirect.

use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use support::until;

pub struct WebServer {
    child: Child,
}

impl WebServer {
    /// A port that was free a moment ago.
    pub fn free_address(ip: IpAddr) -> SocketAddr {
        TcpListener::bind((ip, 0)).unwrap().local_addr().unwrap()
    }

    /// Serves this directory; `/moved` redirects. Its log is `web.log` in there.
    pub fn start(address: SocketAddr, directory: &Path) -> Self {
        let at = directory.display();
        let config = format!(
            "daemon off; user root; worker_processes 1; pid {at}/nginx.pid; error_log {at}/web-error.log;\n\
             events {{}}\n\
             http {{ access_log {at}/web.log; client_body_temp_path {at}/t1; proxy_temp_path {at}/t2;\n\
             fastcgi_temp_path {at}/t3; uwsgi_temp_path {at}/t4; scgi_temp_path {at}/t5;\n\
             server {{ listen {address}; root {at}; location /moved {{ return 302 /ipcontrol.yaml; }} }} }}\n"
        );
        let file = directory.join("nginx.conf");
        std::fs::write(&file, config).unwrap();
        let child = Command::new("nginx")
            .arg("-c")
            .arg(&file)
            .arg("-p")
            .arg(directory)
            .stdin(Stdio::null())
            .spawn()
            .expect("nginx, which tests/setup installs");
        until("the web server answers", || TcpStream::connect(address).is_ok());
        Self { child }
    }

    pub fn url(address: SocketAddr, path: &str) -> String {
        format!("http://{address}{path}")
    }
}

impl Drop for WebServer {
    fn drop(&mut self) {
        // SIGTERM, so that it ends its workers.
        let pid = nix::unistd::Pid::from_raw(self.child.id().try_into().unwrap());
        let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM);
        let _ = self.child.wait();
    }
}

//! The curl commands of the README, pasted into a shell as they stand: whatever is added there is tried here.

use support::readme;

use crate::Lab;
use crate::client::Client;
use crate::lattice::{ACCESS_KEY, SECRET_KEY};
use crate::network::BALANCER_NAME;
use crate::proxy::{Config, Kind};

#[test]
fn every_curl_command_of_the_readme() {
    let Some(lab) = Lab::up() else { return };
    if Kind::chosen() == Kind::Incumbent {
        return;
    }
    let proxy = lab.proxy(&Config::shipped());
    // What a user's machine has and the README need not say: who is trusted, and the credentials.
    std::fs::write(lab.dir.path().join(".curlrc"), "cacert = ca.pem\nsilent\nshow-error\nfail\n").unwrap();
    let environment = format!(
        "export AWS_REGION=us-west-2 AWS_ACCESS_KEY_ID={ACCESS_KEY} AWS_SECRET_ACCESS_KEY={SECRET_KEY} AWS_SESSION_TOKEN=a/token+=="
    );
    let mut ran = 0;
    for command in readme::commands().into_iter().filter(|command| readme::is_curl(command)) {
        ran += 1;
        let line = command.replace("<nlb-name>", BALANCER_NAME);
        if line.contains("127.0.0.1:9900") {
            let out = Client::new(&lab.network.task, lab.dir.path()).shell(&line);
            assert!(out.ok() && out.stdout.contains("latticegate_connections_total"), "{command}: {out:?}");
        } else if line == format!("curl https://{BALANCER_NAME}/") {
            let out = lab.client().shell(&line);
            assert!(!out.ok(), "the README says that it cannot work: {out:?}");
            let record = proxy.record();
            assert!(record["detail"].as_str().unwrap().contains("--connect-to"), "{record}");
        } else if readme::is_signing(&line) {
            for scheme in ["https", "http"] {
                let line = format!("{environment}; curl {line} {scheme}://orders.example.com/signed");
                let out = lab.client().shell(&line);
                assert_eq!(out.stdout, "signature verified\n", "{command}: {out:?}");
                assert_eq!(proxy.record()["outcome"], "relayed");
            }
        } else {
            let out = lab.client().shell(&line);
            assert!(out.stdout.contains("\"path\": \"/\""), "{command}: {out:?}");
            let record = proxy.record();
            assert_eq!(
                (&record["outcome"], &record["name"]),
                (&"relayed".into(), &"orders.example.com".into()),
                "{record}"
            );
        }
    }
    assert!(ran >= 7, "{ran} curl commands found");
}

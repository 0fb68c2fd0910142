//! Whose signature: the variables that the AWS tools use, or the endpoint from which an ECS task gets its role's credentials.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use aws_credential_types::Credentials;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper::header::{AUTHORIZATION, HOST};
use hyper::{Request, Uri};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// A task's credentials are renewed long before they expire.
pub const REFRESH: Duration = Duration::from_secs(300);
const PATIENCE: Duration = Duration::from_secs(5);
const LONGEST: usize = 64 * 1024;

/// Where they come from.
pub enum Source {
    Environment(Credentials),
    Container { uri: Uri, token: Option<String> },
}

impl Source {
    pub fn find(environment: &dyn Fn(&str) -> Option<String>) -> Result<Self> {
        if let Some(key) = environment("AWS_ACCESS_KEY_ID") {
            let secret = environment("AWS_SECRET_ACCESS_KEY")
                .context("AWS_ACCESS_KEY_ID is set, AWS_SECRET_ACCESS_KEY is not")?;
            let token = environment("AWS_SESSION_TOKEN");
            return Ok(Self::Environment(Credentials::new(key, secret, token, None, "environment")));
        }
        let url = match (
            environment("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"),
            environment("AWS_CONTAINER_CREDENTIALS_FULL_URI"),
        ) {
            (Some(path), _) => format!("http://169.254.170.2{path}"),
            (None, Some(url)) => url,
            (None, None) => bail!(
                "no credentials to sign with: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (eval \"$(aws configure \
                 export-credentials --format env)\"), or run as an ECS task with a task role"
            ),
        };
        let uri: Uri = url.parse().with_context(|| format!("the URI of the container's credentials, {url}"))?;
        ensure!(
            uri.scheme_str() == Some("http") && uri.host().is_some(),
            "the container's credentials are at {url}, which is no http:// URL"
        );
        let token = match (
            environment("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"),
            environment("AWS_CONTAINER_AUTHORIZATION_TOKEN"),
        ) {
            (Some(file), _) => {
                Some(std::fs::read_to_string(&file).with_context(|| format!("reading {file}"))?.trim().to_owned())
            }
            (None, token) => token,
        };
        Ok(Self::Container { uri, token })
    }

    pub async fn fetch(&self) -> Result<Credentials> {
        match self {
            Self::Environment(credentials) => Ok(credentials.clone()),
            Self::Container { uri, token } => timeout(PATIENCE, get(uri, token.as_deref()))
                .await
                .unwrap_or_else(|_| bail!("no answer within {PATIENCE:?}"))
                .with_context(|| format!("asking {uri} for the task's credentials")),
        }
    }
}

/// What the endpoint answers with.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    access_key_id: String,
    secret_access_key: String,
    token: Option<String>,
}

async fn get(uri: &Uri, token: Option<&str>) -> Result<Credentials> {
    let host = uri.host().context("no host")?;
    let stream = TcpStream::connect((host.trim_matches(['[', ']']), uri.port_u16().unwrap_or(80))).await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let driver = tokio::spawn(connection);
    let mut request = Request::get(uri.path_and_query().map_or("/", |path| path.as_str())).header(HOST, host);
    if let Some(token) = token {
        request = request.header(AUTHORIZATION, token);
    }
    let answer = sender.send_request(request.body(Empty::<Bytes>::new())?).await?;
    ensure!(answer.status().is_success(), "it answers {}", answer.status());
    let body = Limited::new(answer.into_body(), LONGEST).collect().await.map_err(anyhow::Error::from_boxed)?.to_bytes();
    driver.abort();
    // The text of a mistake in it would hold the secret.
    let Ok(answer) = serde_json::from_slice::<Answer>(&body) else {
        bail!("its answer has no AccessKeyId and SecretAccessKey")
    };
    Ok(Credentials::new(answer.access_key_id, answer.secret_access_key, answer.token, None, "container"))
}

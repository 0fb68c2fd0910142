//! A user: takes his planned requests in their order, each as soon as he has the answer to the one before.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use http_body_util::Empty;
use hyper::Request;
use hyper::body::Bytes;
use hyper::header::{CONNECTION, HOST, USER_AGENT};
use rustls::pki_types::ServerName;
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::addresses::Addresses;
use crate::arguments::Field;
use crate::connection::{Answer, Connection, Connector};
use crate::failure::{Failed, Failure};
use crate::signing::Signer;
use crate::tally::Tally;
use crate::target::Target;

/// What all users share.
pub struct Shared {
    pub connector: Connector,
    pub routes: Vec<Route>,
    pub headers: Vec<Field>,
    pub signer: Option<Signer>,
    pub keep_alive: bool,
    pub timeout: Duration,
    pub schedule: Mutex<Schedule>,
}

/// One URL, and where its connections lead.
pub struct Route {
    pub target: Target,
    pub addresses: Arc<Addresses>,
    /// For TLS.
    pub name: Option<ServerName<'static>>,
}

#[derive(Clone, Copy)]
pub struct Schedule {
    pub steady_from: Instant,
    /// Nothing is planned for later. An interruption brings it forward.
    pub end: Instant,
}

impl Shared {
    pub fn schedule(&self) -> Schedule {
        *self.schedule.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn request(&self, target: &Target) -> Result<Request<Empty<Bytes>>, Failed> {
        let mut request = Request::get(&target.path_and_query)
            .header(HOST, &target.authority)
            .header(USER_AGENT, concat!("latticegate-load/", env!("CARGO_PKG_VERSION")));
        if !self.keep_alive {
            request = request.header(CONNECTION, "close");
        }
        if let Some(signer) = &self.signer {
            let fields = signer.fields(&target.url(), SystemTime::now());
            for (name, value) in fields.map_err(|error| Failed::new(Failure::Other, error))? {
                request = request.header(name, value);
            }
        }
        for field in &self.headers {
            request = request.header(&field.name, &field.value);
        }
        request.body(Empty::new()).map_err(|error| Failed::new(Failure::Other, error))
    }
}

pub struct User {
    shared: Arc<Shared>,
    tally: Arc<Mutex<Tally>>,
    number: usize,
    kept: Option<Connection>,
}

impl User {
    pub fn new(shared: Arc<Shared>, tally: Arc<Mutex<Tally>>, number: usize) -> Self {
        Self { shared, tally, number, kept: None }
    }

    fn tally(&self) -> MutexGuard<'_, Tally> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Until the plan ends.
    pub async fn run(mut self, mut plan: mpsc::Receiver<Instant>) {
        let mut free = Instant::now();
        while let Some(planned) = plan.recv().await {
            let Schedule { steady_from, end } = self.shared.schedule();
            let (steady, begun) = (planned >= steady_from, Instant::now());
            if begun > end + self.shared.timeout {
                self.tally().phase(steady).fail(Failure::NotSent);
                continue;
            }
            self.tally().phase(steady).late.add(begun.saturating_duration_since(planned.max(free)));
            let result = timeout(self.shared.timeout, self.ask()).await;
            let latency = planned.elapsed();
            self.count(steady, result.unwrap_or_else(|_| Err(self.timed_out())), latency);
            if !self.shared.keep_alive {
                self.close().await;
            }
            free = Instant::now();
        }
        self.close().await;
    }

    async fn close(&mut self) {
        if let Some(connection) = self.kept.take() {
            connection.close().await;
        }
    }

    fn timed_out(&self) -> Failed {
        Failed::new(Failure::Timeout, format_args!("no complete answer within {:?}", self.shared.timeout))
    }

    fn count(&self, steady: bool, result: Result<Answer, Failed>, latency: Duration) {
        let mut tally = self.tally();
        match result {
            Ok(answer) => {
                tally.phase(steady).answer(answer.status, latency);
                if (200..400).contains(&answer.status) {
                    tally.recent.add(latency);
                } else {
                    tally.example(&answer.status.to_string(), &answer.excerpt);
                }
            }
            Err(failed) => {
                tally.phase(steady).fail(failed.kind);
                tally.example(failed.kind.word(), &failed.detail);
            }
        }
    }

    /// One request. A connection that lives is kept, also where it is only to be closed.
    async fn ask(&mut self) -> Result<Answer, Failed> {
        if let Some(mut connection) = self.kept.take() {
            let result = if connection.is_open().await { Some(self.exchange(&mut connection).await) } else { None };
            match result {
                Some(Err(failed)) if failed.is_closed() => {}
                Some(Ok(answer)) => {
                    self.kept = Some(connection);
                    return Ok(answer);
                }
                Some(Err(failed)) => return Err(failed),
                None => {}
            }
            self.tally().reconnected += 1;
        }
        let mut connection = self.open().await?;
        let answer = self.exchange(&mut connection).await?;
        self.kept = Some(connection);
        Ok(answer)
    }

    fn route(&self) -> &Route {
        let routes = &self.shared.routes;
        routes.get(self.number % routes.len()).expect("there is a URL, and the remainder is less than their number")
    }

    async fn open(&self) -> Result<Connection, Failed> {
        let route = self.route();
        let address = route.addresses.next().ok_or_else(|| Failed::new(Failure::Unreachable, "no address"))?;
        self.tally().connections += 1;
        self.shared.connector.open(address, route.name.as_ref()).await
    }

    async fn exchange(&self, connection: &mut Connection) -> Result<Answer, Failed> {
        connection.exchange(self.shared.request(&self.route().target)?).await
    }
}

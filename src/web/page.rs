//! The page for people: whether it is ready, what is going on and was going on, who is refused and what to do about it,
//! which rules are hit, and what is configured.
//!
//! One document without anything from elsewhere. A small script keeps it up to date by fetching its [fragment]; without script
//! it reads the same, and is reloaded by hand. Whatever came from a client is escaped.

mod charts;
mod connections;
mod html;
mod lists;
mod overview;
mod settings;
pub(crate) mod units;

use std::collections::hash_map::RandomState;
use std::fmt::{self, Write};
use std::hash::BuildHasher;

use hyper::StatusCode;
use hyper::header::{CONTENT_SECURITY_POLICY, HeaderValue};

use self::html::Escaped;
use super::form::Form;
use super::response::{FullResponse, with_type};
use super::snapshot::Snapshot;

const STYLE: &str = include_str!("page/page.css");
const SCRIPT: &str = include_str!("page/page.js");
const HTML: &str = "text/html; charset=utf-8";

/// The whole page.
pub(super) fn document(now: &Snapshot, form: &Form, explained: Option<Result<String, String>>) -> FullResponse {
    // Random keys, so that no client can predict it.
    let nonce = format!("{:016x}{:016x}", RandomState::new().hash_one(1), RandomState::new().hash_one(2));
    let mut html = String::new();
    // Writing to a String cannot fail.
    let _ = write_document(&mut html, now, form, explained, &nonce);
    let mut response = with_type(StatusCode::OK, HTML, html);
    let policy = format!(
        "default-src 'none'; style-src 'nonce-{nonce}'; script-src 'nonce-{nonce}'; connect-src 'self'; \
         form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    );
    if let Ok(policy) = HeaderValue::from_str(&policy) {
        response.headers_mut().insert(CONTENT_SECURITY_POLICY, policy);
    }
    response
}

/// What changes on it.
pub(super) fn fragment(now: &Snapshot, form: &Form) -> FullResponse {
    let mut html = String::new();
    // Writing to a String cannot fail.
    let _ = write_live(&mut html, now, form, None);
    let mut response = with_type(StatusCode::OK, HTML, html);
    // Where somebody opens it by itself.
    let policy = HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'; sandbox");
    response.headers_mut().insert(CONTENT_SECURITY_POLICY, policy);
    response
}

fn write_document(
    out: &mut String,
    now: &Snapshot,
    form: &Form,
    explained: Option<Result<String, String>>,
    nonce: &str,
) -> fmt::Result {
    let (_, word, _) = overview::state(now);
    write!(
        out,
        "<!doctype html><html lang=en><meta charset=utf-8><title>{word} – latticegate</title>\
         <meta name=viewport content=\"width=device-width,initial-scale=1\">\
         <meta name=color-scheme content=\"light dark\"><style nonce={nonce}>{STYLE}</style>\
         <body><a class=skip href=#main>Skip to content</a><div id=live>"
    )?;
    write_live(out, now, form, explained)?;
    write!(
        out,
        "</div><footer>Times are UTC. <a href=/>Reload</a> · <a href=/status.json>status.json</a> · \
         <a href=/metrics>metrics</a></footer><p id=said class=unseen role=status></p>\
         <script nonce={nonce}>{SCRIPT}</script>"
    )
}

fn write_live(out: &mut String, now: &Snapshot, form: &Form, explained: Option<Result<String, String>>) -> fmt::Result {
    overview::header(out, now)?;
    out.write_str("<main id=main>")?;
    overview::figures(out, now)?;
    charts::write(out, now)?;
    overview::listeners(out, now)?;
    overview::endings(out, now)?;
    overview::refusals(out, now)?;
    connections::open(out, now, form)?;
    connections::names_and_clients(out, now)?;
    connections::upstreams(out, now)?;
    lists::dns(out, now)?;
    lists::rules(out, now)?;
    lists::shadow(out, now)?;
    explain(out, now, form, explained)?;
    settings::write(out, now)?;
    out.write_str("</main>")
}

/// What the script leaves alone is marked with `data-keep`.
fn explain(out: &mut String, now: &Snapshot, form: &Form, explained: Option<Result<String, String>>) -> fmt::Result {
    out.write_str("<section id=explain data-keep><h2>What would happen to …</h2><form action=/#explain>")?;
    let forward = now.shared.config.listeners.iter().any(|listener| listener.forward.is_some());
    let name = if forward { "name (forward: NAME:PORT)" } else { "name" };
    for (name, label, value, example) in [
        ("from", "client", &form.from, "203.0.113.9"),
        ("to", name, &form.to, "orders.example.com"),
        ("via", "VPC endpoint (optional)", &form.via, "vpce-…"),
    ] {
        write!(
            out,
            "<label>{label} <input name={name} value=\"{}\" placeholder=\"{example}\"></label>",
            Escaped(value)
        )?;
    }
    out.write_str("<label>listener <select name=listener>")?;
    for listener in &now.shared.config.listeners {
        let chosen = if listener.name == form.listener { " selected" } else { "" };
        write!(out, "<option{chosen}>{}</option>", Escaped(&listener.name))?;
    }
    out.write_str("</select></label><button>explain</button></form>")?;
    match explained {
        None => {}
        Some(Ok(steps)) => write!(out, "<pre tabindex=0>{}</pre>", Escaped(steps))?,
        Some(Err(why)) => write!(out, "<p class=wrong role=alert>{}</p>", Escaped(why))?,
    }
    out.write_str("</section>")
}

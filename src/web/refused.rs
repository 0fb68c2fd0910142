//! `/refused`: the first bytes of the connections that were refused last, if `admin.refused_bytes` is set.

use hyper::StatusCode;
use serde_json::{Value, json};

use super::response::{FullResponse, not_found, text, with_type};
use super::snapshot::time;
use crate::telemetry::refused_bytes::{RefusedBytes, RefusedConnection};

const OFF: &str = "off; set admin.refused_bytes to how many refused connections are to be kept, like 20\n";

/// All of them as JSON; with `id=ID` the bytes of one as hexadecimal digits, which `explain --hello` reads.
pub(super) fn respond(kept: Option<&RefusedBytes>, query: &str) -> FullResponse {
    let Some(kept) = kept else { return text(StatusCode::NOT_FOUND, OFF) };
    let kept = kept.read();
    let Some((_, id)) = form_urlencoded::parse(query.as_bytes()).find(|(key, _)| key == "id") else {
        let all: Vec<Value> = kept.iter().map(|connection| to_json(connection)).collect();
        return with_type(StatusCode::OK, "application/json", format!("{:#}\n", Value::from(all)));
    };
    match kept.iter().find(|connection| format!("{:016x}", connection.id) == id) {
        Some(connection) => text(StatusCode::OK, format!("{}\n", connection.hex())),
        None => not_found("/refused, for the connections that are still kept"),
    }
}

fn to_json(connection: &RefusedConnection) -> Value {
    let RefusedConnection { at, id, listener, client, name, reason, bytes: _, total, request } = connection;
    let request = request.as_ref().map(|(method, host)| json!({ "method": method, "host": host }));
    json!({
        "time": time(*at),
        "id": format!("{id:016x}"),
        "listener": listener,
        "client": client,
        "name": name.as_deref(),
        "reason": reason.word(),
        "bytes": total,
        "hex": connection.hex(),
        "request": request,
    })
}

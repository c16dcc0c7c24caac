//! Asks a hook: makes the request, hands it over, reads the answer.
//!
//! Not the JSON (`milter::hook`) and not HTTP (`net::web`).

use super::{HookStage, Known, Shown};
use mail::header::unfold;
use milter::hook::{Content, Request};
use milter::{Advice, Limits, Message, hook};
use net::web::Web;

/// What a hook is told of a stage.
pub(super) fn request(known: &Known, stage: HookStage, message: Option<Content>) -> Request {
    Request { context: known.context(word(stage)), envelope: known.envelope(), message }
}

/// The message as a hook sees it.
pub(super) fn content(message: &Message, body: &Shown) -> Result<Content, String> {
    let shown = |name: &[u8], value: &[u8]| (String::from_utf8_lossy(name).into_owned(), unfold(value));
    let contents = body.read(0, usize::MAX)?;
    Ok(Content {
        headers: message.header.seen().map(|(name, value)| shown(name, value)).collect(),
        server_headers: Vec::new(),
        size: message.header.bytes().len() as u64 + contents.len() as u64,
        contents: String::from_utf8_lossy(&contents).into_owned(),
    })
}

/// Asks; `at_end`: about a whole message.
pub(super) async fn ask(web: &Web, request: &Request, at_end: bool, limits: &Limits) -> Result<Advice, String> {
    let answer = web.post_json(request.to_bytes()).await.map_err(|error| error.to_string())?;
    if answer.status != 200 {
        return Err(format!("{} answered with status {}", web.url, answer.status));
    }
    hook::advice(&answer.body, at_end, limits)
}

const fn word(stage: HookStage) -> &'static str {
    match stage {
        HookStage::Connect => "CONNECT",
        HookStage::Helo => "EHLO",
        HookStage::Mail => "MAIL",
        HookStage::Rcpt => "RCPT",
        HookStage::Data => "DATA",
    }
}

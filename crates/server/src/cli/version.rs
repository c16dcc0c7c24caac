//! `postrider version`

use super::Context;
use clap::Args;
use serde_json::json;

#[derive(Debug, Args)]
pub(super) struct Version {}

impl Version {
    pub(super) fn run(context: &Context) {
        let version = env!("CARGO_PKG_VERSION");
        context.printer.one(&json!({ "version": version }), &[("postrider", version.to_owned())]);
    }
}

//! `postrider config`

use super::Context;
use crate::config::{Config, keys};
use crate::failure::{Failure, Result};
use crate::output::{Format, print, print_json, print_json_line, whole, words};
use clap::Subcommand;
use serde_json::json;

#[derive(Debug, Subcommand)]
pub(super) enum ConfigCommand {
    /// Check the config file and the files it names
    Check,
    /// List every key: type, default, meaning
    Schema,
    /// Show the config as it is understood, defaults included
    Show,
}

impl ConfigCommand {
    pub(super) fn run(self, context: &Context) -> Result<()> {
        match self {
            Self::Check => check(context),
            Self::Schema => {
                schema(context);
                Ok(())
            }
            Self::Show => show(context),
        }
    }
}

fn check(context: &Context) -> Result<()> {
    let config = context.config()?;
    check_files(&config)?;
    let file = context.global.config.display().to_string();
    context.printer.done(&json!({ "file": file, "ok": true }), &format!("{file} is right"));
    Ok(())
}

/// Every file that the config names must be readable now.
pub(super) fn check_files(config: &Config) -> Result<()> {
    let credentials = config.route.iter().filter_map(|route| route.credentials_file.as_ref()).map(|file| ("route.credentials_file", file));
    let tls = [("tls.certificate", &config.tls.certificate), ("tls.key", &config.tls.key), ("tls.ca_file", &config.tls.ca_file)];
    for (key, file) in tls.into_iter().filter_map(|(key, file)| Some((key, file.as_ref()?))).chain(credentials) {
        std::fs::File::open(file).map_err(|error| Failure::usage(format!("{key}: {}: {error}", file.display())))?;
    }
    Ok(())
}

fn schema(context: &Context) {
    let columns = [whole("key"), words("type"), words("default"), words("meaning")];
    context.printer.list(keys::KEYS, &columns, |key| [key.name, key.kind, key.default, key.meaning].map(str::to_owned).to_vec());
}

fn show(context: &Context) -> Result<()> {
    let config = context.config()?;
    match context.printer.format {
        Format::Json => print_json(&config),
        Format::Ndjson => print_json_line(&config),
        Format::Table => print(&toml::to_string(&config).map_err(|error| Failure::failed("cannot show the config", error))?),
    }
    Ok(())
}

//! The command line as a user meets it: words, JSON, exit codes. Each test has its own data directory.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test says so by failing")]

use assert_cmd::Command;
use serde_json::Value;
use std::path::Path;
use tempfile::TempDir;

fn postrider(directory: &Path) -> Command {
    let mut command = Command::cargo_bin("postrider").unwrap();
    command.env_remove("POSTRIDER_CONFIG").env("NO_COLOR", "1").arg("--config").arg(directory.join("postrider.toml"));
    command
}

/// A config with a data directory beside it.
fn place(extra: &str) -> TempDir {
    let place = TempDir::new().unwrap();
    let text = format!("hostname = \"mail.example.test\"\ndata = \"{}\"\n{extra}", place.path().join("data").display());
    std::fs::write(place.path().join("postrider.toml"), text).unwrap();
    place
}

/// Runs a command line; gives its exit code, standard output and standard error.
fn run(place: &TempDir, line: &str, stdin: &str) -> (i32, String, String) {
    let done = postrider(place.path()).args(line.split_whitespace()).write_stdin(stdin).output().unwrap();
    let text = |octets: Vec<u8>| String::from_utf8(octets).unwrap();
    (done.status.code().unwrap_or(-1), text(done.stdout), text(done.stderr))
}

fn json(place: &TempDir, line: &str) -> Value {
    let (_, out, error) = run(place, &format!("--output json {line}"), "");
    serde_json::from_str(&out).unwrap_or_else(|_| panic!("{line}: {out}{error}"))
}

#[test]
fn help_and_version_are_no_failures() {
    let place = place("");
    for line in ["--help", "--version", "version", "user --help", "queue retry --help", "serve --help", "completions bash"] {
        let (code, out, _) = run(&place, line, "");
        assert_eq!(code, 0, "{line}");
        assert!(!out.is_empty(), "{line}");
    }
}

#[test]
fn mistakes_in_the_command_line_exit_with_2() {
    let place = place("");
    for line in
        ["", "nonsense", "user", "user add", "queue retry", "serve --listen smtp", "serve --listen gopher=1.2.3.4:5", "alias add x@y.test"]
    {
        let (code, out, _) = run(&place, line, "");
        assert_eq!((code, out.as_str()), (2, ""), "{line}");
    }
    let refused = json(&place, "nonsense");
    assert_eq!(refused["error"]["code"], "usage");
    assert!(refused["error"]["message"].as_str().unwrap().contains("nonsense"));
}

#[test]
fn a_bad_config_is_refused_with_file_line_key_and_expectation() {
    let place = place("[queue]\nlifetme = \"5d\"\n");
    let file = place.path().join("postrider.toml").display().to_string();
    for line in ["config check", "config show", "serve", "user list"] {
        let (code, out, error) = run(&place, line, "");
        assert_eq!((code, out.as_str()), (2, ""), "{line}");
        assert!(error.starts_with(&format!("error: {file}:4: queue.lifetme: unknown key")), "{line}: {error}");
        assert!(error.contains("hint: did you mean queue.lifetime?"), "{line}: {error}");
    }
    let refused = json(&place, "config check");
    assert_eq!(refused["error"]["code"], "usage");
    assert_eq!(refused["error"]["hint"], "did you mean queue.lifetime?");
}

#[test]
fn files_that_the_config_names_are_checked() {
    let place = place("[tls]\ncertificate = \"/nowhere/c.pem\"\nkey = \"/nowhere/k.pem\"\n");
    let (code, _, error) = run(&place, "config check", "");
    assert_eq!(code, 2);
    assert!(error.contains("tls.certificate: /nowhere/c.pem"), "{error}");
}

#[test]
fn a_good_config_is_told_so_and_shown_with_its_defaults() {
    let place = place("");
    assert_eq!(run(&place, "config check", "").0, 0);
    let shown = json(&place, "config show");
    assert_eq!(shown["hostname"], "mail.example.test");
    assert_eq!(shown["queue"]["lifetime"], "5d");
    assert_eq!(shown["limits"]["message_octets"], "50 MiB");
    let schema = json(&place, "config schema");
    let keys: Vec<&str> = schema.as_array().unwrap().iter().map(|key| key["name"].as_str().unwrap()).collect();
    assert!(keys.contains(&"queue.lifetime") && keys.contains(&"listener[].address"), "{keys:?}");
}

#[test]
fn what_needs_a_server_says_that_none_runs() {
    let place = place("");
    for line in ["status", "reload"] {
        let (code, _, error) = run(&place, line, "");
        assert_eq!(code, 5, "{line}: {error}");
        assert_eq!(json(&place, line)["error"]["code"], "unreachable");
    }
}

#[test]
fn domains_users_and_aliases_are_kept() {
    let place = place("");
    assert_eq!(run(&place, "domain add Example.TEST", "").0, 0);
    assert_eq!(run(&place, "domain add example.test", "").0, 1, "twice");
    assert_eq!(run(&place, "user add ann@example.test --name Ann --password-stdin --quota 1GiB", "correct horse battery\n").0, 0);
    assert_eq!(run(&place, "user add ann@example.test --password-stdin", "x\n").0, 1, "twice");
    assert_eq!(run(&place, "user add bob@other.test --password-stdin", "x\n").0, 3, "no such domain");
    assert_eq!(run(&place, "user add bob@other.test --create-domain --random", "").0, 0);
    let user = json(&place, "user show ann@example.test");
    assert_eq!(user["address"], "ann@example.test");
    assert_eq!(user["name"], "Ann");
    assert_eq!(user["quota_octets_max"], 1_u64 << 30);
    assert_eq!(user["mailboxes"].as_array().unwrap().len(), 6);
    assert_eq!(run(&place, "alias add all@example.test ann@example.test bob@other.test x@elsewhere.example", "").0, 0);
    assert_eq!(json(&place, "alias list")[0]["targets"].as_array().unwrap().len(), 3);
    assert_eq!(run(&place, "domain remove example.test", "").0, 2, "nobody can be asked");
    assert_eq!(run(&place, "--yes domain remove example.test", "").0, 1, "it has users");
    assert_eq!(run(&place, "user show nobody@example.test", "").0, 3);
    let domains = json(&place, "domain list");
    assert_eq!(
        (domains[0]["domain"].as_str(), domains[0]["accounts"].as_u64(), domains[0]["aliases"].as_u64()),
        (Some("example.test"), Some(1), Some(1))
    );
}

#[test]
fn mailboxes_are_shared_and_users_become_administrators() {
    let place = place("");
    assert_eq!(run(&place, "user add ann@example.test --create-domain --random", "").0, 0);
    assert_eq!(run(&place, "user add bob@example.test --random", "").0, 0);
    let (code, out, _) = run(&place, "mailbox share ann@example.test Archive bob@example.test lrs", "");
    assert_eq!((code, out.trim()), (0, "shared Archive of ann@example.test with bob@example.test: lrs"));
    assert_eq!(run(&place, "mailbox share ann@example.test INBOX anyone l", "").0, 0);
    assert_eq!(run(&place, "mailbox share ann@example.test INBOX bob@example.test l --negative", "").0, 0);
    let shares = json(&place, "mailbox shares");
    assert_eq!(shares.as_array().unwrap().len(), 3);
    assert_eq!((shares[0]["mailbox"].as_str(), shares[0]["rights"].as_str()), (Some("Archive"), Some("lrs")));
    assert_eq!(run(&place, "mailbox unshare ann@example.test Archive bob@example.test", "").0, 0);
    assert_eq!(json(&place, "mailbox shares ann@example.test").as_array().unwrap().len(), 2);
    assert_eq!(json(&place, "mailbox shares bob@example.test"), serde_json::json!([]));
    assert_eq!(run(&place, "mailbox share ann@example.test Nowhere bob@example.test l", "").0, 3);
    assert_eq!(run(&place, "mailbox share ann@example.test INBOX nobody@example.test l", "").0, 3);
    assert_eq!(run(&place, "mailbox share ann@example.test INBOX bob@example.test q", "").0, 2);
    assert_eq!(run(&place, "mailbox share ann@example.test INBOX ann@example.test l", "").0, 1, "she owns it");
    assert_eq!(run(&place, "user set ann@example.test --administrator true", "").0, 0);
    assert_eq!(json(&place, "user show ann@example.test")["administrator"], true);
    assert_eq!(run(&place, "user quota ann@example.test 1GiB --emails 5", "").0, 0);
    let user = json(&place, "user quota ann@example.test");
    assert_eq!((user["quota_emails_max"].as_u64(), user["quota_octets_max"].as_u64()), (Some(5), Some(1 << 30)));
    assert_eq!(run(&place, "user quota ann@example.test --emails none", "").0, 0);
    assert_eq!(json(&place, "user show ann@example.test")["quota_octets_max"], 1_u64 << 30);
    assert_eq!(run(&place, "user quota ann@example.test --emails many", "").0, 2);
    assert_eq!(json(&place, "store check --quick")["clean"], true);
}

#[test]
fn a_dry_run_changes_nothing() {
    let place = place("");
    assert_eq!(run(&place, "domain add example.test", "").0, 0);
    let (code, out, _) = run(&place, "--dry-run user add ann@example.test --random", "");
    assert_eq!(code, 0);
    assert!(out.starts_with("would add ann@example.test"), "{out}");
    assert_eq!(json(&place, "user list"), serde_json::json!([]));
    assert_eq!(run(&place, "--dry-run --yes domain remove example.test", "").0, 0);
    assert_eq!(json(&place, "domain list").as_array().unwrap().len(), 1);
}

#[test]
fn passwords_come_from_standard_input_and_files_and_are_never_shown() {
    let place = place("");
    let file = place.path().join("secret");
    std::fs::write(&file, "tr0ub4dor and three\n").unwrap();
    assert_eq!(run(&place, "domain add example.test", "").0, 0);
    let (code, out, error) = run(&place, &format!("user add ann@example.test --password-file {}", file.display()), "");
    assert_eq!(code, 0, "{error}");
    assert!(!out.contains("tr0ub4dor") && !error.contains("tr0ub4dor"));
    let (code, _, error) = run(&place, "user passwd ann@example.test --password-stdin", "short\n");
    assert_eq!(code, 0);
    assert!(error.contains("warning: the password is short"), "{error}");
    assert_eq!(run(&place, "user passwd ann@example.test", "").0, 2, "nobody can be asked");
    assert_eq!(run(&place, "user passwd ann@example.test --password-stdin", "\n").0, 2, "empty");
}

#[test]
fn destinations_are_suspended_and_resumed() {
    let place = place("");
    assert_eq!(json(&place, "queue destinations"), serde_json::json!([]));
    assert_eq!(json(&place, "queue suspend Far.Example --why maintenance")["domain"], "far.example");
    let known = json(&place, "queue destinations");
    assert_eq!((&known[0]["destination"], &known[0]["state"]), (&"far.example".into(), &"suspended".into()));
    assert_eq!((&known[0]["why"], known[0]["suspended_since"].is_string()), (&"maintenance".into(), true));
    assert!(run(&place, "queue destinations", "").1.contains("suspended"));
    assert_eq!(run(&place, "queue resume far.example", "").0, 0);
    assert_eq!(run(&place, "queue resume far.example", "").0, 3);
    assert_eq!(run(&place, "queue suspend not@a.domain", "").0, 2);
    assert_eq!(json(&place, "queue destinations"), serde_json::json!([]));
}

#[test]
fn hold_rules_are_made_listed_and_removed() {
    let place = place("");
    assert_eq!(run(&place, "queue hold-rules add", "").0, 2);
    assert_eq!(run(&place, "queue hold-rules add --to a@b@c", "").0, 2);
    assert_eq!(run(&place, "queue hold-rules add --user nobody@x.test", "").0, 3);
    let made = json(&place, "queue hold-rules add --from News.Example --to far.example --why bulk --queued");
    assert_eq!((&made["number"], &made["from"], &made["held"]), (&1.into(), &"news.example".into(), &0.into()));
    assert_eq!(json(&place, "queue hold-rules list")[0], made);
    assert!(run(&place, "queue hold-rules list", "").1.contains("bulk"));
    assert_eq!(run(&place, "queue hold-rules remove 1 --release", "").0, 0);
    assert_eq!(run(&place, "queue hold-rules remove 1", "").0, 3);
}

#[test]
fn queue_and_trace_of_an_empty_store_say_so() {
    let place = place("");
    assert_eq!(json(&place, "queue list"), serde_json::json!([]));
    assert_eq!(run(&place, "queue show 0000000000000", "").0, 3);
    assert_eq!(run(&place, "queue show x", "").0, 2);
    assert_eq!(run(&place, "trace none@example.test", "").0, 3);
    assert_eq!(run(&place, "store check", "").0, 0);
    assert_eq!(json(&place, "store check --quick")["clean"], true);
    assert_eq!(json(&place, "store reindex")["emails"], 0);
    assert_eq!(run(&place, "--dry-run store reindex", "").0, 2);
}

#[test]
fn init_writes_a_config_that_serve_reads() {
    let place = TempDir::new().unwrap();
    let data = place.path().join("data");
    let line = format!(
        "--data {} init --non-interactive --hostname mail.example.test --domain example.test --admin ann@example.test --random",
        data.display()
    );
    let (code, out, error) = run(&place, &format!("--output json {line}"), "");
    assert_eq!(code, 0, "{error}");
    let made: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(made["password"].as_str().map(str::len), Some(20));
    assert_eq!(json(&place, "config show")["hostname"], "mail.example.test");
    assert_eq!(json(&place, "user list")[0]["address"], "ann@example.test");
    let alias = &json(&place, "alias list")[0];
    assert_eq!((&alias["address"], &alias["targets"][0]), (&Value::from("postmaster@example.test"), &Value::from("ann@example.test")));
    assert_eq!(run(&place, &line, "").0, 1, "twice");
}

#[test]
fn the_records_of_a_domain_can_be_copied_into_its_zone() {
    let place = TempDir::new().unwrap();
    let line = "init --non-interactive --hostname mail.example.test --domain example.test --admin ann@example.test --random";
    assert_eq!(run(&place, &format!("--data {} {line}", place.path().join("data").display()), "").0, 0);
    let records = json(&place, "domain records example.test");
    let of = |kind: &str, start: &str| {
        let all = records.as_array().unwrap().iter();
        all.filter(|record| record["type"] == kind && record["data"].as_str().unwrap().starts_with(start)).count()
    };
    assert_eq!((of("MX", "10 mail.example.test."), of("TLSA", "3 1 1 "), of("TXT", "\"v=spf1")), (1, 1, 2));
    assert_eq!((of("TXT", "\"v=DKIM1"), of("TXT", "\"v=DMARC1")), (2, 1));
    assert_eq!(run(&place, "domain records other.test", "").0, 3, "no such domain");
}

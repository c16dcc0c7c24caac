//! Holds `docs/configuration.md` to the reference of keys (`UPDATE=1` writes it), and the table of
//! crates in `ARCHITECTURE.md` to what they import.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test says so by failing")]

use server::config::keys::{KEYS, Key};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

const BEGINNING: &str = "# Every key of the settings file

The file is `/etc/postrider/postrider.toml`, unless `--config FILE` or `POSTRIDER_CONFIG` names another. `postrider config check` says file, line and
key of a mistake, `postrider config show` prints the settings as they are understood, defaults included. `serve` and `demo` take the most
needed ones on the command line as well: `--data`, `--listen PROTOCOL=ADDRESS:PORT`, `--dns`, `--ca-file`, `--outbound-port`,
`--source-address`, `--log`, `--log-format`.

A *span* of time is written `\"30s\"`, `\"15m\"`, `\"1h30m\"`, `\"5d\"`; a *size* `1048576`, `\"50 MiB\"` or `\"2 GB\"`; a *network*
`\"10.0.0.0/8\"` or a single address.

Only `hostname` must be given:

```toml
hostname = \"mail.example.org\"
```

(This page is made from `postrider config schema`.)
";

fn page() -> String {
    let mut page = BEGINNING.to_owned();
    let mut section = "";
    for key in KEYS {
        let table = table_of(key);
        if table != section || page == BEGINNING {
            section = table;
            page.extend(["\n## ", heading(table), "\n\n| key | type | default | meaning |\n|---|---|---|---|\n"]);
        }
        page.push_str(&row(key));
    }
    page
}

fn table_of(key: &Key) -> &'static str {
    key.name.rsplit_once('.').map_or("", |(table, _)| table)
}

fn heading(table: &'static str) -> &'static str {
    match table {
        "" => "At the top",
        "tls" => "`[tls]`",
        "transport" => "`[transport]`",
        "authentication" => "`[authentication]`",
        "filter" => "`[filter]`; [how mail is judged](filter.md)",
        "rejects" => "`[rejects]`: what was refused is kept; [how](operations.md#refused-mail)",
        "forwarding" => "`[forwarding]`",
        "bounces" => "`[bounces]`",
        "relay_fallback" => "`[relay_fallback]`",
        "queue" => "`[queue]`",
        "queue.limits[]" => "`[[queue.limits]]`, as many as are needed; [what is fair](design/queue.md)",
        "limits" => "`[limits]`",
        "trail" => "`[trail]`",
        "log" => "`[log]`",
        "outbound" => "`[outbound]`: what users may send",
        "sign_in" => "`[sign_in]`: what becomes of failed sign-ins",
        "oauth" => "`[oauth]`",
        "pop3" => "`[pop3]`",
        "listener[]" => "`[[listener]]`, once for each port",
        "source[]" => "`[[source]]`, as many as are needed",
        "list[]" => "`[[list]]`: block and allow lists, at most 16",
        "route[]" => "`[[route]]`, as many as are needed",
        "milter[]" => "`[[milter]]`, once for each, asked in this order",
        "mta_hook[]" => "`[[mta_hook]]`, once for each, asked after the milters",
        other => other,
    }
}

fn row(key: &Key) -> String {
    let name = key.name.rsplit_once('.').map_or(key.name, |(_, name)| name);
    let default = if key.default.is_empty() { String::new() } else { format!("`{}`", key.default) };
    format!("| `{name}` | {} | {default} | {} |\n", key.kind.replace('|', "\\|"), key.meaning)
}

#[test]
fn the_page_of_keys_is_what_the_program_says() {
    let path = root().join("docs/configuration.md");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, page()).unwrap();
    }
    assert_eq!(std::fs::read_to_string(&path).unwrap(), page(), "UPDATE=1 cargo test -p postrider writes it anew");
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// What each crate imports of the others, by its `Cargo.toml`.
fn imports() -> BTreeMap<String, Vec<String>> {
    let crates: Vec<String> =
        std::fs::read_dir(root().join("crates")).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    let imports_of = |name: &String| {
        let manifest = std::fs::read_to_string(root().join("crates").join(name).join("Cargo.toml")).unwrap();
        let manifest: toml::Table = toml::from_str(&manifest).unwrap();
        let dependencies = manifest["dependencies"].as_table().unwrap();
        let mut imports: Vec<String> = crates.iter().filter(|other| dependencies.contains_key(*other)).cloned().collect();
        imports.sort();
        (name.clone(), imports)
    };
    crates.iter().map(imports_of).collect()
}

/// The crates and their imports in a table with rows of layer, crate, sentence, imports, runtime.
fn told(page: &str) -> BTreeMap<String, Vec<String>> {
    let rows = page.lines().map(|line| line.split('|').map(str::trim).collect::<Vec<_>>());
    let told = |row: Vec<&str>| {
        let [_, _, name, _, imports, _, _] = row.as_slice() else { return None };
        let name = name.strip_prefix('`')?.strip_suffix('`')?.to_owned();
        let bare = |import: &str| import.trim().trim_start_matches('[').split(']').next().unwrap_or_default().to_owned();
        let mut imports: Vec<String> = imports.split(',').map(bare).filter(|import| import != "–").collect();
        imports.sort();
        Some((name, imports))
    };
    rows.filter_map(told).collect()
}

#[test]
fn the_table_of_crates_tells_what_they_import() {
    assert_eq!(told(&std::fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap()), imports());
}

//! Holds `docs/configuration.md` to the reference of keys; `UPDATE=1` writes it.

#![allow(clippy::unwrap_used, reason = "a test says so by failing")]

use server::config::keys::{KEYS, Key};
use std::path::PathBuf;

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
        "queue" => "`[queue]`",
        "limits" => "`[limits]`",
        "trail" => "`[trail]`",
        "log" => "`[log]`",
        "listener[]" => "`[[listener]]`, once for each port",
        "route[]" => "`[[route]]`, as many as are needed",
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
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs/configuration.md");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, page()).unwrap();
    }
    assert_eq!(std::fs::read_to_string(&path).unwrap(), page(), "UPDATE=1 cargo test -p postrider writes it anew");
}

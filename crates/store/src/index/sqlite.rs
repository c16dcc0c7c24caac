//! The index in SQLite: one `WITHOUT ROWID` table for each space.
//!
//! In WAL mode a commit is not synced: after a crash the file is as it was at some earlier commit,
//! whose log position it holds, and the rest comes from the log. The keeper makes it durable now and
//! then. Readers have connections of their own, from a pool.
//!
//! Invariant: one writer; nobody but this process writes to the file.

use super::{Direction, Index, KeyRange, Overlay, Position, View, Visit, Writer};
use crate::error::{Error, Result};
use crate::schema::Space;
use rusqlite::types::ValueRef;
use rusqlite::{Connection, OptionalExtension, params};
use std::ops::ControlFlow;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};

/// What the tables look like; an index of another format is thrown away and rebuilt.
const FORMAT: i64 = 2;
/// A row of more than a quarter of a page is split over two, and an email's record has about 1,000
/// octets: with pages of 4 KiB each took two reads.
const PAGE_OCTETS: u64 = 8192;
/// Prepared statements kept for each connection: all that there are.
const STATEMENTS: usize = 256;

/// Cache sizes and the like.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sizes {
    pub(crate) writer_cache_octets: usize,
    pub(crate) reader_cache_octets: usize,
    /// How many idle connections are kept.
    pub(crate) readers: usize,
}

/// The file, for readers and the keeper.
pub(crate) struct Sqlite {
    path: PathBuf,
    sizes: Sizes,
    readers: Mutex<Vec<Connection>>,
    keeper: Mutex<Connection>,
}

/// The statements of one space.
struct Statements {
    get: String,
    put: String,
    delete: String,
    scan: [[String; 2]; 2],
}

static STATEMENTS_OF: LazyLock<Vec<Statements>> = LazyLock::new(|| Space::ALL.iter().map(|space| Statements::of(*space)).collect());

impl Statements {
    fn of(space: Space) -> Self {
        let table = space.table();
        let scan = |bound: &str, order: &str| format!("SELECT k, v FROM \"{table}\" WHERE k >= ?1{bound} ORDER BY k{order}");
        let both = |order: &str| [scan("", order), scan(" AND k < ?2", order)];
        Self {
            get: format!("SELECT v FROM \"{table}\" WHERE k = ?1"),
            put: format!("INSERT INTO \"{table}\" (k, v) VALUES (?1, ?2) ON CONFLICT (k) DO UPDATE SET v = excluded.v"),
            delete: format!("DELETE FROM \"{table}\" WHERE k = ?1"),
            scan: [both(""), both(" DESC")],
        }
    }
}

fn statements(space: Space) -> Result<&'static Statements> {
    STATEMENTS_OF.get(space.slot()).ok_or_else(|| Error::corrupt("a space without a table"))
}

fn failed(e: &rusqlite::Error) -> Error {
    match e.sqlite_error_code() {
        Some(rusqlite::ErrorCode::DiskFull) => Error::Full,
        Some(rusqlite::ErrorCode::DatabaseCorrupt | rusqlite::ErrorCode::NotADatabase) => Error::corrupt(format!("the index: {e}")),
        _ => Error::io("the index", std::io::Error::other(e.to_string())),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Opens the index at `path`; one that cannot be used is removed first.
pub(crate) fn open(path: &Path, sizes: Sizes) -> Result<(Arc<Sqlite>, SqliteWriter)> {
    let usable = || {
        private(path);
        let writer = connect(path, sizes.writer_cache_octets)?;
        prepare(&writer).map(|()| writer)
    };
    let writer = match usable() {
        Ok(writer) => writer,
        Err(e) => {
            tracing::warn!(error = %e, "the index cannot be used and is rebuilt from the log");
            remove(path).and_then(|()| usable().map_err(|e| failed(&e)))?
        }
    };
    let keeper = connect(path, 64 << 10).map_err(|e| failed(&e))?;
    let sqlite = Sqlite { path: path.to_path_buf(), sizes, readers: Mutex::default(), keeper: Mutex::new(keeper) };
    Ok((Arc::new(sqlite), SqliteWriter { connection: writer }))
}

/// Subjects and addresses are in it: only the owner may read it. SQLite's other files follow it.
fn private(path: &Path) {
    // If it cannot be made, opening it says why.
    let _ = std::fs::OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path);
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut path = path.as_os_str().to_owned();
    path.push(suffix);
    path.into()
}

fn remove(path: &Path) -> Result<()> {
    for suffix in ["", "-wal", "-shm"] {
        match std::fs::remove_file(with_suffix(path, suffix)) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(Error::io("removing an unusable index", e)),
            _ => {}
        }
    }
    Ok(())
}

fn connect(path: &Path, cache_octets: usize) -> rusqlite::Result<Connection> {
    let connection = Connection::open(path)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    connection.busy_timeout(std::time::Duration::from_secs(10))?;
    let cache = i64::try_from(cache_octets / 1024).unwrap_or(i64::MAX);
    connection.execute_batch(&format!(
        "PRAGMA page_size = {PAGE_OCTETS}; PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA wal_autocheckpoint = 0; PRAGMA temp_store = MEMORY;
         PRAGMA cache_size = -{cache}; PRAGMA trusted_schema = OFF;"
    ))?;
    Ok(connection)
}

fn prepare(connection: &Connection) -> rusqlite::Result<()> {
    let format: i64 = connection.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    if format != FORMAT && format != 0 {
        return Err(rusqlite::Error::InvalidQuery);
    }
    let tables: String = Space::ALL.iter().map(|space| table(space.table())).collect();
    connection.execute_batch(&format!("BEGIN; {tables} {} PRAGMA user_version = {FORMAT}; COMMIT;", table("applied")))
}

fn table(name: &str) -> String {
    format!("CREATE TABLE IF NOT EXISTS \"{name}\" (k BLOB PRIMARY KEY NOT NULL, v BLOB NOT NULL) WITHOUT ROWID;")
}

fn get(connection: &Connection, space: Space, key: &[u8]) -> Result<Option<Vec<u8>>> {
    let mut statement = connection.prepare_cached(&statements(space)?.get).map_err(|e| failed(&e))?;
    statement.query_row([key], |row| row.get(0)).optional().map_err(|e| failed(&e))
}

fn scan(connection: &Connection, space: Space, range: &KeyRange, direction: Direction, visit: Visit<'_>) -> Result<()> {
    let [forward, back] = &statements(space)?.scan;
    let [open, bounded] = if direction == Direction::Forward { forward } else { back };
    let sql = if range.to.is_some() { bounded } else { open };
    let mut statement = connection.prepare_cached(sql).map_err(|e| failed(&e))?;
    let rows = match &range.to {
        Some(to) => statement.query(params![range.from, to]),
        None => statement.query(params![range.from]),
    };
    let mut rows = rows.map_err(|e| failed(&e))?;
    while let Some(row) = rows.next().map_err(|e| failed(&e))? {
        let (key, value) = (row.get_ref(0).map_err(|e| failed(&e))?, row.get_ref(1).map_err(|e| failed(&e))?);
        if visit(octets(key), octets(value)) == ControlFlow::Break(()) {
            break;
        }
    }
    Ok(())
}

fn octets(value: ValueRef<'_>) -> &[u8] {
    match value {
        ValueRef::Blob(octets) | ValueRef::Text(octets) => octets,
        _ => &[],
    }
}

impl Sqlite {
    fn idle_reader(&self) -> Result<Connection> {
        if let Some(connection) = lock(&self.readers).pop() {
            return Ok(connection);
        }
        connect(&self.path, self.sizes.reader_cache_octets).map_err(|e| failed(&e))
    }

    fn give_back(&self, connection: Connection) {
        let mut readers = lock(&self.readers);
        if readers.len() < self.sizes.readers {
            readers.push(connection);
        }
    }

    fn file_octets(&self, suffix: &str) -> u64 {
        std::fs::metadata(with_suffix(&self.path, suffix)).map_or(0, |metadata| metadata.len())
    }
}

impl Index for Arc<Sqlite> {
    fn view(&self) -> Result<Box<dyn View>> {
        let connection = self.idle_reader()?;
        // The snapshot is taken with the first statement, so one is run at once.
        connection.prepare_cached("BEGIN").and_then(|mut begin| begin.execute([])).map_err(|e| failed(&e))?;
        let view = SqliteView { connection: Some(connection), home: self.clone() };
        view.get(Space::Meta, b"")?;
        Ok(Box::new(view))
    }

    fn checkpoint(&self) -> Result<u64> {
        checkpoint(&lock(&self.keeper))
    }

    fn octets(&self) -> u64 {
        self.file_octets("")
    }

    fn wal_octets(&self) -> u64 {
        self.file_octets("-wal")
    }
}

fn checkpoint(connection: &Connection) -> Result<u64> {
    let pages: i64 = connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |row| row.get(1)).map_err(|e| failed(&e))?;
    Ok(u64::try_from(pages).unwrap_or_default() * PAGE_OCTETS)
}

struct SqliteView {
    connection: Option<Connection>,
    home: Arc<Sqlite>,
}

impl SqliteView {
    fn connection(&self) -> Result<&Connection> {
        self.connection.as_ref().ok_or(Error::Closed)
    }
}

impl Drop for SqliteView {
    fn drop(&mut self) {
        let Some(connection) = self.connection.take() else { return };
        let ended = connection.prepare_cached("COMMIT").and_then(|mut commit| commit.execute([])).is_ok();
        if ended {
            self.home.give_back(connection);
        }
    }
}

impl View for SqliteView {
    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Vec<u8>>> {
        get(self.connection()?, space, key)
    }

    fn scan(&self, space: Space, range: &KeyRange, direction: Direction, visit: Visit<'_>) -> Result<()> {
        scan(self.connection()?, space, range, direction, visit)
    }
}

/// The writer's connection.
pub(crate) struct SqliteWriter {
    connection: Connection,
}

impl SqliteWriter {
    fn run(&self, sql: &str) -> Result<()> {
        let run = || self.connection.prepare_cached(sql)?.execute([]);
        run().map(drop).map_err(|e| failed(&e))
    }

    fn change(&self, changes: &[Arc<Overlay>], position: Position) -> Result<()> {
        for (space, key, change) in changes.iter().flat_map(|changes| changes.iter()) {
            let statements = statements(space)?;
            let outcome = match change {
                Some(value) => self.connection.prepare_cached(&statements.put).and_then(|mut put| put.execute([key, value])),
                None => self.connection.prepare_cached(&statements.delete).and_then(|mut delete| delete.execute([key])),
            };
            outcome.map_err(|e| failed(&e))?;
        }
        let applied = "INSERT INTO applied (k, v) VALUES (x'00', ?1) ON CONFLICT (k) DO UPDATE SET v = excluded.v";
        let place = |mut put: rusqlite::CachedStatement<'_>| put.execute([position.encode()]);
        self.connection.prepare_cached(applied).and_then(place).map(drop).map_err(|e| failed(&e))
    }
}

impl View for SqliteWriter {
    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Vec<u8>>> {
        get(&self.connection, space, key)
    }

    fn scan(&self, space: Space, range: &KeyRange, direction: Direction, visit: Visit<'_>) -> Result<()> {
        scan(&self.connection, space, range, direction, visit)
    }
}

impl Writer for SqliteWriter {
    fn begin(&mut self) -> Result<()> {
        if self.connection.is_autocommit() { self.run("BEGIN IMMEDIATE") } else { Ok(()) }
    }

    fn apply(&mut self, changes: &[Arc<Overlay>], position: Position) -> Result<()> {
        self.begin()?;
        let applied = self.change(changes, position).and_then(|()| self.run("COMMIT"));
        if applied.is_err() {
            self.end();
        }
        applied
    }

    fn end(&mut self) {
        if !self.connection.is_autocommit()
            && let Err(e) = self.run("ROLLBACK")
        {
            tracing::warn!(error = %e, "the index could not roll back");
        }
    }

    fn position(&self) -> Result<Option<Position>> {
        let query = |row: &rusqlite::Row<'_>| row.get::<_, Vec<u8>>(0);
        let value = self.connection.query_row("SELECT v FROM applied", [], query).optional().map_err(|e| failed(&e))?;
        Ok(value.as_deref().and_then(Position::decode))
    }

    fn clear(&mut self) -> Result<()> {
        let deletes: String = Space::ALL.iter().flat_map(|space| ["DELETE FROM \"", space.table(), "\";"]).collect();
        self.connection.execute_batch(&format!("BEGIN; {deletes} DELETE FROM applied; COMMIT;")).map_err(|e| failed(&e))
    }

    fn checkpoint(&mut self) -> Result<()> {
        checkpoint(&self.connection).map(drop)
    }
}

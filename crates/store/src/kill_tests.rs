//! A process that writes is killed at random moments; what it had acknowledged is all there.
//!
//! `STORE_KILLS=200` for as many kills; fewer by default.

use crate::schema::Space;
use crate::{Body, Result, Settings, Store, WriteTx};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

const THREADS: u8 = 4;
/// How many messages of each writer are kept.
const KEPT: u32 = 20;
const DATA: &str = "STORE_KILL_DATA";

fn settings(data: &Path) -> Settings {
    Settings {
        segment_octets_max: 300_000,
        small_body_octets_max: 20_000,
        restate_octets: 100_000,
        checkpoint_interval: Duration::from_millis(20),
        reclaim_interval: Duration::from_millis(50),
        free_octets_min: 0,
        reserve_octets: 0,
        ..Settings::at(data)
    }
}

fn body(thread: u8, number: u32) -> Body {
    let octets = if number.is_multiple_of(7) { 40_000 } else { 300 + (number as usize * 37) % 5000 };
    let mut noise = vec![0; octets];
    blake3::Hasher::new().update(&[thread]).update(&number.to_be_bytes()).finalize_xof().fill(&mut noise);
    Body::from_vec(noise)
}

fn key(thread: u8, number: u32) -> Vec<u8> {
    [[thread].as_slice(), &number.to_be_bytes()].concat()
}

fn last(store: &Store, thread: u8) -> u32 {
    let read = move |tx: &crate::ReadTx| tx.get(Space::Count, &[thread]);
    store.read_blocking(read).unwrap().map_or(0, |value| u32::from_be_bytes(value.try_into().unwrap()))
}

fn message(tx: &mut WriteTx, thread: u8, number: u32, body: &Body) -> Result<()> {
    tx.blob_put(body)?;
    tx.put(Space::Address, &key(thread, number), body.hash().0.to_vec());
    tx.put(Space::Count, &[thread], number.to_be_bytes().to_vec());
    if let Some(old) = number.checked_sub(KEPT).filter(|old| *old > 0) {
        tx.blob_release(&self::body(thread, old).hash())?;
        tx.delete(Space::Address, &key(thread, old));
    }
    Ok(())
}

fn write(store: &Store, thread: u8) {
    for number in last(store, thread) + 1.. {
        let raw = body(thread, number);
        let mut draft = store.draft();
        draft.write(raw.in_memory().unwrap()).unwrap();
        let body = draft.finish().unwrap();
        store.write_blocking(move |tx| message(tx, thread, number, &body)).unwrap();
        let mut out = std::io::stdout().lock();
        writeln!(out, "ack {thread} {number}").unwrap();
        out.flush().unwrap();
    }
}

#[test]
#[ignore = "the process that is killed"]
fn writer_process() {
    let Ok(data) = std::env::var(DATA) else { return };
    let store = Store::open(&settings(Path::new(&data))).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let store = &store;
            scope.spawn(move || write(store, thread));
        }
    });
}

/// Lets a process write until it has acknowledged so many, kills it, and collects the rest of what
/// it said.
fn run_and_kill(data: &Path, acknowledgements: usize) -> Vec<(u8, u32)> {
    let mut process = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "kill_tests::writer_process", "--ignored", "--nocapture"])
        .env(DATA, data)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut acknowledged = Vec::new();
    let mut killed = false;
    for line in BufReader::new(process.stdout.take().unwrap()).lines() {
        let line = line.unwrap();
        // The test harness may have begun the line.
        let Some(at) = line.find("ack ") else { continue };
        let mut numbers = line[at + 4..].split(' ').filter_map(|number| number.parse::<u32>().ok());
        if let (Some(thread), Some(number)) = (numbers.next(), numbers.next()) {
            acknowledged.push((u8::try_from(thread).unwrap(), number));
        }
        if acknowledged.len() >= acknowledgements && !killed {
            process.kill().unwrap();
            killed = true;
        }
    }
    process.wait().unwrap();
    acknowledged
}

fn verify(data: &Path, acknowledged: &[(u8, u32)]) {
    let store = Store::open(&settings(data)).unwrap();
    for thread in 0..THREADS {
        let last = last(&store, thread);
        let said = acknowledged.iter().filter(|(by, _)| *by == thread).map(|(_, number)| *number).max().unwrap_or_default();
        assert!(last == said || last == said + 1 || said == 0, "writer {thread} was told {said}, the store has {last}");
        for number in last.saturating_sub(KEPT) + 1..=last {
            let hash = body(thread, number).hash();
            let found = store.read_blocking(move |tx| {
                tx.blob_verify(&hash)?;
                tx.get(Space::Address, &key(thread, number))
            });
            assert_eq!(found.unwrap().as_deref(), Some(hash.0.as_slice()));
        }
    }
    let blobs = store.read_blocking(|tx| tx.blobs(None, usize::MAX)).unwrap();
    assert!(blobs.len() <= usize::from(THREADS) * KEPT as usize && blobs.iter().all(|(_, blob)| blob.references == 1));
    assert_eq!(store.verify_log().unwrap(), []);
}

#[test]
fn a_killed_process_loses_nothing_it_acknowledged() {
    let kills: u32 = std::env::var("STORE_KILLS").ok().and_then(|kills| kills.parse().ok()).unwrap_or(6);
    let data = tempfile::tempdir().unwrap();
    for kill in 0..kills {
        let acknowledged = run_and_kill(data.path(), (kill as usize * 97) % 300);
        assert!(!acknowledged.is_empty() || kill == 0, "the writer did not start");
        verify(data.path(), &acknowledged);
        if kill % 5 == 3 {
            std::fs::remove_file(data.path().join("index.sqlite")).unwrap();
            verify(data.path(), &acknowledged);
        }
    }
}

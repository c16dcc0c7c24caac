//! The engine against a model of it: a map in memory, through crashes, power cuts, full disks,
//! flipped bits and reclaiming.

#![expect(clippy::cast_possible_truncation, reason = "small random numbers")]
#![expect(clippy::unnecessary_wraps, reason = "transactions return a Result")]

use crate::backlog::block_on;
use crate::commit::Until;
use crate::disk::sim::{Fault, SimDisk};
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::index::memory::{Memory, State};
use crate::index::{Direction, KeyRange};
use crate::log::OpenError;
use crate::migrate::Step;
use crate::schema::Space;
use crate::settings::Settings;
use crate::tx::{ReadTx, WriteTx};
use crate::{Body, Store};
use mail::BlobHash;
use std::collections::BTreeMap;
use std::ops::ControlFlow;

/// Where the test's keys are; the model of mail is not there.
const SPACES: [Space; 2] = [Space::Count, Space::Address];

fn small() -> Settings {
    Settings {
        segment_octets_max: 4096,
        small_body_octets_max: 600,
        restate_octets: 3000,
        dead_percent: 30,
        open_files_max: 3,
        recent_octets_max: 2000,
        ..Settings::simulated()
    }
}

struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        (mixed ^ (mixed >> 27)) % bound
    }

    fn octets(&mut self, octets_max: u64) -> Vec<u8> {
        let octets = self.below(octets_max);
        let text = self.below(2) == 0;
        (0..octets).map(|n| if text { b"mail "[n as usize % 5] } else { self.below(256) as u8 }).collect()
    }
}

/// What the store should hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Model {
    keys: BTreeMap<(Space, Vec<u8>), Vec<u8>>,
    blobs: BTreeMap<BlobHash, (u64, Vec<u8>)>,
}

/// One change of a commit.
#[derive(Debug, Clone)]
enum Action {
    Put(Space, Vec<u8>, Vec<u8>),
    Delete(Space, Vec<u8>),
    Store(Body, Vec<u8>),
    Release(BlobHash),
}

impl Model {
    fn apply(&mut self, action: &Action) {
        match action.clone() {
            Action::Put(space, key, value) => drop(self.keys.insert((space, key), value)),
            Action::Delete(space, key) => drop(self.keys.remove(&(space, key))),
            Action::Store(body, octets) => self.blobs.entry(body.hash()).or_insert((0, octets)).0 += 1,
            Action::Release(hash) => {
                let blob = self.blobs.get_mut(&hash).unwrap();
                blob.0 -= 1;
                if blob.0 == 0 {
                    self.blobs.remove(&hash);
                }
            }
        }
    }

    fn action(&self, random: &mut Random, engine: &Engine) -> Result<Action> {
        let space = SPACES[random.below(2) as usize];
        let key = vec![random.below(12) as u8; 1 + random.below(3) as usize];
        Ok(match random.below(10) {
            0..=3 => Action::Put(space, key, random.octets(60)),
            4..=5 => Action::Delete(space, key),
            6..=7 => {
                let octets = random.octets(1200);
                let mut draft = engine.draft();
                draft.write(&octets)?;
                Action::Store(draft.finish()?, octets)
            }
            _ => match self.blobs.keys().nth(random.below(self.blobs.len().max(1) as u64) as usize) {
                Some(hash) => Action::Release(*hash),
                None => Action::Delete(space, key),
            },
        })
    }

    /// Reads everything back from the store.
    fn of(tx: &ReadTx) -> Result<Self> {
        let mut model = Self::default();
        for space in SPACES {
            tx.scan(space, &KeyRange::all(), Direction::Forward, |key, value| {
                model.keys.insert((space, key.to_vec()), value.to_vec());
                ControlFlow::Continue(())
            })?;
        }
        for (hash, blob) in tx.blobs(None, usize::MAX)? {
            tx.blob_verify(&hash)?;
            model.blobs.insert(hash, (blob.references, tx.blob_read(&hash, 0, usize::MAX)?));
        }
        Ok(model)
    }
}

fn put(tx: &mut WriteTx, space: Space, key: &[u8], value: Vec<u8>) -> Result<()> {
    tx.put(space, key, value);
    Ok(())
}

fn files(disk: &SimDisk, ending: &str) -> Vec<String> {
    disk.names().into_iter().filter(|name| name.ends_with(ending)).collect()
}

fn perform(tx: &mut WriteTx, actions: &[Action]) -> Result<()> {
    for action in actions {
        match action {
            Action::Put(space, key, value) if key.len() > 1 && tx.get(*space, key)?.is_none() => tx.add(*space, key, value.clone()),
            Action::Put(space, key, value) => tx.put(*space, key, value.clone()),
            Action::Delete(space, key) => tx.delete(*space, key),
            Action::Store(body, _) => tx.blob_put(body)?,
            Action::Release(hash) => tx.blob_release(hash)?,
        }
    }
    Ok(())
}

fn open(disk: &SimDisk, index: &Memory) -> Engine {
    Engine::in_place(disk, index, &small(), &[]).unwrap()
}

fn content(engine: &Engine) -> Model {
    engine.read_here(Model::of).unwrap()
}

/// A commit of a few actions: what the model is if it succeeds, and whether it did.
fn commit(engine: &Engine, model: &Model, random: &mut Random) -> (Model, Result<()>) {
    commit_until(Until::Durable, engine, model, random)
}

fn commit_until(until: Until, engine: &Engine, model: &Model, random: &mut Random) -> (Model, Result<()>) {
    let mut after = model.clone();
    let mut actions = Vec::new();
    for _ in 0..=random.below(4) {
        match after.action(random, engine) {
            Ok(action) => actions.push(action),
            Err(e) => return (model.clone(), Err(e)),
        }
        after.apply(actions.last().unwrap());
    }
    let outcome = match until {
        Until::Durable => engine.write_here(move |tx| perform(tx, &actions)),
        Until::Visible => block_on(engine.write_early(move |tx| perform(tx, &actions))),
    };
    (after, outcome)
}

/// The index after a rebuild from nothing but the log is the one that grew with it.
fn assert_rebuild_is_exact(disk: &SimDisk, index: &Memory, what: &str) {
    disk.kill();
    let rebuilt = Memory::default();
    drop(open(disk, &rebuilt));
    disk.kill();
    assert_eq!(rebuilt.state().maps(), index.state().maps(), "{what}");
}

/// Random commits and reclaims until the fault strikes, then reopening; several times.
fn survive(seed: u64, fault: Fault, rounds: usize) {
    let mut random = Random(seed);
    let disk = SimDisk::new();
    let mut index = Memory::default();
    let mut model = Model::default();
    let mut earlier: Vec<State> = vec![State::default()];
    drop(open(&disk, &index));
    disk.kill();
    for round in 0..rounds {
        let what = format!("seed {seed} round {round}");
        let engine = open(&disk, &index);
        assert_eq!(content(&engine), model, "{what}");
        disk.fail_at(disk.operations() + 1 + random.below(60), fault);
        // What may be there after a crash: the last durable state, and what early commits made of it since.
        let mut possible = vec![model.clone()];
        let mut failed;
        for _ in 0..60 {
            if random.below(8) == 0 {
                failed = engine.reclaim().is_err();
            } else {
                let until = [Until::Durable, Until::Durable, Until::Visible][random.below(3) as usize];
                let (after, outcome) = commit_until(until, &engine, &model, &mut random);
                failed = outcome.is_err();
                if !failed {
                    model = after.clone();
                }
                if !failed && until == Until::Durable && after != *possible.last().unwrap() {
                    possible.clear();
                }
                possible.push(after);
            }
            failed |= disk.is_off();
            if !failed {
                assert_eq!(content(&engine), model, "{what}");
            }
            if random.below(4) == 0 {
                earlier.push(index.state());
            }
            if failed {
                break;
            }
        }
        // Of what was durable all must be there; the last commit may be there or not if it failed.
        let state = index.state();
        drop(engine);
        match fault {
            Fault::PowerLoss => disk.power_cut(random.below(u64::MAX)),
            _ => disk.kill(),
        }
        let outdated = earlier[random.below(earlier.len() as u64) as usize].clone();
        index = Memory::of([state, outdated, State::default()][random.below(3) as usize].clone());
        let engine = open(&disk, &index);
        let found = content(&engine);
        assert!(possible.contains(&found), "{what}: neither before nor after the last commit");
        assert_eq!(engine.verify_log().unwrap(), [], "{what}");
        model = found;
        drop(engine);
        assert_rebuild_is_exact(&disk, &index, &what);
        earlier.push(index.state());
    }
}

#[test]
fn nothing_acknowledged_is_lost_in_a_power_cut() {
    (0..150).for_each(|seed| survive(seed, Fault::PowerLoss, 5));
}

#[test]
fn a_failed_write_or_sync_stops_the_store_and_loses_nothing() {
    (1000..1080).for_each(|seed| survive(seed, Fault::Error, 4));
}

#[test]
fn an_early_commit_is_visible_at_once_and_durable_with_the_next_or_when_the_store_is_closed() {
    for (then, want) in [("power cut", None), ("durable", Some(1)), ("empty", None), ("roll", Some(1)), ("close", Some(1)), ("full", None)]
    {
        let (disk, index) = (SimDisk::new(), Memory::default());
        let engine = open(&disk, &index);
        engine.write_here(|tx| put(tx, Space::Count, b"other", vec![1])).unwrap();
        let before = (disk.operations(), engine.figures().unwrap());
        block_on(engine.write_early(|tx| put(tx, Space::Count, b"number", vec![1]))).unwrap();
        let refused = block_on(engine.write_early(|tx| put(tx, Space::Count, b"number", vec![9]).and(Err::<(), _>(Error::Full))));
        assert!(refused.is_err());
        assert_eq!((number(&engine), disk.operations(), engine.figures().unwrap().groups), (1, before.0, before.1.groups));
        match then {
            "durable" => engine.write_here(|tx| put(tx, Space::Count, b"other", vec![2])).unwrap(),
            "empty" => engine.write_here(|_| Ok(())).unwrap(),
            "roll" => assert_eq!(engine.roll().unwrap(), 2),
            "full" => {
                disk.fail_at(disk.operations() + 1, Fault::Full);
                let refused = engine.write_here(|tx| tx.blob_put(&Body::new(&[1; 300])));
                assert!(refused.is_err());
                assert_eq!(number(&engine), 1);
            }
            _ => {}
        }
        if then == "close" {
            engine.close();
        }
        disk.power_cut(1);
        drop(engine);
        disk.kill();
        let engine = open(&disk, &index);
        assert_eq!(engine.read_here(|tx| tx.get(Space::Count, b"number")).unwrap(), want.map(|value| vec![value]), "{then}");
        assert_eq!(engine.verify_log().unwrap(), []);
    }
}

#[test]
fn a_body_or_what_watchers_hear_of_is_never_early() {
    let disk = SimDisk::new();
    let engine = open(&disk, &Memory::default());
    let groups = || engine.figures().unwrap().groups;
    let before = groups();
    block_on(engine.write_early(|tx| tx.blob_put(&Body::new(b"a body")))).unwrap();
    block_on(engine.write_early(|tx| tx.blob_release(&Body::new(b"a body").hash()))).unwrap();
    block_on(engine.write_early(|tx| {
        tx.announce(mail::AccountId(1), mail::ModSeq(1));
        put(tx, Space::Count, b"number", vec![1])
    }))
    .unwrap();
    assert_eq!(groups(), before + 3);
}

#[test]
fn early_commits_do_not_gather_without_bound() {
    let disk = SimDisk::new();
    let engine = open(&disk, &Memory::default());
    let groups = engine.figures().unwrap().groups;
    for number in 0..=255_u8 {
        block_on(engine.write_early(move |tx| put(tx, Space::Count, &[number], vec![number; 50_000]))).unwrap();
    }
    let octets_max = small().group_octets_max as u64;
    assert!(engine.figures().unwrap().groups >= groups + 256 * 50_000 / octets_max - 1);
}

#[test]
fn a_power_cut_at_each_operation_of_a_commit() {
    let (disk, index) = (SimDisk::new(), Memory::default());
    drop(open(&disk, &index));
    let begin = disk.operations();
    let body = Body::new(&[7; 500]);
    let write = |engine: &Engine| {
        let body = body.clone();
        engine.write_here(move |tx| {
            tx.put(Space::Count, b"k", b"v".to_vec());
            tx.blob_put(&body)
        })
    };
    for operation in 1..=20 {
        for seed in 0..20 {
            let (disk, index) = (SimDisk::new(), Memory::default());
            disk.fail_at(operation, Fault::PowerLoss);
            let acknowledged = Engine::in_place(&disk, &index, &small(), &[]).is_ok_and(|engine| write(&engine).is_ok());
            disk.power_cut(seed);
            let engine = open(&disk, &Memory::default());
            let found = content(&engine);
            assert!(!found.keys.is_empty() || !acknowledged, "operation {operation} of {begin}");
            assert_eq!(found.keys.is_empty(), found.blobs.is_empty(), "a commit is whole");
        }
    }
}

/// A store with one segment of three commits, and the file's octets.
fn three_commits() -> (SimDisk, Vec<Vec<u8>>, String) {
    let disk = SimDisk::new();
    let engine = open(&disk, &Memory::default());
    let path = files(&disk, ".seg").remove(0);
    let mut states = Vec::new();
    for number in 1..=3_u8 {
        let write = move |tx: &mut WriteTx| {
            tx.blob_put(&Body::new(&[number; 40]))?;
            tx.put(Space::Count, b"number", vec![number]);
            Ok(())
        };
        engine.write_here(write).unwrap();
        states.push(disk.octets_of(&path).unwrap());
    }
    (disk, states, path)
}

fn number(engine: &Engine) -> u8 {
    engine.read_here(|tx| tx.get(Space::Count, b"number")).unwrap().map_or(0, |value| value[0])
}

#[test]
fn the_tail_may_be_torn_at_any_octet() {
    let (disk, states, path) = three_commits();
    for octets in states[1].len()..states[2].len() {
        for ending in [vec![], vec![0; 50], vec![0xa5; 50]] {
            disk.kill();
            disk.tamper(&path, [states[2][..octets].to_vec(), ending].concat());
            let engine = open(&disk, &Memory::default());
            assert_eq!(number(&engine), 2, "cut at {octets}");
            engine.write_here(|tx| put(tx, Space::Count, b"number", vec![9])).unwrap();
            drop(engine);
            disk.kill();
            assert_eq!(number(&open(&disk, &Memory::default())), 9);
        }
    }
}

#[test]
fn a_flipped_bit_in_what_was_durable_is_named() {
    let (disk, states, path) = three_commits();
    let good = &states[2];
    for at in 64..states[1].len() {
        let mut bad = good.clone();
        bad[at] ^= 1 << (at % 8);
        disk.kill();
        disk.tamper(&path, bad.clone());
        let opened = Engine::in_place(&disk, &Memory::default(), &small(), &[]);
        let Err(OpenError::Damaged(damage)) = opened.map(|_| ()) else { panic!("octet {at} was not noticed") };
        let first = &damage[0];
        assert!(first.segment == 1 && first.offset <= at as u64 && at as u64 <= first.offset + 120, "{at}: {first}");
        disk.kill();
        assert_eq!(disk.octets_of(&path).unwrap(), bad, "a damaged log is not touched");
    }
    let mut bad = good.clone();
    bad[states[0].len() + 16 + 37 + 3] ^= 1;
    disk.kill();
    disk.tamper(&path, bad);
    let error = Engine::in_place(&disk, &Memory::default(), &small(), &[]).err().unwrap().to_string();
    assert!(error.contains(&format!("body {}", Body::new(&[2; 40]).hash())), "{error}");
    let engine = Engine::in_place(&disk, &Memory::default(), &Settings { salvage: true, ..small() }, &[]).unwrap();
    assert_eq!(number(&engine), 3, "with salvage the rest is there");
    let hash = Body::new(&[2; 40]).hash();
    assert!(matches!(engine.read_here(|tx| tx.blob_read(&hash, 0, 9)), Err(Error::Corrupt { .. })));
}

#[test]
fn damage_in_the_segment_header_or_a_missing_segment_is_named() {
    let (disk, states, path) = three_commits();
    let mut bad = states[2].clone();
    bad[20] ^= 1;
    disk.kill();
    disk.tamper(&path, bad);
    assert!(matches!(Engine::in_place(&disk, &Memory::default(), &small(), &[]), Err(OpenError::Damaged(_))));
    let (disk, index) = (SimDisk::new(), Memory::default());
    let engine = open(&disk, &index);
    for n in 0..40_u8 {
        engine.write_here(move |tx| put(tx, Space::Count, &[n], vec![n; 300])).unwrap();
    }
    drop(engine);
    disk.kill();
    let segments = files(&disk, ".seg");
    assert!(segments.len() >= 3);
    crate::disk::Disk::remove(&disk, &segments[1]).unwrap();
    let error = Engine::in_place(&disk, &Memory::default(), &small(), &[]).err().unwrap().to_string();
    assert!(error.contains("segment 2 at 0: the segment is missing"), "{error}");
}

#[test]
fn a_full_disk_refuses_mail_lets_delete_and_recovers() {
    let settings = Settings { reserve_octets: 2000, free_octets_min: 10, ..small() };
    for offset in 1..=4 {
        let (disk, index) = (SimDisk::new(), Memory::default());
        let engine = Engine::in_place(&disk, &index, &settings, &[]).unwrap();
        let add = |octet: u8| engine.write_here(move |tx| tx.blob_put(&Body::new(&[octet; 300])));
        let kept = Body::new(&[1; 300]).hash();
        add(1).unwrap();
        disk.fail_at(disk.operations() + offset, Fault::Full);
        let mut outcomes = (2..=5).map(add);
        assert!(outcomes.any(|outcome| matches!(outcome, Err(Error::Full))), "at {offset}");
        assert!(matches!(add(9), Err(Error::Full)));
        let mut draft = engine.draft();
        let long = draft.write(&vec![3; 200_000]).and_then(|()| draft.finish());
        assert!(matches!(long, Err(Error::Full)), "{long:?}");
        engine.write_here(move |tx| tx.blob_release(&kept)).unwrap();
        assert!(engine.read_here(|tx| tx.blob(&kept)).unwrap().is_none(), "deleting goes on");
        assert!(engine.figures().unwrap().full);
        disk.heal();
        engine.write_here(|tx| put(tx, Space::Count, b"x", vec![])).unwrap();
        add(9).unwrap();
        assert!(!engine.figures().unwrap().full);
        let before = content(&engine);
        drop(engine);
        disk.kill();
        assert_eq!(content(&open(&disk, &Memory::default())), before, "at {offset}");
    }
}

#[test]
fn a_disk_that_fills_up_anywhere_damages_nothing() {
    for seed in 0..60 {
        let mut random = Random(seed);
        let (disk, index) = (SimDisk::new(), Memory::default());
        let mut model = Model::default();
        let engine = open(&disk, &index);
        for _ in 0..3 {
            disk.fail_at(disk.operations() + 1 + random.below(40), Fault::Full);
            for _ in 0..20 {
                if random.below(6) == 0 {
                    let reclaimed = engine.reclaim();
                    assert!(matches!(reclaimed, Ok(_) | Err(Error::Full)), "{reclaimed:?}");
                }
                match commit(&engine, &model, &mut random) {
                    (after, Ok(())) => model = after,
                    (_, outcome) => assert!(matches!(outcome, Err(Error::Full)), "{outcome:?}"),
                }
                assert_eq!(content(&engine), model, "seed {seed}");
            }
            disk.heal();
            engine.write_here(|_| Ok(())).unwrap();
        }
        drop(engine);
        assert_rebuild_is_exact(&disk, &index, &format!("seed {seed}"));
    }
}

#[test]
fn space_comes_back() {
    let (disk, index) = (SimDisk::new(), Memory::default());
    let engine = open(&disk, &index);
    let mut random = Random(5);
    for round in 0..300_u64 {
        let octets: Vec<u8> = (0..500).map(|_| random.below(256) as u8).collect();
        let body = Body::new(&octets);
        let write = move |tx: &mut WriteTx| {
            tx.blob_put(&body)?;
            tx.put(Space::Count, &(round % 10).to_be_bytes(), body.hash().0.to_vec());
            Ok(())
        };
        engine.write_here(write).unwrap();
        if round >= 20 {
            let oldest = engine.read_here(|tx| Ok(tx.blobs(None, 1)?[0].0)).unwrap();
            engine.write_here(move |tx| tx.blob_release(&oldest)).unwrap();
        }
        if round % 10 == 0 {
            engine.reclaim().unwrap();
        }
    }
    let figures = engine.figures().unwrap();
    assert!(figures.log_octets < 40_000, "20 bodies of 500 octets in {figures:?}");
    assert!(figures.segments_removed > 20 && figures.moved_octets > 0, "{figures:?}");
    let before = content(&engine);
    assert_eq!((before.blobs.len(), before.keys.len()), (20, 10));
    drop(engine);
    assert_rebuild_is_exact(&disk, &index, "after reclaiming");
    assert_eq!(content(&open(&disk, &Memory::default())), before);
}

#[test]
fn a_reader_keeps_what_it_sees_while_space_is_reclaimed() {
    let (disk, index) = (SimDisk::new(), Memory::default());
    let engine = open(&disk, &index);
    let (short, long) = (Body::new(b"a short one"), {
        let mut draft = engine.draft();
        draft.write(&[9; 5000]).unwrap();
        draft.finish().unwrap()
    });
    let bodies = [short.clone(), long.clone()];
    engine.write_here(move |tx| bodies.iter().try_for_each(|body| tx.blob_put(body))).unwrap();
    let reader = engine.shared().read_tx().unwrap();
    let hashes = [short.hash(), long.hash()];
    drop((short, long));
    engine.write_here(move |tx| hashes.iter().try_for_each(|hash| tx.blob_release(hash))).unwrap();
    for n in 0..40_u8 {
        engine.write_here(move |tx| put(tx, Space::Count, b"churn", vec![n; 400])).unwrap();
    }
    assert!(engine.reclaim().unwrap().segments > 0);
    assert!(!files(&disk, ".body").is_empty(), "the reader still needs it");
    assert_eq!(reader.blob_read(&hashes[0], 2, 5).unwrap(), b"short");
    assert_eq!(reader.blob_read(&hashes[1], 4999, 5).unwrap(), [9]);
    drop(reader);
    engine.shared().files.sweep();
    assert!(files(&disk, ".body").is_empty());
}

#[test]
fn drafts_of_a_killed_process_are_removed() {
    let disk = SimDisk::new();
    let engine = open(&disk, &Memory::default());
    let mut draft = engine.draft();
    draft.write(&[1; 5000]).unwrap();
    let body = draft.finish().unwrap();
    disk.kill();
    drop(engine);
    drop(open(&disk, &Memory::default()));
    assert!(files(&disk, ".body").is_empty());
    drop(body);
}

#[test]
fn older_stores_are_migrated_once_and_newer_ones_refused() {
    const STEPS: &[Step] =
        &[Step { to: KNOWN + 1, what: "count the openings", run: count }, Step { to: KNOWN + 2, what: "again", run: count }];
    const KNOWN: u32 = crate::schema::FORMAT;
    fn count(tx: &mut WriteTx) -> Result<()> {
        let steps = tx.get(Space::Count, b"steps")?.map_or(0, |value| value[0]);
        tx.put(Space::Count, b"steps", vec![steps + 1]);
        Ok(())
    }
    let (disk, index) = (SimDisk::new(), Memory::default());
    drop(open(&disk, &index));
    for _ in 0..2 {
        disk.kill();
        let engine = Engine::in_place(&disk, &index, &small(), STEPS).unwrap();
        assert_eq!(engine.read_here(|tx| tx.get(Space::Count, b"steps")).unwrap(), Some(vec![2]));
    }
    disk.kill();
    assert!(
        matches!(Engine::in_place(&disk, &index, &small(), &[]), Err(OpenError::NewerFormat { found, known: KNOWN }) if found == KNOWN + 2)
    );
}

/// Everything in the index, derived spaces too.
fn everything(store: &Store) -> BTreeMap<(Space, Vec<u8>), Vec<u8>> {
    let read = |tx: &ReadTx| {
        let mut all = BTreeMap::new();
        for space in Space::ALL {
            tx.scan(*space, &KeyRange::all(), Direction::Back, |key, value| {
                all.insert((*space, key.to_vec()), value.to_vec());
                ControlFlow::Continue(())
            })?;
        }
        Ok(all)
    };
    store.read_blocking(read).unwrap()
}

fn on_disk(data: &std::path::Path) -> Settings {
    Settings {
        segment_octets_max: 200_000,
        segment_ahead_octets: 65_536,
        reserve_octets: 0,
        free_octets_min: 0,
        restate_octets: 100_000,
        ..Settings::at(data)
    }
}

/// Many threads write; each key holds how often its thread wrote.
fn load(store: &Store, threads: u8, writes: u32) {
    std::thread::scope(|scope| {
        for thread in 0..threads {
            scope.spawn(move || {
                for n in 1..=writes {
                    let body = Body::from_vec([[thread].as_slice(), &n.to_be_bytes()].concat().repeat(100));
                    let write = move |tx: &mut WriteTx| {
                        tx.blob_put(&body)?;
                        if n > 10 {
                            let old = Body::from_vec([[thread].as_slice(), &(n - 10).to_be_bytes()].concat().repeat(100));
                            tx.blob_release(&old.hash())?;
                        }
                        let before = tx.get(Space::Count, &[thread])?.map_or(0, |value| u32::from_be_bytes(value.try_into().unwrap()));
                        tx.put(Space::Count, &[thread], (before + 1).to_be_bytes().to_vec());
                        Ok(before + 1)
                    };
                    assert_eq!(store.write_blocking(write).unwrap(), n);
                    let read = store.read_blocking(move |tx| tx.get(Space::Count, &[thread])).unwrap();
                    assert_eq!(read, Some(n.to_be_bytes().to_vec()), "what was written is seen at once");
                }
            });
        }
    });
}

#[test]
fn many_writers_share_syncs_and_the_index_can_be_rebuilt() {
    let data = tempfile::tempdir().unwrap();
    let store = Store::open(&on_disk(data.path())).unwrap();
    load(&store, 8, 60);
    let figures = store.figures().unwrap();
    assert_eq!(figures.commits, 481);
    assert!(figures.groups < 480, "{figures:?}");
    store.reclaim().unwrap();
    load_again(&store);
    let before = everything(&store);
    assert_eq!(store.verify_log().unwrap(), []);
    assert!(matches!(Store::open(&on_disk(data.path())), Err(OpenError::Locked { .. })));
    store.close();
    let store = Store::open(&on_disk(data.path())).unwrap();
    assert_eq!(everything(&store), before);
    store.close();
    for name in ["index.sqlite", "index.sqlite-wal", "index.sqlite-shm"] {
        let _ = std::fs::remove_file(data.path().join(name));
    }
    let store = Store::open(&on_disk(data.path())).unwrap();
    assert!(everything(&store) == before, "the rebuilt index differs");
    store.read_blocking(|tx| tx.blobs(None, usize::MAX)?.iter().try_for_each(|(hash, _)| tx.blob_verify(hash))).unwrap();
}

fn load_again(store: &Store) {
    for n in 0..20_u8 {
        store.write_blocking(move |tx| put(tx, Space::Address, &[n], vec![n; 50])).unwrap();
    }
}

#[test]
fn an_index_of_an_earlier_moment_or_a_spoilt_one_is_brought_up_to_date() {
    let data = tempfile::tempdir().unwrap();
    let copies = tempfile::tempdir().unwrap();
    let index = data.path().join("index.sqlite");
    let store = Store::open(&on_disk(data.path())).unwrap();
    load(&store, 2, 30);
    store.close();
    std::fs::copy(&index, copies.path().join("old")).unwrap();
    let store = Store::open(&on_disk(data.path())).unwrap();
    load_again(&store);
    let before = everything(&store);
    store.close();
    std::fs::copy(copies.path().join("old"), &index).unwrap();
    let store = Store::open(&on_disk(data.path())).unwrap();
    assert!(everything(&store) == before, "an old index is brought up to date");
    store.close();
    std::fs::write(&index, b"this is no database, but it is long enough to be looked at as one. ".repeat(100)).unwrap();
    let store = Store::open(&on_disk(data.path())).unwrap();
    assert!(everything(&store) == before, "a spoilt index is rebuilt");
}

#[test]
fn closing_ends_everything_and_a_closed_store_says_so() {
    let data = tempfile::tempdir().unwrap();
    let store = Store::open(&on_disk(data.path())).unwrap();
    let other = store.clone();
    store.write_blocking(|tx| put(tx, Space::Count, b"a", vec![1])).unwrap();
    store.close();
    assert!(matches!(other.write_blocking(|_| Ok(())), Err(Error::Closed)));
    assert!(matches!(other.read_blocking(|_| Ok(())), Err(Error::Closed)));
    assert!(matches!(crate::backlog::block_on(other.read(|_| Ok(()))), Err(Error::Closed)));
    drop(Store::open(&on_disk(data.path())).unwrap());
    drop(Store::open(&on_disk(data.path())).unwrap());
}

#[test]
fn a_panic_in_a_transaction_reaches_its_caller_only() {
    let data = tempfile::tempdir().unwrap();
    for store in [Store::memory(), Store::open(&on_disk(data.path())).unwrap()] {
        let panicking = store.clone();
        let write = move || {
            panicking.write_blocking(|tx| {
                tx.put(Space::Count, b"a", vec![1]);
                if tx.get(Space::Count, b"a")?.is_some() { panic!("on purpose") } else { Ok(()) }
            })
        };
        assert!(std::thread::spawn(write).join().is_err());
        let found = store.write_blocking(|tx| tx.get(Space::Count, b"a")).unwrap();
        assert_eq!(found, None);
    }
}

#[test]
fn subscribers_hear_of_durable_changes() {
    use mail::{AccountId, ModSeq};
    let store = Store::memory();
    let mut one = store.subscribe(AccountId(1));
    let mut two = store.subscribe(AccountId(2));
    let mut queue = store.subscribe_queue();
    let announce = |tx: &mut WriteTx| {
        tx.put(Space::Count, b"a", vec![1]);
        tx.announce(AccountId(1), ModSeq(7));
        tx.announce_queue();
        Ok(())
    };
    let failing = move |tx: &mut WriteTx| announce(tx).and(Err::<(), _>(Error::Full));
    assert!(store.write_blocking(failing).is_err());
    assert!(poll_once(one.changed()).is_none(), "what failed is not announced");
    store.write_blocking(announce).unwrap();
    assert_eq!(poll_once(one.changed()), Some(ModSeq(7)));
    assert_eq!((poll_once(one.changed()), poll_once(two.changed())), (None, None));
    assert_eq!((poll_once(queue.changed()), poll_once(queue.changed())), (Some(()), None));
}

fn poll_once<F: Future>(future: F) -> Option<F::Output> {
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match std::pin::pin!(future).poll(&mut context) {
        std::task::Poll::Ready(output) => Some(output),
        std::task::Poll::Pending => None,
    }
}

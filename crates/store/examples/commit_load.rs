//! How many messages a second the store takes, each acknowledged only when it is on disk.
//!
//! `cargo run --release -p postrider-store --example commit_load [SECONDS] [DIRECTORY]`
//!
//! A message is a body of 4 KB, half of which compresses, and eight keys as an append writes them.
//! It is a load for the engine: the model of mail is not in it.

use std::error::Error;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use store::schema::Space;
use store::{Body, Settings, Store, WriteTx};

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

const BODY_OCTETS: usize = 4096;

fn main() -> Outcome<()> {
    let mut arguments = std::env::args().skip(1);
    let seconds = arguments.next().map_or(Ok(3), |seconds| seconds.parse())?;
    let parent = arguments.next().unwrap_or_else(|| ".".into());
    println!(
        "{:>8} {:>12} {:>10} {:>10} {:>10} {:>10} {:>10}",
        "writers", "messages/s", "CPU µs", "p50 ms", "p99 ms", "max ms", "per group"
    );
    for writers in [1, 4, 16, 64, 256] {
        let data = tempfile::tempdir_in(&parent)?;
        measure(data.path(), writers, Duration::from_secs(seconds))?;
    }
    let data = tempfile::tempdir_in(&parent)?;
    reads(data.path())
}

fn measure(data: &Path, writers: u32, time: Duration) -> Outcome<()> {
    let store = Store::open(&Settings::at(data))?;
    let (stop, cpu, began) = (AtomicBool::new(false), cpu_time()?, Instant::now());
    let mut waits = std::thread::scope(|scope| {
        let (store, stop) = (&store, &stop);
        let threads: Vec<_> = (0..writers).map(|writer| scope.spawn(move || write(store, writer, stop))).collect();
        std::thread::sleep(time);
        stop.store(true, Ordering::Relaxed);
        let mut waits = Vec::new();
        for thread in threads {
            waits.extend(thread.join().map_err(|_| "a writer panicked")??);
        }
        Outcome::Ok(waits)
    })?;
    let (elapsed, cpu) = (began.elapsed(), cpu_time()?.saturating_sub(cpu));
    waits.sort_unstable();
    let figures = store.figures()?;
    let messages = u32::try_from(waits.len())?;
    let at = |percent: usize| waits.get(waits.len() * percent / 100).or(waits.last()).map_or(0.0, |wait| wait.as_secs_f64() * 1e3);
    println!(
        "{writers:>8} {:>12.0} {:>10.1} {:>10.2} {:>10.2} {:>10.2} {:>10.1}",
        f64::from(messages) / elapsed.as_secs_f64(),
        cpu.as_secs_f64() * 1e6 / f64::from(messages),
        at(50),
        at(99),
        at(100),
        f64::from(messages) / f64::from(u32::try_from(figures.groups)?),
    );
    store.close();
    Ok(())
}

/// Writes until it is told to stop; how long each message took.
fn write(store: &Store, writer: u32, stop: &AtomicBool) -> Outcome<Vec<Duration>> {
    let mut waits = Vec::new();
    let mut number = 0_u32;
    while !stop.load(Ordering::Relaxed) {
        number += 1;
        let began = Instant::now();
        let body = Body::from_vec(mail(writer, number));
        store.write_blocking(move |tx| message(tx, writer, number, &body))?;
        waits.push(began.elapsed());
    }
    Ok(waits)
}

fn mail(writer: u32, number: u32) -> Vec<u8> {
    let mut noise = vec![0; BODY_OCTETS / 2];
    let mut hasher = blake3::Hasher::new();
    hasher.update(&writer.to_le_bytes()).update(&number.to_le_bytes()).finalize_xof().fill(&mut noise);
    let text = b"Received: from mx.example.org by mail.example.net with ESMTPS; the quick brown fox jumps over it.\r\n";
    noise.extend(text.iter().cycle().take(BODY_OCTETS / 2));
    noise
}

fn message(tx: &mut WriteTx, writer: u32, number: u32, body: &Body) -> store::Result<()> {
    let account = writer.to_be_bytes();
    let place = [account, [0, 0, 0, 1], number.to_be_bytes()].concat();
    let counters = tx.get(Space::Counters, &account)?.unwrap_or_else(|| vec![0; 40]);
    let mailbox = tx.get(Space::Mailbox, place.get(..8).unwrap_or_default())?.unwrap_or_else(|| vec![0; 60]);
    tx.blob_put(body)?;
    tx.put(Space::Message, &place, [body.hash().0.as_slice(), &[1; 30]].concat());
    tx.put(Space::Email, &place, vec![2; 600]);
    tx.put(Space::Mailbox, place.get(..8).unwrap_or_default(), mailbox);
    tx.put(Space::Counters, &account, counters);
    tx.put(Space::Thread, body.hash().0.get(..8).unwrap_or_default(), vec![3; 8]);
    tx.put(Space::Trail, &place, vec![4; 200]);
    tx.put(Space::MessageId, body.hash().0.get(8..16).unwrap_or_default(), Vec::new());
    tx.announce(mail::AccountId(writer), mail::ModSeq(number.into()));
    Ok(())
}

fn reads(data: &Path) -> Outcome<()> {
    let store = Store::open(&Settings::at(data))?;
    for number in 0..10_000 {
        let body = Body::from_vec(mail(1, number));
        store.write_blocking(move |tx| message(tx, 1, number, &body))?;
    }
    let key = |number: u32| [1_u32.to_be_bytes(), [0, 0, 0, 1], (number % 10_000).to_be_bytes()].concat();
    let count = AtomicU64::new(0);
    let timed = |name: &str, each: &dyn Fn(u32) -> Outcome<()>| {
        let (began, cpu) = (Instant::now(), cpu_time()?);
        for number in 0..20_000 {
            each(number)?;
            count.fetch_add(1, Ordering::Relaxed);
        }
        println!(
            "{name}: {:.1} µs, CPU {:.1} µs",
            began.elapsed().as_secs_f64() * 5e1,
            cpu_time()?.saturating_sub(cpu).as_secs_f64() * 5e1
        );
        Outcome::Ok(())
    };
    timed("read of a key, in place", &|n| Ok(store.read_blocking(move |tx| tx.get(Space::Email, &key(n))).map(drop)?))?;
    timed("read of a key, on the pool", &|n| Ok(block_on(store.read(move |tx| tx.get(Space::Email, &key(n)))).map(drop)?))?;
    let hash = Body::from_vec(mail(1, 77)).hash();
    timed("read of a body of 4 KB, in place", &|_| Ok(store.read_blocking(move |tx| tx.blob_read(&hash, 0, 8192)).map(drop)?))?;
    Ok(())
}

/// The processor time this process has used.
fn cpu_time() -> Outcome<Duration> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap_or_default().split(' ').collect();
    let ticks = |at: usize| fields.get(at).and_then(|field| field.parse::<u64>().ok()).unwrap_or_default();
    Ok(Duration::from_millis((ticks(11) + ticks(12)) * 10))
}

fn block_on<F: Future>(future: F) -> F::Output {
    struct Unpark(std::thread::Thread);
    impl std::task::Wake for Unpark {
        fn wake(self: std::sync::Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = std::task::Waker::from(std::sync::Arc::new(Unpark(std::thread::current())));
    let mut future = std::pin::pin!(future);
    loop {
        match future.as_mut().poll(&mut std::task::Context::from_waker(&waker)) {
            std::task::Poll::Ready(output) => return output,
            std::task::Poll::Pending => std::thread::park(),
        }
    }
}

//! DMARC reports, packed and in mails, and what was kept of decisions.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| mta::fuzz::dmarc_report(data));

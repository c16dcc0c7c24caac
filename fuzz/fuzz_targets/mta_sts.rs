//! MTA-STS policies and the DNS records of MTA-STS and TLS reports.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| mta::fuzz::mta_sts(data));

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    latticegate_fuzz::request_stream::holds(bytes);
});

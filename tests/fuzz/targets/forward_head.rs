#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    latticegate_invariants::forward_head::check(bytes);
});

//! Reads bytes as a model file whose hash need not be right. Whatever they are, there is a model or an error: no panic,
//! and no memory out of proportion to the file.
#![no_main]

use blemish::inspector::Inspector;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _ = Inspector::from_bytes_unhashed(bytes);
});
